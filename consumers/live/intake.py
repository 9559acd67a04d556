"""From the decoded records of partitions, in order, to what is to be published, and to what a successor has to know.

    record, pictures ─▶ guard ─▶ pipeline ─▶ steps ─▶ classify, track ─▶ predictions and events
                 └─▶ dead letters, accounts, offsets                └─▶ progress of cameras and partitions

It knows no broker and no threads. Whoever has taken in progress as it was at a commit, and is given the records from
the committed offsets on, says from there on what an undisturbed worker says. Records that were accounted for before
the commit give their pictures once more, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.records.load_change import Change, LoadChange
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.settings import LoadSettings
from stream import (
    CAMERA_ID,
    ClipSpec,
    Decoded,
    Effort,
    Partition,
    Record,
    Segment,
    SegmentError,
    announced_frames,
    drilled,
)

from .drills import DrillTimes, ended_drills
from .effort.stillness import StillRule
from .features import Scorer
from .feed_guard import WHY_LEFT_OUT, Arrival, FeedGuard, Reason
from .figures.accounts import NO_CAMERA
from .figures.measures import Measures
from .figures.status import WorkerStatus
from .handover.camera_offsets import CameraOffsets
from .handover.locating import EventLocator
from .handover.offsets import Footage, OffsetLedger
from .handover.progress import CameraProgress, FeedProgress, PartitionProgress
from .handover.taken import TakenRecords
from .outbox import Outbox
from .pipeline import FeedEnd, Outcome, Pipeline, Window
from .silence import SilenceWatch

log = logging.getLogger(__name__)

#: How often it is said of a camera that there is another feed under its name.
_TELL_SECONDS: Final = 60.0


class Intake:
    """What a worker knows of its partitions and cameras."""

    def __init__(
        self,
        scorer: Scorer,
        spec: ClipSpec,
        rules: RuleBook | Mapping[str, Rule],
        outbox: Outbox,
        *,
        measures: Measures,
        silence: SilenceWatch,
        max_reread_seconds: float,
        load: LoadSettings,
        still: StillRule | None = None,
    ) -> None:
        self._outbox, self._measures, self._max_reread_seconds = outbox, measures, max_reread_seconds
        self._load = load
        self.pipeline = Pipeline(scorer, spec, rules, still)
        self.counts = self.pipeline.counts
        self.status = WorkerStatus()
        self.silence = silence
        self.ledger = OffsetLedger()
        self.taken = TakenRecords(measures)
        self._drill_times = DrillTimes()
        self._offsets = CameraOffsets()
        self.counts.when_dropped = self._offsets.lose

    @property
    def has_changed(self) -> bool:
        """Whether there is something that a successor does not know yet."""
        return self.taken.has_changed or self._offsets.has_changed

    def take(self, record: Record, outcome: tuple[Segment, Decoded] | SegmentError) -> list[Window | FeedEnd]:
        """Take the next record of a partition, decoded; return the windows that are complete now, to be published."""
        partition = partition_of(record)
        if record.offset < max(self.taken.next_offset(partition), self._accounted(record, outcome)):
            return self._take_again(record, outcome)
        self.taken.take(partition, record)
        if isinstance(outcome, SegmentError):
            self._bury(record, outcome.reason, outcome.fault)
            return []
        return self._take(Arrival(record, *outcome))

    def publish(self, steps: Sequence[Window | FeedEnd]) -> None:
        """Classify the windows in `steps`, run the trackers over them in order, and hand out what comes of it."""
        began = time.perf_counter()
        outcomes = self._drill_times.stamped(self.pipeline.classify(steps))
        if windows := sum(isinstance(step, Window) for step in steps):
            self._measures.batch_windows.observe(windows)
            self._measures.inference_seconds.observe(time.perf_counter() - began)
        self._publish(outcomes, self.pipeline.track(outcomes))
        for name in ended_drills(outcomes):
            self._end_drill(name)

    def close(self, name: str) -> None:
        """A camera is gone: end its windows and events. What was held back of a newer feed begins then."""
        status = self.status.cameras[name]
        self.publish([self.pipeline.close(name)])
        if drilled(name) is not None:
            return
        self.pipeline.rest(name)
        self.silence.forget(name)
        if (longest := self.status.silent(name)) is not None:
            self._forget(longest)
        if steps := [step for arrival in status.guard.waiting() for step in self._take(arrival)]:
            self.publish(steps)

    def drop(self, partitions: frozenset[Partition]) -> None:
        """Forget partitions: whoever has them now knows of them what was committed."""
        for name in self._offsets.on(partitions):
            self._remove(name)
        self.status.revoked(partitions)
        self.ledger.revoke(partitions)
        self.taken.drop(partitions)
        self._offsets.drop(partitions)
        self._count_no_camera()

    def restore(self, topic: str, progress: Iterable[CameraProgress | PartitionProgress]) -> None:
        """Go on from the progress of partitions of `topic` that came."""
        ended: list[Event] = []
        for each in progress:
            partition = topic, each.partition
            if isinstance(each, PartitionProgress):
                self.taken.restore(partition, each)
            else:
                try:
                    ended += self._restore_camera(partition, each)
                except (ValueError, OverflowError, ArithmeticError, LookupError) as error:
                    log.warning("state of camera %s cannot be used: it begins anew (%s)", each.camera, error)
                    self._remove(each.camera)
                    self.status.forget(each.camera)
        self._count_no_camera()
        if ended:
            self._publish([], ended)

    def changes(self) -> Iterator[tuple[Partition, CameraProgress | PartitionProgress | str]]:
        """Give what a successor has to know since the last call, by partition; a name where a camera is forgotten.

        Cameras come before the partition that they are on.
        """
        yield from self._offsets.gone
        for name in self._offsets.changed:
            yield self._offsets[name].partition, self._progress(name)
        self._offsets.told()
        yield from self.taken.changes()

    def due(self) -> dict[Partition, int]:
        """By partition, from where on a successor has to read."""
        return self.ledger.due(lambda footage: self.pipeline.needs(footage, self._max_reread_seconds))

    def is_accounted(self, record: Record) -> bool:
        """Whether a record was taken by whoever had its partition before."""
        return record.offset < self.taken.next_offset(partition_of(record))

    def _accounted(self, record: Record, outcome: tuple[Segment, Decoded] | SegmentError) -> int:
        """Up to where a record's camera is accounted for.

        That is further than its partition where a broker without transactions stored the one and not the other.
        """
        name = (
            outcome[0].camera if not isinstance(outcome, SegmentError) else (record.key or b"").decode(errors="replace")
        )
        return self._offsets.next_offset(name, partition_of(record))

    def _take_again(self, record: Record, outcome: tuple[Segment, Decoded] | SegmentError) -> list[Window | FeedEnd]:
        """Take the pictures of a record that is accounted for."""
        partition = partition_of(record)
        if isinstance(outcome, SegmentError):
            self.ledger.settle(partition, record.offset)
            return []
        segment, decoded = outcome
        status, camera = self.status.find(segment.camera), self.pipeline.cameras.get(segment.camera)
        open_epoch_us = camera.clipper.epoch_us if camera is not None else None
        if status is None or status.partition != partition:
            self.ledger.settle(partition, record.offset)
        elif status.guard.awaits(record.offset):
            status.guard.hold(Arrival(record, segment, decoded))
        elif (
            segment.epoch_us == open_epoch_us
            and status.locator.recall(segment, record.offset)
            and status.guard.recall(segment)
        ):
            self.ledger.holds(partition, record.offset, _footage(segment))
            self.pipeline.refill(segment, decoded)
        elif segment.continued and open_epoch_us is not None and segment.epoch_us < open_epoch_us:
            # The open epoch may have begun amid its group of pictures.
            self.ledger.holds(partition, record.offset, _footage(segment))
        else:
            self.ledger.settle(partition, record.offset)
        return []

    def _take(self, arrival: Arrival) -> list[Window | FeedEnd]:
        """Take a camera's next segment, or leave it out; return the windows that are complete now."""
        name = arrival.segment.camera
        camera, status = self.pipeline.cameras.get(name), self.status.find(name)
        guard = status.guard if status else FeedGuard()
        steps: list[Window | FeedEnd] = []
        for each, reason in guard.take(arrival, camera.clipper.epoch_us if camera else None):
            if reason is None:
                steps += self._advance(each, guard)
            else:
                self._leave_out(each, reason)
        self._account(name, arrival.record)
        return steps

    def _advance(self, arrival: Arrival, guard: FeedGuard) -> list[Window | FeedEnd]:
        segment, record = arrival.segment, arrival.record
        self.status.seen(segment, record).guard = guard
        self._drill_times.note(arrival)
        self.silence.heard(segment.camera, partition_of(record))
        self.ledger.holds(partition_of(record), record.offset, _footage(segment))
        self._note_load(segment, arrival.decoded.effort)
        try:
            return self.pipeline.push(segment, arrival.decoded, record)
        except Exception as error:  # noqa: BLE001  a record ends no worker, whatever it does
            self._bury(record, f"cannot be cut into windows: {type(error).__name__}: {error}", "not_cut")
            return []

    def _note_load(self, segment: Segment, effort: Effort) -> None:
        """Tell where less, or more, is made of a camera than of its segment before."""
        camera = self.pipeline.cameras.get(segment.camera)
        before = 0 if camera is None else camera.effort.level
        if effort.level == before or drilled(segment.camera) is not None:
            return
        policy = self._load.rule_of(segment.camera).policy
        change: Change = "entered" if not before else "changed" if effort.level else "left"
        if effort.level:
            log.warning(
                "camera %s is behind, its segments wait for %.0f s: it is classified in part only (%s, level %d)",
                *(segment.camera, effort.behind_seconds, policy, effort.level),
            )
        else:
            log.warning("camera %s: all of its footage is classified again", segment.camera)
        self._outbox.load(
            LoadChange(
                segment.camera, segment.epoch_us, segment.start_us, policy, effort.level, change, effort.behind_seconds
            )
        )

    def _leave_out(self, arrival: Arrival, reason: Reason) -> None:
        """Account for a segment that is of another feed than the camera's windows."""
        segment, record = arrival.segment, arrival.record
        status = self.status.find(segment.camera)
        now = time.monotonic()
        if status is not None and now - status.other_feed_told >= _TELL_SECONDS:
            status.other_feed_told = now
            has_moved = status.partition != partition_of(record)
            log.warning(
                "camera %s: %s is of another feed (%s) and is left out, as are those like it: %s",
                segment.camera,
                record.where,
                WHY_LEFT_OUT[reason],
                "were partitions added while segments waited?" if has_moved else "do two agents send under this name?",
            )
        if reason == "fenced" and status is not None:
            status.fenced_at = now
        if reason == "other_bytes":
            number = f"segment {segment.sequence} of epoch {segment.epoch_us}"
            self._bury(
                record, f"{number} came before with other bytes: are there two feeds under one camera id?", reason
            )
        else:
            self.counts[segment.camera].leave_out(segment, reason)
            self.ledger.settle(partition_of(record), record.offset)

    def _bury(self, record: Record, reason: str, fault: str) -> None:
        """Send a record that cannot be used to the dead letters; `fault` is one of few kinds of reasons."""
        self._measures.dead_letters.labels(fault).inc()
        letter = DeadLetter.of(record, reason)
        self._outbox.letter(letter)
        partition = partition_of(record)
        self.ledger.settle(partition, record.offset)
        name = letter.key.decode(errors="replace")
        frames = announced_frames(record.headers, record.value)
        if drilled(name) is not None:
            pass  # drills are counted nowhere
        elif CAMERA_ID.fullmatch(name):
            self.counts[name].bury(frames)
            self._account(name, record)
        else:
            self.counts[NO_CAMERA].bury(frames)
            self.taken.bury(partition, frames)
        log.warning("%s is a dead letter: %s", record.where, " ".join(letter.reason.split()))

    def _publish(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        locators = {
            name: status.locator
            for name in dict.fromkeys([*(step.camera for step in outcomes), *(event.camera for event in events)])
            if (status := self.status.find(name)) is not None
        }
        located = [locators[event.camera].locate(event) for event in events]
        for name, locator in locators.items():
            locator.hold(self.pipeline.cameras[name].tracker.open)
            self._offsets.touch(name)
        self.pipeline.count(outcomes, located)
        self._outbox.results(outcomes, located)

    def _account(self, name: str, record: Record) -> None:
        """Note that a camera's record is accounted for, or held back."""
        status, partition = self.status.find(name), partition_of(record)
        self._offsets.account(name, partition, record.offset, status.partition if status is not None else partition)

    def _forget(self, name: str) -> None:
        """A camera is gone for good."""
        self._offsets.forget(name, self._offsets[name].partition)
        self._remove(name)

    def _end_drill(self, name: str) -> None:
        """Nothing of a drill is to be known for longer than it lasts."""
        if self.pipeline.cameras[name].clipper.epoch_us is not None:
            return  # its clip goes on, in another epoch
        if (status := self.status.find(name)) is not None:
            for held in status.guard.waiting():
                self.ledger.settle(partition_of(held.record), held.record.offset)
        self._forget(name)
        self.status.forget(name)

    def _remove(self, name: str) -> None:
        self.pipeline.forget(name)
        self.silence.forget(name)
        self.counts.pop(name, None)
        self._offsets.remove(name)

    def _progress(self, name: str) -> CameraProgress:
        offset, status = self._offsets[name], self.status.find(name)
        counts = replace(self.counts[name], skipped=self.counts[name].skipped.copy())
        feed = None
        if status is not None:
            feed = FeedProgress(
                self.pipeline.state(name),
                status.guard.state,
                status.locator.state,
                is_silent=name not in self.status.cameras,
                ended=status.ended,
            )
        return CameraProgress(name, offset.partition[1], offset.next_offset, counts, feed)

    def _restore_camera(self, partition: Partition, progress: CameraProgress) -> list[Event]:
        name, feed = progress.camera, progress.feed
        if (other := self._offsets.get(name)) is not None:
            # Its records came on two partitions: what is newer holds.
            known = self.pipeline.cameras.get(name)
            if feed is None or (known is not None and known.newest_us >= feed.pipeline.newest_us):
                self._offsets.forget(name, partition)
                return []
            self._offsets.forget(name, other.partition)
            self._remove(name)
            self.status.forget(name)
        self._offsets.restore(name, partition, progress.next_offset)
        self.counts[name] = progress.counts
        if feed is None:
            return []
        guard, locator = FeedGuard(feed.guard), EventLocator(partition, feed.locator)
        self.status.restored(name, partition, guard, locator, is_silent=feed.is_silent, ended=feed.ended)
        ended = self.pipeline.restore(name, feed.pipeline)
        if not feed.is_silent:
            self.silence.heard(name, partition)
        return ended

    def _count_no_camera(self) -> None:
        total = self.taken.no_camera()
        self.counts.pop(NO_CAMERA, None)
        if total.dead_letters:
            self.counts[NO_CAMERA] = total


def partition_of(record: Record) -> Partition:
    """Where a record lies."""
    return record.topic, record.partition


def _footage(segment: Segment) -> Footage:
    return Footage(segment.camera, segment.epoch_us, segment.end_us)
