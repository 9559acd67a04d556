"""Forgetting a stretch of a camera's time: what readers leave out, what is deleted, and the proof of both.

`ForgottenBook` tells whether something is of a forgotten stretch, `ForgottenReader` keeps one as the topic has it,
`forgotten_events` names events. They import nothing of the rest, as whoever reads footage, scores or events asks them.
"""

from .book import NOTHING_FORGOTTEN, ForgottenBook
from .events import forgotten_events
from .reader import ForgottenReader, read_forgotten

__all__ = ["NOTHING_FORGOTTEN", "ForgottenBook", "ForgottenReader", "forgotten_events", "read_forgotten"]
