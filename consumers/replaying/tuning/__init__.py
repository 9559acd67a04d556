"""Thresholds chosen on replayed footage."""
