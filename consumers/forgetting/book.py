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
#: Ids of events that are heeded, of all stretches together. `clipline forget` keeps no more, and says so.
MOST_EVENTS: Final = 100_000


class ForgottenBook:
    """All stretches that are known. One thread takes, any may ask."""

    def __init__(self, stretches: Iterable[Forgotten] = ()) -> None:
        self._stretches: dict[bytes, Forgotten] = {}
        #: Replaced as a whole, so that whoever asks meanwhile sees one or the other.
        self._by_camera: dict[str, tuple[Forgotten, ...]] = {}
        #: Of events that reach beyond their stretch.
        self._by_event: dict[str, Forgotten] = {}
        #: Ids of events for which there is no room.
        self.events_left_out = 0
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
        for event in stretch.events:
            if event in self._by_event or len(self._by_event) < MOST_EVENTS:
                self._by_event[event] = stretch
            else:
                self.events_left_out += 1

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

    def of(self, camera: str, start_us: int, end_us: int, event: str | None = None) -> Forgotten | None:
        """The stretch that something of a camera is of; None where it is of none.

        Args:
            camera: of which it is.
            start_us: event time of its begin, microseconds since the Unix epoch.
            end_us: event time of its end, as far as it tells.
            event: id of the event that it is about: that may be known to go on into a stretch.
        """
        # Of most cameras there is none.
        own = self._by_camera.get(camera)
        if own is None:
            return None
        known = None if event is None else self._by_event.get(event)
        return known or next((each for each in own if each.touches(start_us, end_us)), None)

    def of_event(self, event: str) -> Forgotten | None:
        """The stretch that an event is noted of, by its id alone: nothing else may be left of it."""
        return self._by_event.get(event)

    def events(self) -> dict[str, Forgotten]:
        """The stretches of events that reach beyond theirs, by id, as far as they were found while they were there."""
        return dict(self._by_event)

    def known(self, stretch: Forgotten) -> Forgotten | None:
        """The same stretch as it was noted; None where it was not."""
        return self._stretches.get(stretch.key)

    def stretches(self, camera: str | None = None) -> list[Forgotten]:
        """All, or those of a camera, by when they were asked for."""
        found = self._stretches.values() if camera is None else self._by_camera.get(camera, ())
        return sorted(found, key=lambda each: (each.time_us, each.key))


#: For whoever reads where nothing can have been forgotten, as in tests of other things.
NOTHING_FORGOTTEN: Final = ForgottenBook()
