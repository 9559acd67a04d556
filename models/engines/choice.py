"""What runs a network: torch on CPU or CUDA, or OpenVINO. What is no network, the traditional baseline, runs itself.

An engine takes clips (B, T, H, W, 3) uint8 and returns scores (B, L) that sum to one; normalising and softmax are part
of its graph. OpenVINO runs each clip as a request of its own, several at a time: the score of a clip then does not
depend on which others it shares a batch with, and a fixed shape is faster than a free one.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from models.checkpoint import Checkpoint, cache_folder, name_of
from models.classical.model import ClassicalEngine, is_classical
from models.errors import CheckpointError, EngineError

from .files import FORM_NAMES, Precision, check_archive, read_openvino, reason_of, require_openvino

if TYPE_CHECKING:
    from torch import nn

ENGINES: Final = ("auto", "openvino", "openvino-f32", "torch")
#: Nobody asks for it by name: what scikit-learn runs is run by nothing else.
CLASSICAL_ENGINE: Final = "classical"
_MAX_CACHED: Final = 16
#: By the first word of an engine's name.
_PACKAGES: Final = {
    "openvino": ("openvino",),
    "torch": ("torch",),
    CLASSICAL_ENGINE: ("scikit-learn", "opencv-python-headless"),
}
#: Beyond it, more clips at once are no faster.
_TORCH_BATCH: Final = 32

Clips = np.ndarray[tuple[int, int, int, int, int], np.dtype[np.uint8]]
Scores = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def engine_version(engine: str) -> str:
    """The versions of what an engine that was opened computes with: another may round scores in another way."""
    return " ".join(importlib.metadata.version(package) for package in _PACKAGES.get(engine.partition("-")[0], ()))


class Engine(Protocol):
    name: str

    def run(self, clips: Clips) -> Scores:
        """(B, T, H, W, 3) uint8 to (B, L)."""


def open_engine(name: str, checkpoint: Checkpoint, threads: int | None) -> Engine:
    """Load a model into the engine that `name` stands for.

    Raises:
        EngineError: no such engine, it is not installed, or it does not run such files.
        CheckpointError: the file is damaged.
    """
    name = choose_engine(name, checkpoint)
    if name == CLASSICAL_ENGINE:
        return ClassicalEngine(checkpoint, threads)
    if name == "torch":
        return TorchEngine(checkpoint, threads)
    return OpenVinoEngine(checkpoint, threads, exact=name == "openvino-f32")


def choose_engine(name: str, checkpoint: Checkpoint) -> str:
    """The engine that `name` stands for with this model; "auto" is CUDA where torch finds it, else OpenVINO.

    An exported model has one engine that can run it, a classical one its own. Answers without loading anything.

    Raises:
        EngineError: no such engine, it is not installed, or it does not run such files.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}: expected one of {', '.join(ENGINES)}")
    if is_classical(architecture := checkpoint.contract.architecture):
        if name != "auto":
            raise EngineError(
                f"engine {name} runs networks, and {checkpoint.id} is {architecture}, which scikit-learn runs: "
                "leave the engine at auto"
            )
        return CLASSICAL_ENGINE
    export = checkpoint.export
    if export is None:
        chosen = ("torch" if _has_cuda() else "openvino") if name == "auto" else name
    else:
        own = "torch" if export.form == "torch" else "openvino"
        chosen = own if name == "auto" else name
        if chosen.partition("-")[0] != own:
            raise EngineError(
                f"{checkpoint.path}: {FORM_NAMES[export.form]} runs in engine {own}, not {chosen}; "
                f"export {export.source} to another format for that"
            )
    if importlib.util.find_spec("torch") is None and _needs_torch(chosen, checkpoint):
        raise EngineError(
            f"{checkpoint.id} needs torch, which is not installed: `pip install 'clipline[full]'`; or run "
            f"`clipline export {name_of(checkpoint)} -o {checkpoint.path.stem}.xml` where that is installed, "
            f"bring both files, and name the .xml with --model"
        )
    return chosen


def _needs_torch(engine: str, checkpoint: Checkpoint) -> bool:
    if engine == "torch":
        return True
    return checkpoint.export is None and not _is_converted(_converted_path(checkpoint))


def _has_cuda() -> bool:
    # Asking torch costs a second of import; without the driver's device files the answer is known.
    if importlib.util.find_spec("torch") is None or (not Path("/dev/nvidiactl").exists() and os.name == "posix"):
        return False
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def serving_module(checkpoint: Checkpoint, precision: Precision = "f32") -> nn.Module:
    """The network with its weights, from uint8 clips (B, T, H, W, 3) to scores (B, L) in float32.

    The network itself computes in `precision`, a floating-point one; normalising and softmax in float32.
    """
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    from models.networks.zoo import create  # noqa: PLC0415

    contract = checkpoint.contract
    network = create(contract.architecture, len(contract.labels), frames=contract.frames, size=contract.height)
    try:
        network.load_state_dict(checkpoint.state())
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights are not those of {contract.architecture} "
            f"({str(error).splitlines()[-1].strip()})"
        ) from None

    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[precision]
    network.to(dtype)

    class Serving(nn.Module):
        scale: torch.Tensor
        shift: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            scale = 1 / (255 * torch.tensor(contract.std))
            self.register_buffer("scale", scale.view(1, 3, 1, 1, 1))
            self.register_buffer(
                "shift", (torch.tensor(contract.mean) / torch.tensor(contract.std)).view(1, 3, 1, 1, 1)
            )

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            pixels = clips.permute(0, 4, 1, 2, 3).float() * self.scale - self.shift  # (B, 3, T, H, W)
            logits = self.network(pixels.to(dtype)).float()  # (B, L)
            return torch.softmax(logits / contract.temperature, dim=1)

    return Serving().eval()


class TorchEngine:
    """Eager torch: on CUDA in bfloat16-friendly TF32 where found, else on the CPU in float32.

    An exported program computes in the precision that it was exported with, one clip at a time; others some at a time,
    so that a long recording's clips do not take memory for all of them at once.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        import torch  # noqa: PLC0415

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.name = f"torch-{self._device.type}"
        if threads is not None and self._device.type == "cpu":
            torch.set_num_threads(threads)
        if checkpoint.export is None:
            self._module: Any = serving_module(checkpoint).to(self._device)
        else:
            self._module = _program(checkpoint.path, self._device.type)
        self._at_once = _TORCH_BATCH if checkpoint.export is None else 1

    def run(self, clips: Clips) -> Scores:
        with self._torch.inference_mode():
            parts = self._torch.split(self._torch.from_numpy(np.ascontiguousarray(clips)), self._at_once)
            found = [self._module(part.to(self._device)).float() for part in parts]
            scores: Scores = self._torch.cat(found).cpu().numpy()
        return scores


def _program(path: Path, device: str) -> Any:
    """The program in a .pt2 as a module on `device`."""
    import torch  # noqa: PLC0415
    from torch.export.passes import move_to_device_pass  # noqa: PLC0415

    check_archive(path)
    try:
        program = torch.export.load(path)
        return (move_to_device_pass(program, device) if device != "cpu" else program).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise CheckpointError(f"{path}: damaged, or written by another torch ({str(error).splitlines()[0]})") from None


class OpenVinoEngine:
    """OpenVINO on the CPU: bfloat16 where the processor has it, else float32; float32 always if `exact`."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None, *, exact: bool = False) -> None:
        ov = require_openvino()
        core = ov.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and not exact
        options["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        int8 = checkpoint.export is not None and checkpoint.export.precision == "int8"
        # The layers that were not quantised run in the other.
        self.name = f"openvino-{'int8+' if int8 else ''}{'bf16' if bf16 else 'f32'}"
        model = _converted(core, checkpoint) if checkpoint.export is None else read_openvino(checkpoint.path, core)
        try:
            self._model = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot run {checkpoint.id}: {reason_of(error)}") from None
        self._queue = ov.AsyncInferQueue(self._model)
        self._queue.set_callback(_keep_scores)
        self._lock = threading.Lock()

    def run(self, clips: Clips) -> Scores:
        scores = np.empty((len(clips), self._model.output(0).shape[1]), np.float32)
        with self._lock:  # one caller's requests at a time share the queue
            for index in range(len(clips)):
                self._queue.start_async({0: clips[index : index + 1]}, (scores, index))
            self._queue.wait_all()
        return scores


def _keep_scores(request: Any, place: tuple[Scores, int]) -> None:
    scores, index = place
    scores[index] = request.get_output_tensor(0).data[0]


def _converted_path(checkpoint: Checkpoint) -> Path:
    version = require_openvino().__version__.split("-")[0]
    return cache_folder() / "openvino" / f"{checkpoint.id}-{version}.xml"


def _is_converted(path: Path) -> bool:
    return path.is_file() and path.with_suffix(".bin").is_file()


def _converted(core: Any, checkpoint: Checkpoint) -> Any:
    """The network as OpenVINO sees it; kept on disk, since converting needs torch and takes seconds."""
    path = _converted_path(checkpoint)
    if _is_converted(path):
        try:
            return core.read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)  # cut short by a full disk: made anew below
    model = convert(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_openvino(model, path, compress=False)
        for old in sorted(path.parent.glob("*.xml"), key=lambda p: p.stat().st_mtime)[:-_MAX_CACHED]:
            old.with_suffix(".bin").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
    except OSError:
        return model  # a read-only home costs the conversion each time, nothing else
    return core.read_model(path)


def convert(checkpoint: Checkpoint) -> Any:
    """The network as an `openvino.Model`, from one uint8 clip (1, T, H, W, 3) to scores (1, L)."""
    import torch  # noqa: PLC0415

    ov = require_openvino()
    shape = (1, *checkpoint.contract.clip_shape)
    module = serving_module(checkpoint)
    with warnings.catch_warnings(), _logging_kept():
        # OpenVINO converts through torch.jit, whose deprecation is nothing a user of ours can act on.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        # A zero clip traces without values that depend on data.
        return ov.convert_model(
            module, example_input=torch.zeros(shape, dtype=torch.uint8), input=[(list(shape), ov.Type.u8)]
        )


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """OpenVINO's converter silences the whole process's warnings, and leaves it so where a conversion fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def save_openvino(model: Any, path: Path, *, compress: bool) -> None:
    """Write an IR to `path` and the .bin beside it, weights as float16 if `compress`.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        require_openvino().save_model(model, unfinished, compress_to_fp16=compress)
        # The weights first: a reader that sees the .xml finds them.
        unfinished.with_suffix(".bin").replace(path.with_suffix(".bin"))
        unfinished.replace(path)
    except RuntimeError as error:
        raise OSError(reason_of(error)) from None
    finally:
        unfinished.with_suffix(".bin").unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
