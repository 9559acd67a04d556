"""`clipline evidence`: the footage of an event, cut out of the topic as the camera sent it."""

from __future__ import annotations

import itertools
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from consumers.footage_index import FootageIndex
from consumers.forgetting import ForgottenBook, read_forgotten
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import rfc3339
from consumers.settings import TopicSettings
from stream import BrokerError, Partition, Segment, SegmentError, SourceError, Transport, write_joined

log = logging.getLogger(__name__)

_PLACE: Final = re.compile(r"(.+)\[(\d{1,9})\]@(\d{1,18})-(\d{1,18})")
#: Other cameras' records lie between: so many records are looked at, at most, for lead and for tail.
_MAX_AROUND: Final = 4096
_FIRST_AROUND: Final = 32

#: Where segments lie, by epoch and sequence.
Places = dict[tuple[int, int], tuple[Partition, int]]


class TooMuchFootageError(SourceError):
    """There is more of it than is wanted."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of an event."""

    event: Event
    segments: tuple[Segment, ...]
    #: Segments before these that decoders need, from where decoding can begin.
    context: tuple[Segment, ...]
    #: What of the asked interval is not there, and why, in words.
    missing: tuple[str, ...]
    _places: Mapping[tuple[int, int], tuple[Partition, int]] = field(default_factory=dict, repr=False)

    def place(self, segment: Segment) -> tuple[Partition, int]:
        """The partition and offset of one of these segments."""
        return self._places[segment.epoch_us, segment.sequence]

    def zero_us(self, suffix: str) -> int:
        """Event time that is 0 in a file of it: MP4 alone can hide from players what stands before, for decoders."""
        return (self.segments if suffix == ".mp4" else (*self.context, *self.segments))[0].start_us

    @property
    def seconds(self) -> float:
        return sum(segment.seconds for segment in self.segments)


def find_evidence(
    transport: Transport, topics: TopicSettings, event: str, lead_seconds: float, tail_seconds: float
) -> Evidence:
    """Find the segments of an event, and those before and after it.

    Args:
        transport: the broker.
        topics: the names of its topics.
        event: the event's id, or the beginning of it.
        lead_seconds: footage before the event's begin.
        tail_seconds: footage after its end.

    Raises:
        SourceError: there is no such event, it does not tell where its footage lies, or nothing of that is left.
        BrokerError: the broker is gone.
    """
    report = newest_report(transport, topics, event)
    with FootageIndex(transport, topics) as index:
        return evidence_of(transport, index, report, lead_seconds, tail_seconds)


def evidence_of(
    transport: Transport,
    index: FootageIndex,
    report: Event,
    lead_seconds: float,
    tail_seconds: float,
    max_bytes: float = math.inf,
) -> Evidence:
    """Likewise, of an event of which a report is at hand.

    What the index names is read, and nothing else. Where it does not know of all that is asked for, as of drills and of
    footage that older agents sent, records around the event are.

    Raises:
        TooMuchFootageError: it has more than `max_bytes`, as they lie on Kafka.
        SourceError: it does not tell where its footage lies, nothing of that is left, or it is forgotten.
        BrokerError: the broker is gone.
    """
    book = index.forgotten()
    if (forgotten := book.of(report.camera, report.start_us, report.end_us, report.id)) is not None:
        raise SourceError(f"event {report.id}: {forgotten.explained()}")
    place = place_of_footage(report)
    if place is None:
        raise SourceError(f"event {report.id}: does not tell where its footage lies (an older worker published it)")
    partition, first, last = place
    kept, end = transport.offsets(partition[0]).get(partition, (0, 0))
    start_us, end_us = report.start_us, report.end_us
    from_us, to_us = start_us - round(lead_seconds * 1e6), end_us + round(tail_seconds * 1e6)
    places: Places = {}
    found = _named(index, report, place, (from_us, to_us), max_bytes, places)
    if found is None:
        places.clear()
        found = _looked_for(transport, report, place, (kept, end), (from_us, to_us), max_bytes, places)
    epoch_us, around = found
    around = [s for s in around if book.of(s.camera, s.start_us, s.end_us) is None]
    context, wanted = _decodable([s for s in around if not s.is_end and s.start_us < to_us], epoch_us, from_us)
    if not wanted:
        raise SourceError(
            f"event {report.id}: its footage is gone: {partition[0]}[{partition[1]}]@{first}-{last} holds other footage"
        )
    holes = tuple(_holes(wanted, start_us, end_us, kept if first < kept else None, book))
    names = [(s.epoch_us, s.sequence) for s in (*context, *wanted)]
    return Evidence(report, tuple(wanted), tuple(context), holes, {name: places[name] for name in names})


def _named(
    index: FootageIndex,
    report: Event,
    place: tuple[Partition, int, int],
    interval_us: tuple[int, int],
    max_bytes: float,
    places: Places,
) -> tuple[int, list[Segment]] | None:
    """The epoch of an event, and the segments of an interval that the index names; None where it lacks some of it."""
    (topic, number), first, last = place
    try:
        found = index.find(report.camera, *interval_us)
        own = [s for s in found.segments if s.partition == number and first <= s.offset <= last]
        if found.gaps or not own or not (found.context or found.segments[0].begins):
            return None
        wanted = [*found.context, *found.segments]
        _check_size(report, sum(s.size for s in wanted), max_bytes)
        places.update({(s.run.epoch_us, s.sequence): ((topic, s.partition), s.offset) for s in wanted})
        segments = list(index.footage(report.camera, wanted))
    except BrokerError as error:  # as where ACLs are older than the index; a broker that is away says so again
        log.debug("the index cannot be read: %s", error)
        return None
    # Retention may have come in between, and what is damaged shows as a hole only in a row of records.
    return (own[0].run.epoch_us, segments) if len(segments) == len(wanted) else None


def _looked_for(
    transport: Transport,
    report: Event,
    place: tuple[Partition, int, int],
    bounds: tuple[int, int],
    interval_us: tuple[int, int],
    max_bytes: float,
    places: Places,
) -> tuple[int, list[Segment]]:
    """Likewise, out of the records around the event.

    Raises:
        SourceError: nothing of its own footage is left.
    """
    partition, first, last = place
    (kept, end), (from_us, to_us) = bounds, interval_us

    def read(begin: int, stop: int) -> list[Segment]:
        return _segments(transport, partition, (begin, stop), report, max_bytes, places)

    found = read(max(first, kept), min(last + 1, end))
    if not found:
        raise SourceError(
            f"event {report.id}: its footage, {partition[0]}[{partition[1]}]@{first}-{last}, is gone: retention "
            f"has removed everything before offset {kept}"
        )

    def reaches_back(before: list[Segment]) -> bool:
        begins_us = [_decode_from_us(s) for s in [*before, *found] if s.end_us > from_us]
        return bool(before) and before[0].start_us <= min([from_us, *begins_us])

    before = (
        []
        if first < kept
        else _around(lambda n: (max(kept, first - n), first), read, reaches_back, at_end=lambda n: first - n <= kept)
    )
    after = _around(
        lambda n: (last + 1, min(end, last + 1 + n)),
        read,
        lambda s: s and s[-1].end_us >= to_us,
        at_end=lambda n: last + 1 + n >= end,
    )
    return found[0].epoch_us, [*before, *found, *after]


def _decode_from_us(segment: Segment) -> int:
    return segment.start_us if segment.decode_from_us is None else segment.decode_from_us


def _decodable(segments: Sequence[Segment], epoch_us: int, from_us: int) -> tuple[list[Segment], list[Segment]]:
    """What decoders need before `from_us`, and the segments of the epoch from there on that can be decoded then."""
    chains: list[list[Segment]] = []
    for segment in segments:
        if not segment.continues:
            chains.append([segment])
        elif chains and chains[-1][-1].continued and segment.sequence == chains[-1][-1].sequence + 1:
            chains[-1].append(segment)
    context: list[Segment] = []
    wanted: list[Segment] = []
    for chain in chains:
        footage = [s for s in chain if s.epoch_us == epoch_us and s.end_us > from_us]
        if footage and not wanted:
            context = chain[: chain.index(footage[0])]
        wanted += footage
    return context, wanted


def _holes(segments: Sequence[Segment], start_us: int, end_us: int, kept: int | None, book: ForgottenBook) -> list[str]:
    """What of the event itself is not there; less of a lead or tail than was asked for is no hole."""
    said = []
    if segments[0].start_us > start_us:
        why = f"removed by retention, which keeps offsets from {kept}" if kept is not None else "not on the topic"
        said.append(f"{rfc3339(start_us)} to {rfc3339(segments[0].start_us)}: {why}")
    for one, other in itertools.pairwise(segments):
        if other.start_us > one.end_us:
            forgotten = book.of(one.camera, one.end_us, other.start_us)
            why = "lost or damaged" if forgotten is None else "forgotten"
            said.append(f"{rfc3339(one.end_us)} to {rfc3339(other.start_us)}: {why}")
    if segments[-1].end_us < end_us:
        said.append(f"{rfc3339(segments[-1].end_us)} to {rfc3339(end_us)}: not on the topic")
    return said


def _around(
    offsets: Callable[[int], tuple[int, int]],
    read: Callable[[int, int], list[Segment]],
    enough: Callable[[list[Segment]], Any],
    at_end: Callable[[int], bool],
) -> list[Segment]:
    """More and more records, until there are enough or no more."""
    count = _FIRST_AROUND
    while True:
        begin, stop = offsets(count)
        found = read(begin, stop) if begin < stop else []
        if enough(found) or at_end(count) or count >= _MAX_AROUND:
            return found
        count *= 4


def _segments(
    transport: Transport,
    partition: Partition,
    offsets: tuple[int, int],
    report: Event,
    max_bytes: float,
    places: Places,
) -> list[Segment]:
    found: dict[tuple[int, int], Segment] = {}
    size = 0
    for record in transport.read({partition: offsets}):
        if record.key != report.camera.encode():
            continue
        try:
            segment = Segment.decode(record.key, record.headers, record.value, record.where)
        except SegmentError:
            continue  # a dead letter: shows as a hole
        name = segment.epoch_us, segment.sequence
        if name not in found:
            found[name], places[name] = segment, (partition, record.offset)
            _check_size(report, size := size + len(segment.data), max_bytes)
    return list(found.values())


def _check_size(report: Event, size: int, max_bytes: float) -> None:
    if size > max_bytes:
        raise TooMuchFootageError(
            f"event {report.id}: its footage has {size / 1e6:.0f} MB or more, expected at most {max_bytes / 1e6:.0f} MB"
        )


def place_of_footage(event: Event) -> tuple[Partition, int, int] | None:
    """The partition, and the first and last offset, of the event's segments; None where it does not tell."""
    place = _PLACE.fullmatch(event.segments or "")
    return None if place is None else ((place[1], int(place[2])), int(place[3]), int(place[4]))


def newest_report(transport: Transport, topics: TopicSettings, event: str) -> Event:
    """The newest report of the event whose id begins so.

    Raises:
        SourceError: there is none, there are several such events, or it is forgotten.
        BrokerError: the broker is gone.
    """
    newest: Event | None = None
    ids, damaged = set(), ""
    for record in transport.read(transport.offsets(topics.events)):
        if dict(record.headers).get("ce_id", b"").decode(errors="replace").startswith(event):
            try:
                newest = Event.decode(record.key, record.headers, record.value, record.where)
            except RecordError as error:
                damaged = str(error)
            else:
                ids.add(newest.id)
    if newest is None and damaged:
        raise SourceError(f"event {event!r}: {damaged}")
    book = read_forgotten(transport, topics)
    # Of one that is forgotten, its id may be all that is left.
    noted = {} if ids else {id_: stretch for id_, stretch in book.events().items() if id_.startswith(event)}
    if len(ids | noted.keys()) > 1:
        raise SourceError(f"event {event!r}: the beginning of {len(ids | noted.keys())} ids; give more of it")
    if noted:
        ((id_, stretch),) = noted.items()
        raise SourceError(f"event {id_}: {stretch.explained()}")
    if newest is None:
        raise SourceError(f"event {event!r}: no such event on {topics.events}; `clipline events --json` lists them")
    forgotten = book.of(newest.camera, newest.start_us, newest.end_us, newest.id)
    if forgotten is not None:
        raise SourceError(f"event {newest.id}: {forgotten.explained()}")
    return newest


def write_evidence(evidence: Evidence, path: Path) -> None:
    """Write the clip.

    Raises:
        SourceError: the path cannot be written.
        SegmentError: the segments cannot be joined there.
    """
    if not path.parent.is_dir():
        raise SourceError(f"{path}: there is no folder {path.parent}")
    try:
        write_joined([*evidence.context, *evidence.segments], path, evidence.zero_us(path.suffix))
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror})") from None
