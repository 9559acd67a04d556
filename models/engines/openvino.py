"""OpenVINO as an engine, on the processor.

Each clip is a request of its own, several at a time: the score of a clip then does not depend on which others it shares
a batch with, and a fixed shape is faster than a free one.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from models.checkpoint import Checkpoint
from models.errors import EngineError

from .converted import converted
from .engine import Clips, Scores
from .files import read_openvino, reason_of, require_openvino


class OpenVinoEngine:
    """Computes in bfloat16 where the processor has it, else in float32; in float32 always if `exact`."""

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
        model = converted(core, checkpoint) if checkpoint.export is None else read_openvino(checkpoint.path, core)
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
