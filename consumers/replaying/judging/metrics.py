"""Match events with the truth and count: misses, false alarms, time to alert, precision by overlap.

Pure functions over intervals in seconds. Sources of the definitions:

- Temporal intersection over union, greedy one-to-one matching by score, and interpolated average precision: the
  evaluation of ActivityNet (Caba Heilbron et al., CVPR 2015; `eval_detection.py` of its evaluation kit).
- Misses against false alarms per hour, and matching by when a detection begins: NIST's TRECVID SED and ActEV (their
  alignment is one-to-one, too; here it is greedy, so that a match does not depend on the other events).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest, chi2

from models.evaluation.bootstrap import ROUNDS, draw_groups, interval

#: Overlaps at which precision, recall and F1 are reported.
OVERLAPS: Final = (0.1, 0.3, 0.5, 0.7)
#: Overlaps over which average precision is averaged, as ActivityNet does.
AP_OVERLAPS: Final = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))
#: Draws of fewer found events say little about how much times and F1 vary.
_LEAST_DETECTED: Final = 5

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Truth:
    """A true event, in seconds of a camera's footage."""

    camera: str
    label: str
    start: float
    end: float
    #: Its file: the bootstrap draws these.
    unit: int = 0


@dataclass(frozen=True, slots=True)
class Detection:
    """An event of the tracker."""

    camera: str
    label: str
    start: float
    end: float
    score: float
    #: End of the segment that started it: the earliest time at which a live worker can report it.
    alert: float
    unit: int = 0


Matcher = Callable[[Truth, Detection], float | None]


def temporal_iou(start_a: float, end_a: float, start_b: float, end_b: float) -> float:
    """Length of the intersection of two intervals over that of their union; 0 if they do not overlap."""
    intersection = min(end_a, end_b) - max(start_a, start_b)
    if intersection <= 0:
        return 0.0
    return intersection / ((end_a - start_a) + (end_b - start_b) - intersection)


def by_overlap(least: float) -> Matcher:
    """Match by a temporal IoU of `least` or more; 0 means any overlap."""

    def similarity(true: Truth, detection: Detection) -> float | None:
        iou = temporal_iou(true.start, true.end, detection.start, detection.end)
        return iou if iou > 0 and iou >= least else None

    return similarity


def by_onset(before: float, after: float) -> Matcher:
    """Match if the detection begins between `before` seconds before and `after` seconds after the true onset."""

    def similarity(true: Truth, detection: Detection) -> float | None:
        late = detection.start - true.start
        return -abs(late) if -before <= late <= after else None

    return similarity


def match(truth: Sequence[Truth], detections: Sequence[Detection], matcher: Matcher) -> list[int | None]:
    """For each detection the index of the true event it finds, or None.

    One to one and greedy: in the order of their scores, detections take the best match of their camera and label among
    the true events that are still free. Of equal scores the earlier one goes first.
    """
    free: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, true in enumerate(truth):
        free[true.camera, true.label].append(index)
    found: list[int | None] = [None] * len(detections)
    for number in sorted(range(len(detections)), key=lambda n: (-detections[n].score, detections[n].start, n)):
        detection = detections[number]
        candidates = free[detection.camera, detection.label]
        fits = [(f, -index) for index in candidates if (f := matcher(truth[index], detection)) is not None]
        if fits:
            found[number] = -max(fits)[1]
            candidates.remove(-max(fits)[1])
    return found


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of true events and detections, and of those that match."""

    truth: int
    detected: int
    detections: int
    seconds: float
    #: Seconds from the true onset to the alert, of each event found; negative if the alert came first.
    alerts: tuple[float, ...]
    #: False alarms that overlap a true event of their label which another detection found.
    repeats: int

    @property
    def misses(self) -> int:
        return self.truth - self.detected

    @property
    def false_alarms(self) -> int:
        return self.detections - self.detected

    def figures(self) -> dict[str, float | None]:
        """Figures by name; None if one cannot be computed."""
        precision = self.detected / self.detections if self.detections else None
        recall = self.detected / self.truth if self.truth else None
        both = self.truth + self.detections
        return {
            "truth_events": self.truth,
            "detected": self.detected,
            "misses": self.misses,
            "false_alarms": self.false_alarms,
            "repeats": self.repeats,
            "false_alarms_per_hour": self.false_alarms * 3600 / self.seconds if self.seconds else None,
            "time_to_alert_p50": _percentile(self.alerts, 50),
            "time_to_alert_p95": _percentile(self.alerts, 95),
            "precision": precision,
            "recall": recall,
            "f1": 2 * self.detected / both if both else None,
        }


@dataclass(frozen=True, slots=True)
class EventSet:
    """True events and detections on the same footage."""

    truth: tuple[Truth, ...]
    detections: tuple[Detection, ...]
    #: Seconds of footage by camera, and by unit.
    seconds: dict[str, float]
    unit_seconds: dict[int, float]


def count(event_set: EventSet, matched: Sequence[int | None]) -> Counts:
    """Count over everything; `matched` comes from `match`."""
    return _counts(event_set, matched, sum(event_set.seconds.values()), lambda _: True)


def count_by_label(event_set: EventSet, matched: Sequence[int | None]) -> dict[str, Counts]:
    labels = sorted({t.label for t in event_set.truth} | {d.label for d in event_set.detections})
    total = sum(event_set.seconds.values())
    return {label: _counts(event_set, matched, total, lambda e, label=label: e.label == label) for label in labels}  # type: ignore[misc]


def count_by_camera(event_set: EventSet, matched: Sequence[int | None]) -> dict[str, Counts]:
    return {
        camera: _counts(event_set, matched, seconds, lambda e, camera=camera: e.camera == camera)  # type: ignore[misc]
        for camera, seconds in event_set.seconds.items()
    }


def _counts(
    event_set: EventSet, matched: Sequence[int | None], seconds: float, of: Callable[[Truth | Detection], bool]
) -> Counts:
    detections = [(d, m) for d, m in zip(event_set.detections, matched, strict=True) if of(d)]
    alerts = tuple(d.alert - event_set.truth[m].start for d, m in detections if m is not None)
    found = _found(event_set, matched)
    return Counts(
        truth=sum(of(t) for t in event_set.truth),
        detected=len(alerts),
        detections=len(detections),
        seconds=seconds,
        alerts=alerts,
        repeats=sum(m is None and _overlaps_any(d, found) for d, m in detections),
    )


def _found(event_set: EventSet, matched: Sequence[int | None]) -> list[Truth]:
    return [event_set.truth[m] for m in matched if m is not None]


def _overlaps_any(detection: Detection, truth: Sequence[Truth]) -> bool:
    return any(
        t.camera == detection.camera
        and t.label == detection.label
        and temporal_iou(t.start, t.end, detection.start, detection.end) > 0
        for t in truth
    )


def average_precision(scores: Sequence[float], hits: Sequence[bool], truth: int) -> float | None:
    """Area under the interpolated precision-recall curve, as ActivityNet computes it; None without truth.

    Args:
        scores: of each detection.
        hits: whether it found a truth.
        truth: how many there are to find.
    """
    if not truth:
        return None
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    found = np.cumsum(np.asarray(hits, bool)[order])
    precision = found / np.arange(1, len(order) + 1)
    recall = found / truth
    # The precision at a recall is the best one at that recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((steps * envelope).sum())


def average_precisions(
    event_set: EventSet, overlaps: Sequence[float] = AP_OVERLAPS
) -> dict[str, dict[float, float | None]]:
    """Average precision by label and least overlap."""
    result: dict[str, dict[float, float | None]] = {}
    for label in sorted({t.label for t in event_set.truth}):
        truth = [t for t in event_set.truth if t.label == label]
        detections = [d for d in event_set.detections if d.label == label]
        result[label] = {}
        for overlap in overlaps:
            hits = [m is not None for m in match(truth, detections, by_overlap(overlap))]
            result[label][overlap] = average_precision([d.score for d in detections], hits, len(truth))
    return result


def mean_average_precision(by_label: dict[str, dict[float, float | None]]) -> float | None:
    """The mean over labels and overlaps; None without truth."""
    values = [ap for row in by_label.values() for ap in row.values() if ap is not None]
    return float(np.mean(values)) if values else None


def counted_in(event_set: EventSet, matched: Sequence[int | None]) -> list[int]:
    """The unit that each detection counts in: that of the true event it finds, or its own.

    So an event across the end of a file counts in the file of its true event, and no unit finds more than it has.
    """
    return [
        d.unit if m is None else event_set.truth[m].unit for d, m in zip(event_set.detections, matched, strict=True)
    ]


def bootstrap(
    event_set: EventSet, matched: Sequence[int | None], *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the figures of `Counts`, by drawing whole files with replacement.

    A figure that no draw has gets no interval; with a single file none has.
    """
    units = sorted(event_set.unit_seconds)
    if len(units) < 2:
        return {}
    truth = np.bincount([units.index(t.unit) for t in event_set.truth], minlength=len(units))
    detections = np.bincount([units.index(u) for u in counted_in(event_set, matched)], minlength=len(units))
    alerts: list[list[float]] = [[] for _ in units]
    repeats, found = np.zeros(len(units), int), _found(event_set, matched)
    for d, m in zip(event_set.detections, matched, strict=True):
        if m is not None:
            alerts[units.index(event_set.truth[m].unit)].append(d.alert - event_set.truth[m].start)
        else:
            repeats[units.index(d.unit)] += _overlaps_any(d, found)
    detected = np.array([len(a) for a in alerts])
    seconds = np.array([event_set.unit_seconds[u] for u in units])
    drawn: dict[str, list[float]] = defaultdict(list)
    for rows in draw_groups(len(units), rounds, seed):
        counts = Counts(
            int(truth[rows].sum()),
            int(detected[rows].sum()),
            int(detections[rows].sum()),
            float(seconds[rows].sum()),
            tuple(a for row in rows for a in alerts[row]),
            int(repeats[rows].sum()),
        )
        for name, value in counts.figures().items():
            if value is not None:
                drawn[name].append(value)
    return {name: interval(values) for name, values in drawn.items()}


def poisson_upper(count: int) -> float:
    """The mean that so few events would fall short of in 1 of 20 cases only (exact, one-sided 95 %)."""
    return float(chi2.ppf(0.95, 2 * (count + 1)) / 2)


def poisson_interval(count: int) -> tuple[float, float]:
    """Exact 95 % interval of the mean behind a count (Garwood, 1936); of 0 it is 0 to the one-sided bound."""
    if not count:
        return 0.0, poisson_upper(0)
    return float(chi2.ppf(0.025, 2 * count) / 2), float(chi2.ppf(0.975, 2 * (count + 1)) / 2)


def intervals(event_set: EventSet, matched: Sequence[int | None]) -> dict[str, tuple[float, float]]:
    """95 % intervals of the rates, shares and times; counts are known and have none.

    The false-alarm rate, precision and recall get the hull of two: an exact one (Poisson, Clopper-Pearson), which
    takes events as independent, and that of `bootstrap`, which does not, yet has width zero where all files are alike.
    The others have the latter only, and nothing where few events are found or it has width zero.
    """
    drawn = bootstrap(event_set, matched)
    counts = count(event_set, matched)
    exact: dict[str, tuple[float, float]] = {}
    if counts.seconds:
        hours = counts.seconds / 3600
        low, high = poisson_interval(counts.false_alarms)
        exact["false_alarms_per_hour"] = low / hours, high / hours
    for name, total in (("precision", counts.detections), ("recall", counts.truth)):
        if total:
            share = binomtest(counts.detected, total).proportion_ci(method="exact")
            exact[name] = float(share.low), float(share.high)
    found = {
        name: (min(low, drawn.get(name, (low, high))[0]), max(high, drawn.get(name, (low, high))[1]))
        for name, (low, high) in exact.items()
    }
    for name in ("time_to_alert_p50", "time_to_alert_p95", "f1"):
        if counts.detected >= _LEAST_DETECTED and name in drawn and drawn[name][0] < drawn[name][1]:
            found[name] = drawn[name]
    return found


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
