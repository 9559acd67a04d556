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

from consumers.pipeline import Pipeline, Scorer, Step, decode_segment
from consumers.prediction import Prediction
from consumers.worker import usable_cores
from stream import ClipSpec, Decoded, Segment, SegmentError, SourceError

from .sources import Piece
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


_Outcome = Decoded | SegmentError


@dataclass(slots=True)
class _Lane:
    """A piece that is being classified; its key stands for a camera."""

    job: Job
    segments: Iterator[Segment | SegmentError]
    #: Whether no other process works on this trace.
    claimed: bool
    #: Epoch, and event time from which it is needed; everything before was classified by an earlier run.
    needed: tuple[int, int] = (-1, -1)
    #: Epoch and number of the newest window.
    last_window: tuple[int, int] = (-1, -1)
    #: Windows so far, those of an earlier run and those already in parts included.
    windows: int = 0
    draft: Draft = field(default_factory=Draft)
    segments_since_part: int = 0
    #: Segments handed to decoders whose windows are not yet classified.
    waiting: int = 0
    exhausted: bool = False
    failure: SourceError | None = None
    closed_epoch_us: int = -1


@dataclass(frozen=True, slots=True)
class _Batch:
    """What some segments completed, on its way through the classifier."""

    #: Whose segments these were, once for each, and how long they are together.
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
        self._queue: deque[tuple[_Lane, Segment, Future[_Outcome]]] = deque()
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
            if not isinstance(item, SegmentError) and not self._is_done(lane, item):
                lane.waiting += 1
                self._queue.append((lane, item, pool.submit(_decode, item, self._how.spec)))

    def _open(self, job: Job) -> None:
        lane = _Lane(job, job.piece.segments(job.key), self._store.claim(job.key))
        if lane.claimed and (kept := self._store.resume(job.key)) is not None:
            lane.needed, lane.last_window, lane.windows = kept.needed, kept.last, kept.windows
            lane.draft.undecoded, lane.draft.problems = kept.undecoded, list(kept.problems)
        self._lanes[job.key] = lane
        self._turn.append(lane)

    def _next(self, lane: _Lane) -> Segment | SegmentError | None:
        try:
            item = next(lane.segments, None)
        except SourceError as error:
            lane.failure = error
            lane.draft.lose(0, str(error))
            return None
        if isinstance(item, SegmentError):
            lane.draft.lose(0, str(item))
        elif item is not None:
            skipped = sum(item.skipped.values())
            lane.draft.frames += item.frames + skipped
            lane.draft.skipped += skipped
            lane.draft.cover(item.start_us, item.end_us)
        return item

    def _is_done(self, lane: _Lane, segment: Segment) -> bool:
        """Whether an earlier run needs nothing of this segment any more."""
        epoch_us, needed_us = lane.needed
        done = segment.epoch_us < epoch_us or (segment.epoch_us == epoch_us and segment.end_us <= needed_us)
        if done:
            self._seconds += segment.seconds
            self._resumed += segment.seconds
        return done

    def _wait(self) -> None:
        """Until there is something to take or to settle."""
        waiting: list[Future[Any]] = [self._batches[0].result] if self._batches else []
        if self._queue and len(self._batches) < _BATCHES:
            waiting.append(self._queue[0][2])
        wait(waiting, return_when=FIRST_COMPLETED)

    def _take_decoded(self, classifier: ThreadPoolExecutor) -> None:
        """Take the oldest segments that are decoded, and hand on what they complete as one batch."""
        if len(self._batches) >= _BATCHES:
            return
        steps: list[Step] = []
        windows, seconds = 0, 0.0
        taken: list[_Lane] = []
        while self._queue and windows < self._how.max_batch and self._queue[0][2].done():
            lane, segment, result = self._queue.popleft()
            outcome = result.result()
            seconds += segment.seconds
            lane.segments_since_part += 1
            taken.append(lane)
            if isinstance(outcome, SegmentError):
                lane.draft.lose(segment.frames, str(outcome))
                continue
            new = self._pipeline.push(segment, outcome)
            lane.closed_epoch_us = segment.epoch_us if segment.is_end else lane.closed_epoch_us
            # An earlier run has said these; they are here because they share footage with what it has not.
            fresh = [s for s in new if s.clip is None or (s.clip.epoch_us, s.clip.window) > lane.last_window]
            steps += fresh
            windows += sum(step.clip is not None for step in fresh)
        if taken:
            self._batches.append(_Batch(taken, seconds, steps, classifier.submit(self._pipeline.classify, steps)))

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
                lane.last_window = (p.epoch_us, p.window)
                lane.draft.places.append((p.epoch_us, p.window, p.start_us, p.end_us, step.known_us))
                lane.draft.scores.append(list(p.scores.values()))
            for lane in batch.lanes:
                lane.waiting -= 1
                if lane.exhausted and not lane.waiting:
                    self._finish(lane)
            self._seconds += batch.seconds
            self._progress(Done(self._seconds, self._resumed))

    def _finish(self, lane: _Lane) -> None:
        self._store.save(lane.job.key, self._how.scorer.id, tuple(self._how.scorer.labels), lane.draft, lane.windows)
        self._store.release(lane.job.key)
        del self._lanes[lane.job.key]
        self._pipeline.counts.pop(lane.job.key, None)
        if lane.job.key in self._pipeline.cameras:
            self._pipeline.forget(lane.job.key)

    def _save_parts(self) -> None:
        # Where to go on is known of what was pushed, and what was pushed is to be in the part.
        self._settle(until_none=True)
        for lane in self._lanes.values():
            camera = self._pipeline.cameras.get(lane.job.key)
            if camera is None or not lane.segments_since_part or not lane.claimed:
                continue
            clipper = camera.clipper
            if clipper.epoch_us is not None and clipper.needed_from_us is not None:
                place = (clipper.epoch_us, clipper.needed_from_us)
            else:
                place = (lane.closed_epoch_us + 1, 0)
            self._store.save_part(lane.job.key, len(self._how.scorer.labels), lane.draft, place)
            lane.draft.places, lane.draft.scores, lane.draft.closes = [], [], []
            lane.segments_since_part = 0
        self._part_at = time.monotonic() + _PART_SECONDS


def _decode(segment: Segment, spec: ClipSpec) -> _Outcome:
    try:
        return decode_segment(segment, spec, f"{segment.camera}, segment {segment.sequence}")
    except SegmentError as error:
        return error
