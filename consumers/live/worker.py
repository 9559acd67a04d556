"""The classifying worker: segments in, predictions and events out, each exactly once.

    poll ─▶ decode (threads) ─▶ intake: windows per camera ─▶ batch over cameras ─▶ classify ─▶ events
                                                                                      │
    transaction: predictions, events, dead letters, state of cameras and partitions, offsets

What a worker says, what it knows of its cameras, and up to where it has read are stored in one transaction, which the
group refuses of a worker that it has given up. Whoever takes a partition over reads its state first, then the segments
of windows that are not complete, and goes on as if nothing had happened. Where partitions change hands, what stays
with this worker is not touched, what goes is dropped, what comes is restored.

On a broker without transactions the same is stored in an order in which nothing is lost: results, state, offsets.
Results may then come again after a kill, with the same ids.
"""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import replace
from typing import Final

from consumers.records.event import Event
from consumers.rules.book import RuleBook, as_book
from consumers.rules.rule import Rule
from consumers.rules.topic import RulesWatch
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import EVERYTHING, BrokerError, ClipSpec, Effort, Gpu, Partition, Record, Segment, Transport

from .decode_queue import DecodeQueue
from .effort import arrivals
from .effort.load import LoadControl
from .effort.stillness import StillRule
from .features import Scorer
from .figures.measures import Measures
from .figures.snapshot import WorkerSnapshot
from .handover.commit_pace import CommitPace
from .handover.in_hand import InHandNotes
from .handover.segments_watch import SegmentsWatch
from .handover.starting import GroupStart
from .handover.state_topic import StateTopic
from .handover.taking_over import TakingOver
from .intake import Intake, partition_of
from .outbox import TopicOutbox, publisher_name
from .pipeline import FeedEnd, Outcome, Window
from .silence import SilenceWatch

log = logging.getLogger(__name__)

_IDLE_POLL_SECONDS: Final = 0.25


class Worker:
    """A member of the consumer group. `run` until `stop` says so; one thread drives it, others decode."""

    def __init__(
        self,
        transport: Transport,
        scorer: Scorer,
        spec: ClipSpec,
        rules: RuleBook | Mapping[str, Rule],
        settings: Settings,
        watch: RulesWatch | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            transport: the broker.
            scorer: the model.
            spec: what its windows look like.
            rules: when scores are an event; a mapping, by label, where it is so on all cameras, at any time.
            settings: group, topics and limits.
            watch: adds to the rules what is applied while it runs; None where they stay as they are.
            gpu: decodes, if not the processor.
        """
        self._transport, self._spec = transport, spec
        self._settings, self._topics = settings.worker, settings.topics
        self._max_bytes = int(self._settings.max_queue_megabytes * 1024 * 1024)
        self._model = scorer.id
        self._rules, self._rules_watch = as_book(rules), watch
        self.measures, self._gpu = Measures(), gpu
        if gpu is not None:
            gpu.told = lambda by: self.measures.pictures_decoded.labels(by).inc()
        self._still = StillRule.of(self._rules.base, settings.gates, spec.context)
        self._outbox, self._pace = TopicOutbox(self._topics), CommitPace()
        self._intake = Intake(
            scorer,
            spec,
            self._rules,
            self._outbox,
            measures=self.measures,
            silence=SilenceWatch(self._settings.idle_seconds),
            max_reread_seconds=self._settings.max_reread_seconds,
            load=settings.load,
            still=self._still,
        )
        self._load = LoadControl(spec, settings.load, self._intake.pipeline.cameras.get)
        self._arrivals = arrivals.Arrivals()
        self._status = self._intake.status
        self.counts = self._intake.counts
        self._partitions: frozenset[Partition] = frozenset()
        #: Records that are stored and not yet acknowledged: unread, or read and not committed.
        self.lag = 0
        #: Those of them that nobody has worked on yet.
        self.waiting = 0
        #: Says where the group goes on, if it began before: who asked for a start is not given it.
        self.say_where: Callable[[str], None] = log.info
        #: When the loop of `run` came round last, `time.monotonic()`; None before it runs.
        self.turned_at: float | None = None

    @property
    def events_total(self) -> int:
        return self._status.events_total

    @property
    def partitions(self) -> int:
        """How many the group has given this worker."""
        return len(self._partitions)

    @property
    def newest_events(self) -> deque[Event]:
        return self._status.newest_events

    @property
    def lost_to_retention(self) -> int:
        """Records of this worker's partitions that the broker deleted before anybody took them."""
        return self._intake.taken.lost_to_retention

    def active_events(self) -> list[Event]:
        """The events that are going on."""
        return [event for camera in list(self._intake.pipeline.cameras.values()) for event in camera.tracker.active]

    def latency_seconds(self, percentile: float) -> float | None:
        """Wall time from a segment's arrival on the topic to its predictions; None before the first."""
        return self._status.latency_seconds(percentile)

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment. May be asked by other threads."""
        alarms = self._rules.alarms(list(self._status.cameras))
        snapshot = self._status.snapshot(self._model, alarms, self._intake.pipeline, self.lag, self.waiting)
        return replace(
            snapshot,
            lost_to_retention=self.lost_to_retention,
            partitions=tuple(sorted(number for _, number in self._partitions)),
            exactly_once=self._transport.is_transactional,
        )

    def run(
        self,
        stop: Callable[[], bool],
        for_good: Callable[[], bool] = lambda: False,
        *,
        told: Callable[[Sequence[Outcome], Sequence[Event]], None] | None = None,
    ) -> None:
        """Work until `stop()`; then commit what is done and leave the group. The next one goes on from there.

        Args:
            stop: asked often.
            for_good: whether a worker with a name leaves the group, too, which else waits for it to come back.
            told: of results, once they are committed.

        Raises:
            FencedError: another worker has our name.
            BrokerError: the broker is gone for longer than the retries last. Nothing is lost.
        """
        ensure_topics(self._transport, self._topics)
        self._state = StateTopic(self._transport, self._topics, self._settings.group)
        watch = SegmentsWatch(self._state)
        start = GroupStart(self._transport, self._topics, self._settings.group, self._settings.start)
        self._name, self._stop, self._told = publisher_name(self._transport, self._settings), stop, told
        if self._rules_watch is not None:
            self._rules_watch.look()  # events that are taken up again may be of labels that only these rules name
        self._publisher = self._transport.publisher(self._name)
        self._outbox.open(self._publisher)
        self._consumer = self._transport.consumer(
            [self._topics.segments], self._settings.group, instance=self._settings.group_instance
        )
        self._in_hand = InHandNotes(self._state.note, self._transport.producer())
        self._taking_over = TakingOver(
            self._intake, self._consumer, self._state, start, self._pace, self._settings, self.say_where, self._in_hand
        )
        self._queue: DecodeQueue[Record] = DecodeQueue(
            self._spec,
            self._settings.threads,
            self._max_bytes,
            self._settings.decode_limits,
            told_seconds=self.measures.decode_seconds.observe,
            still_share=None if self._still is None else self._still.still_share,
            gpu=self._gpu,
        )
        try:
            while not stop():
                self.turned_at = time.monotonic()
                self._take_records()
                if self._rules_watch is None or self._rules_watch.look():
                    self._work_off()
                self._close_idle_cameras()
                watch.look(self._intake.taken.known)
                if self._pace.due_in(is_busy=bool(len(self._queue))) <= 0 or self._has_taken_what_was_alone():
                    self._commit()
                self._count_lag()
            self._commit()
            self._in_hand.give_up(self._partitions)
            self._count_lag()
        finally:
            if self._rules_watch is not None:
                self._rules_watch.close()
            self._queue.close()
            self._publisher.close()
            self._in_hand.close()
            if for_good():
                self._consumer.leave()
            self._consumer.close()

    def leave(self) -> None:
        """Leave the group and end the open transaction, by another thread: `run` does not end in time.

        What is not committed is read by those who get the partitions.
        """
        if hasattr(self, "_consumer"):
            self._consumer.leave()
            if self._name is not None:
                # A newer publisher of a name ends what the older one has open, for which others would wait.
                self._transport.publisher(self._name).close()

    def _take_records(self) -> None:
        if self._consumer.is_rejoining:
            # The poll gives partitions up, and then the group refuses what was made of them.
            self._commit()
            self._in_hand.give_up(self._partitions)
        full = self._queue.bytes > self._max_bytes
        self._consumer.pause(self._intake.ledger.partitions | self._in_hand.paused if full else self._in_hand.paused)
        wait = max(0.0, min(_IDLE_POLL_SECONDS, self._pace.due_in(is_busy=bool(len(self._queue)))))
        polled = self._consumer.poll(0.0 if len(self._queue) or self._in_hand.waiting else wait)
        begun: frozenset[Partition] = frozenset()
        if polled.revoked or polled.assigned:
            log.info("partitions given up: %s; taken: %s", _numbers(polled.revoked), _numbers(polled.assigned))
            self.measures.rebalances.inc()
            self._partitions = (self._partitions - polled.revoked) | polled.assigned
            if polled.revoked and self._pace.taken_at is not None:
                self._drop(polled.revoked)
                self._begin_again()
                return
            self._drop(polled.revoked)
            begun = self._taking_over.restore(polled.assigned)
        self._ask_ends()
        for record in polled.records:
            partition = partition_of(record)
            if partition in begun:
                continue  # it was read from elsewhere
            if self._in_hand.waits(partition) and not self._intake.is_accounted(record):
                self._in_hand.waiting.append(record)
            else:
                self._in_hand.begin(partition)
                self._decode(record)
        if (alone := self._in_hand.next()) is not None:
            self._decode(alone)

    def _decode(self, record: Record) -> None:
        """Have the next record of a partition decoded."""
        partition = partition_of(record)
        if self._intake.ledger.repeats(partition, record.offset):
            # A consumer that is behind the end begins at the start.
            raise BrokerError(f"{partition[0]}[{partition[1]}] does not hold any more what was read of it")
        if self._intake.ledger.skips(partition, record.offset):
            self._note_deleted(partition)
        self._intake.ledger.read(partition, record.offset)
        plan = functools.partial(self._plan, record)
        self._queue.put(record, self._in_hand.reading(record), record.where, len(record.value or b""), plan=plan)

    def _has_taken_what_was_alone(self) -> bool:
        """Whether a record that was decoded alone, and what came of it, is only to be committed yet."""
        alone = self._in_hand.alone
        return alone is not None and all(record is not alone for record in self._queue)

    def _plan(self, record: Record, segment: Segment) -> tuple[list[int], Effort]:
        """How much is made of a segment."""
        if self._intake.is_accounted(record):
            # What is made of it was decided; its pictures are taken once more.
            camera = self._intake.pipeline.cameras.get(segment.camera)
            effort = EVERYTHING if camera is None else Effort(camera.effort.level, camera.effort.every)
            return [] if segment.is_end else self._spec.sample_times_us(segment), effort
        return self._load.plan(segment, self._arrivals.waited(partition_of(record), record.offset, arrivals.now()))

    def _ask_ends(self) -> None:
        """Ask where the partitions end now."""
        now = arrivals.now()
        if not self._arrivals.is_due(now):
            return
        progress = self._consumer.progress()
        ends = None if progress is None else {partition: end for partition, (_, end) in progress.items()}
        self._arrivals.note(ends, Counter(status.partition for status in self._status.cameras.values()), now)

    def _work_off(self) -> None:
        """Finish the oldest records that are decoded (at least one that completes something), as one batch."""
        steps: list[Window | FeedEnd] = []
        if (oldest := self._queue.oldest) is not None:
            while not (oldest.done() or self._stop()):
                wait([oldest], timeout=_IDLE_POLL_SECONDS)
        while len(steps) < self._settings.max_batch and (taken := self._queue.take(wait=False)) is not None:
            self._pace.note_taken()
            steps += self._intake.take(*taken)
        if steps:
            self._intake.publish(steps)

    def _close_idle_cameras(self) -> None:
        if not self._intake.silence.is_due:
            return
        progress = self._consumer.progress()
        queued: dict[Partition, int] = {}
        for record in itertools.chain(self._queue, self._in_hand.waiting):
            queued.setdefault(partition_of(record), record.offset)
        known = {} if progress is None else progress
        worked_off = {partition: queued.get(partition, at) for partition, (at, _) in known.items()}
        ends = None if progress is None else {partition: end for partition, (_, end) in progress.items()}
        for name in self._intake.silence.look(worked_off, ends):
            self._pace.note_taken()
            self._intake.close(name)
            self._queue.forget(name)

    def _commit(self) -> None:
        """Store what was taken, with all that came of it and all that a successor has to know."""
        if self._pace.taken_at is None:
            return
        began = time.monotonic()
        self._publisher.flush()
        self._state.write(self._publisher, self._intake.changes())
        due = self._intake.due()
        # Some offset is always sent: the group refuses it, and all else with it, of a member that it has given up.
        offsets = due or self._intake.ledger.first() or self._positions()
        self._publisher.flush()
        if not self._publisher.commit(self._consumer, offsets):
            log.info("the group has moved on: what was not committed is read again")
            # Or a topic was deleted: then no answer comes, and no word why.
            ensure_topics(self._transport, self._topics)
            self._begin_again()
            return
        if self._has_taken_what_was_alone():
            self._in_hand.committed()
        now = time.monotonic()
        self.measures.transaction_seconds.observe(now - self._pace.taken_at)
        self._pace.committed(began, now)
        self.measures.transactions.labels("committed").inc()
        self.measures.commit_seconds.observe(now - began)
        self._intake.ledger.committed(due)
        for outcomes, events in self._outbox.sent:
            self._status.published(outcomes, events, self._arrivals.late, self.measures.latency_seconds.observe)
            if self._told is not None:
                self._told(outcomes, events)
        self._outbox.clear()
        self._pace.clear()

    def _positions(self) -> dict[Partition, int]:
        """Where reading goes on, of partitions that nothing was read of yet."""
        return {partition: at for partition, (at, _) in (self._consumer.progress() or {}).items()}

    def _begin_again(self) -> None:
        """Drop what is not committed, and go on from what is."""
        self.measures.transactions.labels("aborted").inc()
        self._publisher.abort()
        self._drop(self._partitions)
        self._consumer.rewind()
        self._taking_over.restore(self._partitions)

    def _note_deleted(self, partition: Partition) -> None:
        """Ask what the broker has deleted: some offsets of a partition are not there."""
        first, _ = self._transport.offsets(partition[0]).get(partition, (0, 0))
        self._intake.taken.deleted(partition, first)

    def _drop(self, partitions: frozenset[Partition]) -> None:
        """Forget all that is known of partitions."""
        if not partitions:
            return
        self._intake.drop(partitions)
        self._in_hand.drop(partitions)
        self._load.forget_all_but(self._intake.pipeline.cameras)
        self._queue.remove(lambda record: partition_of(record) in partitions)
        if partitions >= self._partitions:
            self._outbox.clear()
            self._pace.clear()

    def _count_lag(self) -> None:
        unread = sum(self._consumer.lag().values())
        waiting = unread + len(self._in_hand.waiting)
        self.lag, self.waiting = waiting + self._intake.ledger.unacknowledged, waiting + len(self._queue)


def _numbers(partitions: frozenset[Partition]) -> str:
    return ", ".join(str(number) for _, number in sorted(partitions)) or "none"
