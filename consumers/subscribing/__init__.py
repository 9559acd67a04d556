"""Subscribers of events: each reads for itself, goes on where it was, and says what it waits for."""
