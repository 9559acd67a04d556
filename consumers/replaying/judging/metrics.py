"""How events compare with the truth: matching, misses, false alarms, time to alert, precision over overlaps.

Pure functions over intervals in seconds. Sources of the definitions:

- Temporal intersection over union, greedy one-to-one matching by score, and interpolated average precision: the
  evaluation of ActivityNet (Caba Heilbron et al., CVPR 2015; `eval_detection.py` of its evaluation kit).
- Misses against false alarms per hour, and matching by when a detection begins: NIST's TRECVID SED and ActEV (their
  alignment is one-to-one, too; unlike theirs it is greedy here, so that a match does not depend on the other events).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.evaluation.bootstrap import ROUNDS, draw_groups, interval

#: Overlaps at which precision, recall and F1 are told.
OVERLAPS: Final = (0.1, 0.3, 0.5, 0.7)
#: Overlaps over which average precision is averaged, as ActivityNet does.
AP_OVERLAPS: Final = tuple(round(0.5 + 0.05 * n, 2) for n in range(10))

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Truth:
    """What happens, in seconds of a camera's footage."""

    camera: str
    label: str
    start: float
    end: float
    #: Which file it lies in: intervals are by bootstrap over these.
    unit: int = 0


@dataclass(frozen=True, slots=True)
class Detection:
    """What the tracker made of it."""

    camera: str
    label: str
    start: float
    end: float
    score: float
    #: When the segment that started it had ended: the earliest at which a live worker can say so.
    alert: float
    unit: int = 0


Fit = Callable[[Truth, Detection], float | None]


def temporal_iou(start_a: float, end_a: float, start_b: float, end_b: float) -> float:
    """Length of the intersection over length of the union of two intervals; 0 where they do not meet."""
    intersection = min(end_a, end_b) - max(start_a, start_b)
    if intersection <= 0:
        return 0.0
    return intersection / ((end_a - start_a) + (end_b - start_b) - intersection)


def by_overlap(least: float) -> Fit:
    """Match by temporal IoU of at least `least`; 0 asks for any overlap."""

    def fit(true: Truth, detection: Detection) -> float | None:
        iou = temporal_iou(true.start, true.end, detection.start, detection.end)
        return iou if iou > 0 and iou >= least else None

    return fit


def by_onset(before: float, after: float) -> Fit:
    """Match where the detection begins at most `before` seconds before the truth and `after` seconds after it."""

    def fit(true: Truth, detection: Detection) -> float | None:
        late = detection.start - true.start
        return -abs(late) if -before <= late <= after else None

    return fit


def match(truth: Sequence[Truth], detections: Sequence[Detection], fit: Fit) -> list[int | None]:
    """For each detection the index of the truth that it finds, or None.

    One to one, greedy: detections in the order of their scores take the truth of their camera and label that fits
    best among those still free. Of equal scores the earlier goes first.
    """
    free: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, true in enumerate(truth):
        free[true.camera, true.label].append(index)
    found: list[int | None] = [None] * len(detections)
    for number in sorted(range(len(detections)), key=lambda n: (-detections[n].score, detections[n].start, n)):
        detection = detections[number]
        candidates = free[detection.camera, detection.label]
        fits = [(f, -index) for index in candidates if (f := fit(truth[index], detection)) is not None]
        if fits:
            found[number] = -max(fits)[1]
            candidates.remove(-max(fits)[1])
    return found


@dataclass(frozen=True, slots=True)
class Counts:
    """Of some truth and some detections: what was found, and what was not."""

    truth: int
    detected: int
    detections: int
    seconds: float
    #: From the true onset to the alert, of each that was detected; negative where the alert came first.
    alerts: tuple[float, ...]
    #: False alarms that overlap a truth of their label which another detection found.
    repeats: int

    @property
    def misses(self) -> int:
        return self.truth - self.detected

    @property
    def false_alarms(self) -> int:
        return self.detections - self.detected

    def figures(self) -> dict[str, float | None]:
        """By name; None where it cannot be had."""
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
class Scene:
    """All that is compared."""

    truth: tuple[Truth, ...]
    detections: tuple[Detection, ...]
    #: Seconds of footage by camera, and by unit.
    seconds: dict[str, float]
    unit_seconds: dict[int, float]


def count(scene: Scene, matched: Sequence[int | None]) -> Counts:
    """Count over everything; `matched` comes from `match`."""
    return _counts(scene, matched, sum(scene.seconds.values()), lambda _: True)


def count_by_label(scene: Scene, matched: Sequence[int | None]) -> dict[str, Counts]:
    labels = sorted({t.label for t in scene.truth} | {d.label for d in scene.detections})
    total = sum(scene.seconds.values())
    return {label: _counts(scene, matched, total, lambda e, label=label: e.label == label) for label in labels}  # type: ignore[misc]


def count_by_camera(scene: Scene, matched: Sequence[int | None]) -> dict[str, Counts]:
    return {
        camera: _counts(scene, matched, seconds, lambda e, camera=camera: e.camera == camera)  # type: ignore[misc]
        for camera, seconds in scene.seconds.items()
    }


def _counts(
    scene: Scene, matched: Sequence[int | None], seconds: float, of: Callable[[Truth | Detection], bool]
) -> Counts:
    detections = [(d, m) for d, m in zip(scene.detections, matched, strict=True) if of(d)]
    alerts = tuple(d.alert - scene.truth[m].start for d, m in detections if m is not None)
    return Counts(
        truth=sum(of(t) for t in scene.truth),
        detected=len(alerts),
        detections=len(detections),
        seconds=seconds,
        alerts=alerts,
        repeats=sum(m is None and _overlaps_any(d, scene.truth) for d, m in detections),
    )


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


def average_precisions(scene: Scene, overlaps: Sequence[float] = AP_OVERLAPS) -> dict[str, dict[float, float | None]]:
    """Average precision by label and least overlap."""
    result: dict[str, dict[float, float | None]] = {}
    for label in sorted({t.label for t in scene.truth}):
        truth = [t for t in scene.truth if t.label == label]
        detections = [d for d in scene.detections if d.label == label]
        result[label] = {}
        for overlap in overlaps:
            hits = [m is not None for m in match(truth, detections, by_overlap(overlap))]
            result[label][overlap] = average_precision([d.score for d in detections], hits, len(truth))
    return result


def mean_average_precision(by_label: dict[str, dict[float, float | None]]) -> float | None:
    """The mean over labels and overlaps; None without truth."""
    values = [ap for row in by_label.values() for ap in row.values() if ap is not None]
    return float(np.mean(values)) if values else None


def counted_in(scene: Scene, matched: Sequence[int | None]) -> list[int]:
    """The unit that each detection counts in: that of the truth it finds, or its own.

    So that what happens across the end of a file is found where it is to be found, and no unit finds more than it has.
    """
    return [d.unit if m is None else scene.truth[m].unit for d, m in zip(scene.detections, matched, strict=True)]


def bootstrap(
    scene: Scene, matched: Sequence[int | None], *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the figures of `Counts`: files are drawn with replacement, with everything in them.

    Nothing for a figure that no draw has, and nothing at all where there is one file only.
    """
    units = sorted(scene.unit_seconds)
    if len(units) < 2:
        return {}
    truth = np.bincount([units.index(t.unit) for t in scene.truth], minlength=len(units))
    detections = np.bincount([units.index(u) for u in counted_in(scene, matched)], minlength=len(units))
    alerts: list[list[float]] = [[] for _ in units]
    repeats = np.zeros(len(units), int)
    for d, m in zip(scene.detections, matched, strict=True):
        if m is not None:
            alerts[units.index(scene.truth[m].unit)].append(d.alert - scene.truth[m].start)
        else:
            repeats[units.index(d.unit)] += _overlaps_any(d, scene.truth)
    detected = np.array([len(a) for a in alerts])
    seconds = np.array([scene.unit_seconds[u] for u in units])
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


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values else None
