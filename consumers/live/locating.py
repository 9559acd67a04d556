"""Where on the topic the footage of an event lies."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from consumers.records.event import Event
from stream import Partition, Segment

#: Segments of a camera whose offsets are remembered; the first one of an event that goes on is, in any case.
_SEGMENTS_KNOWN: Final = 1024


class EventLocator:
    """Remembers the offsets of one camera's newest segments, to name those that an event was seen in."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        #: Begin and end in event time, and offset.
        self._segments: deque[tuple[int, int, int]] = deque(maxlen=_SEGMENTS_KNOWN)
        #: By id of an event that goes on: the offset of the first segment it was seen in.
        self._first_offsets: dict[str, int] = {}

    def note(self, segment: Segment, offset: int) -> None:
        """Remember where a segment lies."""
        self._segments.append((segment.start_us, segment.end_us, offset))

    def locate(self, event: Event) -> Event:
        """Return the event with the records that it was seen in; as it is, where none of them is remembered."""
        offsets = [at for start_us, end_us, at in self._segments if start_us < event.end_us and event.start_us < end_us]
        if not offsets:
            return event
        first = self._first_offsets.setdefault(event.id, offsets[0])
        if event.state == "ended":
            del self._first_offsets[event.id]
        topic, number = self._partition
        return replace(event, segments=f"{topic}[{number}]@{first}-{offsets[-1]}")
