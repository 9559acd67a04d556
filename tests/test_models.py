"""Checkpoints, contracts, engines: what is promised is checked, what cannot be kept is refused."""

from __future__ import annotations

import json
import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import (
    CheckpointError,
    Classifier,
    ClipError,
    Contract,
    EngineError,
    Threshold,
    UnknownModelError,
    check_writable,
    choose_engine,
    find,
    normal_label,
    save,
    shipped,
)
from models.checkpoint import DEFAULT_MODEL
from models.engines import choice, conversion
from models.engines.export import probes
from models.engines.torch import TorchGraph, serving_module
from models.networks.zoo import create
from tests.checkpoints import contract, write_checkpoint

#: Largest difference of a score between engines: float32 kernels in another order, and bfloat16's 8 bits of mantissa.
F32_TOLERANCE, BF16_TOLERANCE = 1e-4, 0.05


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def clips(model: Classifier, count: int = 3, seed: int = 0) -> np.ndarray:
    shape = (count, *model.contract.clip_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_contract_survives_the_file(tmp_path: Path) -> None:
    written = contract(thresholds={"fight": Threshold(0.7, 0.4)}, training={"data": ["x"]}, metrics={"accuracy": 0.5})
    save(tmp_path / "m.safetensors", {"w": torch.ones(2)}, written)
    assert find(str(tmp_path / "m.safetensors")).contract == written


def test_same_bytes_have_the_same_id_and_other_bytes_another(tmp_path: Path) -> None:
    first, second, other = (tmp_path / folder / "m.safetensors" for folder in "abc")
    save(first, {"w": torch.ones(2)}, contract())
    save(second, {"w": torch.ones(2)}, contract())
    save(other, {"w": torch.zeros(2)}, contract())
    assert find(str(first)).id == find(str(second)).id != find(str(other)).id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("one",)}, "at least two"),
        ({"labels": ("a", "a")}, "at least two different"),
        ({"frames": 0}, "positive"),
        ({"spacing_seconds": float("nan")}, "positive"),
        ({"fit": "pad"}, "'pad'"),
        ({"std": (0.0, 1.0, 1.0)}, "std positive"),
        ({"thresholds": {"fall": Threshold(0.5, 0.2)}}, "fall"),
    ],
)
def test_contract_that_does_not_hold_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        contract(**changes)


def test_threshold_that_ends_above_its_start_is_refused() -> None:
    with pytest.raises(ValueError, match="end <= start"):
        Threshold(0.4, 0.6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\x80\x04K\x01.", "not a safetensors file"),
        (b"\xff" * 4096, "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"nope", "not a safetensors file"),
    ],
)
def test_file_that_is_no_checkpoint_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"broken.safetensors: {message}"):
        find(str(path))


def test_safetensors_without_a_contract_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="no contract"):
        find(str(tmp_path / "plain.safetensors"))


def test_contract_of_another_version_is_refused() -> None:
    values = json.loads(contract().encode()["clipline"]) | {"version": 99}
    with pytest.raises(CheckpointError, match="version 99"):
        Contract.decode({"clipline": json.dumps(values)}, "m")


def test_contract_with_a_missing_part_is_refused() -> None:
    values = json.loads(contract().encode()["clipline"])
    del values["frames"]
    with pytest.raises(CheckpointError, match="frames"):
        Contract.decode({"clipline": json.dumps(values)}, "m")


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        Classifier.load(str(path), engine="torch")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    network = create("x3d_xs", 2, frames=4, size=32)
    save(tmp_path / "m.safetensors", network.state_dict(), contract("cnn_lstm"))
    with pytest.raises(CheckpointError, match="not those of cnn_lstm"):
        Classifier.load(str(tmp_path / "m.safetensors"), engine="torch")


def test_unknown_model_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UnknownModelError, match=r"'nope'.*cnn-lstm.*x3d-xs"):
        find("nope")


def test_unknown_architecture_is_answered_with_near_ones() -> None:
    with pytest.raises(UnknownModelError, match="did you mean x3d_"):
        create("x3d_xxl", 2, frames=4, size=32)


def test_unknown_engine_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="expected one of auto, openvino"):
        Classifier.load(str(write_checkpoint(tmp_path / "m.safetensors")), engine="tensorrt")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["x3d_xs", pytest.param("cnn_lstm", marks=pytest.mark.slow)])
def test_engines_agree_on_the_same_clips(tmp_path: Path, architecture: str) -> None:
    path = write_checkpoint(tmp_path / "m.safetensors", architecture, height=64, width=64)
    torch_cpu = Classifier.load(str(path), engine="torch")
    batch = clips(torch_cpu)
    expected = torch_cpu.predict(batch)
    np.testing.assert_allclose(expected.sum(1), 1, atol=1e-5)
    for engine, tolerance in (("openvino-f32", F32_TOLERANCE), ("openvino", BF16_TOLERANCE)):
        scores = Classifier.load(str(path), engine=engine).predict(batch)
        np.testing.assert_allclose(scores, expected, atol=tolerance, err_msg=engine)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_models_score_the_same_on_every_engine(name: str) -> None:
    exact, fast = Classifier.load(name, engine="openvino-f32"), Classifier.load(name, engine="openvino")
    reference = Classifier.load(name, engine="torch")
    batch = clips(reference)
    np.testing.assert_allclose(exact.predict(batch), reference.predict(batch), atol=F32_TOLERANCE)
    np.testing.assert_allclose(fast.predict(batch), reference.predict(batch), atol=BF16_TOLERANCE)


def test_score_of_a_clip_does_not_depend_on_its_batch() -> None:
    model = Classifier.load("x3d-xs")
    batch = clips(model, 7)
    together = model.predict(batch)
    np.testing.assert_array_equal(together, np.stack([model.predict(clip) for clip in batch]))
    np.testing.assert_array_equal(together[::-1], model.predict(batch[::-1]))


@pytest.mark.slow
def test_converted_model_is_reused_and_a_damaged_one_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write_checkpoint(tmp_path / "m.safetensors")
    first = Classifier.load(str(path))
    batch = clips(first)
    [converted] = (tmp_path / "cache").rglob("*.xml")
    made = converted.stat().st_mtime_ns
    assert np.array_equal(Classifier.load(str(path)).predict(batch), first.predict(batch))
    assert converted.stat().st_mtime_ns == made
    converted.write_text("<net")
    assert np.array_equal(Classifier.load(str(path)).predict(batch), first.predict(batch))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 32, 32), np.uint8), ((2, 4, 32, 31, 3), np.uint8), ((4, 32, 32, 3), np.float32)]
)
def test_clip_that_the_contract_does_not_ask_for_is_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    model = Classifier.load(str(write_checkpoint(tmp_path / "m.safetensors")), engine="torch")
    with pytest.raises(ClipError, match=r"expects \(B, 4, 32, 32, 3\) of uint8"):
        model.predict(np.zeros(shape, dtype))


def hub_checkpoint(folder: Path) -> Path:
    """What PyTorchVideo's model zoo holds: a pickle with the weights under `model_state`."""
    torch.manual_seed(5)
    network = create("x3d_xs", 400, frames=4, size=160)
    torch.save({"model_state": network.state_dict()}, folder / "X3D_XS.pyth")
    return folder / "X3D_XS.pyth"


def test_pytorchvideo_checkpoint_loads_with_kinetics_labels(tmp_path: Path) -> None:
    model = Classifier.load(str(hub_checkpoint(tmp_path)), engine="torch")
    assert len(model.labels) == 400
    assert model.labels[0] == "abseiling"
    assert model.contract.clip_shape == (4, 160, 160, 3)
    assert model.predict(clips(model, 1)).shape == (1, 400)


def test_pytorchvideo_checkpoint_that_was_fetched_before_loads_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "clipline" / "hub").mkdir(parents=True)
    path = hub_checkpoint(tmp_path / "clipline" / "hub")
    assert {find(name).path for name in ("kinetics/x3d_xs", "x3d_xs", "X3D_XS")} == {path}
    with pytest.raises(UnknownModelError, match="did you mean 'kinetics/x3d_xs'"):
        find("kinetics/x3d_xx")


def test_pytorchvideo_checkpoint_that_cannot_be_fetched_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("models.hub._ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(CheckpointError, match="give the path of a copy"):
        find("x3d_s")


def test_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "X3D_XS.pyth").write_bytes(pickle.dumps({"model_state": Evil()}))
    with pytest.raises(CheckpointError, match="not a PyTorchVideo checkpoint"):
        Classifier.load(str(tmp_path / "X3D_XS.pyth"), engine="torch")
    assert not (tmp_path / "ran").exists()


def test_one_model_of_each_kind_ships_and_together_they_are_small() -> None:
    kinds = {find(name).contract.architecture for name in shipped()}
    assert kinds == {"movenet_views", "movenet_lstm", "movenet_3d", "movenet_motion", "x3d_xs"}
    assert DEFAULT_MODEL in shipped()
    assert sum(path.stat().st_size for path in shipped().values()) <= 43 * 1024**2


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_model_says_what_it_is_and_how_good(name: str) -> None:
    found = find(name).contract
    assert found.labels[0] == "normal"
    assert "fight" in found.thresholds
    assert found.metrics["low"] <= found.metrics["accuracy"] <= found.metrics["high"]
    card = shipped()[name].with_suffix(".md").read_text()
    assert f"held-out {100 * found.metrics['accuracy']:.1f} %" in card


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("architecture", ["x3d_xs", "cnn_lstm"])
def test_cuda_scores_as_the_processor_does(tmp_path: Path, architecture: str) -> None:
    path = write_checkpoint(tmp_path / "m.safetensors", architecture, height=160, width=160)
    on_gpu, on_cpu = Classifier.load(str(path)), Classifier.load(str(path), engine="openvino-f32")
    assert on_gpu.engine == "torch-cuda"
    batch = clips(on_gpu)
    np.testing.assert_allclose(on_gpu.predict(batch), on_cpu.predict(batch), atol=5e-3)


def test_checkpoint_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/m\.safetensors: cannot be written"):
        write_checkpoint(tmp_path / "file/m.safetensors")


def test_cache_that_cannot_be_written_is_told_when_a_model_is_to_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="give the path of a copy"):
        find("x3d_s")


def test_conversion_that_fails_leaves_the_process_its_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unconvertible(torch.nn.Module):
        def forward(self, _clips: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such operator")

    monkeypatch.setattr(conversion, "factored_module", lambda _: Unconvertible())
    checkpoint = find(str(write_checkpoint(tmp_path / "m.safetensors", "x3d_xs")))

    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        return root.level, list(root.filters), list(root.handlers)

    before = state()
    with pytest.raises(Exception, match="no such operator"):
        conversion.convert(checkpoint)
    assert state() == before


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (" fight ", "fight"),
        ("two  words", "two words"),
        ("fe\u0301te", "f\u00e9te"),
        ("\ufefffi\u200bght\u00a0", "fight"),
    ],
)
def test_label_is_written_one_way(written: str, name: str) -> None:
    assert normal_label(written) == name


def test_labels_of_an_older_checkpoint_are_written_as_all_others_are() -> None:
    contract = Contract("cnn_lstm", ("normal", "fight "), 8, 0.2, 64, 64, "stretch", (0.5,) * 3, (0.5,) * 3)
    stored = replace(contract, thresholds={"fight ": Threshold(0.8, 0.4)}).encode()
    found = Contract.decode(stored, "old.safetensors")
    assert found.labels == ("normal", "fight")
    assert set(found.thresholds) == {"fight"}


@pytest.mark.parametrize("name", ["model.xml", "model.pt"])
def test_checkpoint_that_could_not_be_found_again_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{name}: expected a name that ends in \.safetensors"):
        check_writable(tmp_path / name)


def test_calls_on_a_gpu_always_have_the_same_number_of_clips(tmp_path: Path) -> None:
    """The padding is tried on the processor: what kernels a GPU chooses for one shape cannot be seen here."""
    checkpoint = find(str(write_checkpoint(tmp_path / "m.safetensors")))
    module, clips = serving_module(checkpoint), probes(checkpoint)
    seen: list[int] = []
    graph = TorchGraph(lambda batch: seen.append(len(batch)) or module(batch), torch.device("cpu"), 3, pads=True)
    expected = Classifier.load(str(checkpoint.path), "torch").predict(clips)
    np.testing.assert_allclose(np.stack(graph.run(clips)), expected, atol=1e-6)
    assert seen == [3, 3]


@pytest.mark.parametrize("device", ["nvidiactl", "dxg", "kfd"])
def test_gpu_is_asked_for_wherever_a_driver_shows_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """NVIDIA's driver, that of WSL, and AMD's; torch itself then says whether it can use it."""
    checkpoint = find(str(write_checkpoint(tmp_path / "m.safetensors")))
    monkeypatch.setattr("models.engines.torch.has_cuda", lambda: True)
    names = tuple(tmp_path / path.name for path in choice._GPU_DEVICES)
    monkeypatch.setattr(choice, "_GPU_DEVICES", names)
    assert choose_engine("auto", checkpoint) == "openvino"
    (tmp_path / device).touch()
    assert choose_engine("auto", checkpoint) == "torch"
