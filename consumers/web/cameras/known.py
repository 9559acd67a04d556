"""Which cameras anything was heard of: what one that has gone left behind can be asked for longer than how it is.

Bounded by number: of very many names those that were heard longest ago go first, and the index of segments is asked.
"""

from __future__ import annotations

from typing import Final

_MOST: Final = 20_000


class CameraNames:
    """Names of cameras. One thread notes at a time, any may ask."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        #: That which was noted last at the end.
        self._names: dict[str, None] = {}

    def __contains__(self, camera: str) -> bool:
        return camera in self._names

    def note(self, camera: str) -> None:
        """Keep a name."""
        self._names.pop(camera, None)
        self._names[camera] = None
        if len(self._names) > self._most:
            del self._names[next(iter(self._names))]
