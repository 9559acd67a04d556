"""Seeing to a site: its processes, models, rules and messages, who changed what, and what is forgotten."""
