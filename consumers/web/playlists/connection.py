"""What reads from a broker or writes to it, opened when it is needed, and anew after it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from stream import BrokerError, EntryError, RecordTooLargeError

#: After a failure, for so long nobody waits for the next one.
_PAUSE_SECONDS: Final = 1.0
#: Others ask for something else, and may get it.
_REFUSALS: Final = (EntryError, RecordTooLargeError)
#: What nobody used for so long is opened anew: the other end may have given it up, and have other secrets by now.
_IDLE_SECONDS: Final = 300.0


class _Closes(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closes)
_R = TypeVar("_R")


class Kept(Generic[_T]):
    """Keeps one open. For one thread at a time."""

    def __init__(self, connect: Callable[[], _T], *, pauses_when_refused: bool = True) -> None:
        """Prepare; after a failure nobody waits for the next one for a second.

        Args:
            connect: opens it.
            pauses_when_refused: whether a refusal is such a failure; not where each asks for something else.
        """
        self._connect = connect
        self._passes: tuple[type[BrokerError], ...] = () if pauses_when_refused else _REFUSALS
        self._open: _T | None = None
        self._used = 0.0
        self._failed: tuple[float, str] | None = None

    def use(self, work: Callable[[_T], _R]) -> _R:
        """Do something with it.

        Raises:
            BrokerError: the broker is away, or was a moment ago.
        """
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise BrokerError(self._failed[1])
        try:
            if time.monotonic() - self._used > _IDLE_SECONDS:
                self.close()
            if self._open is None:
                self._open = self._connect()
            found = work(self._open)
        except BrokerError as error:
            if not isinstance(error, self._passes):
                self._failed = time.monotonic() + _PAUSE_SECONDS, str(error)
            self.close()
            raise
        self._failed = None
        self._used = time.monotonic()
        return found

    def close(self) -> None:
        """Close it; `use` opens it again."""
        if self._open is not None:
            gone, self._open = self._open, None
            gone.close()
