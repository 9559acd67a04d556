"""Classify footage and keep its predictions as traces, as fast as the machine allows, several pieces at a time.

    piece ─▶ segments ─▶ DecodeQueue ─▶ Pipeline ─▶ batch over pieces ─▶ classify (thread) ─▶ TraceStore
    piece ─▶ …

While one batch is classified, the next is decoded: otherwise cores would wait for one another.

Decoding queue and pipeline are those of the live worker; a store takes the place of the topics.
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
from consumers.live.effort.stillness import StillRule
from consumers.live.features import Scorer
from consumers.live.pipeline import FeedEnd, Outcome, Pipeline, UnscoredWindow, Window
from stream import Clipper, ClipSpec, Decoded, DecodeLimits, Gpu, Segment, SegmentError, SourceError

from .footage.sources import Piece
from .footage.topic_pieces import ContextSegment, Item, LostSegmentError
from .store import TraceDraft, TraceStore

#: Per decoding thread: segments that wait for it or for the classifier, enough to fill the next batch.
_AHEAD: Final = 8
#: Per decoding thread: pieces that are read at the same time.
_OPEN: Final = 2
#: Batches that are being classified or wait for it, while the next one is decoded.
_BATCHES: Final = 2
#: How often parts are saved: the work that a kill may cost.
_PART_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class ScoringSetup:
    """The model, how its clips are sampled, and how much is done at a time."""

    scorer: Scorer
    spec: ClipSpec
    #: Decoding threads; as many as there are usable cores, if None.
    threads: int | None = None
    #: Twice a worker's: nobody waits for a single clip, and a core idles at the end of each batch.
    max_batch: int = 32
    #: Of one segment.
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    #: When a window is not computed; if None, each is.
    still: StillRule | None = None
    #: What decodes, if not the processor.
    gpu: Gpu | None = None


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A piece of footage that is to be classified, and the key of its trace in the store."""

    piece: Piece
    key: str


@dataclass(frozen=True, slots=True)
class ClassifyProgress:
    """How far a run has come."""

    #: Seconds of footage that are classified.
    seconds: float
    #: How many of these an earlier run had classified.
    resumed_seconds: float


@dataclass(slots=True)
class _OpenTrace:
    """A piece that is being classified. The pipeline knows it as a camera, named by the key of its trace."""

    job: TraceJob
    items: Iterator[Item]
    #: Whether no other process works on this trace.
    claimed: bool
    #: Items are numbered in the order in which the piece gives them. How many were read …
    read: int = 0
    #: … how many came out of the decoders …
    taken: int = 0
    #: … and how many have their predictions in saved parts.
    done: int = 0
    #: The first item that has to be decoded again, because later windows share its footage.
    needed: int = 0
    #: Epoch and end of the segments that windows not yet complete begin in, and the item to begin with to decode them.
    open: deque[tuple[int, int, int]] = field(default_factory=deque)
    #: The item with which decoding of the newest group of pictures begins.
    group: int = 0
    #: Windows so far, those already in parts included.
    windows: int = 0
    draft: TraceDraft = field(default_factory=TraceDraft)
    #: Items handed to decoders whose windows are not yet classified.
    waiting: int = 0
    exhausted: bool = False
    #: Epoch and number of the windows that an earlier run has saved: of footage that was sent twice, too.
    told: frozenset[tuple[int, int]] = frozenset()
    #: Why the piece could not be read to its end.
    failure: SourceError | None = None

    def has(self, step: Window | FeedEnd) -> bool:
        """Whether a window is in a saved part."""
        return isinstance(step, Window) and (step.clip.epoch_us, step.clip.window) in self.told

    def note(self, segment: Segment, clipper: Clipper) -> None:
        """Note a segment that the clipper took and had not seen before: a later run may have to begin with it."""
        self.open.append((self.group, segment.epoch_us, segment.end_us))
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
    """Windows on their way through the classifier."""

    #: The trace of each item that went into the batch, once for each item.
    traces: list[_OpenTrace]
    #: How long these items are together.
    seconds: float
    scored: Future[list[Outcome]]


def classify(
    jobs: Sequence[TraceJob],
    setup: ScoringSetup,
    store: TraceStore,
    *,
    progress: Callable[[ClassifyProgress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Make the trace of each job and save it in `store`; continue where an earlier run was cut off.

    Returns:
        False if `stop()` came before all jobs were done.

    Raises:
        StoreError: traces cannot be saved.
    """
    return _Run(jobs, setup, store, progress).work(stop)


class _Run:
    def __init__(
        self,
        jobs: Sequence[TraceJob],
        setup: ScoringSetup,
        store: TraceStore,
        progress: Callable[[ClassifyProgress], None],
    ) -> None:
        self._todo, self._setup, self._store, self._progress = deque(jobs), setup, store, progress
        self._decoding: DecodeQueue[tuple[_OpenTrace, int, Item]] = DecodeQueue(
            setup.spec,
            setup.threads,
            limits=setup.limits,
            still_share=None if setup.still is None else setup.still.still_share,
            gpu=setup.gpu,
        )
        self._threads = self._decoding.threads
        # No rules: events are made from the traces later.
        self._pipeline = Pipeline(setup.scorer, setup.spec, {}, setup.still)
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
                is_context = isinstance(item, ContextSegment)
                self._decoding.put((trace, number, item), partial(_segment, item), _where(item), is_context=is_context)
            elif isinstance(item, Segment):
                self._seconds += item.seconds
                self._resumed += item.seconds

    def _open(self, job: TraceJob) -> None:
        trace = _OpenTrace(job, job.piece.segments(job.key), self._store.claim(job.key))
        if trace.claimed and (kept := self._store.resume(job.key)) is not None:
            trace.done, trace.needed, trace.windows = kept.done, kept.needed, len(kept.windows)
            trace.told = kept.windows
            trace.draft.undecoded, trace.draft.problems = kept.undecoded, list(kept.problems)
            self._pipeline.restore_view(job.key, kept.view)
        self._traces[job.key] = trace
        self._turn.append(trace)

    def _next(self, trace: _OpenTrace) -> Item | None:
        try:
            item = next(trace.items, None)
        except SourceError as error:
            trace.failure = error
            return None
        if isinstance(item, LostSegmentError):
            trace.draft.frames += item.frames
        elif isinstance(item, Segment):
            trace.draft.note(item)
        return item

    def _wait(self) -> None:
        """Wait until there is something to take or to settle."""
        waiting: list[Future[Any]] = [self._batches[0].scored] if self._batches else []
        if self._decoding.oldest is not None and len(self._batches) < _BATCHES:
            waiting.append(self._decoding.oldest)
        wait(waiting, return_when=FIRST_COMPLETED)

    def _take_decoded(self, classifier: ThreadPoolExecutor) -> None:
        """Take the oldest items that are decoded, and classify the windows that they complete as one batch."""
        if len(self._batches) >= _BATCHES:
            return
        steps: list[Window | FeedEnd] = []
        windows, seconds = 0, 0.0
        taken: list[_OpenTrace] = []
        while windows < self._setup.max_batch and (oldest := self._decoding.take(wait=False)) is not None:
            (trace, number, item), outcome = oldest
            taken.append(trace)
            trace.taken = number + 1
            # Its predictions are in a saved part; it is decoded again because later windows share its footage.
            again = number < trace.done
            if isinstance(item, Segment):
                seconds += item.seconds
            if isinstance(outcome, SegmentError):
                if not again:
                    trace.draft.lose(0 if isinstance(item, ContextSegment) else item.frames, str(outcome))
                continue
            if isinstance(item, ContextSegment):
                trace.group = trace.group if outcome[0].continues else number
                continue
            if outcome[1].missing == "no_keyframe" and not again:
                segment = outcome[0]
                why = f"{segment.camera}, segment {segment.sequence}: it continues footage that is not there"
                trace.draft.lose(segment.frames, why)
            new = [step for step in self._push(trace, number, *outcome) if not trace.has(step)]
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
            trace.group = trace.group if segment.continues else number
            trace.note(segment, self._pipeline.cameras[segment.camera].clipper)
        return steps

    def _settle(self, *, until_none: bool = False) -> None:
        """Write the batches that are classified into their drafts, oldest first; wait for all if `until_none`."""
        while self._batches and (until_none or self._batches[0].scored.done()):
            batch = self._batches.popleft()
            for step in batch.scored.result():
                trace = self._traces[step.camera]
                if isinstance(step, FeedEnd):
                    trace.draft.closes.append(trace.windows)
                    continue
                if isinstance(step, UnscoredWindow):
                    trace.draft.lose(step.window.clip.frames_spanned, str(step))
                    continue
                p = step.prediction
                if p.gated:
                    trace.draft.gated.append(trace.windows)
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
        self._store.save(
            trace.job.key, self._setup.scorer.id, tuple(self._setup.scorer.labels), trace.draft, trace.windows
        )
        self._store.release(trace.job.key)
        del self._traces[trace.job.key]
        self._pipeline.counts.pop(trace.job.key, None)
        self._pipeline.forget(trace.job.key)

    def _save_parts(self) -> None:
        # A part says where to continue after all that was taken, so all that was taken has to be in it.
        self._settle(until_none=True)
        for trace in self._traces.values():
            if not trace.claimed or trace.taken <= trace.done:
                continue
            needed = trace.open[0][0] if trace.open else trace.taken
            key = trace.job.key
            view = self._pipeline.view(key)
            self._store.save_part(key, len(self._setup.scorer.labels), trace.draft, trace.taken, needed, view)
            trace.draft.places, trace.draft.scores, trace.draft.closes, trace.draft.gated = [], [], [], []
            trace.done = trace.taken
        self._part_at = time.monotonic() + _PART_SECONDS


def _segment(item: Item) -> Segment:
    if isinstance(item, LostSegmentError):
        raise item
    return item.segment if isinstance(item, ContextSegment) else item


def _where(item: Item) -> str:
    if isinstance(item, LostSegmentError):
        return item.where
    segment = _segment(item)
    return f"{segment.camera}, segment {segment.sequence}"
