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
from models.errors import EngineError

from .converted import converted
from .engine import Engine
from .files import parts_of, read_openvino, reason_of, require_openvino
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
        return engine_of(
            checkpoint.contract,
            name,
            *(OpenVinoGraph(core.compile_model(part, "CPU", options)) for part in parts_of(model)),
        )
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


def _keep(request: Any, place: tuple[dict[int, np.ndarray], int]) -> None:
    found, index = place
    found[index] = request.get_output_tensor(0).data[0].copy()
