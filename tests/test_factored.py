"""Networks that factor: encoder and head are the whole network, in torch, in OpenVINO and in exported files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from models import Classifier, find, save
from models.engines import conversion
from models.engines.export import export, probes
from models.engines.files import parts_of, save_openvino
from models.engines.torch import serving_module
from tests.checkpoints import write_checkpoint

#: By architecture: a shipped model, where there is one, has scores that differ.
FACTORED = ["movenet_motion", pytest.param("cnn_lstm:movenet", marks=pytest.mark.slow)]
#: What a whole-clip graph differs in: the same sums in another order.
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=FACTORED)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For small clips, so that it is quick to export."""
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    if request.param != "movenet_motion":
        return write_checkpoint(path, request.param)
    shipped = find("movenet-motion")
    save(path, shipped.state(), replace(shipped.contract, frames=4, height=32, width=32))
    return path


@pytest.mark.slow
def test_encoder_and_head_score_as_the_whole_network(checkpoint: Path):
    clips = probes(find(str(checkpoint)))
    with torch.inference_mode():
        whole = serving_module(find(str(checkpoint)))(torch.from_numpy(clips)).numpy()
    for engine in ("torch", "openvino-f32"):
        np.testing.assert_allclose(Classifier.load(str(checkpoint), engine, 1).predict(clips), whole, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_exported_file_holds_encoder_and_head(checkpoint: Path, tmp_path: Path, suffix: str):
    exported = export(find(str(checkpoint)), tmp_path / f"m{suffix}").checkpoint
    model = openvino.Core().read_model(exported.path)
    head, encoder = parts_of(model)
    assert list(encoder.input(0).shape) == [1, 32, 32, 3]
    assert list(head.output(0).shape) == [1, 2]
    pictures = list(np.random.default_rng(6).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))
    served, original = (Classifier.load(str(path), "openvino-f32", 1) for path in (exported.path, checkpoint))
    mine, theirs = ([m.encode(pictures)[b : b + 4] for b in (0, 2)] for m in (served, original))
    np.testing.assert_allclose(served.score(mine), original.score(theirs), atol=TOLERANCE)


@pytest.mark.slow
def test_file_that_was_exported_whole_still_serves(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = find(str(checkpoint))
    exported = export(source, tmp_path / "new.xml").checkpoint
    assert exported.export is not None
    monkeypatch.setattr(conversion, "factored_module", serving_module)
    old = conversion.convert(source)
    for key, value in (exported.contract.encode() | exported.export.encode()).items():
        old.set_rt_info(value, [key])
    save_openvino(old, tmp_path / "old.xml")
    clips = np.random.default_rng(7).integers(0, 256, (3, 4, 32, 32, 3), dtype=np.uint8)
    before, now = (Classifier.load(str(tmp_path / f"{name}.xml"), "openvino-f32", 1) for name in ("old", "new"))
    np.testing.assert_allclose(before.predict(clips), now.predict(clips), atol=TOLERANCE)
