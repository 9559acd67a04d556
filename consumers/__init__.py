"""What listens: the worker, the tracker, the sinks and the command line.

For programs: `consumers.subscribe` (docs/subscribing.md), with what it takes and gives.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .records.event import Event
    from .subscribing.subscription import Subscription, subscribe

__version__ = "0.1.0"

__all__ = ["Event", "Subscription", "__version__", "subscribe"]

#: Imported by whoever asks: every command imports this package first, and most need none of this.
_WHERE: Final = {
    "Event": "consumers.records.event",
    "Subscription": "consumers.subscribing.subscription",
    "subscribe": "consumers.subscribing.subscription",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
