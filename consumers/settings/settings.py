"""All settings: their sections, and what holds between these."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationInfo,
    model_validator,
)

from stream import KafkaAddress, check_camera_id

from .addresses import check_kafka, check_redis
from .section import MAX_SECONDS, PART, Address, Section
from .sections.dashboard import DashboardSettings
from .sections.feeding import CameraSettings, SegmentSettings, SpoolSettings
from .sections.gates import GateSettings
from .sections.load import LoadSettings
from .sections.notifying import ChannelSettings, NotifySettings, check_keeping
from .sections.observing import LogSettings, MetricsSettings
from .sections.pictures import EvidenceSettings, PictureSettings
from .sections.run import RunSettings
from .sections.serving import ServeSettings
from .sections.topics import RedisSettings, TopicSettings
from .sections.tracking import MAX_RULES, RuleSettings, TrackerSettings
from .sections.verdicts import VerdictSettings
from .sections.worker import WorkerSettings
from .security import KafkaSecuritySettings, RedisSecuritySettings

_CameraId = Annotated[str, AfterValidator(check_camera_id)]
_ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


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
