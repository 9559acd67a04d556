"""What reads from a broker or writes to it, opened when it is needed, and anew after it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from stream import BrokerError

#: After a failure, for so long nobody waits for the next one.
_PAUSE_SECONDS: Final = 1.0
#: What nobody used for so long is opened anew: the other end may have given it up, and have other secrets by now.
_IDLE_SECONDS: Final = 300.0


class _Closes(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closes)
_R = TypeVar("_R")


class Kept(Generic[_T]):
    """Keeps one open. For one thread at a time."""

    def __init__(self, connect: Callable[[], _T], pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Prepare; after a failure nobody waits for the next one for `pause_seconds`."""
        self._connect, self._pause = connect, pause_seconds
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
            self._failed = time.monotonic() + self._pause, str(error)
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
