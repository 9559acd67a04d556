"""Replayed events against the truth."""
