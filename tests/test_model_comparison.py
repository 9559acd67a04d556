"""Two models on the same truth: which finds what the other does not, and how surely."""

from __future__ import annotations

import pytest

from consumers.replaying.judging.comparison import compare_models
from consumers.replaying.judging.judgement import Judgement
from consumers.replaying.judging.metrics import Detection, EventSet, Truth, by_overlap, match


def judgement(found: str, false_alarms: str = "") -> Judgement:
    """Ten files of an hour with a true event each; `found` and `false_alarms` name files by their digits."""
    truth = tuple(Truth(f"c{n}", "fight", 10, 20, n) for n in range(10))
    events = [Detection(f"c{n}", "fight", 10, 20, 0.9, 15, int(n)) for n in found]
    events += [Detection(f"c{n}", "fight", 50, 60, 0.9, 55, int(n)) for n in false_alarms]
    event_set = EventSet(truth, tuple(events), {f"c{n}": 3600.0 for n in range(10)}, dict.fromkeys(range(10), 3600.0))
    return Judgement((), {}, (), truth, event_set, tuple(match(truth, events, by_overlap(0))))  # type: ignore[arg-type]


def test_difference_by_hand():
    paired = compare_models(judgement("0123", "5"), judgement("3456789", "567"))
    assert (paired.only_first, paired.only_second) == ((0, 1, 2), (4, 5, 6, 7, 8, 9))
    assert paired.recall == pytest.approx(0.3)
    assert paired.false_alarms_per_hour == pytest.approx(0.2)
    # Of nine that differ 6 or more, or 3 or fewer: 2 * (84 + 36 + 9 + 1) / 512.
    assert paired.p_value == pytest.approx(260 / 512)
    low, high = paired.bounds["recall"]
    assert low < 0.3 < high


def test_equal_models_do_not_differ():
    paired = compare_models(judgement("123"), judgement("123"))
    assert (paired.only_first, paired.only_second, paired.p_value, paired.recall) == ((), (), 1.0, 0.0)
    assert paired.bounds["recall"] == (0.0, 0.0)
