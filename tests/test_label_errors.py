"""Labels that held-out scores contradict are named, the most contradicted first; others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from consumers.learning.footage.examples import Example
from consumers.learning.footage.leakage import check_pictures
from consumers.learning.label_errors import label_doubts
from models.evaluation.label_errors import DoubtfulLabel, doubtful_labels
from models.evaluation.scores import ClipScores


def clips(labels: tuple[str, ...], truth: list[int], scores: list[list[float]]) -> ClipScores:
    names = tuple(f"{n}.mp4" for n in range(len(truth)))
    return ClipScores(labels, np.array(truth), np.array(scores), names, names)


def test_label_that_its_scores_contradict_is_doubtful():
    scores = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]]
    found = doubtful_labels(clips(("normal", "fight"), [0, 0, 1, 1, 1], scores))
    assert found == [DoubtfulLabel("4.mp4", "fight", "normal", 0.05, 0.95)]


def test_a_score_that_is_usual_for_a_mistake_is_no_doubt():
    """Fights are scored low by this model: 0.4 is the mean of true fights, and normal clips rarely fall to 0.55."""
    scores = [[0.99, 0.01], [0.97, 0.03], [0.55, 0.45], [0.6, 0.4], [0.65, 0.35]]
    assert doubtful_labels(clips(("normal", "fight"), [0, 0, 1, 1, 1], scores)) == []
    hidden = [[0.5, 0.5], *scores[1:]]
    assert [d.name for d in doubtful_labels(clips(("normal", "fight"), [0, 0, 1, 1, 1], hidden))] == ["0.mp4"]


def test_planted_errors_are_found_among_many_clips():
    generator = np.random.default_rng(0)
    true = generator.integers(0, 3, 600)
    sure = generator.beta(4, 0.5, 600)  # mostly near 1, seldom low
    scores = generator.dirichlet([1, 1, 1], 600) * (1 - sure)[:, None]
    scores[np.arange(600), true] += sure
    given = true.copy()
    planted = generator.choice(600, 30, replace=False)
    given[planted] = (given[planted] + 1) % 3
    found = {int(d.name.partition(".")[0]) for d in doubtful_labels(clips(("a", "b", "c"), given.tolist(), scores))}
    assert len(found & set(planted)) >= 20
    assert len(found - set(planted)) <= 10


def test_labels_without_clips_and_a_single_label_raise_no_doubt():
    assert doubtful_labels(clips(("a", "b"), [0, 0], [[0.1, 0.9], [0.9, 0.1]])) == []
    three = clips(("a", "b", "c"), [0, 0, 1, 1], [[0.1, 0.1, 0.8], [0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0.9, 0.1]])
    assert doubtful_labels(three) == []


def test_doubts_are_told_line_by_line_and_not_without_end():
    truth = [0] * 20 + [1] * 40
    scores = [[0.9, 0.1]] * 20 + [[0.1, 0.9]] * 20 + [[0.95, 0.05]] * 20
    told = label_doubts(clips(("normal", "fight"), truth, scores))
    assert told is not None
    lines = told.splitlines()
    assert lines[0] == "20 labels of 60 to look at: wrong, or what the model cannot tell yet"
    assert lines[1] == "40.mp4: fight, and looks like normal (score 0.95, of fight 0.05)"
    assert lines[-1] == "… and 10 more"
    assert len(lines) == 12
    assert label_doubts(clips(("normal", "fight"), [0, 1], [[0.9, 0.1], [0.1, 0.9]])) is None


def test_videos_that_look_alike_with_two_labels_are_named_before_training():
    picture = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    examples = [Example(Path(f"{n}.mp4"), label, n) for n, label in (("a", "fight"), ("b", "normal"), ("c", "fight"))]
    other = np.random.default_rng(1).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    _, (told,) = check_pictures(examples, [picture, picture, other], merge=False)
    assert "1 of these with two labels, of which one may be wrong; first: a.mp4 is fight, b.mp4 normal" in told
    same = [examples[0], Example(Path("b.mp4"), "fight", "b")]
    assert "two labels" not in check_pictures(same, [picture, picture], merge=False)[1][0]
