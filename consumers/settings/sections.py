"""The sections of the settings, their keys and what may stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationInfo,
    model_validator,
)

from consumers.times import parse_time_us
from stream import (
    DecodeLimits,
    GroupInstance,
    KafkaAddress,
    check_camera_id,
)

from .addresses import check_kafka, check_redis
from .dashboard import DashboardSettings
from .feeding import CameraSettings, SegmentSettings, SpoolSettings
from .gates import GateSettings
from .load import LoadSettings
from .notifying import ChannelSettings, NotifySettings, check_keeping
from .observing import LogSettings, MetricsSettings
from .pictures import EvidenceSettings, PictureSettings
from .section import MAX_COUNT, MAX_DAYS, MAX_HOURS, MAX_MEGABYTES, MAX_SECONDS, PART, Address, Section, check_group
from .security import KafkaSecuritySettings, RedisSecuritySettings
from .serving import ServeSettings
from .tracking import MAX_RULES, RuleSettings, TrackerSettings
from .verdicts import VerdictSettings

_CameraId = Annotated[str, AfterValidator(check_camera_id)]
_ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


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


class RunSettings(Section):
    """`clipline run` and `clipline up`: which services, how many processes, and what happens when one dies."""

    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Worker processes. One uses all cores; more help only where a single process cannot. 0: only the "
        "agent is started, and workers elsewhere classify its cameras.",
    )
    services: Literal["auto", "embedded", "apache", "own"] = Field(
        "auto",
        description="Which Kafka broker and Redis to use. embedded: start both here, in memory. apache: start Apache "
        "Kafka and an embedded Redis (needs Java and `make kafka`). own: use those at `kafka` and `redis`. auto: own "
        "where they answer, else embedded.",
    )
    data: Path | None = Field(
        None,
        examples=["kafka-data"],
        description="Folder in which Apache Kafka keeps its topics over restarts. Left out: they are gone with it.",
    )
    broker_max_megabytes: float = Field(
        1024.0,
        ge=64,
        le=MAX_MEGABYTES,
        description="Megabytes of video that the embedded broker keeps in memory, at most. The oldest goes first.",
    )
    take_over: bool = Field(
        False,  # noqa: FBT003  a default
        description="Read cameras that another agent on this broker reads, which stops then. Left out: refuse.",
    )
    max_restarts: int = Field(
        5,
        ge=0,
        le=MAX_COUNT,
        description="Restarts of one process within restart_window_seconds, after which everything stops.",
    )
    restart_window_seconds: float = Field(
        300.0, gt=0, le=MAX_DAYS, description="Seconds in which max_restarts are counted."
    )
    log_folder: Path = Field(
        Path("clipline-logs"), description="Folder for the log files of the processes. It is made if it is missing."
    )


class Settings(Section):
    """Everything that can be set, with the defaults that suit one machine."""

    kafka: Annotated[Address, AfterValidator(check_kafka)] = Field(
        "127.0.0.1:9092", min_length=1, description="The Kafka broker, host:port; several are separated by commas."
    )
    redis: Annotated[Address, AfterValidator(check_redis)] = Field(
        "redis://127.0.0.1:6379/0",
        description="The Redis server or Redis Cluster, redis://host:port/database; several hosts are separated by "
        "commas; rediss:// for TLS, unix:// for a socket, redis+sentinel://host:port,host:port/name/database for the "
        "primary that sentinels know by that name, rediss+sentinel:// where both speak TLS. With a password: "
        "redis://:${REDIS_PASSWORD}@host:port/database, where ${NAME} stands for an environment variable.",
    )
    shutdown_seconds: float = Field(
        8.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds within which a command that is told to stop (SIGTERM, Ctrl-C) has ended. A worker drops "
        "what it has not finished by then, and the next one reads it again; `clipline run` ends all its processes in "
        "this time. Choose less than whoever stops it waits before it kills: 10 s for Docker, 30 s for Kubernetes, "
        "90 s for systemd.",
    )
    cameras: dict[_CameraId, CameraSettings] = Field(
        default_factory=dict,
        description="The cameras that `clipline run` watches, each a table [cameras.NAME]. A name has 1 to 64 letters, "
        "digits, '.', '_' or '-'.",
    )
    run: RunSettings = Field(RunSettings(), description="Processes and services.")
    worker: WorkerSettings = Field(WorkerSettings(), description="Model and windows.")
    load: LoadSettings = Field(LoadSettings(), description="What happens to cameras that are behind.")
    gates: GateSettings = Field(GateSettings(), description="What is not computed while nothing moves.")
    tracker: TrackerSettings = Field(TrackerSettings(), description="Events.")
    rules: tuple[RuleSettings, ...] = Field((), description="Events of some cameras and labels.", max_length=MAX_RULES)
    segments: SegmentSettings = Field(SegmentSettings(), description="Segments.")
    spool: SpoolSettings = Field(SpoolSettings(), description="Segments that wait for the broker.")
    topics: TopicSettings = Field(TopicSettings(), description="Topics.")
    redis_limits: RedisSettings = Field(RedisSettings(), description="What Redis keeps.")
    pictures: PictureSettings = Field(PictureSettings(), description="Pictures of events.")
    evidence: EvidenceSettings = Field(EvidenceSettings(), description="Evidence to keep.")
    notify: NotifySettings = Field(NotifySettings(), description="Notifications.")
    channels: dict[_ChannelName, ChannelSettings] = Field(
        default_factory=dict,
        description="Who is told of events, each a table [channels.NAME]. A name has 1 to 64 letters, digits, '.', '_' "
        "or '-'.",
    )
    verdicts: VerdictSettings = Field(VerdictSettings(), description="Verdicts on events.")
    log: LogSettings = Field(LogSettings(), description="Logs.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Metrics and probes.")
    serve: ServeSettings = Field(ServeSettings(), description="Events over HTTP.")
    dashboard: DashboardSettings = Field(DashboardSettings(), description="The HTTP API.")
    kafka_security: KafkaSecuritySettings = Field(KafkaSecuritySettings(), description="How the broker is entered.")
    redis_security: RedisSecuritySettings = Field(RedisSecuritySettings(), description="How Redis is entered.")

    @property
    def broker(self) -> KafkaAddress:
        """Where the broker is and how it is entered.

        Raises:
            SettingsError: a file of a secret cannot be used.
        """
        return KafkaAddress(self.kafka, self.kafka_security.value())

    @model_validator(mode="after")
    def _groups_differ(self) -> Settings:
        # Members of one group share its partitions: of what one process takes another hears nothing.
        groups = {name: getattr(self, name).group for name in ("worker", "pictures", "notify")}
        for group in groups.values():
            if list(groups.values()).count(group) > 1:
                same = ", ".join(f"{each}.group" for each, other in groups.items() if other == group)
                raise ValueError(f"{same}: expected a group of its own for each")
        return self

    @model_validator(mode="after")
    def _ledger_outlives_what_it_holds(self, info: ValidationInfo) -> Settings:
        if info.context != PART:
            check_keeping(self.notify, self.channels, self.verdicts.snooze_hours if self.verdicts.is_set else 0.0)
        return self

    @model_validator(mode="after")
    def _cameras_know_their_names(self) -> Settings:
        for name, camera in self.cameras.items():
            camera._name = name  # noqa: SLF001  the one who knows it
        return self


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this type is, or of which it holds many (by name, or in a row); None for a value."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
