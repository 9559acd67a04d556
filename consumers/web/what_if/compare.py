"""Events under the rule of now, and under another one, out of the same scores. Pure: scores and verdicts in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consumers.records.verdict import Verdict
from consumers.replaying.tuning.kept import Alarm, alarms_under, least_score, raised
from consumers.rules.rule import Rule
from consumers.verdicts.book import JudgedEvent

from .scores import PastScores


@dataclass(frozen=True, slots=True)
class Compared:
    """What the other rule does; all oldest first."""

    before: tuple[Alarm, ...]
    after: tuple[Alarm, ...]
    #: Of those before, which no event meets any more; of those after, which met none.
    lost: tuple[Alarm, ...]
    gained: tuple[Alarm, ...]


def supposed(rule: Rule, start: float, end: float | None, min_seconds: float | None) -> Rule:
    """A rule with other thresholds, and another time for which a score has to be high; it ends at `start` or below."""
    found = raised(rule, start)
    return replace(
        found,
        end=found.end if end is None else min(end, start),
        min_seconds=found.min_seconds if min_seconds is None else min_seconds,
    )


def compared(scores: PastScores, now: Rule, then: Rule, judged: Sequence[JudgedEvent]) -> Compared:
    """Events under two rules, each with what people said of what it meets."""
    said: list[tuple[Verdict, str]] = [(each.newest, each.judged) for each in judged if each.judged != "contested"]
    before, after = (_events(scores, rule, said) for rule in (now, then))
    return Compared(before, after, _unmet(before, after), _unmet(after, before))


def _events(scores: PastScores, rule: Rule, said: Sequence[tuple[Verdict, str]]) -> tuple[Alarm, ...]:
    label = scores.asked.label
    predictions = scores.predictions(least_score(rule))
    found = alarms_under(predictions, label, rule, said, alerts_only=False)
    return tuple(sorted(found, key=lambda alarm: alarm.start_us))


def _unmet(alarms: Sequence[Alarm], others: Sequence[Alarm]) -> tuple[Alarm, ...]:
    """Those that overlap with none of others; both by their begins."""
    found, at, reach_us = [], 0, -1
    for alarm in alarms:
        # Of those that begin before its end, the one that lasts longest.
        while at < len(others) and others[at].start_us < alarm.end_us:
            reach_us = max(reach_us, others[at].end_us)
            at += 1
        if reach_us <= alarm.start_us:
            found.append(alarm)
    return tuple(found)
