"""Recordings to timelines: which traces are there already, which have to be made, and where in time each lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from consumers.terminal.wording import count, skip_reason
from consumers.versions import decoder_version
from models import engine_version
from stream import SourceError

from .footage.sources import Recording
from .run import ClassifyProgress, ScoringSetup, TraceJob, classify
from .store import TraceStore, trace_key
from .trace import PlacedTrace, Timeline, Trace


@dataclass(frozen=True, slots=True)
class Replayed:
    """Every camera's timeline."""

    timelines: tuple[Timeline, ...]
    #: Seconds of footage whose predictions were cached.
    kept_seconds: float
    #: Cameras of which no frame could be read, and why.
    unreadable: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(timeline.seconds for timeline in self.timelines)


def replay(
    recordings: Sequence[Recording],
    setup: ScoringSetup,
    engine: str,
    store: TraceStore,
    *,
    progress: Callable[[str, float, float], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Replayed | None:
    """Run all recordings through the live pipeline; None if `stop` returned true before it was done.

    Args:
        recordings: the cameras.
        setup: the model and how its clips are made.
        engine: what runs the model; its rounding affects the scores.
        store: the cache of predictions.
        progress: called with the step, the seconds of footage done, and the seconds in all.
        stop: called often.

    Raises:
        StoreError: predictions cannot be cached.
        SourceError: no camera has a frame that could be read.
    """
    pieces = [piece for recording in recordings for piece in recording.pieces]
    total = sum(piece.seconds for piece in pieces)
    keys, looked = [], 0.0
    for piece in pieces:
        if stop():
            return None
        keys.append(
            trace_key(
                {
                    "footage": piece.facts(),
                    "model": setup.scorer.id,
                    "engine": [engine, engine_version(engine)],
                    "spec": asdict(setup.spec),
                    "still": None if setup.still is None else asdict(setup.still),
                    "decoder": decoder_version(on_gpu=setup.gpu is not None),
                }
            )
        )
        looked += piece.seconds
        progress("reading", looked, total)
    # Two files with the same bytes are one job.
    jobs = {key: TraceJob(piece, key) for key, piece in zip(keys, pieces, strict=True) if store.load(key) is None}
    missing = sum(job.piece.seconds for job in jobs.values())
    resumed = 0.0

    def show(done: ClassifyProgress) -> None:
        nonlocal resumed
        resumed = done.resumed_seconds
        progress("classifying", min(done.seconds, missing), missing)

    if jobs and not classify(list(jobs.values()), setup, store, progress=show, stop=stop):
        return None
    if jobs:
        progress("classifying", missing, missing)
    traces = dict(zip(keys, (store.load(key) for key in keys), strict=True))
    store.trim()
    timelines, unreadable, place = [], [], iter(zip(pieces, keys, strict=True))
    for recording in recordings:
        named = [next(place) for _ in recording.pieces]
        found = [(piece.name, trace) for piece, key in named if (trace := traces[key]) is not None]
        if len(found) < len(named):
            raise SourceError(
                f"camera {recording.camera}: cached predictions were removed meanwhile; run the command again"
            )
        begins = recording.begins([trace.end_us for _, trace in found])
        timeline = Timeline(
            recording.camera,
            [PlacedTrace(name, begin_us, trace) for (name, trace), begin_us in zip(found, begins, strict=True)],
        )
        if not timeline.seconds:
            problems = [why for _, trace in found for why in (*trace.problems, *frames_without_windows(trace))]
            unreadable.append(f"camera {recording.camera}: no frame could be read ({(problems or ['it is empty'])[0]})")
            continue
        timelines.append(timeline)
    if not timelines:
        raise SourceError("; ".join(unreadable))
    return Replayed(tuple(timelines), total - missing + resumed, tuple(unreadable))


def frames_without_windows(trace: Trace) -> list[str]:
    """Which frames no window has, and why, in words."""
    said = [f"{count(many, 'frame')} skipped: {skip_reason(reason)}" for reason, many in sorted(trace.skipped.items())]
    if trace.alone_frames:
        frames = f"{count(trace.alone_frames, 'frame')} {'stands' if trace.alone_frames == 1 else 'stand'} alone"
        said.append(f"{frames}, further from any other than segments.max_gap_seconds: no window has so few")
    return said
