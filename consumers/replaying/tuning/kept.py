"""Thresholds from what people said of alarms, and from the scores that are kept. Pure: scores and verdicts in.

    kept scores ──▶ events under the rules now ──▶ raise one threshold after another
    verdicts    ──▶ right, false, not judged         while that avoids false alarms, or until the budget is kept

Thresholds only rise: nobody has judged what was never told, so nothing is known of lower ones.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from consumers.live.tracker import Tracker
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.records.verdict import Verdict
from consumers.rules.rule import Rule
from consumers.verdicts.book import JudgedEvent

#: Thresholds of one camera and label that are tried.
_LEVELS: Final = 48
_DIGITS: Final = 3

Place = tuple[str, str]  # camera, label
Said = Literal["right", "false", "open"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alert that the rules now would raise out of the kept scores."""

    event: str
    camera: str
    label: str
    start_us: int
    end_us: int
    peak_score: float
    #: What people said; open: nobody, or not the same.
    said: Said

    @property
    def place(self) -> Place:
        return self.camera, self.label


@dataclass(frozen=True, slots=True)
class Raised:
    """One threshold that is proposed."""

    camera: str
    label: str
    before: float
    start: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed, and what it does to the alarms of the kept scores."""

    raised: tuple[Raised, ...]
    kept: tuple[Alarm, ...]
    lost: tuple[Alarm, ...]
    #: Alarms by night, day or week, most recent last: before, and with what is proposed.
    before: Mapping[str, int]
    after: Mapping[str, int]
    #: Whether the budget is kept; True where there is none.
    within: bool
    #: Events that were judged and of which no score is kept, or which the rules now would not raise.
    unseen: tuple[Verdict, ...]

    def lost_as(self, said: Said) -> list[Alarm]:
        """Alarms that would not come any more, of which people said so."""
        return [alarm for alarm in self.lost if alarm.said == said]


def propose(
    scores: Mapping[str, Sequence[Prediction]],
    rules: Callable[[str], Mapping[str, Rule]],
    judged: Mapping[str, JudgedEvent],
    unit_of: Callable[[int], str | None],
    budget: int | None,
) -> Proposal:
    """Raise thresholds until no false alarm can be avoided for nothing, and until the budget is kept.

    Args:
        scores: by camera, in order.
        rules: of a camera, as they are now.
        judged: what people said, by event.
        unit_of: to which night, day or week an event time belongs; None where to none, so that it does not count.
        budget: alarms in one of them, of all cameras together, at most; None: avoid what is false and costs nothing.
    """
    said = [(j.newest, j.judged) for j in judged.values() if j.judged != "contested"]
    tried: dict[Place, dict[float, tuple[Alarm, ...]]] = {}
    starts: dict[Place, float] = {}
    for camera, predictions in scores.items():
        for label, rule in rules(camera).items():
            least = least_score(rule)
            seen = [p for p in predictions if label in p.scores and p.scores[label] >= least]
            now = alarms_under(seen, label, rule, said)
            starts[camera, label] = rule.start
            tried[camera, label] = {
                start: now if start == rule.start else alarms_under(seen, label, raised(rule, start), said)
                for start in _levels(rule.start, now)
            }
    before = {place: levels[starts[place]] for place, levels in tried.items()}
    chosen = dict(starts)
    for place, levels in tried.items():
        chosen[place] = _for_nothing(levels, starts[place])
    while budget is not None and (over := _over(tried, chosen, unit_of, budget)):
        best = _next(tried, chosen, unit_of, over)
        if best is None:
            break
        chosen[best[0]] = best[1]
    all_before = [alarm for alarms in before.values() for alarm in alarms]
    kept, lost = _split(all_before, {place: tried[place][start] for place, start in chosen.items()})
    found = {alarm.event for alarm in all_before} | {v.event for v, _ in said if any(_meets(v, a) for a in all_before)}
    after = Counter(unit for a in _all(tried, chosen) if (unit := unit_of(a.start_us)) is not None)
    return Proposal(
        raised=tuple(Raised(*p, starts[p], start) for p, start in sorted(chosen.items()) if start != starts[p]),
        kept=tuple(kept),
        lost=tuple(lost),
        before=Counter(unit for a in all_before if (unit := unit_of(a.start_us)) is not None),
        after=after,
        within=budget is None or max(after.values(), default=0) <= budget,
        unseen=tuple(verdict for verdict, _ in said if verdict.event not in found),
    )


def least_score(rule: Rule) -> float:
    """The score from which a window can be a part of an event; those below may be left out, as gaps."""
    return 0.0 if rule.smoothing > 1 else rule.end


def alarms_under(
    predictions: Iterable[Prediction],
    label: str,
    rule: Rule,
    said: Sequence[tuple[Verdict, str]],
    *,
    alerts_only: bool = True,
) -> tuple[Alarm, ...]:
    """The alerts of one label of one camera, as a worker raises them; all events where not `alerts_only`."""
    tracker = Tracker({label: rule})
    reports: dict[str, Event] = {}
    alerts: set[str] = set()
    for prediction in predictions:
        for event in tracker.push(prediction):
            reports[event.id] = event
            if event.severity == "alert" or not alerts_only:
                alerts.add(event.id)
    for event in tracker.close("feed_ended"):
        reports[event.id] = event
    found = (
        Alarm(e.id, e.camera, e.label, e.start_us, e.end_us, e.peak_score, "open")
        for e in reports.values()
        if e.id in alerts
    )
    return tuple(answered(found, said))


def answered(alarms: Iterable[Alarm], said: Sequence[tuple[Verdict, str]]) -> Iterator[Alarm]:
    """Alarms, each with what people said of what it meets."""
    answers = _Answers(said)
    return (replace(alarm, said=answers.to(alarm)) for alarm in alarms)


class _Answers:
    """What people said, to be found by event and by time: there may be thousands of alarms and as many verdicts."""

    def __init__(self, said: Sequence[tuple[Verdict, str]]) -> None:
        self._said = sorted(said, key=lambda each: each[0].start_us)
        self._starts_us = [verdict.start_us for verdict, _ in self._said]
        self._longest_us = max((verdict.end_us - verdict.start_us for verdict, _ in said), default=0)
        self._of_event: dict[str, set[str]] = {}
        for verdict, answer in said:
            self._of_event.setdefault(verdict.event, set()).add(answer)

    def to(self, alarm: Alarm) -> Said:
        """What they come to, for one alarm."""
        first = bisect_left(self._starts_us, alarm.start_us - self._longest_us)
        behind = bisect_left(self._starts_us, alarm.end_us)
        beside = {answer for verdict, answer in self._said[first:behind] if _meets(verdict, alarm)}
        answers = beside | self._of_event.get(alarm.event, set())
        # Where somebody says that something was there, it was.
        return "right" if "right" in answers else "false" if answers else "open"


def _meets(verdict: Verdict, alarm: Alarm) -> bool:
    """Whether a verdict is about an alarm: another threshold gives the event another begin, and so another id."""
    return verdict.event == alarm.event or (
        (verdict.camera, verdict.label) == alarm.place
        and verdict.start_us < alarm.end_us
        and verdict.end_us > alarm.start_us
    )


def _levels(start: float, alarms: Sequence[Alarm]) -> list[float]:
    """The threshold now, and those amid the peaks of alarms: there is room for new scores on both sides."""
    peaks = sorted({alarm.peak_score for alarm in alarms if alarm.peak_score >= start})
    amid = [(low + high) / 2 for low, high in itertools.pairwise([*peaks, 1.0])]
    if len(amid) > _LEVELS:
        amid = [amid[round(n * (len(amid) - 1) / (_LEVELS - 1))] for n in range(_LEVELS)]
    return sorted({start, *(level for each in amid if (level := min(1.0, round(each, _DIGITS))) > start)})


def raised(rule: Rule, start: float) -> Rule:
    """A rule with another threshold; an event ends below it at the latest."""
    return replace(rule, start=start, end=min(rule.end, start))


def _count(alarms: Iterable[Alarm], said: Said) -> int:
    return sum(alarm.said == said for alarm in alarms)


def _for_nothing(levels: Mapping[float, tuple[Alarm, ...]], now: float) -> float:
    """The lowest threshold with the fewest false alarms of those that lose nothing that was right, or not judged."""
    free = [
        start
        for start, alarms in levels.items()
        if all(_count(alarms, said) >= _count(levels[now], said) for said in ("right", "open"))
    ]
    return min(free, key=lambda start: (_count(levels[start], "false"), start))


def _all(tried: Mapping[Place, Mapping[float, tuple[Alarm, ...]]], chosen: Mapping[Place, float]) -> list[Alarm]:
    return [alarm for place, start in chosen.items() for alarm in tried[place][start]]


def _over(
    tried: Mapping[Place, Mapping[float, tuple[Alarm, ...]]],
    chosen: Mapping[Place, float],
    unit_of: Callable[[int], str | None],
    budget: int,
) -> dict[str, int]:
    """By how many alarms each night, day or week is over the budget, of those that are."""
    counts = Counter(unit for alarm in _all(tried, chosen) if (unit := unit_of(alarm.start_us)) is not None)
    return {unit: count - budget for unit, count in counts.items() if count > budget}


def _next(
    tried: Mapping[Place, Mapping[float, tuple[Alarm, ...]]],
    chosen: Mapping[Place, float],
    unit_of: Callable[[int], str | None],
    over: Mapping[str, int],
) -> tuple[Place, float] | None:
    """The step that costs least for each alarm by which it comes nearer to the budget; None where none does."""

    def excess(alarms: Iterable[Alarm]) -> int:
        counts = Counter(unit for a in alarms if (unit := unit_of(a.start_us)) is not None and unit in over)
        return sum(counts.values())

    best: tuple[tuple[float, float, float], Place, float] | None = None
    for place, now in chosen.items():
        here = tried[place][now]
        for start, alarms in tried[place].items():
            if start <= now or (gain := excess(here) - excess(alarms)) <= 0:
                continue
            right = (_count(here, "right") - _count(alarms, "right")) / gain
            unjudged = (_count(here, "open") - _count(alarms, "open")) / gain
            if best is None or (right, unjudged, start - now) < best[0]:
                best = (right, unjudged, start - now), place, start
    return None if best is None else best[1:]


def _split(before: Sequence[Alarm], after: Mapping[Place, tuple[Alarm, ...]]) -> tuple[list[Alarm], list[Alarm]]:
    """The alarms that are still raised, and those that are not."""
    kept: list[Alarm] = []
    lost: list[Alarm] = []
    for alarm in before:
        still = any(a.start_us < alarm.end_us and a.end_us > alarm.start_us for a in after[alarm.place])
        (kept if still else lost).append(alarm)
    return kept, lost
