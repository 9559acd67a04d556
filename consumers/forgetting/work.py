"""Forgetting a stretch: it is noted, so that readers leave it out; deleted where that can be; and looked for.

audit ─▶ clipline.forgotten ─▶ Redis ─▶ (records of the topics, with all before them) ─▶ everything is read again
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from consumers.outputs.audit import entry_by_hand, who
from consumers.outputs.redis.connection import REDIS_ERRORS, SinkError
from consumers.records.forgotten import MAX_CHARACTERS, Forgotten
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_audit, ensure_topic_of_forgotten
from stream import BrokerError, Described, KafkaTransport, Partition, SourceError

from .book import MOST, MOST_EVENTS, ForgottenBook
from .reader import read_forgotten
from .redis_traces import RedisTraces
from .report import DryRun, Report, event_notes, fates, kept_until, rows, unreadable_notes
from .search import Found, Held, deletable, taken_out, what_is_held

#: What is more recent is still under way: in agents, on the index, in workers.
LEAST_AGE_SECONDS: Final = 15.0
#: So long the process that runs the embedded broker may take to take records out of it: it lets us count them first.
_EMBEDDED_SECONDS: Final = 20.0
#: Whoever shows something asks for what is forgotten once a second.
_HEARD_SECONDS: Final = 2.0


@dataclass(slots=True)
class Goes:
    """What `--and-all-before` deletes of one partition."""

    partition: Partition
    #: Behind the last record of the stretch.
    end: int
    #: Records of others, by camera, and their bytes.
    others: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    #: When the oldest and the newest were sent, wall clock in microseconds.
    first_us: int = 0
    last_us: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at one time."""

    found: Found
    redis: tuple[Held, ...]
    notes: tuple[str, ...]
    #: Ids of events that also reach beyond their stretch.
    reaching: frozenset[str]

    @property
    def held(self) -> tuple[Held, ...]:
        return (*self.found.held, *self.redis)

    @property
    def is_empty(self) -> bool:
        return not any(each.count for each in self.held)


class Forgetting:
    """Works on one broker and its Redis."""

    def __init__(self, transport: KafkaTransport, settings: Settings, say: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            transport: the broker.
            settings: name topics and Redis.
            say: told what is being done.
        """
        self._transport, self._settings, self._say = transport, settings, say

    def stretches(self) -> ForgottenBook:
        """What is forgotten already; raises BrokerError."""
        return read_forgotten(self._transport, self._settings.topics)

    def look(self, book: ForgottenBook, why: str = "counting what there is") -> Seen:
        """Find what there is of some stretches.

        Args:
            book: the stretches.
            why: said of each topic that is read.

        Raises:
            BrokerError: the broker is away, or does not let us read a topic.
        """
        found = what_is_held(self._transport, self._settings.topics, book, lambda topic: self._say(f"{why}: {topic}"))
        redis: tuple[Held, ...] = ()
        reaching = found.reaching
        notes = list(unreadable_notes(found.unreadable))
        self._say(f"{why}: Redis")
        try:
            with contextlib.closing(self._traces(book, found)) as traces:
                redis = tuple(traces.find())
                reaching |= traces.reaching
        except (*REDIS_ERRORS, SinkError) as error:
            notes.append(f"Redis could not be looked at: {' '.join(str(error).split())}")
        return Seen(found, redis, tuple(notes), reaching)

    def note(self, stretch: Forgotten, *, all_before: bool) -> Forgotten:
        """Store who has a stretch forgotten, and then the stretch: from then on readers leave it out. Return it, with
        what is known of it where it is forgotten already.

        Raises:
            SourceError: too many are forgotten already.
            BrokerError: it is not stored, as far as the broker says.
        """
        topics = self._settings.topics
        ensure_topic_of_audit(self._transport, topics, self._settings.dashboard.audit_days * 24)
        ensure_topic_of_forgotten(self._transport, topics)
        book = self.stretches()
        known = book.known(stretch)
        if known is None and len(book) >= MOST:
            raise SourceError(f"{MOST} stretches are forgotten already, and readers heed no more")
        if known is not None:
            stretch = replace(stretch, why=stretch.why or known.why).with_events(known.events)
        value = "and-all-before" if all_before else None
        entry = entry_by_hand("camera.forget", stretch.key.decode(), stretch.camera, value)
        producer = self._transport.producer()
        try:
            producer.send(topics.audit, *entry.encode())
            producer.flush()
            producer.send(topics.forgotten, *stretch.encode())
            producer.flush()
        finally:
            producer.close()
        return stretch

    def note_events(self, stretch: Forgotten, seen: Seen) -> Forgotten:
        """Keep beside a stretch that is noted which events of it reach beyond it; return what is kept.

        What was told of them there says nothing of it, and their reports go with their retention.

        Raises:
            BrokerError: it is not stored, as far as the broker says.
        """
        book = self.stretches()
        known = book.known(stretch) or stretch
        found = known.with_events(seen.reaching, MOST_EVENTS - len(book.events()))
        if found != known:
            producer = self._transport.producer()
            try:
                producer.send(self._settings.topics.forgotten, *found.encode())
                producer.flush()
            finally:
                producer.close()
        return found

    def delete_from_redis(self, book: ForgottenBook, seen: Seen) -> None:
        """Delete what Redis holds; where it is away, `look` says so."""
        time.sleep(_HEARD_SECONDS)
        self._say("deleting from Redis")
        with (
            contextlib.suppress(*REDIS_ERRORS, SinkError),
            contextlib.closing(self._traces(book, seen.found)) as traces,
        ):
            traces.delete()

    def look_again(self, book: ForgottenBook) -> Seen:
        """Find what is left when all was done; whoever runs the embedded broker is given a while to do so.

        Raises:
            BrokerError: the broker is away, or does not let us read a topic.
        """
        until = time.monotonic() + _EMBEDDED_SECONDS
        wanted = set(taken_out(self._settings.topics))
        while True:
            seen = self.look(book, "looking for what is left")
            is_left = any(held.count for held in seen.found.held if held.where in wanted)
            if self._transport.is_transactional or not is_left or time.monotonic() > until:
                return seen
            time.sleep(_HEARD_SECONDS)

    def check_deletes(self) -> None:
        """Raise BrokerError where the broker cannot delete records with all before them."""
        if not self._transport.is_transactional:
            raise BrokerError(
                "the embedded broker deletes no records with all before them: it takes out those of the stretch "
                "by itself, so leave --and-all-before out"
            )

    def what_goes(self, seen: Seen) -> list[Goes]:
        """What is deleted where records of the stretch are deleted with all before them.

        Raises:
            BrokerError: the broker cannot delete records, or is away.
        """
        self.check_deletes()
        wanted = set(deletable(self._settings.topics))
        goes = []
        for held in seen.found.held:
            if held.where in wanted and held.count:
                kept = self._transport.offsets(held.where)
                goes += [self._counted(partition, kept[partition][0], end) for partition, end in held.ends.items()]
        return goes

    def delete_before(self, goes: Iterable[Goes]) -> None:
        """Delete it; raises BrokerError."""
        self._say("deleting records")
        self._transport.delete_before({each.partition: each.end for each in goes})

    def report(self, stretches: Iterable[Forgotten], before: Seen, after: Seen) -> Report:
        """The table; raises BrokerError."""
        known = tuple(stretches)
        notes = (*after.notes, *event_notes(known, after.reaching))
        return Report(known, rows(before.held, after.held, self._until(after)), notes)

    def dry_run(self, stretch: Forgotten, seen: Seen, goes: Iterable[Goes]) -> DryRun:
        """What would become of what is there; raises BrokerError."""
        deleted = {each.partition[0] for each in goes}
        return DryRun(stretch, fates(seen.held, self._until(seen), deleted), seen.notes)

    def _counted(self, partition: Partition, first: int, end: int) -> Goes:
        goes = Goes(partition, end)
        for record in self._transport.read({partition: (first, end)}):
            key = (record.key or b"").decode(errors="replace")
            goes.others[key] += 1
            goes.bytes += len(record.value or b"")
            goes.first_us = goes.first_us or record.sent_us
            goes.last_us = record.sent_us
        return goes

    def _until(self, after: Seen) -> Mapping[str, str]:
        there = [held for held in after.found.held if held.count]
        is_embedded = not self._transport.is_transactional
        described: Mapping[str, Described] = {}
        if not is_embedded and there:
            # Who may delete need not be allowed to ask how topics are configured.
            with contextlib.suppress(BrokerError):
                described = self._transport.described(held.where for held in there)
        wanted = set(taken_out(self._settings.topics))
        return {
            held.where: kept_until(
                described.get(held.where),
                held.newest_us,
                is_embedded=is_embedded,
                is_taken_out=held.where in wanted,
            )
            for held in there
        }

    def _traces(self, book: ForgottenBook, found: Found) -> RedisTraces:
        return RedisTraces(self._settings.redis, self._settings.topics.prefix, book, found.events, found.pictured)


def new_stretch(camera: str, from_us: int, to_us: int, why: str | None, now_us: int) -> Forgotten:
    """A stretch that whoever runs this has forgotten.

    Raises:
        SourceError: it lies too near, ends before it begins, or there is too much to say of why.
    """
    if from_us >= to_us:
        raise SourceError("expected --from before --to")
    if to_us > now_us - round(LEAST_AGE_SECONDS * 1e6):
        raise SourceError(
            f"--to: expected a time at least {LEAST_AGE_SECONDS:g} s back: what is more recent is still under way"
        )
    if len(why or "") > MAX_CHARACTERS:
        raise SourceError(f"--why: expected at most {MAX_CHARACTERS} characters, found {len(why or '')}")
    return Forgotten(camera, from_us, to_us, now_us, who(), why or None)
