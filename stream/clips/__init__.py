"""Segments become clips: decoding, and sampling on a grid of event time."""
