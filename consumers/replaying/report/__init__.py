"""A replay as one HTML file that can be mailed: the result in words, timelines, and pictures of every event."""

from .page import write_report

__all__ = ["write_report"]
