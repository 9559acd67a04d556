"""For whoever goes through many events: a month at a glance, and verdicts on several at once."""
