"""Segments on their way to the broker: claimed, kept while it is away, and where they lie once they are stored."""
