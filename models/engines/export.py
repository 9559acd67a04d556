"""A checkpoint becomes a file that is served without it: OpenVINO IR, ONNX or a `torch.export` program.

The graph is that of serving, with normalising, and softmax or the sigmoids of a multi-label model. Of a network that
factors there are two side by side: from a uint8 `picture` (1, H, W, 3) to what is `encoded` (1, F), and from the
`features` of a window's pictures (1, T, F) to `scores` (1, L). A continual network has steps in the place of the
encoder: from `picture`, `begins` (1,), which is 1 with the first picture of a run, and `state_0`, `state_1`, … to what
is `encoded` and `next_state_0`, … Of others, and in a .pt2, there is one, from a uint8 clip (1, T, H, W, 3) to scores
(1, L).
What each precision means:

              .xml (OpenVINO)      .onnx                .pt2 (torch.export)
    f32       weights *            weights              all of the network
    f16       weights              weights              all of the network
    bf16      –                    –                    all of the network
    int8      weights, activations weights, activations –

    * those that float16 holds exactly are stored as float16: same scores, half the size

OpenVINO chooses in what it computes the rest: bfloat16 where the processor has it (openvino.py).
A file appears only after it was loaded again and run by the engine that serves it; what cannot be is refused.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from models.checkpoint import Checkpoint, find
from models.errors import CheckpointError, EngineError, ExportError
from models.windows.views import whole_of

from .choice import open_engine
from .conversion import blank_inputs, convert, output_names, store_in_halves
from .engine import Clips, Scores
from .files import FACTORED, FORM_NAMES, FORMS, PRECISIONS, Export, Form, Precision, files_of, reason_of, save_openvino
from .torch import FactoredModule, factored_module, serving_module
from .trust import trust

#: Clips beyond this many are not looked at: NNCF's own default.
MAX_CALIBRATION_CLIPS: Final = 300
_REFUSED: Final[dict[tuple[Form, Precision], str]] = {
    (
        "openvino",
        "bf16",
    ): "OpenVINO stores weights as f32 or f16, and computes in bfloat16 by itself where the processor "
    "has it; expected f16",
    (
        "onnx",
        "bf16",
    ): "weights in bf16 are as large as in f16 and less exact, and what runs the file computes in bfloat16 "
    "by itself where the processor has it; expected f16",
    ("torch", "int8"): "torch computes an exported int8 program in float32, less exactly and no faster; "
    "expected an .xml or .onnx file",
}
_ENGINES: Final[dict[Form, tuple[str, ...]]] = {
    # The one that computes as the file says comes first.
    "openvino": ("openvino-f32", "openvino"),
    "onnx": ("openvino-f32", "openvino"),
    "torch": ("torch",),
}
#: Largest difference of a score's logarithm in f32. In logarithms, since an untrained or a very sure network has scores
#: so near 0 and 1 that a wrong graph would pass.
_TOLERANCE: Final = 0.01
_LEAST_SCORE: Final = 1e-30
_PROBES: Final = 4
_LARGEST_F16: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, read back and run."""

    checkpoint: Checkpoint
    #: Of every part together.
    bytes: int
    #: Largest difference of a score from the checkpoint's own in float32, on the clips that it was tried with.
    difference: float


def form_of(output: Path) -> Form:
    """The format that a file's name asks for.

    Raises:
        ExportError: none that is known.
    """
    form = FORMS.get(output.suffix)
    if form is None:
        raise ExportError(
            f"{output}: expected a name that ends in " + ", ".join(f"{s} ({FORM_NAMES[f]})" for s, f in FORMS.items())
        )
    return form


def refusal(form: Form, precision: Precision) -> str | None:
    """Why a format has no such precision; None where it has."""
    reason = _REFUSED.get((form, precision))
    return None if reason is None else f"{FORM_NAMES[form]} in {precision}: {reason}"


def export(
    checkpoint: Checkpoint, output: Path, precision: Precision = "f32", calibration: Clips | None = None
) -> Exported:
    """Write `checkpoint` to `output`, whose suffix says how, run it, and only then let it appear.

    Args:
        checkpoint: what is exported.
        output: .xml (a .bin beside it), .onnx or .pt2.
        precision: see the top of this module.
        calibration: clips (N, T, H, W, 3) of footage as it will be served; int8 is chosen by what flows through the
            network on them.

    Raises:
        ExportError: the format has no such precision, or this model does not run in it; the message says why.
        CheckpointError: the weights cannot be read.
    """
    form = form_of(output)
    _check_request(checkpoint, form, precision, calibration)
    note = Export(form, precision, checkpoint.id)
    metadata = checkpoint.contract.encode() | note.encode()
    what = f"{checkpoint.id} as {FORM_NAMES[form]} in {precision}"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # Beside the output, since a file can only be renamed within a file system.
        with tempfile.TemporaryDirectory(prefix=".clipline-export-", dir=output.parent) as folder, _quiet():
            unfinished = Path(folder) / output.name
            _write(checkpoint, unfinished, precision, calibration, metadata)
            if form == "torch":
                trust(unfinished, output.name)
            difference = _try_out(checkpoint, unfinished, what, calibration)
            for part in reversed(files_of(unfinished)):  # the .bin first: a reader that sees the .xml finds it
                part.chmod(0o644)
                part.replace(output.with_name(part.name))
        written = find(str(output))
        return Exported(written, sum(p.stat().st_size for p in files_of(output)), difference)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written ({error})") from None


def _no_steps(form: Form, precision: Precision) -> str | None:
    """Why a format cannot hold the steps of a continual model in a precision; None where it can."""
    if form == "torch":
        return (
            "a .pt2 is a whole network, from a clip to scores, and this model goes from picture to picture with state; "
            "expected an .xml or .onnx file"
        )
    if precision == "int8":
        return "what a continual model remembers is not quantised: expected f32 or f16"
    return None


def _check_request(checkpoint: Checkpoint, form: Form, precision: Precision, calibration: Clips | None) -> None:
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if checkpoint.export is not None:
        raise ExportError(
            f"{checkpoint.path}: is an exported model; expected the checkpoint that it was made from, "
            f"{checkpoint.export.source}"
        )
    reason = refusal(form, precision) or (_no_steps(form, precision) if checkpoint.contract.context else None)
    if reason is not None:
        raise ExportError(reason)
    if form == "torch" and checkpoint.contract.views > 1:
        raise ExportError(
            f"{checkpoint.id}: where its second view looks is chosen outside the network, and a .pt2 file holds whole "
            "networks only; expected .xml or .onnx"
        )
    if precision != "int8":
        return
    if calibration is None or not len(calibration):
        raise ExportError("int8 needs footage to calibrate on: expected at least one clip")
    if calibration.shape[1:] != checkpoint.contract.clip_shape or calibration.dtype != np.uint8:
        raise ExportError(
            f"calibration clips {calibration.shape} of {calibration.dtype}: expected (N, "
            f"{', '.join(map(str, checkpoint.contract.clip_shape))}) of uint8"
        )


def _write(
    checkpoint: Checkpoint, path: Path, precision: Precision, calibration: Clips | None, metadata: dict[str, str]
) -> None:
    try:
        match FORMS[path.suffix]:
            case "openvino":
                _write_openvino(checkpoint, path, precision, calibration, metadata)
            case "onnx":
                _write_onnx(checkpoint, path, precision, calibration, metadata)
            case "torch":
                _write_torch(checkpoint, path, precision, metadata)
    except (CheckpointError, EngineError, ExportError, OSError):
        raise
    except Exception as error:
        # Exporters raise whatever their many parts do, when a network has an operator that they do not know.
        raise ExportError(
            f"{checkpoint.id} cannot be exported as {FORM_NAMES[FORMS[path.suffix]]} in {precision}: {reason_of(error)}"
        ) from error


def _write_openvino(
    checkpoint: Checkpoint, path: Path, precision: Precision, calibration: Clips | None, metadata: dict[str, str]
) -> None:
    model = convert(checkpoint)
    if precision == "int8":
        assert calibration is not None
        model = _quantised(model, checkpoint, calibration)
        _check_quantised(any(op.get_type_name() == "FakeQuantize" for op in model.get_ops()), checkpoint)
    if precision == "f32":
        store_in_halves(model)
    for key, value in metadata.items():
        model.set_rt_info(value, [key])
    save_openvino(model, path, compress=precision != "f32")


def _write_onnx(
    checkpoint: Checkpoint, path: Path, precision: Precision, calibration: Clips | None, metadata: dict[str, str]
) -> None:
    module = factored_module(checkpoint)
    blanks = blank_inputs(module, checkpoint)
    program: Any = torch.onnx.export(
        module,
        tuple(blanks.values()),
        input_names=list(blanks),
        output_names=output_names(module),
        dynamo=True,
        verbose=False,
    )
    model: Any = program.model_proto
    if precision == "f16":
        _halve_weights(model)
    if precision == "int8":
        assert calibration is not None
        model = _quantised(model, checkpoint, calibration)
        _check_quantised(any(node.op_type == "QuantizeLinear" for node in model.graph.node), checkpoint)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def _write_torch(checkpoint: Checkpoint, path: Path, precision: Precision, metadata: dict[str, str]) -> None:
    blank_clip = torch.zeros((1, *checkpoint.contract.clip_shape), dtype=torch.uint8)
    program = torch.export.export(serving_module(checkpoint, precision), (blank_clip,))
    program.example_inputs = None  # would be stored as a pickle
    torch.export.save(program, path, extra_files=metadata)


def _halve_weights(model: Any) -> None:
    """Store float32 constants of an ONNX model as float16, each with a cast after it that runtimes fold."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or not weight.dims:
            continue
        name = weight.name
        values = np.clip(numpy_helper.to_array(weight), -_LARGEST_F16, _LARGEST_F16).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}_f16"))
        casts.append(helper.make_node("Cast", [weight.name], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _quantised(model: Any, checkpoint: Checkpoint, calibration: Clips) -> Any:
    # NNCF reports its use over the internet unless it believes that it is being tested.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf  # noqa: PLC0415

    # Not by nncf.set_log_level, which sets the handlers' levels, too: of those that others share they would stay so.
    logging.getLogger("nncf").setLevel(logging.ERROR)
    samples = _samples(checkpoint, calibration[:MAX_CALIBRATION_CLIPS])
    # Symmetric for activations, too: on a processor with bfloat16, OpenVINO does not run depthwise 3D convolutions
    # whose input has a zero point (docs/export.md).
    return nncf.quantize(
        model, nncf.Dataset(samples), preset=nncf.QuantizationPreset.PERFORMANCE, subset_size=len(samples)
    )


def _samples(checkpoint: Checkpoint, clips: Clips) -> list[dict[str, np.ndarray]]:
    """What flows into a model on some clips, by name of the input: of a clip's pictures one, each time another."""
    module = factored_module(checkpoint)
    if not isinstance(module, FactoredModule):
        return [{"clips": clip[None]} for clip in clips]
    encoder = open_engine("torch", checkpoint, None)
    seen = whole_of if checkpoint.contract.views == 2 else np.asarray
    return [
        dict(zip(FACTORED, (seen(clip[number % len(clip)])[None], features[None]), strict=True))
        for number, clip in enumerate(clips)
        for features in encoder.joined([encoder.encode(clip)])
    ]


def _check_quantised(found: bool, checkpoint: Checkpoint) -> None:  # noqa: FBT001
    if not found:
        raise ExportError(
            f"{checkpoint.id} in int8: NNCF finds no operator of {checkpoint.contract.architecture} that "
            "it can quantise"
        )


def _try_out(checkpoint: Checkpoint, path: Path, what: str, calibration: Clips | None) -> float:
    """Load the file where it will be served and compare scores; the largest difference."""
    clips = probes(checkpoint) if calibration is None else calibration[:_PROBES]
    expected = open_engine("torch", checkpoint, None).run(clips)
    exported = find(str(path))
    assert exported.export is not None
    differences = []
    for engine in _ENGINES[exported.export.form]:
        try:
            scores = open_engine(engine, exported, None).run(clips)
        except (EngineError, RuntimeError) as error:  # torch has operators that know no half precision
            raise ExportError(f"{what} does not run in engine {engine} here: {reason_of(error)}") from None
        if not np.isfinite(scores).all():
            raise ExportError(f"{what} gives scores that are no numbers in engine {engine}: it overflows")
        differences.append(float(np.abs(scores - expected).max()))
        if engine == _ENGINES[exported.export.form][0] and exported.export.precision == "f32":
            apart = _apart(scores, expected)
            if apart > _TOLERANCE:
                raise ExportError(
                    f"{what} scores unlike the checkpoint: logarithms {apart:.3g} apart, expected {_TOLERANCE} at most"
                )
    return differences[0]


def _apart(scores: Scores, expected: Scores) -> float:
    logs = (np.log(np.maximum(s, _LEAST_SCORE)) for s in (scores, expected))
    return float(np.abs(np.subtract(*logs)).max())


def probes(checkpoint: Checkpoint) -> Clips:
    """Made-up clips (4, T, H, W, 3) that differ from each other: coarse moving patterns, from dark to bright."""
    frames, height, width, channels = checkpoint.contract.clip_shape
    generator = np.random.default_rng(0)
    coarse = generator.uniform(0, 256, (_PROBES, frames, 6, 6, channels))
    coarse *= np.linspace(0.2, 1, _PROBES)[:, None, None, None, None]
    rows, columns = (np.arange(length) * 6 // length for length in (height, width))
    clips: Clips = coarse.astype(np.uint8)[:, :, rows][:, :, :, columns]
    return clips


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters talk: deprecations that nothing here can act on, and bars on stdout, where a program's output goes."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
