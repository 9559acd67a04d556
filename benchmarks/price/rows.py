"""The names of all figures.

cameras_per_core.direct.MODEL.FOOTAGE.PRECISION.ungated     from an MP4 file over segments to predictions, in one
                                                            process, without a broker; every window is computed
cameras_per_core.direct.MODEL.FOOTAGE.PRECISION.gated       the same as Clipline comes: still windows are not computed
cameras_per_core.direct.MODEL.FOOTAGE.PRECISION.still       the same before a still view
cameras_per_core.kafka.embedded.MODEL.FOOTAGE               the worker of `clipline work` between the embedded broker
                                                            and a real Redis
cameras_per_core.kafka.at-least-once.MODEL.FOOTAGE          the same on Apache Kafka, without transactions
cameras_per_core.kafka.exactly-once.MODEL.FOOTAGE           and with them
cameras_per_core.peer.PEER.MODEL.FOOTAGE                    the same windows through the same network: decode, build
                                                            each window, run the whole clip
cameras_per_gpu.PATH.MODEL.FOOTAGE                          where there is a GPU: Clipline, and peers that decode on it
core_ms.MODEL.FOOTAGE                                       where the time of the direct path goes
memory_mb_per_camera.MODEL                                  what one more camera adds to a worker on a backlog
latency_p95_ms.BROKER.MODEL.FOOTAGE                         from a segment to who hears its predictions, at half load
broker_mb_per_s.BROKER                                      records of 250 KB in and out, acknowledged by all replicas
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .plan import FOOTAGE, LARGEST, SHORT, SUBSTREAM

#: Of peers by what they decode and compute with.
PEERS: Final = ("opencv_torch", "torchcodec_openvino", "decord_openvino")
GPU_PATHS: Final = ("direct", "torchcodec_cuda", "pynvvideocodec")
GATES: Final = ("ungated", "gated", "still")
#: How a worker behind a broker promises to tell each result.
BROKERS: Final = ("embedded", "at-least-once", "exactly-once")
#: Of these, those whose delay is measured.
_SOON: Final = ("embedded", "exactly-once")

CORE, GPU, PROFILE = "cameras_per_core", "cameras_per_gpu", "core_ms"
MEMORY, LATENCY, BROKER = "memory_mb_per_camera", "latency_p95_ms", "broker_mb_per_s"
KINDS: Final = (CORE, GPU, PROFILE, MEMORY, LATENCY, BROKER)
UNITS: Final = {
    CORE: "camera-seconds per core-second",
    GPU: "camera-seconds per second",
    PROFILE: "core-ms per camera-second",
    MEMORY: "MB",
    LATENCY: "ms",
    BROKER: "MB/s",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: of what kind, of which path, and with what. What does not apply is empty."""

    kind: str
    path: str = ""
    #: Of a path that comes in several: which broker.
    variant: str = ""
    model: str = ""
    footage: str = ""
    precision: str = ""
    gates: str = ""

    @property
    def name(self) -> str:
        path = f"peer.{self.path}" if self.is_peer and self.kind == CORE else self.path
        parts = (self.kind, path, self.variant, self.model, self.footage, self.precision, self.gates)
        return ".".join(part for part in parts if part)

    @property
    def unit(self) -> str:
        return UNITS[self.kind]

    @property
    def is_peer(self) -> bool:
        return self.path not in {"", "direct", "kafka"}


def all_rows(models: Sequence[str], default: str, precisions: Sequence[str]) -> list[Row]:
    """Every figure that there is with these models on such a processor; of the default model first."""
    rows: list[Row] = []
    for model in sorted(models, key=lambda name: name != default):
        for footage in FOOTAGE:
            rows += [
                Row(CORE, "direct", "", model, footage, precision, gates) for precision in precisions for gates in GATES
            ]
            if footage in {LARGEST, SUBSTREAM}:
                rows += [Row(CORE, peer, "", model, footage) for peer in PEERS]
                rows.append(Row(PROFILE, "", "", model, footage))
            if model == default and footage == LARGEST:
                rows += [Row(CORE, "kafka", broker, model, footage) for broker in BROKERS]
        rows += [Row(GPU, path, "", model, LARGEST) for path in GPU_PATHS]
        rows += [Row(LATENCY, "", broker, model, SUBSTREAM) for broker in _SOON]
    rows += [Row(LATENCY, "", broker, default, footage) for footage in (LARGEST, SHORT) for broker in _SOON]
    rows.append(Row(MEMORY, model=default))
    rows += [Row(BROKER, variant=broker) for broker in ("embedded", "apache")]
    return sorted(rows, key=lambda row: KINDS.index(row.kind))


def chosen_rows(rows: Sequence[Row], wanted: Sequence[str] | None) -> list[Row]:
    """The rows that `--only` stands for: those in whose names all parts of one of `wanted` are; all if None.

    Raises:
        ValueError: one stands for none.
    """
    if not wanted:
        return list(rows)
    chosen: set[Row] = set()
    for words in wanted:
        parts = set(words.split("."))
        found = {row for row in rows if parts <= set(row.name.split("."))}
        if not found:
            known = dict.fromkeys(part for row in rows for part in row.name.split("."))
            raise ValueError(f"--only {words}: expected one of {', '.join(known)}, or several with dots between them")
        chosen |= found
    return [row for row in rows if row in chosen]
