"""Links that show one event to whoever has them, and sessions that were logged out of: both on a topic of their own."""

from .book import AccessBook
from .footage import SharedFootage

__all__ = ["AccessBook", "SharedFootage"]
