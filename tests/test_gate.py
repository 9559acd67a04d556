"""The condition of --fail-if: what it understands, what it refuses, and what it says."""

from __future__ import annotations

import pytest

from consumers.replaying.errors import GateError
from consumers.replaying.judging.gate import Gate

KNOWN = frozenset({"misses", "false_alarms_per_hour", "time_to_alert_p95"})
FIGURES = {"misses": 3, "false_alarms_per_hour": 0.25, "time_to_alert_p95": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("misses>2", ["misses > 2: misses is 3"]),
        ("misses>3", []),
        ("misses>=3 and misses<=3", ["misses >= 3: misses is 3", "misses <= 3: misses is 3"]),
        ("misses>3 or false_alarms_per_hour>0.2", ["false_alarms_per_hour > 0.2: false_alarms_per_hour is 0.25"]),
        ("misses>2 and false_alarms_per_hour>0.5", []),
        ("not misses<1", ["not misses < 1: misses is 3"]),
        (
            "not (misses<1 or false_alarms_per_hour>0.5)",
            ["not misses < 1: misses is 3", "not false_alarms_per_hour > 0.5: false_alarms_per_hour is 0.25"],
        ),
        (
            "not (misses>2 and false_alarms_per_hour>0.5)",
            ["not false_alarms_per_hour > 0.5: false_alarms_per_hour is 0.25"],
        ),
        ("1 < misses < 5", ["1 < misses < 5: misses is 3"]),
        ("misses > -1", ["misses > -1: misses is 3"]),
        ("false_alarms_per_hour == 0.25", ["false_alarms_per_hour == 0.25: false_alarms_per_hour is 0.25"]),
        # What is not known cannot be shown to be good enough.
        ("time_to_alert_p95 > 10", ["time_to_alert_p95 > 10: time_to_alert_p95 is not known"]),
        ("not time_to_alert_p95 < 10", ["time_to_alert_p95 < 10: time_to_alert_p95 is not known"]),
    ],
)
def test_condition_holds_and_says_the_figure(text: str, said: list[str]):
    assert Gate.parse(text, KNOWN).failures(FIGURES) == said


def test_unknown_figure_lists_those_there_are():
    with pytest.raises(GateError, match=r"unknown figure 'mises'; known are false_alarms_per_hour, misses, time_to"):
        Gate.parse("mises>2", KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "misses",
        "misses >",
        "misses = 2",
        "misses + 1 > 2",
        "__import__('os').system('true') > 0",
        "misses.real > 0",
        "misses > 'a'",
        "misses > True",
        "misses in (1, 2)",
        "(lambda: 1)() > 0",
        "misses > 2; misses",
        "((((((" * 100 + "misses>1",
        "misses>1 or " * 200 + "misses>1",
        "misses > -True",
        "misses>1" + "0" * 400,
        "misses>-1" + "0" * 400,
        "misses>1e999",
    ],
)
def test_anything_else_is_refused(text: str):
    with pytest.raises(GateError):
        Gate.parse(text, KNOWN)
