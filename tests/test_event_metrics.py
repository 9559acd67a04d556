"""Event metrics against cases computed by hand, and against a second, naive implementation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.replaying.judging.metrics import (
    Counts,
    Detection,
    EventSet,
    Truth,
    average_precision,
    average_precisions,
    bootstrap,
    by_onset,
    by_overlap,
    count,
    count_by_camera,
    count_by_label,
    match,
    mean_average_precision,
    temporal_iou,
)


def truth(start: float, end: float, camera: str = "a", label: str = "fight", unit: int = 0) -> Truth:
    return Truth(camera, label, start, end, unit)


def event(
    start: float,
    end: float,
    score: float = 0.9,
    *,
    alert: float = 0.0,
    camera: str = "a",
    label: str = "fight",
    unit: int = 0,
) -> Detection:
    return Detection(camera, label, start, end, score, alert, unit)


def event_set(truths: list[Truth], events: list[Detection], **seconds: float) -> EventSet:
    by_camera = seconds or {"a": 3600.0}
    return EventSet(tuple(truths), tuple(events), by_camera, dict(enumerate(by_camera.values())))


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 10), (5, 15), 5 / 15),
        ((0, 10), (2, 4), 0.2),
        ((0, 10), (10, 20), 0),
        ((0, 1), (5, 6), 0),
        ((3, 7), (3, 7), 1),
    ],
)
def test_temporal_iou_by_hand(a, b, iou):
    assert temporal_iou(*a, *b) == temporal_iou(*b, *a) == pytest.approx(iou)


def test_matching_by_overlap_is_one_to_one_and_the_best_score_chooses_first():
    truths = [truth(0, 10), truth(20, 30)]
    events = [event(0, 9, 0.5), event(1, 10, 0.8), event(19, 30, 0.7), event(50, 60, 0.99)]
    assert match(truths, events, by_overlap(0)) == [None, 0, 1, None]
    assert match(truths, events, by_overlap(0.95)) == [None, None, None, None]


def test_event_of_another_camera_or_label_finds_nothing():
    events = [event(0, 10, camera="b"), event(0, 10, label="fall")]
    assert match([truth(0, 10)], events, by_overlap(0)) == [None, None]


def test_each_event_takes_what_fits_it_best():
    truths = [truth(0, 10), truth(8, 20)]
    assert match(truths, [event(7, 20)], by_overlap(0)) == [1]


def test_matching_by_onset_asks_when_an_event_begins_and_not_how_long_it_is():
    matcher = by_onset(2, 10)
    truths = [truth(100, 101)]
    for start, found in ((97.9, None), (98, 0), (100, 0), (110, 0), (110.1, None)):
        assert match(truths, [event(start, start + 500)], matcher) == [found], start


def test_counts_by_hand():
    """Two hours, three true events; one found late, one early, one missed; a repeat and a false alarm."""
    truths = [truth(100, 110), truth(200, 220, "b"), truth(300, 310)]
    events = [
        event(102, 112, 0.9, alert=106),
        event(195, 205, 0.8, alert=199, camera="b"),
        event(108, 109, 0.5, alert=111),  # again the first
        event(700, 710, 0.7, alert=704),
    ]
    s = event_set(truths, events, a=3600.0, b=3600.0)
    matched = match(s.truth, s.detections, by_overlap(0))
    figures = count(s, matched).figures()
    assert figures == pytest.approx(
        {
            "truth_events": 3,
            "detected": 2,
            "misses": 1,
            "false_alarms": 2,
            "repeats": 1,
            "false_alarms_per_hour": 1.0,
            "time_to_alert_p50": 2.5,  # of 6 and -1
            "time_to_alert_p95": 6 - 0.05 * 7,
            "precision": 0.5,
            "recall": 2 / 3,
            "f1": 2 * 0.5 * (2 / 3) / (0.5 + 2 / 3),
        }
    )
    per_camera = {camera: c.figures() for camera, c in count_by_camera(s, matched).items()}
    assert (per_camera["a"]["misses"], per_camera["b"]["misses"]) == (1, 0)
    assert (per_camera["a"]["false_alarms_per_hour"], per_camera["b"]["false_alarms_per_hour"]) == (2, 0)
    assert count_by_label(s, matched)["fight"] == count(s, matched)


@pytest.mark.parametrize(
    ("matcher", "begin", "end"),
    [
        (by_overlap(0.5), 100, 103),  # too short to find it
        (by_onset(2, 10), 115, 130),  # too late to find it
    ],
)
def test_alarm_over_a_true_event_that_nobody_found_repeats_nothing(matcher, begin, end):
    s = event_set(
        [truth(100, 120), truth(200, 210)], [event(begin, end), event(200, 210), event(205, 212, 0.1)], a=3600
    )
    matched = match(s.truth, s.detections, matcher)
    assert matched == [None, 1, None]
    assert count(s, matched).repeats == 1, "the one that overlaps what another found"
    halves = replace(
        s,
        detections=tuple(replace(d, unit=int(d.start > 150)) for d in s.detections),
        truth=tuple(replace(t, unit=int(t.start > 150)) for t in s.truth),
        unit_seconds={0: 1800.0, 1: 1800.0},
    )
    assert bootstrap(halves, matched)["repeats"] == (0.0, 2.0), "none in the first file, one in each draw of the second"


def test_nothing_to_find_and_nothing_found_leave_figures_open():
    figures = Counts(0, 0, 0, 7200.0, (), 0).figures()
    assert figures["false_alarms_per_hour"] == 0
    assert {figures[n] for n in ("precision", "recall", "f1", "time_to_alert_p50")} == {None}


def test_average_precision_by_hand():
    # Hits at ranks 1 and 3 of three truths: precision 1 up to recall 1/3, 2/3 up to recall 2/3, nothing beyond.
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 3) == pytest.approx(1 / 3 + 2 / 9)
    # A worse start is lifted by what comes later.
    assert average_precision([0.9, 0.8, 0.7], [False, True, True], 2) == pytest.approx(2 / 3)
    assert average_precision([], [], 2) == 0
    assert average_precision([0.9], [False], 0) is None


def naive_average_precision(truths: list[Truth], events: list[Detection], least: float) -> float:
    """ActivityNet's definition, written down once more from its text, with loops."""
    hits, taken = [], set()
    for e in sorted(events, key=lambda e: -e.score):
        best, best_iou = None, 0.0
        for i, t in enumerate(truths):
            overlap = max(0.0, min(t.end, e.end) - max(t.start, e.start))
            iou = overlap / (max(t.end, e.end) - min(t.start, e.start)) if overlap else 0.0
            if t.camera == e.camera and i not in taken and iou >= least and iou > best_iou:
                best, best_iou = i, iou
        if best is not None:
            taken.add(best)
        hits.append(best is not None)
    area, recalls = 0.0, np.linspace(0, 1, 50_001)[1:]
    for recall in recalls:
        reached = [
            sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if sum(hits[: n + 1]) / len(truths) >= recall - 1e-12
        ]
        area += max(reached, default=0.0) / len(recalls)
    return area


INTERVALS = st.tuples(st.integers(0, 40), st.integers(1, 15), st.sampled_from("ab"))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.lists(INTERVALS, min_size=1, max_size=5),
    st.lists(INTERVALS, max_size=7),
    st.permutations(range(7)),
)
def test_average_precision_equals_a_naive_one(truths, events, ranks):
    true = [truth(s, s + n, camera) for s, n, camera in truths]
    found = [event(s, s + n, 0.5 + 0.05 * ranks[i], camera=camera) for i, (s, n, camera) in enumerate(events)]
    ours = average_precisions(event_set(true, found), (0.3, 0.5))["fight"]
    for least in (0.3, 0.5):
        assert ours[least] == pytest.approx(naive_average_precision(true, found, least), abs=2e-3)


def test_average_precision_is_that_of_coco_on_intervals_as_boxes():
    """An interval is a box of height 1, whose IoU is the temporal one."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    generator = np.random.default_rng(0)
    true = [
        truth(s, s + n, c)
        for s, n, c in zip(generator.uniform(0, 90, 40), generator.uniform(2, 20, 40), "ab" * 20, strict=True)
    ]
    found = [
        event(t.start + d, t.end + e, score, camera=t.camera)
        for t, d, e, score in zip(
            true * 2, generator.normal(0, 2, 80), generator.normal(2, 2, 80), generator.uniform(0, 1, 80), strict=True
        )
        if t.end + e > t.start + d + 0.1
    ]
    reference = COCO()
    images = {"a": 1, "b": 2}
    reference.dataset = {
        "info": {},
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1}],
        "annotations": [
            {
                "id": i + 1,
                "image_id": images[t.camera],
                "category_id": 1,
                "bbox": [t.start, 0, t.end - t.start, 1],
                "area": t.end - t.start,
                "iscrowd": 0,
            }
            for i, t in enumerate(true)
        ],
    }
    reference.createIndex()
    results = reference.loadRes(
        [
            {
                "image_id": images[e.camera],
                "category_id": 1,
                "bbox": [e.start, 0, e.end - e.start, 1],
                "score": e.score,
            }
            for e in found
        ]
    )
    evaluation = COCOeval(reference, results, "bbox")
    evaluation.params.maxDets = [1000]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    # As many places of recall as it takes for its sum over samples to be the area.
    evaluation.params.recThrs = np.linspace(1e-9, 1, 20_001)
    evaluation.evaluate()
    evaluation.accumulate()
    theirs = evaluation.eval["precision"][:, :, 0, 0, 0].mean(axis=1)  # (overlaps,)
    ours = average_precisions(event_set(true, found))["fight"]
    assert len(theirs) == len(ours) == 10
    assert 0.05 < theirs[0] < 0.95
    np.testing.assert_allclose(list(ours.values()), theirs, atol=1e-3)


def test_mean_average_precision_is_over_labels_and_overlaps():
    truths = [truth(0, 10), truth(0, 10, label="fall")]
    s = event_set(truths, [event(0, 10), event(0, 7.2, label="fall")])
    by_label = average_precisions(s)
    assert by_label["fight"] == dict.fromkeys(by_label["fight"], 1.0)
    assert [by_label["fall"][o] for o in (0.5, 0.7, 0.75, 0.95)] == [1, 1, 0, 0]
    assert mean_average_precision(by_label) == pytest.approx((10 + 5) / 20)


def test_event_that_begins_in_another_file_than_its_truth_counts_where_the_truth_is():
    """A file with a true event whose detection began in the next one: no draw finds more than there is."""
    truths = [truth(3590, 3620, unit=0)]
    events = [event(3605, 3620, unit=1, alert=3608)]
    s = EventSet(tuple(truths), tuple(events), {"a": 7200.0}, {0: 3600.0, 1: 3600.0})
    bounds = bootstrap(s, match(truths, events, by_overlap(0)))
    assert bounds["misses"] == (0, 0)
    assert bounds["recall"] == bounds["precision"] == bounds["f1"] == (1, 1)
    assert bounds["false_alarms"] == (0, 0)
    assert bounds["detected"] == (0, 2)


def test_intervals_by_bootstrap_over_files_are_those_of_all_draws():
    """Three files can be drawn in 27 ways: so many draws must come near the exact distribution."""
    truths = [truth(0, 10, c, unit=u) for u, c in enumerate("abc")]
    events = [event(0, 10, camera="a", unit=0), event(50, 60, camera="c", unit=2), event(0, 9, camera="c", unit=2)]
    s = event_set(truths, events, a=3600.0, b=3600.0, c=3600.0)
    matched = match(s.truth, s.detections, by_overlap(0))
    found, rates = (1, 0, 1), (0, 0, 1)
    exact = [
        (sum(found[i] for i in draw) / 3, sum(rates[i] for i in draw) / 3)
        for draw in itertools.product(range(3), repeat=3)
    ]
    bounds = bootstrap(s, matched, rounds=4000)
    for name, column in (("recall", 0), ("false_alarms_per_hour", 1)):
        values = [row[column] for row in exact] * 100
        assert bounds[name] == pytest.approx((np.quantile(values, 0.025), np.quantile(values, 0.975)), abs=0.01)


def test_one_file_gives_no_interval():
    s = event_set([truth(0, 10)], [event(0, 10)])
    assert bootstrap(s, [0]) == {}
