"""Which settings of the tracker miss least within a budget of false alarms: kept predictions are played many times.

Labels are tuned one by one. Every setting that is tried is played over everything once; per file it is then known what
was found and what was a false alarm, so choosing on some files and judging on the others costs nothing more.

The search: a start threshold is swept for each of a few values of one other setting at a time (hysteresis, minimum
duration, cooldown, smoothing), the best of which is kept for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.stats import chi2

from consumers.live.tracker import Rule
from consumers.replaying.judging.judge import happenings, make_scene
from consumers.replaying.judging.metrics import Counts, Fit, counted_in, match
from consumers.replaying.judging.truth import TrueEvent
from consumers.replaying.trace import Course

#: Start thresholds that are tried: by how many windows pass them, and evenly between the least and the most.
_BY_RANK: Final = 16
_EVENLY: Final = 10
_HYSTERESIS: Final = (1.0, 0.8, 0.6, 0.4)
_MIN_SECONDS: Final = (0.0, 2.0, 3.0, 4.0, 6.0)
_COOLDOWNS: Final = (0.0, 5.0, 15.0, 30.0)
_SMOOTHING: Final = (1, 2, 3, 5)
_FOLDS: Final = 5
_DAY: Final = 86_400.0

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A rule that was tried, and what it gives; arrays are over files."""

    rule: Rule
    truth: Ints
    detected: Ints
    detections: Ints
    #: From the true onset to the alert, of everything found in each file.
    alerts: tuple[tuple[float, ...], ...]
    seconds: np.ndarray

    def counts(self, files: Sequence[int]) -> Counts:
        """What it gives on some files."""
        rows = list(files)
        return Counts(
            int(self.truth[rows].sum()),
            int(self.detected[rows].sum()),
            int(self.detections[rows].sum()),
            float(self.seconds[rows].sum()),
            tuple(alert for row in rows for alert in self.alerts[row]),
            0,
        )


@dataclass(frozen=True, slots=True)
class Tuned:
    """What is recommended for a label."""

    label: str
    before: Trial
    chosen: Trial
    trials: tuple[Trial, ...]
    #: On files that were held out when the settings for them were chosen; None where there are too few files.
    held_out: Counts | None
    #: The label's share of the budget: false alarms a camera-day.
    budget: float
    #: Whether the chosen settings keep to it on everything.
    within: bool

    @property
    def files(self) -> range:
        return range(len(self.chosen.seconds))


def per_day(counts: Counts) -> float:
    """False alarms a camera-day."""
    return counts.false_alarms * _DAY / counts.seconds if counts.seconds else float("inf")


def per_day_bound(counts: Counts) -> float:
    """The rate a day that so few false alarms would exceed in 1 of 20 cases only (exact Poisson, one-sided 95 %)."""
    return (
        float(chi2.ppf(0.95, 2 * (counts.false_alarms + 1)) / 2 * _DAY / counts.seconds)
        if counts.seconds
        else float("inf")
    )


def tune(
    courses: Sequence[Course],
    rules: Mapping[str, Rule],
    truth: Sequence[TrueEvent],
    fit: Fit,
    budget_per_day: float,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Tuned] | None:
    """Tune every label for at most `budget_per_day` false alarms a camera-day, which the labels share alike.

    None where `stop`, which is asked before each setting that is tried, said so.
    """
    budget = budget_per_day / max(1, len(rules))
    try:
        return [
            _tune_label(_Trials(courses, label, truth, fit, progress, stop), rule, budget)
            for label, rule in rules.items()
        ]
    except _StoppedError:
        return None


def sweep(courses: Sequence[Course], label: str, rule: Rule, truth: Sequence[TrueEvent], fit: Fit) -> list[Trial]:
    """The rule as it is and with every start threshold that is worth trying, lowest first."""
    trials = _Trials(courses, label, truth, fit)
    tried = {trial.rule: trial for trial in (trials.run(rule), *map(trials.run, trials.with_starts(rule)))}
    return sorted(tried.values(), key=lambda trial: trial.rule.start)


def _tune_label(trials: _Trials, rule: Rule, budget: float) -> Tuned:
    before = trials.run(rule)
    hysteresis = rule.end / rule.start if rule.start else 1.0
    best, ratio = rule, hysteresis
    changes: tuple[list[tuple[str, Any]], ...] = (
        [("ratio", r) for r in {hysteresis, *_HYSTERESIS}],
        [("smoothing", s) for s in {rule.smoothing, *_SMOOTHING}],
        [("min_seconds", s) for s in {rule.min_seconds, *_MIN_SECONDS}],
        [("cooldown_seconds", s) for s in {rule.cooldown_seconds, *_COOLDOWNS}],
    )
    for change in changes:
        tried: list[Trial] = []
        for name, value in sorted(change):
            base = best if name == "ratio" else replace(best, **{name: value})
            share = value if name == "ratio" else ratio
            tried += [trials.run(r) for r in trials.with_starts(base, share)]
        found = _choose([*tried, trials.run(best)], list(trials.files), budget, rule)
        best = found.rule
        ratio = best.end / best.start if best.start else 1.0
    everything = list(trials.known.values())
    chosen = _choose(everything, list(trials.files), budget, rule)
    counts = chosen.counts(trials.files)
    return Tuned(
        trials.label,
        before,
        chosen,
        tuple(everything),
        _held_out(everything, list(trials.files), budget, rule),
        budget,
        per_day(counts) <= budget,
    )


def _choose(trials: Sequence[Trial], files: Sequence[int], budget: float, usual: Rule) -> Trial:
    """The trial that finds most within the budget; of equals the one with fewer false alarms, then the sooner alert."""

    def merit(trial: Trial) -> tuple[float, ...]:
        counts = trial.counts(files)
        within = per_day(counts) <= budget
        alert = float(np.median(counts.alerts)) if counts.alerts else float("inf")
        unusual = sum(
            getattr(trial.rule, name) != getattr(usual, name)
            for name in ("min_seconds", "cooldown_seconds", "smoothing")
        )
        # Without any that keeps to the budget: the fewest false alarms.
        first = (1.0, counts.detected, -counts.false_alarms) if within else (0.0, -counts.false_alarms, counts.detected)
        return (*first, -alert, -unusual)

    best = max(merit(trial) for trial in trials)
    equal = [trial for trial in trials if merit(trial) == best]
    rule = equal[0].rule
    # Of thresholds that do the same, the middle one leaves the most room on both sides for scores that were not seen.
    alike = [t for t in equal if replace(t.rule, start=rule.start, end=rule.end) == rule]
    return sorted(alike, key=lambda t: (t.rule.start, t.rule.end))[len(alike) // 2]


def _held_out(trials: Sequence[Trial], files: Sequence[int], budget: float, usual: Rule) -> Counts | None:
    folds = min(_FOLDS, len(files))
    if folds < 2:
        return None
    total: list[Counts] = []
    for fold in range(folds):
        held = [f for f in files if f % folds == fold]
        chosen = _choose(trials, [f for f in files if f % folds != fold], budget, usual)
        total.append(chosen.counts(held))
    return Counts(
        sum(c.truth for c in total),
        sum(c.detected for c in total),
        sum(c.detections for c in total),
        sum(c.seconds for c in total),
        tuple(a for c in total for a in c.alerts),
        0,
    )


class _StoppedError(Exception):
    """Somebody asked to stop amid the search."""


class _Trials:
    """Plays rules for one label, each once."""

    def __init__(
        self,
        courses: Sequence[Course],
        label: str,
        truth: Sequence[TrueEvent],
        fit: Fit,
        progress: Callable[[str, int, int], None] = lambda *_: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.label, self._courses, self._fit = label, courses, fit
        self._progress, self._stop = progress, stop
        self._truth = [t for t in truth if t.label == label]
        self.known: dict[Rule, Trial] = {}
        empty = make_scene(courses, [], self._truth)
        self.files = range(len(empty.unit_seconds))
        self._scores = np.concatenate(
            [piece.trace.scores[:, piece.trace.labels.index(label)] for c in courses for piece in c.pieces]
        )

    def with_starts(self, rule: Rule, ratio: float | None = None) -> Iterator[Rule]:
        """The rule with start thresholds at which something changes, over the range of the scores that there are."""
        share = ratio if ratio is not None else (rule.end / rule.start if rule.start else 1.0)
        levels = np.zeros(0)
        if len(self._scores):
            by_rank = np.quantile(self._scores, 1 - np.geomspace(0.5, 1e-4, _BY_RANK))
            # Between the scores that there are lies room, too.
            levels = np.concatenate([by_rank, np.linspace(by_rank[0], by_rank[-1], _EVENLY)])
        for level in sorted({round(float(v), 3) for v in levels if v > 0} | {rule.start}):
            start = min(max(level, 0.001), 1.0)
            yield replace(rule, start=start, end=round(min(start, start * share), 3) if share < 1 else start)

    def run(self, rule: Rule) -> Trial:
        if rule not in self.known:
            if self._stop():
                raise _StoppedError
            self.known[rule] = self._play(rule)
            self._progress(f"settings for {self.label}", len(self.known), 0)
        return self.known[rule]

    def _play(self, rule: Rule) -> Trial:
        found = [h for course in self._courses for h in happenings(course.play({self.label: rule}))]
        scene = make_scene(self._courses, found, self._truth)
        matched = match(scene.truth, scene.detections, self._fit)
        count = len(self.files)
        alerts: list[list[float]] = [[] for _ in self.files]
        for detection, index in zip(scene.detections, matched, strict=True):
            if index is not None:
                alerts[scene.truth[index].unit].append(detection.alert - scene.truth[index].start)
        return Trial(
            rule,
            np.bincount([t.unit for t in scene.truth], minlength=count).astype(np.int64),
            np.array([len(a) for a in alerts], np.int64),
            np.bincount(counted_in(scene, matched), minlength=count).astype(np.int64),
            tuple(map(tuple, alerts)),
            np.array([scene.unit_seconds[unit] for unit in self.files]),
        )
