"""What reads from a broker, opened when it is needed, and anew after it was lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from stream import BrokerError

#: After a failure, for so long nobody waits for the next one.
_PAUSE_SECONDS: Final = 1.0


class _Closes(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closes)
_R = TypeVar("_R")


class Kept(Generic[_T]):
    """Keeps one open. For one thread at a time."""

    def __init__(self, connect: Callable[[], _T]) -> None:
        self._connect = connect
        self._open: _T | None = None
        self._failed: tuple[float, str] | None = None

    def use(self, work: Callable[[_T], _R]) -> _R:
        """Do something with it.

        Raises:
            BrokerError: the broker is away, or was a moment ago.
        """
        if self._failed is not None and time.monotonic() < self._failed[0]:
            raise BrokerError(self._failed[1])
        try:
            if self._open is None:
                self._open = self._connect()
            found = work(self._open)
        except BrokerError as error:
            self._failed = time.monotonic() + _PAUSE_SECONDS, str(error)
            self.close()
            raise
        self._failed = None
        return found

    def close(self) -> None:
        """Close it; `use` opens it again."""
        if self._open is not None:
            self._open.close()
            self._open = None
