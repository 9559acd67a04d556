"""From segments to predictions and events, without brokers, clocks or threads: the core of live work and replay.

    segment, decoded ─▶ push ─▶ windows ─▶ classify ─▶ scored windows ─▶ track ─▶ events

Results do not depend on when a segment arrives or on what shares its batch. `Worker` puts Kafka around the pipeline,
`consumers.replaying` puts files and recorded topics around it; the same footage gives both the same results.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from consumers.records.event import Event
from consumers.records.prediction import SCORE_DIGITS, Prediction
from consumers.rules.book import RuleBook, as_book
from consumers.rules.rule import Rule
from stream import (
    EVERYTHING,
    Clip,
    Clipper,
    ClipperState,
    ClipSpec,
    Decoded,
    Effort,
    Record,
    Segment,
    camera_behind,
    child_trace,
    trace_of,
)

from .effort.stillness import StillGate, StillRule, ViewState
from .features import Scorer, features_for
from .figures.accounts import Accounts
from .handover.offsets import Footage
from .tracker import Tracker, TrackerState

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Camera:
    """What is known of one camera: its open windows and its open events."""

    clipper: Clipper
    tracker: Tracker
    #: End of its newest segment.
    newest_us: int = 0
    #: What is made of its newest segments.
    effort: Effort = EVERYTHING


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What another pipeline has to know to go on with a camera, but for pictures."""

    model: str
    newest_us: int
    clipper: ClipperState
    tracker: TrackerState
    effort: Effort = EVERYTHING
    #: What it shows while nothing moves; None where it is not known, or every window is computed.
    view: ViewState | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A window that is complete and to be classified."""

    clip: Clip
    #: Event time at which the segment that completed the window had ended: no earlier can anybody know.
    known_us: int
    #: The record that completed it, where there is one.
    record: Record | None = None

    @property
    def camera(self) -> str:
        return self.clip.camera


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """A window and its prediction."""

    window: Window
    prediction: Prediction

    @property
    def camera(self) -> str:
        return self.window.camera


@dataclass(frozen=True, slots=True)
class UnscoredWindow:
    """A window for which the model gave a score that is no finite number: there is no prediction of it."""

    window: Window

    @property
    def camera(self) -> str:
        return self.window.camera

    def __str__(self) -> str:
        clip = self.window.clip
        return f"window {clip.window} of epoch {clip.epoch_us}: the model gave a score that is no number (NaN)"


@dataclass(frozen=True, slots=True)
class FeedEnd:
    """The end of a camera's feed: nothing follows for now."""

    camera: str


#: What becomes of a window, and the end of a feed.
Outcome = ScoredWindow | UnscoredWindow | FeedEnd


class Pipeline:
    """The state of every camera, and the account of its frames."""

    def __init__(
        self,
        scorer: Scorer,
        spec: ClipSpec,
        rules: RuleBook | Mapping[str, Rule],
        still: StillRule | None = None,
    ) -> None:
        """Begin.

        Args:
            scorer: the model.
            spec: what its windows look like.
            rules: when scores are an event; a mapping, by label, where it is so on all cameras, at any time.
            still: when a window is not computed; if None, each is.
        """
        self._scorer, self._spec, self._rules = scorer, spec, as_book(rules)
        self._features = features_for(scorer, spec.context)
        self._gate = None if still is None else StillGate(still, scorer.labels)
        self.cameras: dict[str, Camera] = {}
        self.counts = Accounts(self.cameras.__contains__)

    def push(self, segment: Segment, decoded: Decoded, record: Record | None = None) -> list[Window | FeedEnd]:
        """Take a camera's next segment; return the windows that it completes, and the end of the feed if it is one."""
        camera = self.cameras.get(segment.camera)
        if camera is None:
            camera = self.cameras[segment.camera] = Camera(Clipper(self._spec), self._tracker(segment.camera))
        self.counts[segment.camera].take(segment)
        camera.newest_us, camera.effort = segment.end_us, decoded.effort
        self.counts[segment.camera].still_segments += decoded.is_still
        clips = camera.clipper.push(segment, decoded)
        self._count_skipped(segment.camera, camera)
        steps: list[Window | FeedEnd] = [Window(clip, segment.end_us, record) for clip in clips]
        return [*steps, FeedEnd(segment.camera)] if segment.is_end else steps

    def close(self, name: str) -> FeedEnd:
        """Nothing comes from this camera for now; `rest` when the end has been tracked."""
        camera = self.cameras[name]
        camera.clipper.close()
        self._count_skipped(name, camera)
        return FeedEnd(name)

    def rest(self, name: str) -> None:
        """A camera's feed is over: what comes next finds nothing to wait out."""
        self.cameras[name].tracker = self._tracker(name)

    def forget(self, name: str) -> None:
        self.cameras.pop(name, None)
        if self._gate is not None:
            self._gate.forget(name)

    def state(self, name: str) -> PipelineState:
        """What another pipeline has to know to go on with a camera."""
        camera = self.cameras[name]
        return PipelineState(
            self._scorer.id,
            camera.newest_us,
            camera.clipper.state,
            camera.tracker.state,
            camera.effort,
            self.view(name),
        )

    def view(self, name: str) -> ViewState | None:
        """What a camera shows while nothing moves, as far as windows were classified."""
        return None if self._gate is None else self._gate.state(name)

    def restore_view(self, name: str, view: ViewState | None) -> None:
        """Go on with what a camera showed, to the same model.

        Raises:
            ValueError: it is damaged.
        """
        if self._gate is not None and view is not None:
            self._gate.restore(name, view)

    def restore(self, name: str, state: PipelineState) -> list[Event]:
        """Go on with a camera, as far as model, windows and rules are the same; return the events that end with them.

        Pictures of windows that are not complete are to be given by `refill`.
        """
        clipper = Clipper.restored(self._spec, state.clipper)
        if state.model == self._scorer.id and state.clipper.grid == clipper.state.grid:
            rules = self._rules.of(camera_behind(name))
            tracker, ended = Tracker.restored(rules, state.tracker), state.tracker.ended(rules.labels)
            self.restore_view(name, state.view)
        else:
            tracker, ended = self._tracker(name), state.tracker.ended()
        self.cameras[name] = Camera(clipper, tracker, state.newest_us, state.effort)
        return ended

    def refill(self, segment: Segment, decoded: Decoded) -> None:
        """Take the pictures of a segment once more that was pushed before the camera's state was taken."""
        self.cameras[segment.camera].clipper.refill(segment, decoded)

    def needs(self, footage: Footage, max_reread_seconds: float) -> bool:
        """Whether a worker that takes over needs the pictures of this footage once more.

        It does where a window that is not yet complete touches it, and where that cannot be decoded without it, in a
        long group of pictures. Of one that began more than `max_reread_seconds` ago, the frames up to the next are
        skipped.
        """
        camera = self.cameras.get(footage.camera)
        if camera is None or camera.clipper.needed_from_us is None:
            return False
        clipper, needed_us = camera.clipper, camera.clipper.needed_from_us
        if clipper.epoch_us == footage.epoch_us and footage.end_us > needed_us:
            return True
        earliest_us = camera.newest_us - max_reread_seconds * 1e6
        return bool(earliest_us <= clipper.decode_from_us(needed_us) < footage.end_us)

    def classify(self, steps: Sequence[Window | FeedEnd]) -> list[Outcome]:
        """Classify the windows in `steps` as one batch; return the steps in their order, windows with predictions.

        A score that is no finite number would hold events open or shut for ever, and is not JSON: such a window has no
        prediction.

        Where there is a rule for it, windows in which nothing moves are not computed; see `StillGate`.

        Touches of a camera's state only its view: it may run beside `push`, in one other thread.
        """
        clips = [step.clip for step in steps if isinstance(step, Window)]
        if self._gate is None:
            fates = iter([(row, False) for row in self._compute(clips)])
        else:
            fates = iter(self._gate.score(clips, self._compute))
        return [self._outcome(step, next(fates)) if isinstance(step, Window) else step for step in steps]

    def _compute(self, clips: Sequence[Clip]) -> list[list[float]]:
        return round_scores(self._features.score([clip.exact() for clip in clips])) if clips else []

    def track(self, steps: Sequence[Outcome]) -> list[Event]:
        """Run the trackers over the steps in order. They see a gap where a window has no prediction."""
        events: list[Event] = []
        for step in steps:
            tracker = self.cameras[step.camera].tracker
            if isinstance(step, ScoredWindow):
                trace = step.prediction.trace
                events += [
                    replace(event, trace=child_trace(trace, f"{event.id}-{event.revision}"), cause=trace)
                    for event in tracker.push(step.prediction)
                ]
            elif isinstance(step, FeedEnd):
                events += tracker.close("feed_ended")
        return events

    def count(self, steps: Sequence[Outcome], events: Sequence[Event] = ()) -> None:
        """Count windows as classified, and events as started: they have been published or stored."""
        for step in steps:
            if isinstance(step, ScoredWindow):
                counts = self.counts[step.camera]
                if step.prediction.gated:
                    counts.skipped["still"] += step.window.clip.frames_spanned
                else:
                    counts.classified += step.window.clip.frames_spanned
                counts.windows += 1
                counts.newest = step.prediction
            elif isinstance(step, UnscoredWindow):
                skipped = self.counts[step.camera].skipped
                if not skipped["unscored"]:
                    log.warning("camera %s: %s; it is skipped, and others like it are counted", step.camera, step)
                skipped["unscored"] += step.window.clip.frames_spanned
        for event in events:
            self.counts[event.camera].events += event.state == "started"

    def _tracker(self, camera: str) -> Tracker:
        return Tracker(self._rules.of(camera_behind(camera)))

    def _outcome(self, window: Window, fate: tuple[list[float], bool]) -> ScoredWindow | UnscoredWindow:
        row, gated = fate
        if not all(map(math.isfinite, row)):
            return UnscoredWindow(window)
        # Of a window that was computed: with what its segments gave when they were decoded.
        clip, shown = window.clip, window.clip if gated else window.clip.exact()
        scores = dict(zip(self._scorer.labels, row, strict=True))
        found = Prediction(
            clip.camera,
            clip.epoch_us,
            clip.window,
            clip.start_us,
            clip.end_us,
            self._scorer.id,
            scores,
            degraded="keyframes" if shown.has_held_frames else None,
            gated=gated,
        )
        trace = None if window.record is None else child_trace(trace_of(window.record.headers), found.id)
        return ScoredWindow(window, found if trace is None else replace(found, trace=trace))

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
