"""Pictures make windows: which frames of a video, how often a model looks, and what is kept from one to the next."""
