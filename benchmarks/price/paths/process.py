"""What is measured, each in a process of its own: `python -m price.paths.process` reads a job, then an ask a round.

Processor time is that of this process: user and system, all of its threads. None of the paths starts another one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

from price.measuring import Ask, Job, MissingError, Round

from .brokers import Broker
from .clipline import Direct, Kafka, Memory
from .parts import DirectInParts
from .peers import DecordOpenvino, OpencvTorch, Pynvvideocodec, TorchcodecCuda, TorchcodecOpenvino


class Measured(Protocol):
    """A path that is set up, and measured by each call."""

    engine: str

    def round(self, ask: Ask) -> Round: ...


PATHS: Final[dict[str, Callable[[Job], Measured]]] = {
    "direct": Direct,
    "parts": DirectInParts,
    "kafka": Kafka,
    "memory": Memory,
    "opencv_torch": OpencvTorch,
    "torchcodec_openvino": TorchcodecOpenvino,
    "decord_openvino": DecordOpenvino,
    "torchcodec_cuda": TorchcodecCuda,
    "pynvvideocodec": Pynvvideocodec,
    "broker": Broker,
}


def serve() -> None:
    """Results go to the stdout that the bench reads; whatever libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    job = Job(**json.loads(sys.stdin.readline()))
    if job.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        measured = PATHS[job.path](job)
    except MissingError as error:
        say({"missing": str(error)})
        return
    say({"engine": measured.engine})
    for line in sys.stdin:
        say(asdict(measured.round(Ask(**json.loads(line)))))


if __name__ == "__main__":
    serve()
