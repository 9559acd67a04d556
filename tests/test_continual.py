"""A continual 3D-CNN is given each picture once, and its scores follow from a window and what was before it alone."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from consumers.live.assemble import clip_spec
from consumers.live.pipeline import Pipeline, ScoredWindow
from consumers.live.worker import Worker
from consumers.replaying import run as replay_run
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.replay import replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.store import TraceStore
from consumers.settings import Settings
from consumers.setup.checks import check_model
from consumers.topics import ensure_topics
from models import CheckpointError, Classifier, ClipError, ExportError, find
from models.engines.engine import State
from models.engines.export import export
from models.networks.continual import ContinualX3D
from models.networks.pytorchvideo import x3d as x3d_of
from models.networks.zoo import create, describe
from models.windows.windowing import sliding_windows
from stream import ClipSpec, Decoded, Effort, MemoryTransport, Sample, Segment, attach, decode
from tests.checkpoints import write_checkpoint
from tests.replays import SETTINGS, Overheard, work_off
from tests.videos import write_moving_dots

SIZE, FRAMES, CONTEXT = 32, 4, 28
#: Of a network that is looked at by itself: fewer blocks than any of the zoo, and quicker.
DEPTH = 1.0
START_US = 1_700_000_000_000_000


def write_model(path: Path, **changes: object) -> Path:
    values: dict[str, object] = {"frames": FRAMES, "spacing_seconds": 0.1, "context": CONTEXT}
    return write_checkpoint(path, "co_x3d_xs", **(values | changes))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "co.safetensors")


@pytest.fixture(scope="module")
def model(path: Path) -> Classifier:
    return Classifier.load(str(path), "torch", 1)


def pictures(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def walk(model: Classifier, images: Sequence[np.ndarray], state: State | None = None) -> tuple[list[np.ndarray], State]:
    """Step one run through pictures."""
    found = []
    for image in images:
        [(features, state)] = model.step([image], [state])
        found.append(features)
    assert state is not None
    return found, state


@pytest.fixture(scope="module")
def network() -> ContinualX3D:
    torch.manual_seed(0)
    network = ContinualX3D(2, SIZE, DEPTH).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2)
    return network


class TestNetwork:
    @torch.inference_mode()
    def step_through(self, network: ContinualX3D, clips: torch.Tensor) -> torch.Tensor:
        begins, state, found = torch.ones(len(clips)), (torch.zeros(1),) * network.context, []
        for image in clips.unbind(2):
            features, state = network.step(image, begins, *state)
            begins = torch.zeros(len(clips))
            found.append(features)
        return torch.stack(found, 1)

    def test_stepping_through_a_clip_is_the_whole_clip(self, network: ContinualX3D):
        clips = torch.randn(2, 3, 9, SIZE, SIZE)
        with torch.inference_mode():
            torch.testing.assert_close(self.step_through(network, clips), network.features(clips), rtol=0, atol=1e-5)
            torch.testing.assert_close(
                network.classify(self.step_through(network, clips)), network(clips), rtol=0, atol=1e-5
            )

    def test_features_follow_from_so_many_pictures_to_the_last_bit(self, network: ContinualX3D):
        clips = torch.randn(1, 3, network.context + 3, SIZE, SIZE)
        whole = self.step_through(network, clips)
        later = self.step_through(network, clips[:, :, 2:])
        assert torch.equal(later[:, network.context :], whole[:, network.context + 2 :])
        assert not torch.equal(later[:, :4], whole[:, 2:6])

    def test_still_scene_has_the_same_features_from_its_first_picture_on(self, network: ContinualX3D):
        found = self.step_through(network, torch.randn(1, 3, 1, SIZE, SIZE).expand(-1, -1, 6, -1, -1))
        torch.testing.assert_close(found, found[:, :1].expand_as(found), rtol=0, atol=1e-5)

    def test_inside_a_still_clip_it_is_x3d_itself(self, network: ContinualX3D):
        """Where X3D sees no zeros beyond the clip's ends, it finds the same: the weights mean the same."""
        reach, still = network.context, torch.randn(1, 3, 1, SIZE, SIZE)
        clip = still.expand(-1, -1, 2 * reach + 1, -1, -1)
        x3d = x3d_of(2, 2 * reach + 1, SIZE, DEPTH).eval()
        x3d.load_state_dict(network.state_dict())
        for module in x3d.modules():  # over time, it would average in what is near the ends
            if type(module).__name__ == "SqueezeExcitation":
                module.forward = lambda x, block=module.block: x * block(x.mean((3, 4), keepdim=True))
        head = x3d.blocks[-1].pool
        found: list[torch.Tensor] = []
        head.pool.register_forward_hook(lambda _, given, __: found.append(given[0]))
        with torch.inference_mode():
            x3d(clip)
            middle = found[0][:, :, reach].mean((2, 3))
            torch.testing.assert_close(middle, network.features(still)[:, 0], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["x3d_xs", pytest.param("x3d_l", marks=pytest.mark.slow)])
    def test_it_takes_the_weights_of_x3d_and_says_how_far_back_it_looks(self, name: str):
        with torch.device("meta"):
            plain, continual = create(name), create(f"co_{name}")
        assert isinstance(continual, ContinualX3D)
        assert {k: v.shape for k, v in plain.state_dict().items()} == {
            k: v.shape for k, v in continual.state_dict().items()
        }
        assert describe(f"co_{name}").context == continual.context
        assert describe(f"5*co_{name}").context == 0, "an ensemble is served whole clip by whole clip"


class TestSteps:
    def test_runs_that_come_go_and_differ_in_rate_are_found_as_alone(self, model: Classifier):
        runs = {name: pictures(12, seed) for seed, name in enumerate("abc")}
        #: Camera a all the time; b from the third round on, each second round; c leaves after three.
        present = {"a": range(8), "b": range(2, 8, 2), "c": range(3)}
        states: dict[str, State] = {}
        found: dict[str, list[np.ndarray]] = {name: [] for name in runs}
        for turn in range(8):
            there = [name for name in runs if turn in present[name]]
            images = [runs[name][len(found[name])] for name in there]
            for name, (features, state) in zip(there, model.step(images, [states.get(n) for n in there]), strict=True):
                found[name].append(features)
                states[name] = state
        for name, features in found.items():
            assert len(features) == len(present[name])
            alone, state = walk(model, runs[name][: len(features)])
            np.testing.assert_allclose(features, alone, rtol=0, atol=1e-5)
            np.testing.assert_array_equal(features, alone)
            for one, other in zip(state, states[name], strict=True):
                np.testing.assert_array_equal(one, other)

    def test_state_that_was_stored_goes_on_to_the_last_bit(self, model: Classifier):
        images = pictures(7)
        expected, _ = walk(model, images)
        _, state = walk(model, images[:4])
        file = io.BytesIO()
        np.savez(file, *state)
        file.seek(0)
        stored = np.load(file)
        again, _ = walk(model, images[4:], tuple(stored[name] for name in stored.files))
        np.testing.assert_array_equal(again, expected[4:])
        once_more, _ = walk(model, images[4:], state)
        np.testing.assert_array_equal(once_more, expected[4:], err_msg="stepping changed the state that it was given")

    @pytest.mark.slow
    @pytest.mark.parametrize("form", ["checkpoint", ".xml", ".onnx"])
    def test_openvino_steps_as_torch_does(self, model: Classifier, path: Path, tmp_path: Path, form: str):
        images = pictures(8)
        served = path if form == "checkpoint" else export(find(str(path)), tmp_path / f"co{form}").checkpoint.path
        other = Classifier.load(str(served), "openvino-f32", 1)
        (expected, _), (found, state) = walk(model, images), walk(other, images)
        np.testing.assert_allclose(other.score([found[-FRAMES:]]), model.score([expected[-FRAMES:]]), atol=1e-5)
        together = other.step([images[0], images[1], images[0]], [None, state, state])
        alone = [
            other.step([image], [before])[0]
            for image, before in ((images[0], None), (images[1], state), (images[0], state))
        ]
        for (one, _), (two, _) in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize(
        ("suffix", "precision", "why"),
        [(".pt2", "f32", "a .pt2 is a whole network"), (".xml", "int8", "what a continual model remembers")],
    )
    def test_export_that_cannot_hold_steps_is_refused(self, path: Path, tmp_path: Path, suffix, precision, why: str):
        with pytest.raises(ExportError, match=why):
            export(find(str(path)), tmp_path / f"co{suffix}", precision)

    def test_windows_of_a_video_remember_what_was_before_them(self, model: Classifier):
        images = pictures(10)
        places = sliding_windows(len(images), FRAMES)
        features, _ = walk(model, images)
        expected = model.score([[features[place] for place in window] for window in places])
        np.testing.assert_array_equal(model.predict_windows(images, places), expected)
        np.testing.assert_array_equal(model.predict(images[:FRAMES]), expected[0])
        assert np.abs(model.predict(images[places[-1]]) - expected[-1]).max() > 0, "what was before does not count"

    def test_windows_between_others_and_of_a_short_video_score_as_by_themselves(self, model: Classifier):
        images = pictures(16)
        denser = sliding_windows(len(images), FRAMES, 2, denser=2)
        together = model.predict_windows(images, denser)
        for number in (0, 3, len(denser) - 1):
            np.testing.assert_array_equal(
                model.predict_windows(images, denser[number : number + 1])[0], together[number]
            )
        short = sliding_windows(2, FRAMES)
        np.testing.assert_array_equal(model.predict_windows(images[:2], short)[0], model.predict(images[short[0]]))

    def test_what_a_model_cannot_do_is_said(self, model: Classifier):
        with pytest.raises(ClipError, match=r"co-\w+ goes from picture to picture with state"):
            model.encode(list(pictures(1)))
        with pytest.raises(
            ClipError, match=r"picture of shape \(1, 2, 3\) and type uint8: co-\w+ expects \(32, 32, 3\)"
        ):
            model.step([np.zeros((1, 2, 3), np.uint8)], [None])
        with pytest.raises(ClipError, match=r"x3d-xs-\w+ has no memory"):
            Classifier.load("x3d-xs", "openvino", 1).step([], [])

    @pytest.mark.parametrize(("stride", "warns"), [(None, True), (0.2, True), (0.1, False)])
    def test_check_says_where_whole_clips_cost_less(self, path: Path, stride: float | None, warns: bool):  # noqa: FBT001
        settings = Settings.model_validate({"worker": {"model": str(path), "stride_seconds": stride}})
        said = [finding.text for finding in check_model(settings) if finding.subject == "stride"]
        why = "a window every 0.2 s: x3d_xs costs less than co_x3d_xs, unless worker.stride_seconds is 0.1 or less"
        assert said == ([why] if warns else [])

    def test_context_that_is_not_the_networks_is_refused(self, tmp_path: Path):
        with pytest.raises(CheckpointError, match="a context of 3 frames, expected that of co_x3d_xs, 28"):
            Classifier.load(str(write_model(tmp_path / "m.safetensors", context=3)), "torch", 1)
        other = write_checkpoint(tmp_path / "x.safetensors", "x3d_xs", context=3)
        with pytest.raises(CheckpointError, match="a context of 3 frames, and x3d_xs looks at whole clips here"):
            Classifier.load(str(other), "torch", 1)

    def test_contract_without_context_is_one_that_earlier_versions_read(self, path: Path):
        contract = find(str(path)).contract
        assert contract.context == CONTEXT
        assert '"context"' in contract.encode()["clipline"]
        assert '"context"' not in replace(contract, context=0).encode()["clipline"]


class Remembering:
    """A model that says how bright it has been, of late more than long ago: quick, and all in numpy."""

    id, labels, context = "remembering", ("dark", "bright"), 9

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def step(self, images: Sequence[np.ndarray], states: Sequence[State | None]) -> list[tuple[np.ndarray, State]]:
        self.sizes.append(len(images))
        found = []
        for image, state in zip(images, states, strict=True):
            light = image[: len(image) // 2].mean() / 255
            before = np.full(self.context, light) if state is None else state[0]
            light_of_late = np.array([*before, light])
            weights = np.arange(1, self.context + 2)
            found.append((light_of_late @ weights[:, None] / weights.sum(), (light_of_late[1:],)))
        return found

    def encode(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        raise AssertionError("pictures are stepped through, not encoded")

    def score(self, windows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        bright = np.array([np.mean(window) for window in windows])
        return np.stack([1 - bright, bright], 1).astype(np.float32)


SPEC = ClipSpec(FRAMES, 100_000, 200_000, SIZE, SIZE, context=Remembering.context)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds in which something moves, faster from second to second."""
    return write_moving_dots(tmp_path_factory.mktemp("footage") / "gate.mp4", 150)


def send(footage: Path, camera: str, transport: MemoryTransport) -> None:
    ensure_topics(transport, SETTINGS.topics)
    topic, limits = SETTINGS.topics.segments, SETTINGS.segments.limits
    attach(str(footage), camera, transport.producer(), topic, limits=limits, pace="max", start_us=START_US)


@pytest.fixture(scope="module")
def segments(footage: Path) -> list[Segment]:
    transport = MemoryTransport()
    send(footage, "gate", transport)
    records = transport.read(transport.offsets(SETTINGS.topics.segments))
    found = [Segment.decode(r.key or b"", r.headers, r.value or b"", r.where) for r in records]
    return [segment for segment in found if not segment.is_end]


@pytest.fixture(scope="module")
def decoded(segments: list[Segment]) -> list[tuple[Segment, Decoded]]:
    return [(s, decode(s, SPEC.sample_times_us(s), SPEC.picture)) for s in segments]


@pytest.fixture(scope="module")
def expected(decoded: list[tuple[Segment, Decoded]]) -> list[tuple[int, dict[str, float]]]:
    found = scores(run(Pipeline(Remembering(), SPEC, {}), decoded))
    assert len({tuple(each.values()) for _, each in found}) > 10, "windows score alike: the tests show nothing"
    return found


def run(pipeline: Pipeline, pushed: Sequence[tuple[Segment, Decoded]]) -> Iterator[object]:
    for segment, found in pushed:
        yield from pipeline.classify(pipeline.push(segment, found))


def scores(outcomes) -> list[tuple[int, dict[str, float]]]:
    return [(o.prediction.window, dict(o.prediction.scores)) for o in outcomes if isinstance(o, ScoredWindow)]


class TestLive:
    def test_each_picture_is_stepped_through_once_and_cameras_share_calls(self, decoded, expected):
        counted = Remembering()
        pipeline = Pipeline(counted, SPEC, {})
        found = []
        for segment, each in decoded:
            steps = pipeline.push(segment, each)
            other = [Sample(s.at_us, s.frame_us, np.roll(s.image, 9, axis=0)) for s in each.samples]
            there = Segment(**{f: getattr(segment, f) for f in segment.__slots__} | {"camera": "yard"})
            steps += pipeline.push(there, Decoded(each.frame_times_us, other))
            found += [o for o in pipeline.classify(steps) if o.camera == "gate"]
        assert scores(found) == expected
        assert sum(counted.sizes) == 2 * ((len(expected) - 1) * SPEC.samples_per_stride + FRAMES)
        assert set(counted.sizes) == {2}

    def test_score_does_not_depend_on_when_windows_come(self, decoded, expected):
        pipeline = Pipeline(Remembering(), SPEC, {})
        steps = [step for segment, each in decoded for step in pipeline.push(segment, each)]
        assert scores(pipeline.classify(steps)) == expected

    def test_successor_steps_through_what_counts_again_and_scores_the_same(self, decoded, expected):
        for cut in range(1, len(decoded), 2):
            first, then = Pipeline(Remembering(), SPEC, {}), Pipeline(Remembering(), SPEC, {})
            found = scores(run(first, decoded[:cut]))
            then.restore("gate", first.state("gate"))
            needed_us = then.cameras["gate"].clipper.needed_from_us or 0
            for segment, each in decoded[:cut]:
                if segment.end_us > needed_us:
                    then.refill(segment, each)
            assert found + scores(run(then, decoded[cut:])) == expected, cut

    def test_footage_is_held_back_for_a_successor_as_far_as_it_counts(self, decoded):
        pipeline = Pipeline(Remembering(), SPEC, {})
        list(run(pipeline, decoded))
        clipper = pipeline.cameras["gate"].clipper
        begin_us = START_US + clipper.state.window * SPEC.stride_us
        assert clipper.needed_from_us == begin_us - Remembering.context * SPEC.spacing_us

    def test_nothing_is_remembered_across_a_gap(self, decoded):
        cut = [pair for number, pair in enumerate(decoded) if number != 3]
        whole = scores(run(Pipeline(Remembering(), SPEC, {}), cut))
        behind = scores(run(Pipeline(Remembering(), SPEC, {}), decoded[4:]))
        assert whole[-len(behind) :] == behind
        # Nor by one that takes over in the middle of what follows the gap.
        first, then = Pipeline(Remembering(), SPEC, {}), Pipeline(Remembering(), SPEC, {})
        found = scores(run(first, cut[:4]))
        then.restore("gate", first.state("gate"))
        for segment, each in cut[:4]:
            then.refill(segment, each)
        assert found + scores(run(then, cut[4:])) == whole

    def test_windows_that_are_left_out_for_lack_of_time_change_no_others(self, segments, expected):
        pipeline, found = Pipeline(Remembering(), SPEC, {}), []
        for number, segment in enumerate(segments):
            each = decode(segment, SPEC.sample_times_us(segment), SPEC.picture)
            found += scores(run(pipeline, [(segment, replace(each, effort=Effort(1, every=3 if number > 1 else 1)))]))
        assert len(found) < len(expected)
        assert set(map(str, found)) < set(map(str, expected))

    def test_state_goes_with_the_camera(self, decoded):
        pipeline = Pipeline(Remembering(), SPEC, {})
        for segment, each in decoded[:3]:
            # Of its own: other tests hold the others.
            samples = [Sample(sample.at_us, sample.frame_us, sample.image) for sample in each.samples]
            list(run(pipeline, [(segment, replace(each, samples=samples))]))
        del each, samples
        assert len(pipeline._features) == 1
        pipeline.close("gate")
        pipeline.forget("gate")
        gc.collect()
        assert len(pipeline._features) == 0

    @pytest.mark.parametrize(
        "model", [Remembering(), pytest.param(None, marks=pytest.mark.slow, id="co_x3d_xs")], ids=["numpy", None]
    )
    def test_live_work_and_replay_say_the_same(
        self, model: Any, footage: Path, request: pytest.FixtureRequest, tmp_path: Path
    ):
        if model is None:
            model = Classifier.load(str(request.getfixturevalue("path")), "openvino", 1)
        spec = SPEC if isinstance(model, Remembering) else clip_spec(model.contract, None)
        transport = MemoryTransport()
        for camera in ("gate", "hall"):
            send(footage, camera, transport)
        heard = Overheard(transport)
        work_off(Worker(heard, model, spec, {}, SETTINGS))
        recordings, _ = find_recordings([str(footage)], "gate", START_US, SETTINGS.segments.limits, lambda: transport)
        found = replay(recordings, ScoringSetup(model, spec, threads=1), "torch", TraceStore(tmp_path))
        assert found is not None
        replayed = {p.window: p.scores for p in found.timelines[0].predictions()}
        assert len(set(map(str, replayed.values()))) > 10
        for camera in ("gate", "hall"):
            assert {p.window: p.scores for p in heard.predictions if p.camera == camera} == replayed

    @pytest.mark.parametrize("place", [2.0, 4.0])
    def test_replay_that_was_cut_off_goes_on_there_and_says_the_same(
        self, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: float
    ):
        monkeypatch.setattr(replay_run, "_PART_SECONDS", 0.0)  # a part after each batch
        monkeypatch.setattr(replay_run, "_AHEAD", 1)  # and a batch of a segment or two

        def replayed(folder: str, **options: Any) -> dict[int, Any]:
            found, _ = find_recordings([str(footage)], "gate", START_US, SETTINGS.segments.limits, MemoryTransport)
            setup = ScoringSetup(Remembering(), SPEC, threads=1)
            ended = replay(found, setup, "torch", TraceStore(tmp_path / folder), **options)
            assert ended is not None
            return {p.window: p.scores for p in ended.timelines[0].predictions()}

        def cut(name: str, done: float, _: float) -> None:
            if name == "classifying" and done >= place:
                raise InterruptedError

        whole = replayed("whole")
        with pytest.raises(InterruptedError):
            replayed("parts", progress=cut)
        assert list((tmp_path / "parts").glob("*.part.npz"))
        assert replayed("parts") == whole

    def test_worker_that_takes_over_says_what_one_that_was_never_stopped_would(self, footage: Path):
        alone = MemoryTransport()
        send(footage, "gate", alone)
        undisturbed = Overheard(alone)
        work_off(Worker(undisturbed, Remembering(), SPEC, {}, SETTINGS))
        stored = list(alone.read(alone.offsets(SETTINGS.topics.segments)))
        transport = MemoryTransport()
        ensure_topics(transport, SETTINGS.topics)
        heard = Overheard(transport)
        for part in (stored[:4], stored[4:5], stored[5:]):
            for record in part:
                transport.append(record.topic, record.key or b"", record.headers, record.value)
            count = len(heard.predictions)
            if part[-1] is stored[-1]:
                work_off(Worker(heard, Remembering(), SPEC, {}, SETTINGS))
                continue
            stop = time.monotonic() + 20
            Worker(heard, Remembering(), SPEC, {}, SETTINGS).run(
                lambda count=count, stop=stop: len(heard.predictions) > count or time.monotonic() > stop
            )
        assert {p.window: p.scores for p in heard.predictions} == {p.window: p.scores for p in undisturbed.predictions}
        assert len(heard.predictions) == len(undisturbed.predictions) > 10
