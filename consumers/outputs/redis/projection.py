"""Keeps Redis as the topics are: reads predictions and events as any subscriber does, and writes them to Redis.

    topics ─▶ consumer of group GROUP.redis ─▶ RedisStore.write ─▶ position in Redis ─▶ commit

In a thread of the worker's process, of which nothing reaches the worker: a Redis that is away, full, read-only or slow
is waited for, and the topics are the buffer. Where to go on is kept in Redis itself, so that it goes back by as much as
Redis has lost: after a failover by the last writes, after a restart without data by everything that is to be shown.

What the group has committed says something else: all before it has been published to those who listen, once. So a
rebuild repeats no alarm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Self

from consumers.outputs.outages import Outage
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import BrokerError, Consumer, Lookup, Partition, Polled, Record, Transport, display_name

from .backlog import Backlog, ProjectionState
from .connection import REDIS_ERRORS, SinkError
from .entries import Entries, Published
from .pace import LONGEST_PAUSE_SECONDS, WritingPace
from .plan import Rebuild, plan_rebuild
from .store import Entry, RedisStore, source_name

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
#: An empty or older Redis is noticed so soon where nothing is written.
_LOOK_SECONDS: Final = 2.0
#: How often the progress of a rebuild is said.
_TELL_SECONDS: Final = 10.0
#: To build so few records is not worth a word.
_FEW: Final = 1000
#: At the end, what is on the topics by then is still shown, for so long.
_LAST_SECONDS: Final = 3.0


class _ChangedError(Exception):
    """Redis is not as it was left, or partitions have changed hands: look again where to go on."""


class RedisProjection:
    """Shows the topics in Redis while its `with` block lasts. Any number of them share the work."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        say: Callable[[str], None] | None = None,
        *,
        keep: bool = True,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            connect: connects to the broker, or raises BrokerError.
            settings: name topics, group and Redis, and say how much is kept.
            say: told what is waited for, and what is rebuilt; the log, if None.
            keep: keep what is shown; else it is replaced by a rebuild.
        """
        self._connect, self._settings, self._keep = connect, settings, keep
        self._topics, self._limits = settings.topics, settings.redis_limits
        self.group = f"{settings.worker.group}.redis"
        self._say = say or (lambda line: log.warning("%s", line))
        self._name = f"Redis at {display_name(settings.redis)}"
        self._outage = Outage(self._name, self._say)
        #: Whether a build of what Redis does not show is worth a word.
        self._tells = False
        self._kafka = Outage(f"Kafka at {display_name(settings.kafka)}", lambda line: log.info("%s", line))
        self._done = threading.Event()
        self._is_asked, self._is_current = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis projection", daemon=True)
        self._state = ProjectionState()
        self._transport: Transport | None = None
        self._consumer: Consumer | None = None
        self._lookup: Lookup | None = None
        self._store: RedisStore | None = None
        self._build = 0
        #: Offsets to be shown next, of the partitions that this member has; empty until they are known.
        self._positions: dict[Partition, int] = {}
        self._sources: dict[Partition, str] = {}
        self._published = Published()
        self._entries = Entries(self._topics, self._published)
        self._assigned: set[Partition] = set()
        self._backlog = Backlog()
        self._rebuilds: dict[Partition, Rebuild] = {}
        self._pending: list[Record] = []
        self._is_aligned = False
        self._pace = WritingPace()
        self._look_at = self._tell_at = 0.0

    @property
    def state(self) -> ProjectionState:
        """How far Redis is behind. May be asked by other threads."""
        outage = self._outage
        return replace(self._state, awaited=outage.awaited, away=outage.away, left_out=self._entries.left_out)

    def catch_up(self, seconds: float) -> bool:
        """Wait until Redis shows all that is on the topics by now; False where that takes longer."""
        self._is_current.clear()
        self._is_asked.set()
        return self._is_current.wait(seconds)

    def __enter__(self) -> Self:
        try:
            transport = self._connect()
            there = transport.existing([self._topics.events])
            self._published.old_ends = {p: end for t in there for p, (_, end) in transport.offsets(t).items()}
        except BrokerError:
            pass  # a broker that is away has nothing that is newer
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._outage.awaited is None and self._is_aligned:
            self.catch_up(_LAST_SECONDS)
        self._done.set()
        self._thread.join(_LAST_SECONDS)

    def leave(self) -> None:
        """Leave the group at once, where `__exit__` would come too late. Any thread may."""
        if (consumer := self._consumer) is not None:
            consumer.leave()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._done.is_set():
                self._step()
        finally:
            self._leave()
            if self._store is not None:
                self._store.close()

    def _step(self) -> None:
        """Read and write once. Never raises: what goes wrong is said and tried again."""
        try:
            if self._consumer is None:
                self._join()
            self._read()
            if self._pace.is_due:
                self._show()
            self._note_state()
        except BrokerError as error:
            self._kafka.begin(str(error))
            self._leave()
            self._done.wait(1.0)
        except _ChangedError:
            self._forget()
        except (*REDIS_ERRORS, SinkError) as error:
            self._wait_for_redis(error)
        except Exception:
            log.exception("Redis is not written for a while")
            self._leave()
            self._done.wait(LONGEST_PAUSE_SECONDS)

    def _join(self) -> None:
        transport = self._transport = self._connect()
        ensure_topics(transport, self._topics)
        self._lookup = transport.lookup([self._topics.forgotten])
        self._consumer = transport.consumer([self._topics.predictions, self._topics.events], self.group)
        self._kafka.end()

    def _leave(self) -> None:
        if self._consumer is not None:
            try:
                self._consumer.close()
            except BrokerError as error:
                log.info("leaving group %s: %s", self.group, error)
            self._consumer = None
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None
        self._assigned.clear()
        self._forget()

    def _forget(self) -> None:
        """Forget where Redis is; it is asked again before anything is written."""
        self._is_aligned = False
        self._pending.clear()
        self._positions.clear()

    def _read(self) -> None:
        assert self._consumer is not None
        is_waiting = not self._is_aligned or len(self._pending) >= self._pace.at_once
        has_work = bool(self._assigned) and (not self._is_aligned or bool(self._pending))
        self._take(0.0 if has_work and self._pace.is_due else _POLL_SECONDS, paused=is_waiting)
        before = 0
        while self._is_aligned and before < len(self._pending) < self._pace.at_once:
            before = len(self._pending)
            self._take(0.0, paused=False)

    def _take(self, timeout_seconds: float, *, paused: bool) -> None:
        """Take part in the group, and read on unless `paused`."""
        assert self._consumer is not None
        self._consumer.pause(self._assigned if paused else ())
        polled = self._consumer.poll(timeout_seconds)
        if polled.revoked or polled.assigned:
            self._assigned -= polled.revoked
            self._assigned |= polled.assigned
            for partition in polled.revoked:
                self._rebuilds.pop(partition, None)
                self._published.drop(partition)
            self._note_told(polled)
            self._forget()
        elif self._is_aligned:
            self._pending += polled.records

    def _note_told(self, polled: Polled) -> None:
        """Of partitions that came: what the group has committed has been told.

        Raises:
            BrokerError: the broker does not say what that is.
        """
        assert self._consumer is not None
        assert self._transport is not None
        progress = self._consumer.progress() or {}
        if not polled.assigned <= progress.keys():
            raise BrokerError(f"the broker does not say where group {self.group} is")
        firsts = self._transport.offsets(self._topics.events)
        self._published.note(polled, progress, firsts)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if not self._assigned:
            return
        if self._store is None:
            self._store = RedisStore(self._settings.redis, self._limits, self._topics.prefix)
        if not self._is_aligned:
            self._align()
        batch = self._pending[: self._pace.at_once]
        if batch:
            self._write(batch)
            del self._pending[: len(batch)]
        elif time.monotonic() >= self._look_at:
            self._advance({})
        self._outage.end()
        self._pace.succeed()

    def _align(self) -> None:
        """Find out where Redis is, and go there.

        Raises:
            _ChangedError: partitions have changed hands meanwhile.
        """
        assert self._store is not None
        assert self._transport is not None
        assert self._consumer is not None
        self._build = self._store.join_build(anew=not self._keep)
        self._keep = True
        names = sorted({topic for topic, _ in self._assigned})
        existing = self._transport.existing(names)
        bounds = {p: b for topic in existing for p, b in self._transport.offsets(topic).items() if p in self._assigned}
        self._sources = {p: source_name(p[0], existing[p[0]].id, p[1]) for p in bounds}
        shown = self._store.positions(self.group, list(self._sources.values()))
        positions: dict[Partition, int] = {}
        for partition, (first, end) in bounds.items():
            at = shown.get(self._sources[partition])
            if at is not None and at < first:
                self._say(
                    f"{partition[0]}[{partition[1]}]: what was sent from offset {at} to {first - 1} was removed before "
                    "Redis could show it"
                )
            if at is not None and at <= end:
                positions[partition] = max(at, first)
        missing = {p: b for p, b in bounds.items() if p not in positions}
        if missing:
            positions |= self._plan(missing)
        self._store.place(self.group, {self._sources[p]: at for p, at in positions.items()})
        self._consumer.seek(positions)
        self._positions, self._is_aligned = positions, True
        self._backlog.begin({p: end for p, (_, end) in bounds.items()}, positions)
        self._rebuilds = {p: r for p, r in self._rebuilds.items() if p in positions and positions[p] < r.end}

    def _plan(self, missing: Mapping[Partition, tuple[int, int]]) -> dict[Partition, int]:
        """Where a rebuild of these partitions begins."""
        assert self._transport is not None
        records = sum(end - first for first, end in missing.values())
        # At a first start there is next to nothing on the topics: no news for anybody.
        self._tells = self._tells or self._pace.losses > 0 or records > _FEW
        if records and self._tells:
            self._say(f"{self._name} shows nothing yet: building it from the topics")
        breathed = time.monotonic()

        def breathe() -> None:
            nonlocal breathed
            if self._done.is_set():
                raise _ChangedError
            if time.monotonic() - breathed > 1.0:
                breathed = time.monotonic()
                before = set(self._assigned)
                self._take(0.0, paused=True)
                if self._assigned != before:
                    raise _ChangedError

        plans = plan_rebuild(self._transport, self._topics, self._limits, missing, breathe)
        self._rebuilds |= {p: plan for p, plan in plans.items() if plan.start < plan.end}
        return {p: plan.start for p, plan in plans.items()}

    def _write(self, batch: list[Record]) -> None:
        assert self._store is not None
        assert self._lookup is not None
        self._entries.look(self._lookup)
        entries = [each for record in batch if (each := self._entry(record)) is not None]
        written = self._store.write(self._build, entries)
        for entry, why in written.refused:
            self._entries.leave_out(f"{entry.record.where}: Redis refuses it ({why})")
        if written.is_stale:
            raise _ChangedError
        if written.is_lost:
            self._begin_anew()
        self._advance({(record.topic, record.partition): record.offset + 1 for record in batch})

    def _begin_anew(self) -> None:
        """Keys are gone or were replaced: nobody knows what they showed, so all is built anew."""
        pause = self._pace.lose()
        self._say(
            f"{self._name} has lost keys, or holds others under their names: building it from the topics"
            + (f", after {pause:.0f} s" if pause else "")
        )
        self._keep = False
        raise _ChangedError

    def _entry(self, record: Record) -> Entry | None:
        partition = record.topic, record.partition
        return self._entries.of(record, self._sources[partition], self._rebuilds.get(partition))

    def _advance(self, ends: Mapping[Partition, int]) -> None:
        """Note in Redis, then on the broker, how far it is."""
        assert self._store is not None
        assert self._consumer is not None
        moves = {self._sources[p]: (at, ends.get(p, at)) for p, at in self._positions.items()}
        if not self._store.advance(self._build, self.group, moves):
            raise _ChangedError
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._positions |= ends
        ahead = self._published.ahead(ends)
        if ahead and self._consumer.commit(ahead):
            self._published.commit(ahead)
        self._end_rebuilds([p for p, r in self._rebuilds.items() if self._positions.get(p, 0) >= r.end])

    def _end_rebuilds(self, done: Sequence[Partition]) -> None:
        for partition in done:
            del self._rebuilds[partition]
        if done and not self._rebuilds:
            self._pace.losses = 0
            if self._tells:
                self._say(f"{self._name} shows the topics again")
            self._tells = True

    def _wait_for_redis(self, error: Exception) -> None:
        self._outage.begin(" ".join(str(error).split()) or type(error).__name__)
        self._pace.fail()
        if self._store is not None:
            self._store.close()
            self._store = None
        self._forget()

    def _note_state(self) -> None:
        assert self._consumer is not None
        behind = self._behind() if self._is_aligned else self._state.behind
        done = [(self._positions.get(p, 0) - r.start, r.end - r.start) for p, r in self._rebuilds.items()]
        share = max(0.0, sum(d for d, _ in done) / sum(t for _, t in done)) if done else None
        self._state = replace(self._state, behind=behind, rebuilt=share)
        if share is not None and time.monotonic() >= self._tell_at:
            if self._tell_at:
                self._say(f"{self._name}: {share:.0%} is built from the topics")
            self._tell_at = time.monotonic() + _TELL_SECONDS
        if self._is_aligned and not behind and not self._is_asked.is_set():
            self._end_rebuilds(list(self._rebuilds))  # the last offsets of a partition may hold no record
            self._is_current.set()

    def _behind(self) -> int:
        assert self._consumer is not None
        assert self._transport is not None
        if self._is_asked.is_set():
            self._is_asked.clear()
            for topic in {topic for topic, _ in self._positions}:
                ends = {p: end for p, (_, end) in self._transport.offsets(topic).items() if p in self._positions}
                self._backlog.add(ends)
        lag = sum(self._consumer.lag().values()) + len(self._pending)
        return self._backlog.behind(lag, self._positions, self._consumer.progress)
