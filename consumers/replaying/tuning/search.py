"""Find thresholds with the fewest misses for a given false-alarm budget, by playing cached predictions many times.

Labels are tuned one by one. The search sweeps the start threshold for a few values of one other setting at a time
(hysteresis, smoothing, minimum duration, cooldown), and keeps the best value for the next. Each setting is played once
over all footage and counted per file.

The whole search is repeated on four fifths of the files, and what it chooses is counted on the fifth that it has not
seen: which settings are tried at all follows from those four fifths, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from consumers.replaying.judging.judgement import collect_events, make_event_set
from consumers.replaying.judging.metrics import Counts, Matcher, counted_in, match, poisson_upper
from consumers.replaying.judging.placing import TrueEvent
from consumers.replaying.trace import Timeline
from consumers.rules.rule import Rule

#: Number of start thresholds to try: by rank of the scores, and evenly between the lowest and the highest.
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
    """A rule that was tried and its counts; arrays are over files."""

    rule: Rule
    truth: Ints
    detected: Ints
    detections: Ints
    #: Seconds from the true onset to the alert, of each event found, by file.
    alerts: tuple[tuple[float, ...], ...]
    seconds: np.ndarray

    def counts(self, files: Sequence[int]) -> Counts:
        """Counts over some files."""
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
class TunedLabel:
    """The recommended settings of a label."""

    label: str
    before: Trial
    chosen: Trial
    trials: tuple[Trial, ...]
    #: Counts on files that were held out of the search; None if there are too few files.
    held_out: Counts | None
    #: The label's share of the budget, false alarms per camera-day.
    budget: float
    #: Whether the chosen settings keep to it on all files.
    within: bool

    @property
    def files(self) -> range:
        return range(len(self.chosen.seconds))


def per_day(counts: Counts) -> float:
    """False alarms per camera-day."""
    return counts.false_alarms * _DAY / counts.seconds if counts.seconds else float("inf")


def per_day_bound(counts: Counts) -> float:
    """The highest rate a day that so few false alarms are compatible with (exact Poisson, one-sided 95 %)."""
    return poisson_upper(counts.false_alarms) * _DAY / counts.seconds if counts.seconds else float("inf")


def tune(
    timelines: Sequence[Timeline],
    rules: Mapping[str, Rule],
    truth: Sequence[TrueEvent],
    matcher: Matcher,
    budget_per_day: float,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> list[TunedLabel] | None:
    """Tune every label for at most `budget_per_day` false alarms per camera-day, which the labels share equally.

    None if `stop`, which is called before each setting, returned true.
    """
    budget = budget_per_day / max(1, len(rules))
    try:
        return [
            _tune_label(_Trials(timelines, label, truth, matcher, progress, stop), rule, budget)
            for label, rule in rules.items()
        ]
    except _StoppedError:
        return None


def sweep_start(
    timelines: Sequence[Timeline], label: str, rule: Rule, truth: Sequence[TrueEvent], matcher: Matcher
) -> list[Trial]:
    """Try the rule as it is and with every start threshold that changes something, lowest first."""
    trials = _Trials(timelines, label, truth, matcher)
    tried = {
        trial.rule: trial for trial in (trials.run(rule), *map(trials.run, trials.with_starts(rule, trials.files)))
    }
    return sorted(tried.values(), key=lambda trial: trial.rule.start)


def _tune_label(trials: _Trials, rule: Rule, budget: float) -> TunedLabel:
    before = trials.run(rule)
    chosen, tried = _search(trials, list(trials.files), budget, rule)
    return TunedLabel(
        trials.label,
        before,
        chosen,
        tuple(tried),
        _held_out(trials, budget, rule),
        budget,
        per_day(chosen.counts(trials.files)) <= budget,
    )


def _search(trials: _Trials, files: Sequence[int], budget: float, rule: Rule) -> tuple[Trial, list[Trial]]:
    """The best setting for some files, and all that were tried; other files have no say in what is tried or chosen."""
    tried: dict[Rule, Trial] = {rule: trials.run(rule)}
    hysteresis = rule.end / rule.start if rule.start else 1.0
    best, ratio = rule, hysteresis
    changes: tuple[list[tuple[str, Any]], ...] = (
        [("ratio", r) for r in {hysteresis, *_HYSTERESIS}],
        [("smoothing", s) for s in {rule.smoothing, *_SMOOTHING}],
        [("min_seconds", s) for s in {rule.min_seconds, *_MIN_SECONDS}],
        [("cooldown_seconds", s) for s in {rule.cooldown_seconds, *_COOLDOWNS}],
    )
    for change in changes:
        now: dict[Rule, Trial] = {best: trials.run(best)}
        for name, value in sorted(change):
            base = best if name == "ratio" else replace(best, **{name: value})
            share = value if name == "ratio" else ratio
            now |= {r: trials.run(r) for r in trials.with_starts(base, files, share)}
        tried |= now
        best = _choose(list(now.values()), files, budget, rule).rule
        ratio = best.end / best.start if best.start else 1.0
    return _choose(list(tried.values()), files, budget, rule), list(tried.values())


def _choose(trials: Sequence[Trial], files: Sequence[int], budget: float, usual: Rule) -> Trial:
    """The trial that finds most within the budget; of equals, fewest false alarms, then the earliest alert."""

    def merit(trial: Trial) -> tuple[float, ...]:
        counts = trial.counts(files)
        within = per_day(counts) <= budget
        alert = float(np.median(counts.alerts)) if counts.alerts else float("inf")
        unusual = sum(
            getattr(trial.rule, name) != getattr(usual, name)
            for name in ("min_seconds", "cooldown_seconds", "smoothing")
        )
        # If none keeps to the budget: the fewest false alarms.
        first = (1.0, counts.detected, -counts.false_alarms) if within else (0.0, -counts.false_alarms, counts.detected)
        return (*first, -alert, -unusual)

    best = max(merit(trial) for trial in trials)
    equal = [trial for trial in trials if merit(trial) == best]
    rule = equal[0].rule
    # Of thresholds with equal results, the middle one leaves the most room on both sides for new scores.
    alike = [t for t in equal if replace(t.rule, start=rule.start, end=rule.end) == rule]
    return sorted(alike, key=lambda t: (t.rule.start, t.rule.end))[len(alike) // 2]


def _held_out(trials: _Trials, budget: float, usual: Rule) -> Counts | None:
    """What the search finds for some files, counted on the others, which it has not seen; None for a single file."""
    folds = min(_FOLDS, len(trials.files))
    if folds < 2:
        return None
    total: list[Counts] = []
    for fold in range(folds):
        chosen, _ = _search(trials, [f for f in trials.files if f % folds != fold], budget, usual)
        total.append(chosen.counts([f for f in trials.files if f % folds == fold]))
    return Counts(
        sum(c.truth for c in total),
        sum(c.detected for c in total),
        sum(c.detections for c in total),
        sum(c.seconds for c in total),
        tuple(a for c in total for a in c.alerts),
        0,
    )


class _StoppedError(Exception):
    """The user stopped the search."""


class _Trials:
    """Plays rules for one label, each of them once."""

    def __init__(
        self,
        timelines: Sequence[Timeline],
        label: str,
        truth: Sequence[TrueEvent],
        matcher: Matcher,
        progress: Callable[[str, int, int], None] = lambda *_: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.label, self._timelines, self._matcher = label, timelines, matcher
        self._progress, self._stop = progress, stop
        self._truth = [t for t in truth if t.label == label]
        self.known: dict[Rule, Trial] = {}
        empty = make_event_set(timelines, [], self._truth)
        self.files = range(len(empty.unit_seconds))
        #: By file.
        self._scores = [piece.trace.scores[:, piece.trace.labels.index(label)] for c in timelines for piece in c.pieces]

    def with_starts(self, rule: Rule, files: Sequence[int], ratio: float | None = None) -> Iterator[Rule]:
        """The rule with start thresholds over the range of the scores of some files, at which results may change."""
        share = ratio if ratio is not None else (rule.end / rule.start if rule.start else 1.0)
        levels = np.zeros(0)
        if len(scores := np.concatenate([self._scores[file] for file in files])):
            by_rank = np.quantile(scores, 1 - np.geomspace(0.5, 1e-4, _BY_RANK))
            # Also between scores: there is room there.
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
        found = [h for timeline in self._timelines for h in collect_events(timeline.play({self.label: rule}))]
        event_set = make_event_set(self._timelines, found, self._truth)
        matched = match(event_set.truth, event_set.detections, self._matcher)
        count = len(self.files)
        alerts: list[list[float]] = [[] for _ in self.files]
        for detection, index in zip(event_set.detections, matched, strict=True):
            if index is not None:
                alerts[event_set.truth[index].unit].append(detection.alert - event_set.truth[index].start)
        return Trial(
            rule,
            np.bincount([t.unit for t in event_set.truth], minlength=count).astype(np.int64),
            np.array([len(a) for a in alerts], np.int64),
            np.bincount(counted_in(event_set, matched), minlength=count).astype(np.int64),
            tuple(map(tuple, alerts)),
            np.array([event_set.unit_seconds[unit] for unit in self.files]),
        )
