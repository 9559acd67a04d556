"""Events under the rule of now, and under another one, out of the same scores. Pure: scores and verdicts in."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from consumers.records.verdict import Verdict
from consumers.replaying.tuning.kept import Alarm, alarms_under, answered, least_score, raised
from consumers.rules.rule import Rule
from consumers.verdicts.book import JudgedEvent

from .scores import PastScores

_T = TypeVar("_T")
#: Looking at the clock costs as much as some windows.
_LOOKS_EACH: Final = 100


class TooLongError(Exception):
    """Comparing takes longer than it may."""


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


def compared(
    scores: PastScores, now: Rule, then: Rule, judged: Sequence[JudgedEvent], until: float = math.inf
) -> Compared:
    """Events under two rules, each with what people said of what it meets.

    Raises:
        TooLongError: it is not done `until` then, as `time.monotonic` has it.
    """
    said: list[tuple[Verdict, str]] = [(each.newest, each.judged) for each in judged if each.judged != "contested"]
    before, after = (_events(scores, rule, said, until) for rule in (now, then))
    return Compared(before, after, _unmet(before, after), _unmet(after, before))


def _events(scores: PastScores, rule: Rule, said: Sequence[tuple[Verdict, str]], until: float) -> tuple[Alarm, ...]:
    predictions = _in_time(scores.predictions(least_score(rule)), until)
    found = alarms_under(predictions, scores.asked.label, rule, (), alerts_only=False)
    return tuple(sorted(_in_time(answered(found, said), until), key=lambda alarm: alarm.start_us))


def _in_time(items: Iterable[_T], until: float) -> Iterator[_T]:
    for number, each in enumerate(items):
        if number % _LOOKS_EACH == 0 and time.monotonic() > until:
            raise TooLongError("this takes too long: ask for a shorter time, or for higher scores")
        yield each


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
