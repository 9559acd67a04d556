"""Which stretches of which cameras are forgotten. Pure, but for records that are said to be none."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from stream import Record

log = logging.getLogger(__name__)

#: Stretches that are heeded. `clipline forget` refuses one more, so that none is ever passed over.
MOST: Final = 10_000


class ForgottenBook:
    """All stretches that are known. One thread takes, any may ask."""

    def __init__(self, stretches: Iterable[Forgotten] = ()) -> None:
        self._stretches: dict[bytes, Forgotten] = {}
        #: Replaced as a whole, so that whoever asks meanwhile sees one or the other.
        self._by_camera: dict[str, tuple[Forgotten, ...]] = {}
        #: Records that are no stretches.
        self.left_out = 0
        for each in stretches:
            self.put(each)

    def __len__(self) -> int:
        return len(self._stretches)

    def put(self, stretch: Forgotten) -> None:
        """Heed one more."""
        self._stretches[stretch.key] = stretch
        own = (*(each for each in self._by_camera.get(stretch.camera, ()) if each.key != stretch.key), stretch)
        self._by_camera = {**self._by_camera, stretch.camera: own}

    def take(self, record: Record) -> None:
        """Heed what a record says; one that cannot be read is said and counted."""
        if record.value is None:
            return
        try:
            self.put(Forgotten.decode(record.key, record.value, record.where))
        except RecordError as error:
            self.left_out += 1
            log.warning("%s: left out", error)

    def has(self, camera: str) -> bool:
        """Whether anything of a camera is forgotten."""
        return camera in self._by_camera

    def of(self, camera: str, start_us: int, end_us: int) -> Forgotten | None:
        """The stretch that something of a camera is of; None where it is of none."""
        # Of most cameras there is none.
        own = self._by_camera.get(camera)
        return None if own is None else next((each for each in own if each.touches(start_us, end_us)), None)

    def stretches(self, camera: str | None = None) -> list[Forgotten]:
        """All, or those of a camera, by when they were asked for."""
        found = self._stretches.values() if camera is None else self._by_camera.get(camera, ())
        return sorted(found, key=lambda each: (each.time_us, each.key))


#: For whoever reads where nothing can have been forgotten, as in tests of other things.
NOTHING_FORGOTTEN: Final = ForgottenBook()
