"""How much is written to Redis at once, and when it is tried again."""

from __future__ import annotations

import time
from typing import Final

#: Records that are written at once. A Redis too slow for it gets fewer.
_MOST_AT_ONCE: Final = 512
#: Pauses between tries grow up to this.
LONGEST_PAUSE_SECONDS: Final = 5.0
#: Pauses between one rebuild and the next, where keys keep getting lost, grow up to this.
_LONGEST_REBUILD_PAUSE_SECONDS: Final = 60.0


class WritingPace:
    """Slower while Redis fails or loses keys, and faster again when it does not."""

    def __init__(self) -> None:
        self.at_once = _MOST_AT_ONCE
        #: How often in a row keys were lost.
        self.losses = 0
        self._failures = 0
        self._try_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self._try_at

    def succeed(self) -> None:
        """Redis has taken what was written."""
        self._failures = 0
        self.at_once = min(_MOST_AT_ONCE, self.at_once * 2)

    def fail(self) -> None:
        """Redis has not taken it: wait, longer each time, and write less at once."""
        self.at_once = max(1, self.at_once // 2)
        self._try_at = time.monotonic() + min(LONGEST_PAUSE_SECONDS, 0.1 * 2 ** min(self._failures, 10))
        self._failures += 1

    def lose(self) -> float:
        """Keys are lost: wait before all is built anew; return for how many seconds."""
        self.losses += 1
        pause = min(_LONGEST_REBUILD_PAUSE_SECONDS, 2.0 ** (self.losses - 1) - 1)
        self._try_at = time.monotonic() + pause
        return pause
