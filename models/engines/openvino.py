"""OpenVINO as an engine, on the processor.

Each picture and each window is a request of its own, several at a time: what is found in it then does not depend on
what shares its batch, and a fixed shape is faster than a free one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from models.checkpoint import Checkpoint
from models.errors import CheckpointError, EngineError

from .converted import converted
from .engine import Engine, Features, Picture, State
from .files import has_steps, parts_of, read_openvino, reason_of, require_openvino
from .two_views import engine_of


def open_openvino(checkpoint: Checkpoint, threads: int | None, *, exact: bool = False) -> Engine:
    """Compute in bfloat16 where the processor has it, else in float32; in float32 always if `exact`.

    Raises:
        CheckpointError: the file is damaged.
        EngineError: OpenVINO is not installed, or cannot run the model.
    """
    ov = require_openvino()
    core = ov.Core()
    options: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
    bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and not exact
    options["INFERENCE_PRECISION_HINT"] = "bf16" if bf16 else "f32"
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    int8 = checkpoint.export is not None and checkpoint.export.precision == "int8"
    # The layers that were not quantised run in the other.
    name = f"openvino-{'int8+' if int8 else ''}{'bf16' if bf16 else 'f32'}"
    model = converted(core, checkpoint) if checkpoint.export is None else read_openvino(checkpoint.path, core)
    try:
        head, *rest = (core.compile_model(part, "CPU", options) for part in parts_of(model))
        if has_steps(model):
            steps = OpenVinoSteps(*rest)
            if checkpoint.contract.context != steps.context:
                raise CheckpointError(
                    f"{checkpoint.path}: a context of {checkpoint.contract.context} frames, expected {steps.context}"
                )
            return Engine(name, OpenVinoGraph(head), steps=steps)
        return engine_of(checkpoint.contract, name, OpenVinoGraph(head), OpenVinoGraph(*rest) if rest else None)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO cannot run {checkpoint.id}: {reason_of(error)}") from None


class OpenVinoGraph:
    """A compiled model from one input to one output, both of batch size 1."""

    def __init__(self, compiled: Any) -> None:
        self._queue = require_openvino().AsyncInferQueue(compiled)
        self._queue.set_callback(_keep)
        self._lock = threading.Lock()

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        found: dict[int, np.ndarray] = {}
        index = -1
        with self._lock:  # one caller's requests at a time share the queue
            for index, item in enumerate(items):
                self._queue.start_async({0: item[None]}, (found, index))
            self._queue.wait_all()
        return [found[i] for i in range(index + 1)]


class OpenVinoSteps:
    """A compiled step: a picture, whether it begins a run, and state, to features and state; all of batch size 1."""

    def __init__(self, compiled: Any) -> None:
        self._queue = require_openvino().AsyncInferQueue(compiled)
        self._lock = threading.Lock()
        self._shapes = [tuple(each.shape) for each in compiled.outputs]
        #: How many pictures back it looks: one array of state for each.
        self.context = len(self._shapes) - 1
        self._blank = tuple(np.zeros(shape[1:], np.float32) for shape in self._shapes[1:])

    def run(self, items: Iterable[tuple[Picture, State | None]]) -> list[tuple[Features, State]]:
        ov = require_openvino()
        found: list[tuple[Features, State]] = []
        held: list[tuple[np.ndarray, ...]] = []  # what requests read, until they are done
        with self._lock:
            for picture, state in items:
                outputs = [np.empty(shape, np.float32) for shape in self._shapes]
                request = self._queue[self._queue.get_idle_request_id()]
                # Written where they will be kept: a state is larger than a picture.
                for place, output in enumerate(outputs):
                    request.set_output_tensor(place, ov.Tensor(output, shared_memory=True))
                begins = np.full(1, state is None, np.float32)
                inputs = (picture[None], begins, *(each[None] for each in state or self._blank))
                held.append(inputs)
                self._queue.start_async(dict(enumerate(inputs)), share_inputs=True)
                features, *after = (output[0] for output in outputs)
                found.append((features, tuple(after)))
            self._queue.wait_all()
        return found


def _keep(request: Any, place: tuple[dict[int, np.ndarray], int]) -> None:
    found, index = place
    found[index] = request.get_output_tensor(0).data[0].copy()
