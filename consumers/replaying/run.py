"""Footage to traces: read, decode, window and classify, as fast as the machine allows, with several pieces at a time.

    piece ─▶ segments ─▶ decode (threads) ─▶ Pipeline ─▶ batch over pieces ─▶ classify (thread) ─▶ TraceStore
    piece ─▶ …

While one batch is classified the next is made, or cores would wait for one another.

It differs from a worker in what stands around the pipeline only: no broker, and a store in the place of topics.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.live.pipeline import Pipeline, Scorer, Step, decode_segment
from consumers.live.worker import usable_cores
from consumers.records.prediction import Prediction
from stream import Clipper, ClipSpec, Decoded, Segment, SegmentError, SourceError

from .sources import LostSegmentError, Piece
from .store import Draft, TraceStore

#: Segments that wait for a decoder or for the classifier, a decoding thread: enough to fill the next batch.
_AHEAD: Final = 8
#: Pieces that are open at the same time, a decoding thread.
_OPEN: Final = 2
#: Batches that are classified or wait for it: what is decoded meanwhile makes the next one.
_BATCHES: Final = 2
#: What a kill may cost.
_PART_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class How:
    """What predictions are made with."""

    scorer: Scorer
    spec: ClipSpec
    threads: int | None = None
    #: Twice a worker's: nobody waits for a single clip, and a core idles at the end of each batch.
    max_batch: int = 32


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of footage, and the name of its trace."""

    piece: Piece
    key: str


@dataclass(frozen=True, slots=True)
class Done:
    """How far a run has come, in seconds of footage that is classified."""

    seconds: float
    #: Of these, how many needed no decoding.
    resumed_seconds: float


_Item = Segment | LostSegmentError
_Outcome = Decoded | SegmentError


@dataclass(slots=True)
class _Lane:
    """A piece that is being classified; its key stands for a camera."""

    job: Job
    items: Iterator[_Item]
    #: Whether no other process works on this trace.
    claimed: bool
    #: Items are numbered as the piece gives them. So many were read, and so many came out of the decoders.
    read: int = 0
    taken: int = 0
    #: What so many gave is in parts; of these the first that is needed again, for what it shares with later windows.
    done: int = 0
    needed: int = 0
    #: Number, epoch and end of the segments from which the open windows could be made anew.
    open: deque[tuple[int, int, int]] = field(default_factory=deque)
    #: Windows so far, those already in parts included.
    windows: int = 0
    draft: Draft = field(default_factory=Draft)
    #: Items handed to decoders whose windows are not yet classified.
    waiting: int = 0
    exhausted: bool = False
    #: Why the piece could not be read to its end.
    failure: SourceError | None = None

    def note(self, number: int, segment: Segment, clipper: Clipper) -> None:
        """The clipper has taken this segment, which was new to it: a later run may have to begin with it."""
        self.open.append((number, segment.epoch_us, segment.end_us))
        if clipper.needed_from_us is None:
            self.open.clear()
        # The newest one stays in any case: it says which segment comes next.
        while len(self.open) > 1 and self._is_over(clipper):
            self.open.popleft()

    def _is_over(self, clipper: Clipper) -> bool:
        _, epoch_us, end_us = self.open[0]
        return epoch_us != clipper.epoch_us or end_us <= (clipper.needed_from_us or 0)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What some segments completed, on its way through the classifier."""

    #: Whose items these were, once for each, and how long they are together.
    lanes: list[_Lane]
    seconds: float
    steps: list[Step]
    result: Future[list[Prediction]]


def classify(
    jobs: Sequence[Job],
    how: How,
    store: TraceStore,
    *,
    progress: Callable[[Done], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Make the trace of each job and keep it in `store`; go on where an earlier run was cut off.

    Returns:
        Whether all are done: False where `stop` said so before.

    Raises:
        StoreError: traces cannot be kept.
    """
    return _Run(jobs, how, store, progress).work(stop)


class _Run:
    def __init__(self, jobs: Sequence[Job], how: How, store: TraceStore, progress: Callable[[Done], None]) -> None:
        self._todo, self._how, self._store, self._progress = deque(jobs), how, store, progress
        self._threads = how.threads or usable_cores()
        # Rules make events; here nobody waits for them.
        self._pipeline = Pipeline(how.scorer, how.spec, {})
        self._lanes: dict[str, _Lane] = {}
        self._turn: deque[_Lane] = deque()
        self._queue: deque[tuple[_Lane, int, _Item, Future[_Outcome]]] = deque()
        self._batches: deque[_Batch] = deque()
        self._seconds = self._resumed = 0.0
        self._part_at = time.monotonic() + _PART_SECONDS

    def work(self, stop: Callable[[], bool]) -> bool:
        decoders = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        classifier = ThreadPoolExecutor(1, thread_name_prefix="classify")
        try:
            while self._todo or self._lanes:
                if stop():
                    self._save_parts()
                    return False
                self._fill(decoders)
                self._wait()
                self._take_decoded(classifier)
                self._settle()
                if time.monotonic() >= self._part_at:
                    self._save_parts()
            return True
        finally:
            for key in self._lanes:
                self._store.release(key)
            for pool in (decoders, classifier):
                pool.shutdown(wait=False, cancel_futures=True)

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        """Read ahead, from one piece after another in turn."""
        while self._todo and len(self._turn) < _OPEN * self._threads:
            self._open(self._todo.popleft())
        while self._turn and len(self._queue) < _AHEAD * self._threads:
            lane = self._turn.popleft()
            item = self._next(lane)
            if item is None:
                lane.exhausted = True
                if not lane.waiting:
                    self._finish(lane)
                continue
            self._turn.append(lane)
            number, lane.read = lane.read, lane.read + 1
            if number >= lane.needed:
                lane.waiting += 1
                self._queue.append((lane, number, item, pool.submit(_decode, item, self._how.spec)))
            elif isinstance(item, Segment):
                self._seconds += item.seconds
                self._resumed += item.seconds

    def _open(self, job: Job) -> None:
        lane = _Lane(job, job.piece.segments(job.key), self._store.claim(job.key))
        if lane.claimed and (kept := self._store.resume(job.key)) is not None:
            lane.done, lane.needed, lane.windows = kept.done, kept.needed, kept.windows
            lane.draft.undecoded, lane.draft.problems = kept.undecoded, list(kept.problems)
        self._lanes[job.key] = lane
        self._turn.append(lane)

    def _next(self, lane: _Lane) -> _Item | None:
        try:
            item = next(lane.items, None)
        except SourceError as error:
            lane.failure = error
            return None
        if isinstance(item, LostSegmentError):
            lane.draft.frames += item.frames
        elif item is not None:
            skipped = sum(item.skipped.values())
            lane.draft.frames += item.frames + skipped
            lane.draft.skipped += skipped
            lane.draft.cover(item.start_us, item.end_us)
        return item

    def _wait(self) -> None:
        """Until there is something to take or to settle."""
        waiting: list[Future[Any]] = [self._batches[0].result] if self._batches else []
        if self._queue and len(self._batches) < _BATCHES:
            waiting.append(self._queue[0][3])
        wait(waiting, return_when=FIRST_COMPLETED)

    def _take_decoded(self, classifier: ThreadPoolExecutor) -> None:
        """Take the oldest items that are decoded, and hand on what they complete as one batch."""
        if len(self._batches) >= _BATCHES:
            return
        steps: list[Step] = []
        windows, seconds = 0, 0.0
        taken: list[_Lane] = []
        while self._queue and windows < self._how.max_batch and self._queue[0][3].done():
            lane, number, item, result = self._queue.popleft()
            outcome = result.result()
            taken.append(lane)
            lane.taken = number + 1
            # An earlier run has said what came of it; it is here because it shares footage with what comes next.
            again = number < lane.done
            if isinstance(item, Segment):
                seconds += item.seconds
            if isinstance(item, LostSegmentError) or isinstance(outcome, SegmentError):
                if not again:
                    lane.draft.lose(item.frames, str(outcome))
                continue
            new = self._push(lane, number, item, outcome)
            if not again:
                steps += new
                windows += sum(step.clip is not None for step in new)
        if taken:
            self._batches.append(_Batch(taken, seconds, steps, classifier.submit(self._pipeline.classify, steps)))

    def _push(self, lane: _Lane, number: int, segment: Segment, decoded: Decoded) -> list[Step]:
        camera = self._pipeline.cameras.get(segment.camera)
        is_new = camera is None or camera.clipper.is_new(segment)
        steps = self._pipeline.push(segment, decoded)
        if is_new:
            lane.note(number, segment, self._pipeline.cameras[segment.camera].clipper)
        return steps

    def _settle(self, *, until_none: bool = False) -> None:
        """Write down what is classified, oldest batch first; wait for all of it if `until_none`."""
        while self._batches and (until_none or self._batches[0].result.done()):
            batch = self._batches.popleft()
            predictions = iter(batch.result.result())
            for step in batch.steps:
                lane = self._lanes[step.camera]
                if step.clip is None:
                    lane.draft.closes.append(lane.windows)
                    continue
                p = next(predictions)
                lane.windows += 1
                lane.draft.places.append((p.epoch_us, p.window, p.start_us, p.end_us, step.known_us))
                lane.draft.scores.append(list(p.scores.values()))
            for lane in batch.lanes:
                lane.waiting -= 1
                if lane.exhausted and not lane.waiting:
                    self._finish(lane)
            self._seconds += batch.seconds
            self._progress(Done(self._seconds, self._resumed))

    def _finish(self, lane: _Lane) -> None:
        if lane.failure is not None:
            lane.draft.lose(0, str(lane.failure))
        self._store.save(lane.job.key, self._how.scorer.id, tuple(self._how.scorer.labels), lane.draft, lane.windows)
        self._store.release(lane.job.key)
        del self._lanes[lane.job.key]
        self._pipeline.counts.pop(lane.job.key, None)
        if lane.job.key in self._pipeline.cameras:
            self._pipeline.forget(lane.job.key)

    def _save_parts(self) -> None:
        # Where to go on is known of what was taken, and what was taken is to be in the part.
        self._settle(until_none=True)
        for lane in self._lanes.values():
            if not lane.claimed or lane.taken <= lane.done:
                continue
            needed = lane.open[0][0] if lane.open else lane.taken
            self._store.save_part(lane.job.key, len(self._how.scorer.labels), lane.draft, lane.taken, needed)
            lane.draft.places, lane.draft.scores, lane.draft.closes = [], [], []
            lane.done = lane.taken
        self._part_at = time.monotonic() + _PART_SECONDS


def _decode(item: _Item, spec: ClipSpec) -> _Outcome:
    if isinstance(item, LostSegmentError):
        return item
    try:
        return decode_segment(item, spec, f"{item.camera}, segment {item.sequence}")
    except SegmentError as error:
        return error
