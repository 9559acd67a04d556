"""What runs a network: torch on CPU or CUDA, or OpenVINO. What is no network, the traditional baseline, runs itself.

An engine takes clips (B, T, H, W, 3) uint8 and returns scores (B, L) that sum to one; normalising and softmax are part
of its graph. OpenVINO runs each clip as a request of its own, several at a time: the score of a clip then does not
depend on which others it shares a batch with, and a fixed shape is faster than a free one.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from .checkpoint import Checkpoint, cache_folder
from .classical import ClassicalEngine, is_classical
from .errors import CheckpointError, EngineError

if TYPE_CHECKING:
    from torch import nn

ENGINES: Final = ("auto", "openvino", "openvino-f32", "torch")
_MAX_CACHED: Final = 16

Clips = np.ndarray[tuple[int, int, int, int, int], np.dtype[np.uint8]]
Scores = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Engine(Protocol):
    name: str

    def run(self, clips: Clips) -> Scores:
        """(B, T, H, W, 3) uint8 to (B, L)."""


def open_engine(name: str, checkpoint: Checkpoint, threads: int | None) -> Engine:
    """Load a checkpoint into the engine `name`.

    "auto" is CUDA where torch finds it, else OpenVINO; a classical checkpoint has an engine of its own.

    Raises:
        EngineError: no such engine, it is not installed, or it cannot run such a checkpoint.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}: expected one of {', '.join(ENGINES)}")
    if is_classical(architecture := checkpoint.contract.architecture):
        if name != "auto":
            raise EngineError(
                f"engine {name} runs networks, and {checkpoint.id} is {architecture}, which scikit-learn runs: "
                "leave the engine at auto"
            )
        return ClassicalEngine(checkpoint, threads)
    if name == "auto":
        name = "torch" if _has_cuda() else "openvino"
    if name == "torch":
        return TorchEngine(checkpoint, threads)
    return OpenVinoEngine(checkpoint, threads, exact=name == "openvino-f32")


def _has_cuda() -> bool:
    # Asking torch costs a second of import; without the driver's device files the answer is known.
    if not Path("/dev/nvidiactl").exists() and os.name == "posix":
        return False
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()


def serving_module(checkpoint: Checkpoint) -> nn.Module:
    """The network with its weights, from uint8 clips (B, T, H, W, 3) to scores (B, L)."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    from .zoo import create  # noqa: PLC0415

    contract = checkpoint.contract
    network = create(contract.architecture, len(contract.labels), frames=contract.frames, size=contract.height)
    try:
        network.load_state_dict(checkpoint.state())
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights are not those of {contract.architecture} "
            f"({str(error).splitlines()[-1].strip()})"
        ) from None

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
            return torch.softmax(self.network(pixels) / contract.temperature, dim=1)

    return Serving().eval()


class TorchEngine:
    """Eager torch: on CUDA in bfloat16-friendly TF32 where found, else on the CPU in float32."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        import torch  # noqa: PLC0415

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.name = f"torch-{self._device.type}"
        if threads is not None and self._device.type == "cpu":
            torch.set_num_threads(threads)
        self._module = serving_module(checkpoint).to(self._device)

    def run(self, clips: Clips) -> Scores:
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(np.ascontiguousarray(clips)).to(self._device)
            scores: Scores = self._module(batch).float().cpu().numpy()
        return scores


class OpenVinoEngine:
    """OpenVINO on the CPU: bfloat16 where the processor has it, else float32; float32 always if `exact`."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None, *, exact: bool = False) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise EngineError("engine openvino is not installed: `pip install openvino`, or choose --engine torch")
        import openvino as ov  # noqa: PLC0415

        core = ov.Core()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and not exact
        options["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self.name = f"openvino-{'bf16' if bf16 else 'f32'}"
        try:
            self._model = core.compile_model(_converted(core, checkpoint), "CPU", options)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot run {checkpoint.id}: {str(error).splitlines()[0]}") from None
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


def _converted(core: Any, checkpoint: Checkpoint) -> Any:
    """The network as OpenVINO sees it; kept on disk, since converting needs torch and takes seconds."""
    import openvino as ov  # noqa: PLC0415

    folder = cache_folder() / "openvino"
    path = folder / f"{checkpoint.id}-{ov.__version__.split('-')[0]}.xml"
    if path.is_file() and path.with_suffix(".bin").is_file():
        try:
            return core.read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)  # cut short by a full disk: made anew below
    import torch  # noqa: PLC0415

    shape = (1, *checkpoint.contract.clip_shape)
    module = serving_module(checkpoint)
    with warnings.catch_warnings():
        # OpenVINO converts through torch.jit, whose deprecation is nothing a user of ours can act on.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        # A zero clip traces without values that depend on data.
        model = ov.convert_model(
            module, example_input=torch.zeros(shape, dtype=torch.uint8), input=[(list(shape), ov.Type.u8)]
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{os.getpid()}-{path.name}"
        ov.save_model(model, unfinished, compress_to_fp16=False)
        # The weights first: a reader that sees the .xml finds them.
        unfinished.with_suffix(".bin").replace(path.with_suffix(".bin"))
        unfinished.replace(path)
        for old in sorted(folder.glob("*.xml"), key=lambda p: p.stat().st_mtime)[:-_MAX_CACHED]:
            old.with_suffix(".bin").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
    except OSError:
        return model  # a read-only home costs the conversion each time, nothing else
    return core.read_model(path)
