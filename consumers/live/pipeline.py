"""What becomes of a camera's segments, without brokers, clocks or threads: the core that live work and replay share.

    segment, decoded ─▶ push ─▶ steps ─▶ classify ─▶ predictions ─▶ track ─▶ events

Nothing here depends on when a segment came, on which others share its batch or on who asks: `Worker` puts Kafka and
Redis around it, `consumers.replaying` puts files around it, and both say the same of the same footage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from consumers.records.event import Event
from consumers.records.prediction import SCORE_DIGITS, Prediction
from stream import Clip, Clipper, ClipSpec, Decoded, Record, Segment, decode

from .accounts import CameraCounts
from .tracker import Rule, Tracker


class Scorer(Protocol):
    """The part of `models.Classifier` that is needed here."""

    @property
    def id(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]: ...

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Clips (B, T, H, W, 3) uint8 to scores (B, L) float32."""


@dataclass(slots=True)
class Camera:
    """What is known of one camera: its open windows and its open events."""

    clipper: Clipper
    tracker: Tracker


@dataclass(frozen=True, slots=True)
class Step:
    """What a tracker is to take next: a window, or the end of the feed."""

    camera: str
    clip: Clip | None = None
    #: Event time at which the segment that completed the window had ended: no earlier can anybody know.
    known_us: int = 0
    #: The record that completed it, where there is one.
    record: Record | None = None


class Pipeline:
    """The state of every camera, and the account of its frames."""

    def __init__(self, scorer: Scorer, spec: ClipSpec, rules: Mapping[str, Rule]) -> None:
        self._scorer, self._spec, self._rules = scorer, spec, rules
        self.cameras: dict[str, Camera] = {}
        self.counts: dict[str, CameraCounts] = defaultdict(CameraCounts)

    def push(self, segment: Segment, decoded: Decoded, record: Record | None = None) -> list[Step]:
        """Take a camera's next segment; return the windows that it completes, and the end of the feed if it is one."""
        camera = self.cameras.get(segment.camera)
        if camera is None:
            camera = self.cameras[segment.camera] = Camera(Clipper(self._spec), Tracker(self._rules))
        counts = self.counts[segment.camera]
        counts.segments += not segment.is_end
        counts.frames += segment.frames + sum(segment.skipped.values())
        counts.skipped.update(segment.skipped)
        counts.seconds += segment.seconds
        camera.tracker.longest_segment_us = max(camera.tracker.longest_segment_us, segment.end_us - segment.start_us)
        clips = camera.clipper.push(segment, decoded)
        self._count_skipped(segment.camera, camera)
        steps = [Step(segment.camera, clip, segment.end_us, record) for clip in clips]
        return [*steps, Step(segment.camera)] if segment.is_end else steps

    def close(self, name: str) -> list[Step]:
        """Nothing comes from this camera any more; `forget` it when the steps have been tracked."""
        camera = self.cameras[name]
        camera.clipper.close()
        self._count_skipped(name, camera)
        return [Step(name)]

    def forget(self, name: str) -> None:
        del self.cameras[name]

    def classify(self, steps: Sequence[Step]) -> list[Prediction]:
        """Predictions for the steps that are windows, in their order, as one batch.

        Touches no camera's state: it may run beside `push`, in another thread.
        """
        clips = [step.clip for step in steps if step.clip is not None]
        if not clips:
            return []
        rows = self._scorer.predict(np.stack([clip.frames for clip in clips]))
        return [self._prediction(clip, row) for clip, row in zip(clips, round_scores(rows), strict=True)]

    def track(self, steps: Sequence[Step], predictions: Sequence[Prediction]) -> list[Event]:
        """Run the trackers over the steps in order; `predictions` are those of `classify`."""
        rows = iter(predictions)
        events: list[Event] = []
        for step in steps:
            tracker = self.cameras[step.camera].tracker
            events += tracker.close("feed_ended") if step.clip is None else tracker.push(next(rows))
        return events

    def count(self, steps: Sequence[Step], predictions: Sequence[Prediction], events: Sequence[Event] = ()) -> None:
        """Note that these are done with: published, where somebody is told of them."""
        clips = [step.clip for step in steps if step.clip is not None]
        for clip, prediction in zip(clips, predictions, strict=True):
            counts = self.counts[clip.camera]
            counts.classified += clip.frames_spanned
            counts.windows += 1
            counts.newest = prediction
        for event in events:
            self.counts[event.camera].events += event.state == "started"

    def _prediction(self, clip: Clip, row: list[float]) -> Prediction:
        scores = dict(zip(self._scorer.labels, row, strict=True))
        return Prediction(clip.camera, clip.epoch_us, clip.window, clip.start_us, clip.end_us, self._scorer.id, scores)

    def _count_skipped(self, name: str, camera: Camera) -> None:
        self.counts[name].skipped.update(camera.clipper.skipped)
        camera.clipper.skipped.clear()


def round_scores(rows: np.ndarray) -> list[list[float]]:
    """Scores (B, L) float32 as they are published; rounded here, so that a tracker sees exactly what subscribers see.

    The same numbers as `round(score, SCORE_DIGITS)` one by one, at a tenth of the time: a float32 has 24 bits and
    10**6 is 14 bits times a power of two, so their product is exact in float64, and both round half to even.
    """
    exact: list[list[float]] = np.asarray(rows, np.float64).round(SCORE_DIGITS).tolist()
    return exact


def decode_segment(segment: Segment, spec: ClipSpec, where: str) -> Decoded:
    """The pictures of a segment that windows want.

    Raises:
        SegmentError: its bytes are not the video that it says they are.
    """
    if segment.is_end:
        return Decoded((), [])
    return decode(segment, spec.sample_times_us(segment), spec.picture, where)
