"""Where on the topic the footage of an event lies."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from consumers.records.event import Event
from stream import Partition, Segment

#: Segments of a camera whose offsets are remembered; the first one of an event that goes on is, in any case.
_SEGMENTS_KNOWN: Final = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event lies that goes on, or may begin."""

    #: Of the event, as far as it was known.
    end_us: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class LocatorState:
    """What another locator has to know to go on."""

    #: By id of each event that goes on or may begin.
    places: Mapping[str, Place] = field(default_factory=dict)
    #: The epoch that is noted, and the offset of its first segment: footage that is sent again begins anew.
    epoch_us: int = -1
    first_offset: int = 0
    #: Of the newest segment; None where that was the end.
    number: int | None = None

    def before(self, offset: int) -> LocatorState:
        """What holds of it where records from an offset on are other ones."""
        places = {
            name: replace(place, last_offset=min(place.last_offset, offset - 1))
            for name, place in self.places.items()
            if place.first_offset < offset
        }
        if self.first_offset < offset:
            return replace(self, places=places)
        return LocatorState(places)


@dataclass(frozen=True, slots=True)
class _Known:
    epoch_us: int
    start_us: int
    end_us: int
    offset: int


class EventLocator:
    """Remembers the offsets of one camera's newest segments, to name those that an event was seen in."""

    def __init__(self, partition: Partition, state: LocatorState = LocatorState()) -> None:
        """Begin, or go on; segments that are read again are to be given to `recall`."""
        self._partition = partition
        self._segments: deque[_Known] = deque(maxlen=_SEGMENTS_KNOWN)
        self._places = dict(state.places)
        self._epoch_us, self._first_offset, self._number = state.epoch_us, state.first_offset, state.number

    @property
    def state(self) -> LocatorState:
        """What another locator has to know to go on."""
        return LocatorState(dict(self._places), self._epoch_us, self._first_offset, self._number)

    def note(self, segment: Segment, offset: int) -> None:
        """Remember where a segment lies. One that repeats what was there lies where it was first."""
        begins = segment.epoch_us != self._epoch_us or self._number is None
        if not begins and self._number is not None and segment.sequence <= self._number:
            return
        if begins:
            self._segments = deque((s for s in self._segments if s.epoch_us != segment.epoch_us), _SEGMENTS_KNOWN)
            self._epoch_us, self._first_offset = segment.epoch_us, offset
        self._number = None if segment.is_end else segment.sequence
        self._segments.append(_Known(segment.epoch_us, segment.start_us, segment.end_us, offset))

    def recall(self, segment: Segment, offset: int) -> bool:
        """Remember again where a segment lies; return whether it is of the footage that goes on."""
        if segment.epoch_us != self._epoch_us or offset < self._first_offset:
            return False
        if not self._segments or segment.start_us >= self._segments[-1].end_us:
            self._segments.append(_Known(segment.epoch_us, segment.start_us, segment.end_us, offset))
        return True

    def locate(self, event: Event) -> Event:
        """Return the event with the records that it was seen in; as it is, where none of them is remembered."""
        place = self._find(event)
        if place is None:
            return event
        topic, number = self._partition
        return replace(event, segments=f"{topic}[{number}]@{place.first_offset}-{place.last_offset}")

    def hold(self, events: Iterable[Event]) -> None:
        """Keep where these lie, which go on or may begin, and nothing else."""
        found = {event.id: self._find(event) for event in events}
        self._places = {name: place for name, place in found.items() if place is not None}

    def _find(self, event: Event) -> Place | None:
        known = self._places.get(event.id)
        if known is not None and known.end_us == event.end_us:
            return known
        offsets = self._overlapping(event)
        if not offsets:
            return known
        return Place(event.end_us, known.first_offset if known else offsets[0], offsets[-1])

    def _overlapping(self, event: Event) -> list[int]:
        """The newest records in succession that overlap an event, in order."""
        offsets: deque[int] = deque()
        for segment in reversed(self._segments):
            if segment.start_us < event.end_us and event.start_us < segment.end_us:
                offsets.appendleft(segment.offset)
            elif offsets:
                break
        return list(offsets)
