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
from functools import partial
from typing import Any, Final

from consumers.live.decode_queue import DecodeQueue
from consumers.live.pipeline import FeedEnd, Pipeline, ScoredWindow, Scorer, Window
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
class ScoringSetup:
    """What predictions are made with."""

    scorer: Scorer
    spec: ClipSpec
    threads: int | None = None
    #: Twice a worker's: nobody waits for a single clip, and a core idles at the end of each batch.
    max_batch: int = 32


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A piece of footage, and the name of its trace."""

    piece: Piece
    key: str


@dataclass(frozen=True, slots=True)
class ClassifyProgress:
    """How far a run has come, in seconds of footage that is classified."""

    seconds: float
    #: Of these, how many needed no decoding.
    resumed_seconds: float


_Item = Segment | LostSegmentError


@dataclass(slots=True)
class _OpenTrace:
    """A piece that is being classified; its key stands for a camera."""

    job: TraceJob
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
    traces: list[_OpenTrace]
    seconds: float
    scored: Future[list[ScoredWindow | FeedEnd]]


def classify(
    jobs: Sequence[TraceJob],
    how: ScoringSetup,
    store: TraceStore,
    *,
    progress: Callable[[ClassifyProgress], None] = lambda _: None,
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
    def __init__(
        self,
        jobs: Sequence[TraceJob],
        how: ScoringSetup,
        store: TraceStore,
        progress: Callable[[ClassifyProgress], None],
    ) -> None:
        self._todo, self._how, self._store, self._progress = deque(jobs), how, store, progress
        self._decoding: DecodeQueue[tuple[_OpenTrace, int, _Item]] = DecodeQueue(how.spec, how.threads)
        self._threads = self._decoding.threads
        # Rules make events; here nobody waits for them.
        self._pipeline = Pipeline(how.scorer, how.spec, {})
        self._traces: dict[str, _OpenTrace] = {}
        self._turn: deque[_OpenTrace] = deque()
        self._batches: deque[_Batch] = deque()
        self._seconds = self._resumed = 0.0
        self._part_at = time.monotonic() + _PART_SECONDS

    def work(self, stop: Callable[[], bool]) -> bool:
        classifier = ThreadPoolExecutor(1, thread_name_prefix="classify")
        try:
            while self._todo or self._traces:
                if stop():
                    self._save_parts()
                    return False
                self._fill()
                self._wait()
                self._take_decoded(classifier)
                self._settle()
                if time.monotonic() >= self._part_at:
                    self._save_parts()
            return True
        finally:
            for key in self._traces:
                self._store.release(key)
            self._decoding.close()
            classifier.shutdown(wait=False, cancel_futures=True)

    def _fill(self) -> None:
        """Read ahead, from one piece after another in turn."""
        while self._todo and len(self._turn) < _OPEN * self._threads:
            self._open(self._todo.popleft())
        while self._turn and len(self._decoding) < _AHEAD * self._threads:
            trace = self._turn.popleft()
            item = self._next(trace)
            if item is None:
                trace.exhausted = True
                if not trace.waiting:
                    self._finish(trace)
                continue
            self._turn.append(trace)
            number, trace.read = trace.read, trace.read + 1
            if number >= trace.needed:
                trace.waiting += 1
                where = "" if isinstance(item, LostSegmentError) else f"{item.camera}, segment {item.sequence}"
                self._decoding.put((trace, number, item), partial(_segment, item), where)
            elif isinstance(item, Segment):
                self._seconds += item.seconds
                self._resumed += item.seconds

    def _open(self, job: TraceJob) -> None:
        trace = _OpenTrace(job, job.piece.segments(job.key), self._store.claim(job.key))
        if trace.claimed and (kept := self._store.resume(job.key)) is not None:
            trace.done, trace.needed, trace.windows = kept.done, kept.needed, kept.windows
            trace.draft.undecoded, trace.draft.problems = kept.undecoded, list(kept.problems)
        self._traces[job.key] = trace
        self._turn.append(trace)

    def _next(self, trace: _OpenTrace) -> _Item | None:
        try:
            item = next(trace.items, None)
        except SourceError as error:
            trace.failure = error
            return None
        if isinstance(item, LostSegmentError):
            trace.draft.frames += item.frames
        elif item is not None:
            skipped = sum(item.skipped.values())
            trace.draft.frames += item.frames + skipped
            trace.draft.skipped += skipped
            trace.draft.cover(item.start_us, item.end_us)
        return item

    def _wait(self) -> None:
        """Until there is something to take or to settle."""
        waiting: list[Future[Any]] = [self._batches[0].scored] if self._batches else []
        if self._decoding.oldest is not None and len(self._batches) < _BATCHES:
            waiting.append(self._decoding.oldest)
        wait(waiting, return_when=FIRST_COMPLETED)

    def _take_decoded(self, classifier: ThreadPoolExecutor) -> None:
        """Take the oldest items that are decoded, and hand on what they complete as one batch."""
        if len(self._batches) >= _BATCHES:
            return
        steps: list[Window | FeedEnd] = []
        windows, seconds = 0, 0.0
        taken: list[_OpenTrace] = []
        while windows < self._how.max_batch and (oldest := self._decoding.take(wait=False)) is not None:
            (trace, number, item), outcome = oldest
            taken.append(trace)
            trace.taken = number + 1
            # An earlier run has said what came of it; it is here because it shares footage with what comes next.
            again = number < trace.done
            if isinstance(item, Segment):
                seconds += item.seconds
            if isinstance(outcome, SegmentError):
                if not again:
                    trace.draft.lose(item.frames, str(outcome))
                continue
            new = self._push(trace, number, *outcome)
            if not again:
                steps += new
                windows += sum(isinstance(step, Window) for step in new)
        if taken:
            self._batches.append(_Batch(taken, seconds, classifier.submit(self._pipeline.classify, steps)))

    def _push(self, trace: _OpenTrace, number: int, segment: Segment, decoded: Decoded) -> list[Window | FeedEnd]:
        camera = self._pipeline.cameras.get(segment.camera)
        is_new = camera is None or camera.clipper.is_new(segment)
        steps = self._pipeline.push(segment, decoded)
        if is_new:
            trace.note(number, segment, self._pipeline.cameras[segment.camera].clipper)
        return steps

    def _settle(self, *, until_none: bool = False) -> None:
        """Write down what is classified, oldest batch first; wait for all of it if `until_none`."""
        while self._batches and (until_none or self._batches[0].scored.done()):
            batch = self._batches.popleft()
            for step in batch.scored.result():
                trace = self._traces[step.camera]
                if isinstance(step, FeedEnd):
                    trace.draft.closes.append(trace.windows)
                    continue
                p = step.prediction
                trace.windows += 1
                trace.draft.places.append((p.epoch_us, p.window, p.start_us, p.end_us, step.window.known_us))
                trace.draft.scores.append(list(p.scores.values()))
            for trace in batch.traces:
                trace.waiting -= 1
                if trace.exhausted and not trace.waiting:
                    self._finish(trace)
            self._seconds += batch.seconds
            self._progress(ClassifyProgress(self._seconds, self._resumed))

    def _finish(self, trace: _OpenTrace) -> None:
        if trace.failure is not None:
            trace.draft.lose(0, str(trace.failure))
        self._store.save(trace.job.key, self._how.scorer.id, tuple(self._how.scorer.labels), trace.draft, trace.windows)
        self._store.release(trace.job.key)
        del self._traces[trace.job.key]
        self._pipeline.counts.pop(trace.job.key, None)
        if trace.job.key in self._pipeline.cameras:
            self._pipeline.forget(trace.job.key)

    def _save_parts(self) -> None:
        # Where to go on is known of what was taken, and what was taken is to be in the part.
        self._settle(until_none=True)
        for trace in self._traces.values():
            if not trace.claimed or trace.taken <= trace.done:
                continue
            needed = trace.open[0][0] if trace.open else trace.taken
            self._store.save_part(trace.job.key, len(self._how.scorer.labels), trace.draft, trace.taken, needed)
            trace.draft.places, trace.draft.scores, trace.draft.closes = [], [], []
            trace.done = trace.taken
        self._part_at = time.monotonic() + _PART_SECONDS


def _segment(item: _Item) -> Segment:
    if isinstance(item, LostSegmentError):
        raise item
    return item
