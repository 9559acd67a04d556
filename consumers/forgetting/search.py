"""What is still there of forgotten stretches: every record of every topic that may hold something of a camera is read.

A record that tells no time that can be read is taken for one of the time at which it was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures, StoredPicture
from consumers.records.fields import RecordError
from consumers.records.index.page import IndexPage
from consumers.records.prediction import Prediction
from consumers.records.verdict import Verdict
from consumers.settings import TopicSettings
from consumers.times import parse_time_us
from stream import Lookup, Partition, Record, Transport

from .book import ForgottenBook


@dataclass(slots=True)
class Held:
    """What one topic, or one kind of key in Redis, holds of them."""

    #: The topic's name, or what the keys begin with.
    where: str
    #: In words, one of them.
    what: str
    count: int = 0
    bytes: int = 0
    #: When the newest was sent, wall clock in microseconds since the Unix epoch.
    newest_us: int = 0
    #: Behind the newest, by partition.
    ends: dict[Partition, int] = field(default_factory=dict)

    def add(self, record: Record, count: int = 1) -> None:
        """Count a record that holds so many of them."""
        self.count += count
        self.bytes += len(record.value or b"")
        self.newest_us = max(self.newest_us, record.sent_us)
        self.ends[record.topic, record.partition] = record.offset + 1


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on the broker."""

    held: tuple[Held, ...]
    #: Ids of events of these stretches: some report of each is, or a verdict or a message that tells of one.
    events: frozenset[str]
    #: Those of them that also reach beyond: what was told of them there does not say by itself that it is of a stretch.
    reaching: frozenset[str]
    #: Further events, of which only pictures are.
    pictured: frozenset[str]
    #: Records that cannot be read at all, by topic: nobody knows what they hold.
    unreadable: Counter[str]


#: How many things of the stretches a record holds.
_Count = Callable[[Record], int]


class _Search:
    def __init__(
        self, transport: Transport | None, topics: TopicSettings, book: ForgottenBook, events: Collection[str] = ()
    ) -> None:
        self._transport, self._topics, self._book = transport, topics, book
        self._lookup: Lookup | None = None
        #: Of which one report is of a stretch: all else that names them is, too, whatever time it tells.
        self._events = {*events, *book.events()}
        self._reaching: set[str] = set()
        self._pictured: set[str] = set()
        self._unreadable: Counter[str] = Counter()

    def kinds(self) -> tuple[tuple[str, str, _Count], ...]:
        """Topics, what one thing on them is, and how many of them a record holds."""
        topics = self._topics
        return (
            (topics.events, "report of an event", self._event),
            (topics.segments, "segment", self._footage),
            (topics.deadletter, "dead letter", self._footage),
            (topics.predictions, "window with its scores", self._prediction),
            (topics.pictures, "record of pictures", self._pictures),
            (topics.verdicts, "verdict", self._verdict),
            (topics.deliveries, "entry about a message", self._delivery),
        )

    def run(self, say: Callable[[str], None]) -> Found:
        kinds, topics = self.kinds(), self._topics
        assert self._transport is not None
        there = self._transport.existing([*(name for name, _, _ in kinds), topics.segments_index])
        self._lookup = self._transport.lookup(sorted(there))
        try:
            return self._found(kinds, there.keys(), say)
        finally:
            self._lookup.close()

    def _found(
        self, kinds: Iterable[tuple[str, str, _Count]], there: Collection[str], say: Callable[[str], None]
    ) -> Found:
        topics = self._topics
        held = []
        # Which events these are, the last that is told of one may say: before anything that names them is counted.
        for name in (topics.events, topics.verdicts, topics.deliveries):
            if name in there:
                say(f"reading {name} for what is forgotten of it")
                self._note_events(name)
        self._unreadable.clear()
        for name, what, count in kinds:
            if name in there:
                say(name)
                held.append(self._looked_through(name, what, count))
        if topics.segments_index in there:
            say(topics.segments_index)
            held.append(self._index())
        reaching = frozenset(self._reaching)
        return Found(tuple(held), frozenset(self._events), reaching, frozenset(self._pictured), self._unreadable)

    def _note_events(self, topic: str) -> None:
        for record in self._records(topic):
            told = _told(self._topics, record)
            if told is None or (stretch := self._book.of(told.camera, told.start_us, told.end_us)) is None:
                continue
            self._events.add(told.event)
            if stretch.is_left_by(told.start_us, told.end_us):
                self._reaching.add(told.event)

    def _records(self, topic: str) -> Iterator[Record]:
        assert self._transport is not None
        bounds = self._transport.offsets(topic) if self._holds_anything(topic) else {}
        for record in self._transport.read(bounds):
            if record.unreadable is None:
                yield record
            else:
                self._unreadable[topic] += 1

    def _holds_anything(self, topic: str) -> bool:
        """Whether a topic has a record: quicker than to read all of it, of which much is empty at most sites."""
        assert self._lookup is not None
        for partition, first in self._lookup.first_kept(topic).items():
            if next(self._lookup.read(partition, first), None) is not None:
                return True
        return False

    def _looked_through(self, topic: str, what: str, count: _Count) -> Held:
        held = Held(topic, what)
        for record in self._records(topic):
            if found := self.counted(record, count):
                held.add(record, found)
        return held

    def counted(self, record: Record, count: _Count) -> int:
        """How many things of the stretches a record holds."""
        try:
            return count(record)
        except RecordError:
            return self._by_sending(record)

    def _by_sending(self, record: Record) -> int:
        return int(self._is_of((record.key or b"").decode(errors="replace"), record.sent_us, record.sent_us))

    def _is_of(self, camera: str, start_us: int, end_us: int) -> bool:
        return self._book.of(camera, start_us, end_us) is not None

    def _footage(self, record: Record) -> int:
        if not record.value:
            return 0
        told = dict(record.headers)
        try:
            times = int(told["start-us"]), int(told["end-us"])
        except (KeyError, ValueError, TypeError):
            return self._by_sending(record)
        return int(self._is_of((record.key or b"").decode(errors="replace"), *times))

    def _prediction(self, record: Record) -> int:
        found = Prediction.decode(record.key, record.headers, record.value, record.where, drills=True)
        return int(self._is_of(found.camera, found.start_us, found.end_us))

    def _event(self, record: Record) -> int:
        found = Event.decode(record.key, record.headers, record.value, record.where, drills=True)
        return int(found.id in self._events or self._is_of(found.camera, found.start_us, found.end_us))

    def _pictures(self, record: Record) -> int:
        found = EventPictures.decode(record.key, record.headers, record.value, record.where)
        frames = [t for p in (found.peak, found.strip) if isinstance(p, StoredPicture) for t in p.frames_us]
        times = [found.time_us, *frames]
        is_of = found.event in self._events or self._is_of(found.camera, min(times), max(times))
        if is_of:
            self._pictured.add(found.event)
        return int(is_of)

    def _verdict(self, record: Record) -> int:
        found = Verdict.decode(record.key, record.value, record.where)
        return int(found.event in self._events or self._is_of(found.camera, found.start_us, found.end_us))

    def _delivery(self, record: Record) -> int:
        # Its key is a channel: when it was sent says nothing of a camera.
        try:
            found = Delivery.decode(record.key, record.value, record.where)
        except RecordError:
            return 0
        data = found.message.get("data", {})
        if found.kind != "event":
            return int(found.event in self._events)
        times = parse_time_us(data["start"]), parse_time_us(data["end"])
        return int(found.event in self._events or self._is_of(data["camera"], *times))

    def _index(self) -> Held:
        """Rows of the index: of pages with one key, the newest counts."""
        held = Held(self._topics.segments_index, "row of the index")
        newest = {record.key: record for record in self._records(self._topics.segments_index)}
        for record in newest.values():
            if record.value is None:
                continue
            try:
                page = IndexPage.decode(record.value, record.where)
            except RecordError:
                continue
            rows = sum(self._is_of(page.camera, s.start_us, s.end_us) for s in page.segments)
            if rows:
                held.add(record, rows)
        return held


def deletable(topics: TopicSettings) -> tuple[str, ...]:
    """Topics of footage and what was made of it, events first. Verdicts and the ledger of messages are of use without
    it: they are not deleted with all that was sent before.
    """
    return topics.events, topics.segments, topics.deadletter, topics.predictions, topics.pictures


def taken_out(topics: TopicSettings) -> tuple[str, ...]:
    """Topics out of which the embedded broker takes what is forgotten, and nothing else: events last."""
    return (
        *(name for name in deletable(topics) if name != topics.events),
        topics.verdicts,
        topics.deliveries,
        topics.events,
    )


def event_named(topics: TopicSettings, record: Record) -> str | None:
    """The event that a record is of, whatever its time; None where it names none, or cannot be read."""
    try:
        if record.topic == topics.pictures:
            return EventPictures.decode(record.key, record.headers, record.value, record.where).event
        if record.topic == topics.deliveries:
            return Delivery.decode(record.key, record.value, record.where).event
    except RecordError:
        return None
    told = _told(topics, record)
    return None if told is None else told.event


@dataclass(frozen=True, slots=True)
class _Told:
    """An event, and from when to when it is, as far as one record tells."""

    event: str
    camera: str
    start_us: int
    end_us: int


def _told(topics: TopicSettings, record: Record) -> _Told | None:
    """What a report, a verdict or a message tells of an event; None where it tells of none, or cannot be read."""
    try:
        if record.topic == topics.events:
            report = Event.decode(record.key, record.headers, record.value, record.where, drills=True)
            return _Told(report.id, report.camera, report.start_us, report.end_us)
        if record.topic == topics.verdicts:
            verdict = Verdict.decode(record.key, record.value, record.where)
            return _Told(verdict.event, verdict.camera, verdict.start_us, verdict.end_us)
        if record.topic == topics.deliveries:
            entry = Delivery.decode(record.key, record.value, record.where)
            if entry.kind == "event":
                data = entry.message["data"]
                return _Told(data["event"], data["camera"], parse_time_us(data["start"]), parse_time_us(data["end"]))
    except RecordError:
        pass
    return None


def record_matchers(
    topics: TopicSettings, book: ForgottenBook, events: Collection[str] = ()
) -> Mapping[str, Callable[[Record], bool]]:
    """By topic, whether a record is of a stretch, or names one of some events, of which some report is."""
    search = _Search(None, topics, book, events)
    counts: dict[str, _Count] = {name: count for name, _, count in search.kinds()}

    def matcher(count: _Count) -> Callable[[Record], bool]:
        return lambda record: bool(search.counted(record, count))

    return {name: matcher(counts[name]) for name in taken_out(topics)}


def what_is_held(transport: Transport, topics: TopicSettings, book: ForgottenBook, say: Callable[[str], None]) -> Found:
    """Read all topics, and count what they hold of stretches.

    Args:
        transport: the broker.
        topics: their names.
        book: the stretches.
        say: told the name of each topic before it is read.

    Raises:
        BrokerError: the broker is away, or does not let us read one of them.
    """
    return _Search(transport, topics, book).run(say)
