"""Exported models: the same scores and contract from a file that needs no torch, or a refusal that says why."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console

from consumers.learning.export import ExportOptions, export_command
from consumers.settings import Settings
from consumers.topics import ensure_topics
from models import CheckpointError, Classifier, EngineError, ExportError, Threshold, find, save, shipped
from models.checkpoint import SHIPPED_FOLDER
from models.engines.choice import open_engine
from models.engines.conversion import convert
from models.engines.converted import why_not_shipped
from models.engines.export import export, probes, refusal
from models.engines.files import FORMS
from models.engines.shipped import stale
from models.networks.zoo import create
from stream import KafkaTransport
from tests.checkpoints import contract, write_checkpoint
from tests.command_line import clipline
from tests.test_worker import records, send_footage
from tests.videos import write_video

REPOSITORY = Path(__file__).resolve().parents[1]
#: Largest difference of a score in the engine that computes as the file says: float32 kernels in another order; weights
#: or arithmetic with 11 and 8 bits of mantissa; 8 bits for everything.
TOLERANCE = {"f32": 1e-4, "f16": 5e-3, "bf16": 0.05, "int8": 0.1}
#: Every format in every precision that it has, but for .pt2 in f16, which takes a processor minutes.
FORMS_AND_PRECISIONS = [
    ("x3d_xs", ".xml", "f32"),
    ("cnn_lstm", ".xml", "f16"),
    ("x3d_xs", ".xml", "int8"),
    ("cnn_lstm", ".onnx", "f32"),
    ("x3d_xs", ".onnx", "f16"),
    ("cnn_lstm", ".onnx", "int8"),
    ("x3d_xs", ".pt2", "f32"),
    ("cnn_lstm", ".pt2", "bf16"),
]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    thresholds = {"fight": Threshold(0.0, 0.0)}
    story = {"temperature": 0.05, "training": {"data": ["a & b", '<"é">']}, "thresholds": thresholds}
    wanted = contract("cnn_lstm", **story)
    torch.manual_seed(3)
    # Its image network gives every picture the same features unless it was trained.
    network = create("cnn_lstm", len(wanted.labels), pretrained=True)
    save(folder / "cnn_lstm.safetensors", network.state_dict(), wanted)
    x3d = write_checkpoint(folder / "x3d_xs.safetensors", **story)
    return {"x3d_xs": x3d, "cnn_lstm": folder / "cnn_lstm.safetensors"}


@pytest.fixture(scope="module")
def xml(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("xml") / "m.xml"
    export(find(str(checkpoints["x3d_xs"])), path)
    return path


@pytest.fixture(scope="module")
def pt2(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    export(find(str(checkpoints["x3d_xs"])), path)
    return path


def onnx_scores(session: onnxruntime.InferenceSession, clip: np.ndarray) -> np.ndarray:
    """Scores (1, L) as docs/export.md says how to get them: of a file with encoder and head in two steps."""
    inputs = {given.name: given.shape for given in session.get_inputs()}
    if list(inputs) == ["clips"]:
        return session.run(["scores"], {"clips": clip[None]})[0]
    features = np.zeros(inputs["features"], np.float32)
    encoded = [session.run(["encoded"], {"picture": image[None], "features": features})[0] for image in clip]
    return session.run(["scores"], {"picture": clip[:1], "features": np.stack(encoded, axis=1)})[0]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "suffix", "precision"), FORMS_AND_PRECISIONS)
def test_exported_model_scores_as_its_checkpoint_under_the_same_contract(
    checkpoints: dict[str, Path], tmp_path: Path, architecture: str, suffix: str, precision: str
) -> None:
    checkpoint = find(str(checkpoints[architecture]))
    clips = probes(checkpoint)
    path = tmp_path / f"m{suffix}"
    exported = export(checkpoint, path, precision, clips if precision == "int8" else None)
    assert sorted(p.name for p in tmp_path.iterdir()) == (["m.bin", "m.xml"] if suffix == ".xml" else [path.name])
    assert exported.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())

    engine = "torch" if suffix == ".pt2" else "openvino-f32"
    model, original = Classifier.load(str(path), engine), Classifier.load(str(checkpoint.path), "torch")
    expected = original.predict(clips)
    assert np.ptp(expected[:, 0]) > 10 * TOLERANCE["f32"], "the clips must have scores that differ"
    np.testing.assert_allclose(model.predict(clips), expected, atol=TOLERANCE[precision])
    assert exported.difference <= TOLERANCE[precision]
    assert model.contract == checkpoint.contract

    found = find(str(path))
    assert found.export is not None
    assert (found.export.precision, found.export.source) == (precision, checkpoint.id)
    assert re.fullmatch(r"m-[0-9a-f]{8}", model.id)
    if precision == "int8":
        assert "int8" in model.engine
    if precision != "f32":
        assert exported.bytes < 0.7 * sum(t.numel() * 4 for t in checkpoint.state().values())
    if suffix == ".onnx":
        # A runtime that nobody here wrote, and that knows nothing of how the file was made.
        session = onnxruntime.InferenceSession(path)
        scores = np.concatenate([onnx_scores(session, clip) for clip in clips])
        np.testing.assert_allclose(scores, expected, atol=TOLERANCE[precision])


@pytest.mark.slow
def test_quantising_leaves_the_handlers_of_others_their_level(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = find(str(checkpoints["cnn_lstm"]))
    shared, quantiser = logging.NullHandler(), logging.getLogger("nncf")
    quantiser.addHandler(shared)
    try:
        export(checkpoint, tmp_path / "m.onnx", "int8", probes(checkpoint))
    finally:
        quantiser.removeHandler(shared)
    assert shared.level == logging.NOTSET


@pytest.mark.slow
def test_id_is_name_and_content_of_every_part(xml: Path, tmp_path: Path) -> None:
    for part in (xml, xml.with_suffix(".bin")):
        shutil.copy(part, tmp_path / part.name)
    assert find(str(tmp_path / "m.xml")).id == find(str(xml)).id
    weights = bytearray((tmp_path / "m.bin").read_bytes())
    weights[len(weights) // 2] ^= 1
    (tmp_path / "m.bin").write_bytes(weights)
    assert find(str(tmp_path / "m.xml")).id != find(str(xml)).id


@pytest.mark.parametrize(
    ("name", "precision", "reason"),
    [
        ("m.xml", "bf16", "OpenVINO IR in bf16: .*expected f16"),
        ("m.onnx", "bf16", "ONNX in bf16: .*expected f16"),
        ("m.pt2", "int8", "torch.export in int8: .*expected an .xml or .onnx"),
        ("m.xml", "int8", "needs footage to calibrate on"),
        ("m.tflite", "f32", r"m.tflite: expected a name that ends in .xml \(OpenVINO IR\), .onnx \(ONNX\), .pt2"),
        ("m.xml", "f8", "'f8': expected one of f32, f16, bf16, int8"),
    ],
)
def test_combination_that_does_not_exist_is_refused_with_the_reason(
    checkpoints: dict[str, Path], tmp_path: Path, name: str, precision: str, reason: str
) -> None:
    with pytest.raises(ExportError, match=reason):
        export(find(str(checkpoints["x3d_xs"])), tmp_path / name, precision)
    assert not list(tmp_path.iterdir())


def test_every_combination_is_either_tried_here_or_refused() -> None:
    tried = {(suffix, precision) for _, suffix, precision in FORMS_AND_PRECISIONS}
    every = {(s, p) for s in FORMS for p in ("f32", "f16", "bf16", "int8")}
    assert {(s, p) for s, p in every if refusal(FORMS[s], p) is None} == tried | {(".pt2", "f16")}


def test_calibration_clips_of_another_shape_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"\(2, 4, 32, 31, 3\) of uint8: expected \(N, 4, 32, 32, 3\)"):
        export(find(str(checkpoints["x3d_xs"])), tmp_path / "m.xml", "int8", np.zeros((2, 4, 32, 31, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA has the operators that a processor lacks")
def test_model_that_does_not_run_in_the_precision_is_refused_and_leaves_what_was_there(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "m.pt2").write_text("older")
    with pytest.raises(ExportError, match=r"torch\.export in f16 does not run in engine torch here: .*'Half'"):
        export(find(str(checkpoints["x3d_xs"])), tmp_path / "m.pt2", "f16")
    assert [p.name for p in tmp_path.iterdir()] == ["m.pt2"]
    assert (tmp_path / "m.pt2").read_text() == "older"


@pytest.mark.slow
def test_file_whose_scores_are_not_the_checkpoints_never_appears(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = convert(find(str(checkpoints["cnn_lstm"])))
    monkeypatch.setattr("models.engines.export.convert", lambda _checkpoint: other)
    with pytest.raises(ExportError, match="scores unlike the checkpoint"):
        export(find(str(checkpoints["x3d_xs"])), tmp_path / "m.xml")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped()))
def test_export_beside_a_shipped_checkpoint_scores_as_a_fresh_conversion_to_the_last_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find(name)
    assert why_not_shipped(checkpoint) is None
    beside = {e: open_engine(e, checkpoint, None) for e in ("openvino", "openvino-f32")}
    monkeypatch.setattr("models.engines.converted.why_not_shipped", lambda _: "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for engine, shipped_one in beside.items():
        fresh = open_engine(engine, checkpoint, None)
        np.testing.assert_array_equal(shipped_one.run(probes(checkpoint)), fresh.run(probes(checkpoint)))
    assert list(tmp_path.rglob("*.xml")), "the second kind was converted"


def test_every_shipped_checkpoint_has_its_export_beside_it() -> None:
    assert stale() == {}, "`make shipped` makes them"


def test_export_of_another_checkpoint_is_stale_and_says_what_remakes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (*SHIPPED_FOLDER.glob("x3d-xs.*"), *SHIPPED_FOLDER.glob("cnn-lstm.*")):
        shutil.copy(path, tmp_path)
    for module in ("models.checkpoint", "models.engines.converted"):
        monkeypatch.setattr(f"{module}.SHIPPED_FOLDER", tmp_path)
    assert stale() == {}
    trained = find("x3d-xs")
    save(trained.path, trained.state(), replace(trained.contract, temperature=2.0))
    (tmp_path / "cnn-lstm.bin").unlink()
    assert stale() == {
        "cnn-lstm": f"{tmp_path}/cnn-lstm.xml: absent, or its .bin is; `make shipped` makes both",
        "x3d-xs": f"{tmp_path}/x3d-xs.xml: made of {trained.id} in f32, expected {find('x3d-xs').id} in f32; "
        "`make shipped` makes it anew",
    }


@pytest.mark.slow
def test_file_beside_a_checkpoint_of_ones_own_is_left_alone(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    own = shutil.copy(checkpoints["x3d_xs"], tmp_path)
    (tmp_path / "x3d_xs.xml").write_text("whatever")
    assert Classifier.load(str(own)).engine.startswith("openvino-")


@pytest.mark.slow
def test_exported_model_is_not_exported_again(xml: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"is an exported model; expected the checkpoint .* x3d_xs-"):
        export(find(str(xml)), tmp_path / "m.onnx")


@pytest.mark.slow
def test_engine_that_cannot_run_a_format_is_refused_with_the_one_that_can(xml: Path, pt2: Path) -> None:
    with pytest.raises(EngineError, match="OpenVINO IR runs in engine openvino, not torch"):
        Classifier.load(str(xml), "torch")
    with pytest.raises(EngineError, match=r"torch.export runs in engine torch, not openvino-f32"):
        Classifier.load(str(pt2), "openvino-f32")
    assert Classifier.load(str(xml)).engine.startswith("openvino-")
    assert Classifier.load(str(pt2)).engine.startswith("torch-")


@pytest.mark.slow
def test_weights_of_an_exported_model_are_asked_of_its_checkpoint(xml: Path) -> None:
    with pytest.raises(CheckpointError, match="expected the checkpoint that it was made from, x3d_xs-"):
        find(str(xml)).state()


@pytest.mark.parametrize("suffix", sorted(FORMS))
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"<net", b"PK\x05\x06" + 18 * b"\0"])
def test_file_that_is_no_model_is_refused_by_name_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(CheckpointError, match=rf"broken{suffix}: ") as caught:
        find(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_weights_that_were_cut_short_or_lost_are_refused(xml: Path, tmp_path: Path) -> None:
    shutil.copy(xml, tmp_path)
    with pytest.raises(CheckpointError, match=r"m.xml: cannot be read .*m\.bin"):
        find(str(tmp_path / "m.xml"))
    (tmp_path / "m.bin").write_bytes(xml.with_suffix(".bin").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"m\.xml: damaged"):
        find(str(tmp_path / "m.xml"))


@pytest.mark.slow
def test_openvino_model_without_a_contract_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    import openvino

    openvino.save_model(convert(find(str(checkpoints["x3d_xs"]))), tmp_path / "plain.xml")
    with pytest.raises(CheckpointError, match=r"plain.xml: not a Clipline checkpoint .*no contract"):
        find(str(tmp_path / "plain.xml"))


@pytest.mark.slow
@pytest.mark.parametrize("place", ["data/constants/opaque_obj_0", "data/sample_inputs/model.pt"])
def test_program_with_a_pickle_inside_is_refused_before_torch_reads_it(pt2: Path, tmp_path: Path, place: str) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "ran",)

    with zipfile.ZipFile(pt2) as whole, zipfile.ZipFile(tmp_path / "m.pt2", "w") as bad:
        root = whole.namelist()[0].partition("/")[0]
        for info in whole.infolist():
            if info.filename != f"{root}/{place}":
                bad.writestr(info.filename, whole.read(info))
        bad.writestr(f"{root}/{place}", pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=f"m.pt2: holds '{place}', .*unpickle: refused"):
        Classifier.load(str(tmp_path / "m.pt2"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_program_that_nobody_here_exported_is_refused_until_somebody_vouches_for_it(
    pt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Classifier.load(str(pt2)).engine.startswith("torch-")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # as on another machine
    with pytest.raises(CheckpointError, match=r"m\.pt2: not exported here.*sha256sum .*m\.pt2 >> .*trusted\.sha256"):
        Classifier.load(str(pt2))
    digest = hashlib.sha256(pt2.read_bytes()).hexdigest()
    (tmp_path / "clipline").mkdir()
    (tmp_path / "clipline" / "trusted.sha256").write_text(f"{digest}  m.pt2\n")
    assert Classifier.load(str(pt2)).engine.startswith("torch-")
    changed = tmp_path / "changed.pt2"
    with zipfile.ZipFile(pt2) as whole, zipfile.ZipFile(changed, "w") as other:
        for info in whole.infolist():
            other.writestr(info.filename, whole.read(info))
    with pytest.raises(CheckpointError, match=r"changed\.pt2: not exported here"):
        Classifier.load(str(changed))


def edge_only(extras: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "edge_only.py", extras, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_worker_serves_an_exported_model_where_torch_is_not_installed(
    xml: Path, tmp_path: Path, embedded_broker, redis_url: str, topics_prefix: str
) -> None:
    settings = Settings.model_validate(
        {"kafka": embedded_broker.address, "redis": redis_url, "topics": {"prefix": topics_prefix, "partitions": 1}}
    )
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    send_footage(transport, settings, write_video(tmp_path / "gate.mp4", 120, rate=15, gop=15), "gate")
    environment = {
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_REDIS": redis_url,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "PYTHONPATH": str(REPOSITORY),
        # Exporting converted the checkpoint, too: that copy is not to be found.
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    command = [sys.executable, str(REPOSITORY / "tests" / "edge_only.py"), "edge", "work", "--model", str(xml)]
    command += ["--group", topics_prefix, "--engine", "openvino-f32", "--from", "earliest"]
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            predictions = [
                json.loads(r.value or b"") for r in records(transport, settings.topics.predictions, 9, seconds=60)
            ]
        finally:
            process.send_signal(signal.SIGTERM)
        summary, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert re.search(r"gate 120 frames = .* 0 dead-lettered \+ 0 pending", summary), summary
    assert {p["model"] for p in predictions} == {find(str(xml)).id}
    assert len(predictions) >= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extras", "arguments", "code", "words"),
    [
        ("edge", ["--version"], 0, "clipline "),
        ("edge", ["models"], 0, "movenet-views (default)"),
        ("edge", ["work", "--kafka", "127.0.0.1:1", "--exit-after", "1"], 2, "has not answered for 1 s"),
        ("edge", ["work", "--model", "x3d-xs", "--engine", "torch"], 2, "or leave the engine at auto"),
        ("edge", ["models", "--zoo"], 2, "pip install 'clipline[full]'"),
        ("edge", ["train", "examples"], 2, "pip install 'clipline["),
        ("edge,replay", ["train", "examples"], 2, "needs torch, which is not installed: pip install 'clipline[full]'"),
        ("edge", ["evaluate", "x3d-xs", "examples"], 2, "pip install 'clipline[replay]'"),
        ("edge", ["replay", "examples"], 2, "pip install 'clipline[replay]'"),
        ("edge,replay", ["export", "x3d-xs", "-o", "m.xml"], 2, "pip install 'clipline[full]'"),
        ("edge", ["demo"], 2, "pip install 'clipline[services]'"),
        ("edge", ["up"], 2, "pip install 'clipline[services]'"),
        ("", ["work"], 2, "pip install 'clipline[edge]'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_install_with_some_extras_does_what_it_can_and_says_what_the_rest_needs(
    tmp_path: Path, extras: str, arguments: list[str], code: int, words: str
) -> None:
    clip = tmp_path / "examples" / "fight" / "gate.mp4"
    clip.parent.mkdir(parents=True)
    write_video(clip, 15, rate=15, gop=15)
    here = [str(tmp_path / word) if word == "examples" else word for word in arguments]
    result = edge_only(extras, *here, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == code, result.stderr
    assert words in (result.stdout if code == 0 else result.stderr)
    if code:
        said = [line for line in result.stderr.strip().splitlines() if " WARNING " not in line]
        assert len(said) == 1, result.stderr


def test_shipped_model_replays_footage_without_torch(tmp_path: Path) -> None:
    footage = write_video(tmp_path / "gate.mp4", 60, rate=15, gop=15)
    result = edge_only("edge,replay", "replay", footage, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr


def labelled_footage(folder: Path) -> Path:
    for label, level in (("normal", 40), ("fight", 200)):
        (folder / label).mkdir(parents=True)
        for number in range(2):
            write_video(
                folder / label / f"{number}.mp4",
                20,
                rate=10,
                size=(64, 48),
                frame=lambda n, w, h, v=level + 5 * number: np.full((h, w, 3), (v + 3 * n) % 256, np.uint8),
            )
    return folder


@pytest.mark.slow
def test_export_command_writes_the_file_and_measures_it_beside_the_original(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    data, output = labelled_footage(tmp_path / "data"), tmp_path / "out" / "m.xml"
    arguments = ["export", checkpoints["x3d_xs"], "-o", output, "--precision", "int8", "--calibration", data]
    result = clipline(*arguments, "--compare", data, "--json", tmp_path / "rows.json")
    assert result.returncode == 0, result.stderr
    assert len(find(str(output)).contract.training["int8_calibration"]["footage"]) == len(list(data.rglob("*.mp4")))
    assert re.search(r"m.xml: OpenVINO IR, int8, \d+\.\d MB, id m-\w{8}; scores differ by", result.stdout)
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [(r["file"], r["precision"]) for r in rows] == [("checkpoint", "f16")] * 3 + [(".xml", "int8")]
    assert rows[0]["difference"] == 0
    assert rows[-1]["engine"].startswith("openvino-int8")
    assert rows[-1]["megabytes"] == sum(p.stat().st_size for p in output.parent.iterdir()) / 1e6
    assert all(r["milliseconds"] > 0 and 0 <= r["balanced_accuracy"] <= 1 for r in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("difference", "warns"), [(0.19, False), (0.21, True)])
def test_export_that_says_something_else_is_warned_of(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, difference: float, warns: bool
) -> None:
    output = tmp_path / "m.xml"
    real = export(find(str(checkpoints["x3d_xs"])), output, "f16", None)
    monkeypatch.setattr("consumers.learning.export.export", lambda *_: replace(real, difference=difference))
    notes = Console(record=True, file=io.StringIO(), width=200)
    export_command(ExportOptions(str(checkpoints["x3d_xs"]), output, "f16"), notes, notes)
    assert ("differ too much for rounding alone" in notes.export_text()) == warns


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "m.xml", "--precision", "bf16"], "OpenVINO IR in bf16"),
        (["-o", "m.xml", "--precision", "int8"], "--precision int8 and --calibration DATA go together"),
        (["-o", "m.xml", "--calibration", "/tmp"], "--precision int8 and --calibration DATA go together"),
        (["--precision", "f16"], "--precision needs --output"),
        (["--json", "x.json", "-o", "m.xml"], "--json needs --compare"),
        ([], "nothing to do"),
        (["--compare", "/no/such"], "/no/such: no such folder or file"),
        (["-o", "/proc/no/m.xml"], "/proc/no/m.xml: cannot be written"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_export_command_says_in_one_line_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    result = clipline("export", "x3d-xs", *arguments)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


@pytest.mark.slow
def test_calibrating_an_exported_model_is_refused(xml: Path, tmp_path: Path) -> None:
    for label in ("fight", "normal"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
    result = clipline("evaluate", xml, tmp_path, "--calibrated", tmp_path / "c.safetensors")
    assert result.returncode == 2
    assert "calibrate x3d_xs-" in result.stderr
    assert contract().architecture == "x3d_xs"
