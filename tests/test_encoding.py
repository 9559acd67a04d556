"""A sampled frame goes through a model's encoder once, and scores keep every bit whatever shares a batch."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from consumers.live.assemble import clip_spec
from consumers.live.features import FrameFeatures
from consumers.live.pipeline import Pipeline, ScoredWindow
from consumers.live.worker import Worker
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.replay import replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.store import TraceStore
from consumers.topics import ensure_topics
from models import Classifier, ClipError, find
from models.windows.windowing import sliding_windows
from stream import Clip, Decoded, MemoryTransport, Sample, Segment, attach, decode
from tests.replays import SETTINGS, Overheard, work_off
from tests.videos import write_moving_dots

FACTORED = ["movenet-motion", "movenet-views", "cnn-lstm", "cnn-3d"]
#: Windows overlap by half, as they do for the shipped models.
SPEC = clip_spec(find("movenet-motion").contract, None)
#: Whole windows that begin within the footage, and the pictures in them.
WINDOWS = 19
PICTURES = (WINDOWS - 1) * SPEC.samples_per_stride + SPEC.frames
START_US = 1_700_000_000_000_000


class Counted:
    """A model that notes which pictures its encoder is given."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.id, self.labels = classifier.id, classifier.labels
        self.pictures = 0
        self.batches: list[int] = []

    def encode(self, pictures: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        self.pictures += len(pictures)
        return self._classifier.encode(pictures)

    def score(self, windows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        self.batches.append(len(windows))
        return self._classifier.score(windows)


@pytest.fixture(scope="module")
def motion() -> Classifier:
    return Classifier.load("movenet-motion", "openvino", 1)


def random_pictures(model: Classifier, count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(2).integers(0, 256, (count, *model.contract.clip_shape[1:]), dtype=np.uint8))


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds in which something moves, faster from second to second."""
    return write_moving_dots(tmp_path_factory.mktemp("footage") / "gate.mp4", 200)


@pytest.fixture(scope="module")
def segments(footage: Path) -> list[Segment]:
    transport = MemoryTransport()
    send(footage, "gate", transport)
    records = transport.read(transport.offsets(SETTINGS.topics.segments))
    found = [Segment.decode(r.key or b"", r.headers, r.value or b"", r.where) for r in records]
    return [segment for segment in found if not segment.is_end]


def send(footage: Path, camera: str, transport: MemoryTransport) -> None:
    ensure_topics(transport, SETTINGS.topics)
    topic, limits = SETTINGS.topics.segments, SETTINGS.segments.limits
    attach(str(footage), camera, transport.producer(), topic, limits=limits, pace="max", start_us=START_US)


def decoded(segments: Sequence[Segment]) -> Iterator[tuple[Segment, Decoded]]:
    for segment in segments:
        yield segment, decode(segment, SPEC.sample_times_us(segment), SPEC.picture)


def scores(outcomes: Sequence[object]) -> list[tuple[int, dict[str, float]]]:
    return [(o.prediction.window, dict(o.prediction.scores)) for o in outcomes if isinstance(o, ScoredWindow)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, engine) for name in FACTORED for engine in ("openvino", "openvino-f32")),
        ("movenet-motion", "torch"),
        *(pytest.param(name, "torch", marks=pytest.mark.slow) for name in FACTORED[1:]),
    ],
)
def test_windows_score_to_the_last_bit_the_same_whatever_was_encoded_and_scored_together(name: str, engine: str):
    model = Classifier.load(name, engine, 1)
    pictures = random_pictures(model, 2 * model.contract.frames + 2)
    places = sliding_windows(len(pictures), model.contract.frames)

    def score(features: Sequence[np.ndarray], windows: Sequence[Sequence[int]]) -> np.ndarray:
        return model.score([[features[place] for place in window] for window in windows])

    together = model.encode(pictures)
    expected = score(together, places)
    assert len(np.unique(expected[:, 0])) == len(places) > 1, "all windows score alike: the test shows nothing"
    alone = [model.encode([picture])[0] for picture in pictures]
    backwards = model.encode(pictures[::-1])[::-1]
    for features in (alone, backwards):
        np.testing.assert_array_equal(np.concatenate([score(features, [window]) for window in places]), expected)
        np.testing.assert_array_equal(score(features, places[::-1])[::-1], expected)
    np.testing.assert_array_equal(model.predict(np.stack(pictures)[places]), expected)
    np.testing.assert_array_equal(model.predict_windows(np.stack(pictures), places), expected)


def test_model_that_does_not_factor_goes_the_same_way():
    model = Classifier.load("x3d-xs", "openvino", 1)
    length = model.contract.frames
    pictures = random_pictures(model, length + 2)
    features = model.encode(pictures)
    assert all(found is picture for found, picture in zip(features, pictures, strict=True))
    clips = np.stack([pictures[b : b + length] for b in (0, 2)])
    np.testing.assert_array_equal(model.score([features[:length], features[2:]]), model.predict(clips))
    assert model.score([]).shape == model.predict(clips[:0]).shape == (0, len(model.labels))


def test_each_sampled_frame_is_encoded_once(motion: Classifier, segments: list[Segment]):
    counted = Counted(motion)
    pipeline = Pipeline(counted, SPEC, {})
    outcomes = [o for s, d in decoded(segments) for o in pipeline.classify(pipeline.push(s, d))]
    windows = [window for window, _ in scores(outcomes)]
    assert windows == list(range(WINDOWS))
    assert counted.pictures == PICTURES
    assert len(counted.batches) > 5


@pytest.mark.slow
def test_score_does_not_depend_on_when_windows_come_or_on_what_other_cameras_show(
    motion: Classifier, segments: list[Segment]
):
    one = Pipeline(motion, SPEC, {})
    by_segment = [o for s, d in decoded(segments) for o in one.classify(one.push(s, d))]
    two = Pipeline(motion, SPEC, {})
    at_once = two.classify([step for s, d in decoded(segments) for step in two.push(s, d)])
    several = Pipeline(motion, SPEC, {})
    mixed = []
    for segment, pictures in decoded(segments):
        steps = several.push(segment, pictures)
        for name, change in (("hall", 40), ("yard", 90)):
            other = [Sample(s.at_us, s.frame_us, np.roll(s.image, change, axis=0)) for s in pictures.samples]
            there = Segment(**{f: getattr(segment, f) for f in segment.__slots__} | {"camera": name})
            steps += several.push(there, Decoded(pictures.frame_times_us, other))
        mixed += [o for o in several.classify(steps) if o.camera == "gate"]
    assert scores(by_segment) == scores(at_once) == scores(mixed)
    assert len({tuple(found.values()) for _, found in scores(by_segment)}) > 10, "the test shows nothing"


@pytest.mark.slow
def test_successor_encodes_again_what_its_open_windows_hold_and_scores_the_same(
    motion: Classifier, segments: list[Segment]
):
    undisturbed = Pipeline(motion, SPEC, {})
    expected = scores([o for s, d in decoded(segments) for o in undisturbed.classify(undisturbed.push(s, d))])
    for cut in range(1, len(segments), 3):
        first, then = Pipeline(motion, SPEC, {}), Counted(motion)
        found = [o for s, d in decoded(segments[:cut]) for o in first.classify(first.push(s, d))]
        second = Pipeline(then, SPEC, {})
        second.restore("gate", first.state("gate"))
        needed_us = second.cameras["gate"].clipper.needed_from_us or 0
        for segment, pictures in decoded([s for s in segments[:cut] if s.end_us > needed_us]):
            second.refill(segment, pictures)
        again = [o for s, d in decoded(segments[cut:]) for o in second.classify(second.push(s, d))]
        assert scores(found + again) == expected, cut
        made = len(scores(again))
        assert then.pictures == (made - 1) * SPEC.samples_per_stride + SPEC.frames if made else not then.pictures


@pytest.mark.slow
def test_live_work_and_replay_say_the_same_and_encode_as_often(motion: Classifier, footage: Path, tmp_path: Path):
    transport = MemoryTransport()
    for camera in ("gate", "hall"):
        send(footage, camera, transport)
    heard, live, again = Overheard(transport), Counted(motion), Counted(motion)
    work_off(Worker(heard, live, SPEC, {}, SETTINGS))
    recordings, _ = find_recordings([str(footage)], "gate", START_US, SETTINGS.segments.limits, lambda: transport)
    found = replay(recordings, ScoringSetup(again, SPEC, threads=1), "openvino", TraceStore(tmp_path))
    assert found is not None
    replayed = {p.window: p.scores for p in found.timelines[0].predictions()}
    assert len(replayed) == WINDOWS
    for camera in ("gate", "hall"):
        assert {p.window: p.scores for p in heard.predictions if p.camera == camera} == replayed
    assert live.pictures == 2 * again.pictures == 2 * PICTURES


def clip(window: int, samples: Sequence[Sample]) -> Clip:
    start_us = window * SPEC.stride_us
    return Clip("gate", 0, window, start_us, start_us + SPEC.span_us, tuple(samples), 10)


def test_picture_that_is_shown_at_several_times_is_encoded_once(motion: Classifier):
    """A camera that is slower than the model samples, or of which only keyframes are decoded."""
    counted = Counted(motion)
    images = random_pictures(motion, 3)
    samples = [Sample(n * SPEC.spacing_us, 0, images[n // 3]) for n in range(9)]
    features = FrameFeatures(counted)
    features.score([clip(0, samples[0:6])])
    assert counted.pictures == 2
    features.score([clip(1, samples[3:9])])
    assert counted.pictures == 3


def test_features_are_kept_no_longer_than_a_window_may_need_them(motion: Classifier, segments: list[Segment]):
    pipeline = Pipeline(motion, SPEC, {})
    gc.collect()
    gc.freeze()  # what was there before need not be looked at each time
    try:
        for segment, pictures in decoded(segments):
            pipeline.classify(pipeline.push(segment, pictures))
            del pictures
            gc.collect()
            assert len(pipeline._features) <= SPEC.frames
    finally:
        gc.unfreeze()
    pipeline.close("gate")
    pipeline.forget("gate")
    gc.collect()
    assert len(pipeline._features) == 0


def test_window_of_another_length_and_picture_of_another_size_are_refused(motion: Classifier):
    with pytest.raises(
        ClipError, match=r"picture of shape \(16, 32, 3\) and type uint8: movenet-motion-\w+ expects \(192, 192, 3\)"
    ):
        motion.encode([np.zeros((16, 32, 3), np.uint8)])
    with pytest.raises(ClipError, match=r"window of 3 pictures: movenet-motion-\w+ expects 6"):
        motion.score([motion.encode(random_pictures(motion, 3))])
