"""What classifies the cameras, and how much it takes on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from consumers.settings.section import MAX_DAYS, MAX_MEGABYTES, MAX_SECONDS, Section, check_group
from consumers.times import parse_time_us
from stream import DecodeLimits, GroupInstance


def check_start(text: str) -> str:
    """Return where a new group begins.

    Raises:
        ValueError: it is no such place.
    """
    if text in {"now", "earliest"}:
        return text
    try:
        parse_time_us(text)
    except (ValueError, OverflowError):
        raise ValueError("expected earliest, now, or a time like 2026-11-24T08:00:00Z") from None
    return text


class WorkerSettings(Section):
    """What classifies the cameras."""

    model: str = Field(
        "default", description="A shipped model's name (`clipline models` lists them) or a checkpoint's path."
    )
    engine: Literal["auto", "openvino", "openvino-f32", "torch"] = Field(
        "auto",
        description="What runs the model. auto takes PyTorch where that finds a GPU, else OpenVINO; openvino-f32 "
        "computes in 32 bits where openvino would use bf16.",
    )
    decoder: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="What decodes video. cuda: an NVIDIA GPU (NVDEC), where whole pictures then stay. cpu: the "
        "processor. auto: the GPU where torch runs the model on one and its pictures are those of the processor, which "
        "is tried at the start; else the processor. Groups of pictures over several segments are the processor's.",
    )
    group: Annotated[str, AfterValidator(check_group)] = Field(
        "clipline-classify",
        min_length=1,
        description="Kafka consumer group. Workers of one group share the cameras; a second group with another model "
        "sees all cameras, too. Sites that share a broker under different prefixes need different groups.",
    )
    start: Annotated[str, AfterValidator(check_start)] = Field(
        "now",
        examples=["earliest", "2026-11-24T08:00:00Z"],
        description="Where a new group begins: with what comes from now on, with the earliest segments that the broker "
        "keeps, or with those that were sent at a time or later. A group that has begun before goes on where it "
        "stopped. `clipline run` begins at its own start.",
    )
    stride_seconds: float | None = Field(
        None,
        examples=[0.8],
        gt=0,
        le=MAX_SECONDS,
        description="Seconds between the beginnings of two windows. Left out: half a window, rounded to the model's "
        "frame spacing.",
    )
    threads: int | None = Field(
        None,
        examples=[4],
        ge=1,
        le=256,
        description="Threads that decode video. Left out: one for each processor core.",
    )
    max_batch: int = Field(16, ge=1, le=1024, description="Clips that the model classifies at once, at most.")
    max_queue_megabytes: float = Field(
        32.0,
        gt=0,
        le=MAX_MEGABYTES,
        description="Megabytes of video, encoded and decoded, that wait to be classified; beyond them a worker neither "
        "reads nor decodes more.",
    )
    max_megapixels: float = Field(
        36.0,
        gt=0,
        le=256,
        description="Million pixels that a picture of a camera may have; beyond them a segment is a dead letter. Also "
        "beyond 4K, and four times what the segment says.",
    )
    max_decode_seconds: float = Field(
        60.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds of processor time after which decoding of a segment is given up, and the segment is a "
        "dead letter.",
    )
    idle_seconds: float = Field(
        60.0,
        gt=0,
        le=MAX_DAYS,
        description="Seconds after which a camera counts as gone, its open windows and events are closed: all of its "
        "records have been classified, and none came.",
    )
    max_reread_seconds: float = Field(
        600.0,
        ge=0,
        le=MAX_DAYS,
        description="Seconds that a worker reads back at most, to decode a long group of pictures of a camera that it "
        "takes over. Of a longer group the frames up to the next are skipped.",
    )
    instance: str | None = Field(
        None,
        examples=["worker-1"],
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="A name of this worker that no other worker of its group has, and that it keeps over restarts, for "
        "example that of a StatefulSet's pod. Started again, it goes on with its cameras, and other workers hear "
        "nothing of it. `clipline run` names its workers by itself, this name or one of its own before their numbers.",
    )
    return_seconds: float = Field(
        15.0,
        ge=6,
        le=1800,
        description="Of a worker with a name: seconds that its cameras wait for it to come back, after SIGTERM as "
        "after a crash, before other workers get them. More than a restart takes; the broker may allow less.",
    )
    guarantee: Literal["exactly-once", "at-least-once"] = Field(
        "exactly-once",
        description="exactly-once: predictions, events, the state of cameras and offsets are one transaction. "
        "at-least-once: without transactions; after a kill, predictions and events may come again, with the same ids. "
        "The embedded broker knows no other.",
    )

    @property
    def group_instance(self) -> GroupInstance | None:
        return None if self.instance is None else GroupInstance(self.instance, self.return_seconds)

    @property
    def decode_limits(self) -> DecodeLimits:
        return DecodeLimits(round(self.max_megapixels * 1e6), self.max_decode_seconds)
