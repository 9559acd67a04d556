"""Topics, their names and sizes; and how much of them Redis keeps."""

from __future__ import annotations

from pydantic import Field

from consumers.settings.section import MAX_COUNT, MAX_HOURS, MAX_MEGABYTES, Section


class TopicSettings(Section):
    """Names and sizes of the topics. They are made when first needed; changes do not reach topics that exist."""

    prefix: str = Field(
        "clipline",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="What the names of all topics and Redis keys begin with.",
    )
    partitions: int = Field(
        8,
        ge=1,
        le=1000,
        description="Partitions of the segments topic. At most this many workers share the cameras.",
    )
    retention_hours: float = Field(
        24.0,
        gt=0,
        le=MAX_HOURS,
        description="Hours that the broker keeps segments. The embedded broker keeps less: see [run].",
    )
    retention_megabytes: float | None = Field(
        None,
        examples=[4000.0],
        gt=0,
        le=MAX_MEGABYTES,
        description="Megabytes of segments that the broker keeps in each partition. Left out: no limit by size.",
    )

    @property
    def retention_bytes(self) -> int | None:
        return None if self.retention_megabytes is None else int(self.retention_megabytes * 1e6)

    @property
    def segments(self) -> str:
        return f"{self.prefix}.segments"

    @property
    def segments_index(self) -> str:
        return f"{self.prefix}.segments.index"

    @property
    def segments_contents(self) -> str:
        return f"{self.prefix}.segments.contents"

    @property
    def predictions(self) -> str:
        return f"{self.prefix}.predictions"

    @property
    def events(self) -> str:
        return f"{self.prefix}.events"

    @property
    def deadletter(self) -> str:
        return f"{self.prefix}.deadletter"

    @property
    def pictures(self) -> str:
        return f"{self.prefix}.pictures"

    @property
    def deliveries(self) -> str:
        return f"{self.prefix}.deliveries"

    @property
    def verdicts(self) -> str:
        return f"{self.prefix}.verdicts"

    @property
    def audit(self) -> str:
        return f"{self.prefix}.audit"

    @property
    def forgotten(self) -> str:
        return f"{self.prefix}.forgotten"

    @property
    def access(self) -> str:
        return f"{self.prefix}.access"

    @property
    def state(self) -> str:
        return f"{self.prefix}.state"

    @property
    def rules(self) -> str:
        return f"{self.prefix}.rules"

    @property
    def cameras_state(self) -> str:
        return f"{self.prefix}.cameras.state"

    @property
    def cameras_claims(self) -> str:
        return f"{self.prefix}.cameras.claims"

    @property
    def workers_state(self) -> str:
        return f"{self.prefix}.workers.state"


class RedisSettings(Section):
    """How much Redis keeps."""

    max_predictions: int = Field(1000, ge=1, le=MAX_COUNT, description="Predictions kept for each camera, about.")
    max_events: int = Field(10_000, ge=1, le=MAX_COUNT, description="Reports of events kept, over all cameras, about.")
    max_remembered_events: int = Field(
        100_000,
        ge=1,
        le=MAX_COUNT,
        description="Reports of events remembered, so that one that a topic holds twice is shown once. About 100 "
        "bytes each.",
    )
    camera_hours: float = Field(
        24.0,
        gt=0,
        le=MAX_HOURS,
        description="Hours after its last window that a camera's state and predictions are kept.",
    )
