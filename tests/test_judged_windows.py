"""What single windows show, by the truth: whatever happens in them, and the quiet label only where nothing does."""

from __future__ import annotations

import numpy as np

from consumers.replaying.judging.placing import TrueEvent
from consumers.replaying.judging.windows import judged_windows
from consumers.replaying.trace import PlacedTrace, Timeline, Trace

SECOND = 1_000_000
LABELS = ("normal", "fight", "fall")


def timeline(windows: int) -> Timeline:
    """Windows of two seconds, one after another."""
    numbers = np.arange(windows)
    starts, ends = numbers * 2 * SECOND, (numbers + 1) * 2 * SECOND
    places = np.stack([np.zeros(windows, int), numbers, starts, ends, ends], axis=1)
    # The score of the last label tells which window it was.
    scores = np.stack([np.zeros(windows), np.zeros(windows), numbers / 100], axis=1)
    span = np.array([[0, windows * 2 * SECOND]])
    return Timeline("gate", [PlacedTrace("gate.mp4", 0, Trace("m", LABELS, places, scores, np.array([]), span, 10, 0))])


def shown(labels: set[str], *truth: tuple[str, float, float]) -> dict[int, str]:
    """By number of the window; eight windows, and events of some labels."""
    events = [TrueEvent("gate", name, round(start * SECOND), round(end * SECOND), "t") for name, start, end in truth]
    found = judged_windows([timeline(8)], events, labels)
    assert found is not None
    numbers = (found.scores[:, 2] * 100).round().astype(int).tolist()
    return {number: found.labels[label] for number, label in zip(numbers, found.truth, strict=True)}


def test_window_shows_what_covers_half_of_it_and_nothing_at_edges():
    found = shown({"fight"}, ("fight", 4, 8.5))
    assert found == {0: "normal", 1: "normal", 2: "fight", 3: "fight", 5: "normal", 6: "normal", 7: "normal"}


def test_window_of_a_label_that_makes_no_event_is_not_quiet():
    found = shown({"fight"}, ("fight", 4, 8), ("fall", 10, 12.5))
    assert found == {0: "normal", 1: "normal", 2: "fight", 3: "fight", 4: "normal", 5: "fall", 7: "normal"}


def test_window_of_what_the_model_does_not_know_is_left_out():
    found = shown({"fight"}, ("fire", 4, 8.5))
    assert found == dict.fromkeys((0, 1, 5, 6, 7), "normal")


def test_truth_of_the_quiet_label_takes_nothing_from_what_happens_in_it():
    assert shown({"fight"}, ("normal", 0, 16), ("fight", 4, 8)) == shown({"fight"}, ("fight", 4, 8))


def test_without_a_quiet_label_only_windows_with_truth_count():
    assert shown(set(LABELS), ("fall", 2, 4), ("normal", 4, 6)) == {1: "fall", 2: "normal"}


def test_window_of_which_the_model_says_no_number_is_left_out():
    broken = timeline(3)
    broken.pieces[0].trace.scores[1, 0] = np.nan
    found = judged_windows([broken], [], {"fight"})
    assert found is not None
    assert (found.scores[:, 2] * 100).round().astype(int).tolist() == [0, 2]
