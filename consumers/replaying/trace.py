"""A model's predictions for a piece of footage as arrays, so that rules for events are tried without decoding again.

Times in a trace are relative to the begin of its footage, so the same bytes give the same trace whenever they were
recorded. A `Timeline` puts the traces of one camera at their place in event time and runs the live worker's tracker
over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from consumers.live.tracker import Tracker
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.rules.book import RuleBook, as_book
from consumers.rules.rule import Rule

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
#: Columns of `Trace.places`.
EPOCH, WINDOW, START, END, KNOWN = range(5)
#: Windows that are objects at the same time.
_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Trace:
    """The predictions of one piece of footage, in order."""

    model: str
    labels: tuple[str, ...]
    #: (N, 5) per window: epoch, number, start, end, and the end of the segment that completed it; µs.
    places: Ints = field(repr=False)
    #: (N, L), rounded as published.
    scores: Floats = field(repr=False)
    #: (K,) number of windows before each end of a feed.
    closes: Ints = field(repr=False)
    #: (M, 2) start and end of each stretch without a gap, µs, in the order of the predictions. For a topic that is the
    #: order of sending: stretches may be out of order, and overlap where footage was sent twice.
    spans: Ints = field(repr=False)
    frames: int
    #: Frames of segments that could not be decoded, and frames that the segmenter skipped.
    lost_frames: int
    #: The first few reasons.
    problems: tuple[str, ...] = ()
    #: Of the lost frames: those that the segmenter skipped, by reason.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Frames that are too far from all others for any window to have them.
    alone_frames: int = 0
    #: For how long pictures stood still because the camera sent no others.
    held_seconds: float = 0.0
    #: (G,) numbers of the windows that carry scores of earlier ones, as nothing moved; ascending.
    gated: Ints = field(default_factory=lambda: np.array([], np.int64), repr=False)

    @property
    def seconds(self) -> float:
        """Length of the footage; footage that was sent twice counts once."""
        spans = self.spans[self.spans[:, 0].argsort(kind="stable")]
        before = np.maximum.accumulate(spans[:-1, 1])  # the latest end of all stretches that begin earlier
        begins = np.concatenate([spans[:1, 0], np.maximum(spans[1:, 0], before)])
        return float(np.clip(spans[:, 1] - begins, 0, None).sum() / 1e6)

    @property
    def begin_us(self) -> int:
        return int(self.spans[:, 0].min(initial=self.end_us))

    @property
    def end_us(self) -> int:
        """End of the footage: a file that follows begins here or later."""
        return int(self.spans[:, 1].max()) if len(self.spans) else 0

    def predictions(self, camera: str, begin_us: int, labels: Sequence[str] | None = None) -> Iterator[Prediction]:
        """The predictions as a worker publishes them, with the scores of all labels or of some `labels` only."""
        wanted = self.labels if labels is None else labels
        columns = [self.labels.index(label) for label in wanted]
        # Some at a time: a day's windows as objects would take a hundred times as much memory as in these arrays.
        for first in range(0, len(self.places), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            places = self.places[part]
            gated = np.isin(np.arange(first, first + len(places)), self.gated)
            for (epoch, window, start, end, _), row, is_gated in zip(
                places.tolist(), self.scores[part, columns].tolist(), gated.tolist(), strict=True
            ):
                yield Prediction(
                    camera,
                    begin_us + epoch,
                    window,
                    begin_us + start,
                    begin_us + end,
                    self.model,
                    dict(zip(wanted, row, strict=True)),
                    gated=is_gated,
                )


@dataclass(frozen=True, slots=True)
class PlacedTrace:
    """A trace at its place in event time: its times are relative to `begin_us`."""

    name: str
    begin_us: int
    trace: Trace

    @property
    def first_us(self) -> int:
        """Event time of its first frame."""
        return self.begin_us + self.trace.begin_us

    @property
    def end_us(self) -> int:
        return self.begin_us + self.trace.end_us


@dataclass(frozen=True, slots=True)
class EventReport:
    """A report about an event, and the event time at which a live worker could first make it."""

    event: Event
    known_us: int


class Timeline:
    """One camera's traces in order; plays them under any rules."""

    def __init__(self, camera: str, pieces: Sequence[PlacedTrace]) -> None:
        self.camera, self.pieces = camera, tuple(pieces)

    @property
    def seconds(self) -> float:
        return sum(piece.trace.seconds for piece in self.pieces)

    @property
    def begin_us(self) -> int:
        """Event time of its first frame."""
        return min(piece.first_us for piece in self.pieces)

    @property
    def end_us(self) -> int:
        return max(piece.end_us for piece in self.pieces)

    def predictions(self) -> Iterator[Prediction]:
        for piece in self.pieces:
            yield from piece.trace.predictions(self.camera, piece.begin_us)

    def play(self, rules: RuleBook | Mapping[str, Rule]) -> list[EventReport]:
        """The reports of a live worker with these rules, in order; an event that goes on at the end has no `ended`."""
        of_camera = as_book(rules).of(self.camera)
        tracker = Tracker(of_camera)
        reports: list[EventReport] = []
        for prediction, known_us in self._predictions_and_ends(of_camera.labels):
            events = tracker.close("feed_ended") if prediction is None else tracker.push(prediction)
            reports += [EventReport(event, known_us) for event in events]
        return reports

    def _predictions_and_ends(self, labels: tuple[str, ...]) -> Iterator[tuple[Prediction | None, int]]:
        """Every prediction with the time it is known, and None where a feed ends."""
        for piece in self.pieces:
            closes = iter(piece.trace.closes.tolist())
            close = next(closes, None)
            newest_us = piece.begin_us
            known = piece.trace.places[:, KNOWN]
            for number, prediction in enumerate(piece.trace.predictions(self.camera, piece.begin_us, labels)):
                while close is not None and close <= number:
                    yield None, newest_us
                    close = next(closes, None)
                newest_us = piece.begin_us + int(known[number])
                yield prediction, newest_us
            while close is not None:
                yield None, newest_us
                close = next(closes, None)
