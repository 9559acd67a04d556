"""Going through events: what was reported, whether it was right, handing it on, and what another threshold had told."""
