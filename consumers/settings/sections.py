"""The sections of the settings, their keys and what may stand there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from stream import (
    DecodeLimits,
    KafkaAddress,
    Reading,
    SegmentLimits,
    check_camera_id,
    display_name,
    is_live,
)

from .addresses import check_kafka, check_redis, references, resolve
from .observing import LogSettings, MetricsSettings
from .section import PART, Section, SettingsError, only_line
from .security import KafkaSecuritySettings, RedisSecuritySettings

#: Nobody means more, and sums stay far from where they would overflow: ten years, a petabyte, a month in seconds.
_MAX_HOURS: Final = 87_600
_MAX_MEGABYTES: Final = 1_000_000_000
_MAX_DAYS: Final = 30 * 86_400
_MAX_COUNT: Final = 1_000_000_000
#: Of what lies within a segment, which lasts an hour at most.
_MAX_SECONDS: Final = 3600

#: An address that may hold a password: kept whole, shown and dumped without it, and in no error.
_Address = Annotated[str, PlainSerializer(display_name)]
_CameraId = Annotated[str, AfterValidator(check_camera_id)]


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
        le=_MAX_HOURS,
        description="Hours that the broker keeps segments. The embedded broker keeps less: see [run].",
    )
    retention_megabytes: float | None = Field(
        None,
        examples=[4000.0],
        gt=0,
        le=_MAX_MEGABYTES,
        description="Megabytes of segments that the broker keeps in each partition. Left out: no limit by size.",
    )

    @property
    def retention_bytes(self) -> int | None:
        return None if self.retention_megabytes is None else int(self.retention_megabytes * 1e6)

    @property
    def segments(self) -> str:
        return f"{self.prefix}.segments"

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
    def state(self) -> str:
        return f"{self.prefix}.state"

    @property
    def cameras_state(self) -> str:
        return f"{self.prefix}.cameras.state"

    @property
    def cameras_claims(self) -> str:
        return f"{self.prefix}.cameras.claims"

    @property
    def workers_state(self) -> str:
        return f"{self.prefix}.workers.state"


class CameraSettings(Section):
    """One camera, [cameras.NAME]: either `url` or `url_file`."""

    url: _Address | None = Field(
        None,
        examples=["rtsp://${DOCK_USER}:${DOCK_PASSWORD}@10.0.0.7/stream"],
        min_length=1,
        description="Its address, rtsp://…, or a video file or a folder of them. ${NAME} stands for an environment "
        "variable, so that no password stands in this file.",
    )
    url_file: Path | None = Field(
        None,
        examples=["/run/secrets/dock-1"],
        description="A file that holds the address on its only line, for example a mounted secret.",
    )
    loop: bool = Field(
        False,  # noqa: FBT003  a default
        description="Begin again at the end of footage. Not for rtsp:// cameras, which have no end.",
    )
    transcode: bool = Field(
        False,  # noqa: FBT003  a default
        description="Encode video once as H.264 where segments cannot carry its codec as it is. It costs a core or "
        "more a camera.",
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        examples=[12.5],
        description="Pictures a second of a stream that has no times of its own (raw H.264, for example). What the "
        "stream says, else 25, if not set.",
    )
    #: Its key under [cameras], for messages.
    _name: str = PrivateAttr("camera")

    @model_validator(mode="after")
    def _has_one_address(self, info: ValidationInfo) -> CameraSettings:
        given = [self.url, self.url_file]
        # The file and the environment may each give a part of a camera.
        if all(given) or not (any(given) or info.context == PART):
            raise ValueError("expected either url or url_file")
        if self.url is not None:
            self._check_loop(self.url)
        return self

    def _check_loop(self, address: str) -> None:
        if self.loop and is_live(address):
            raise ValueError("loop is for footage; a camera has no end")

    def address(self, environment: Mapping[str, str] | None = None) -> str:
        """Where the video is, with every reference resolved. Holds the password: show it with `display_name`.

        A variable that stands before the '@' is taken as it is (not percent-encoded), as password managers give it.

        Raises:
            SettingsError: a variable is not set, or the file cannot be read or does not hold one address.
        """
        if self.url is not None:
            try:
                return resolve(self.url, os.environ if environment is None else environment)
            except ValueError as error:
                raise SettingsError(f"cameras.{self._name}.url: {error}") from None
        assert self.url_file is not None
        address = only_line(self.url_file, f"cameras.{self._name}.url_file", "address")
        try:
            self._check_loop(address)
        except ValueError as error:
            raise SettingsError(f"cameras.{self._name}: {error}") from None
        return address

    @property
    def reading(self) -> Reading:
        return Reading(self.fps, self.transcode)

    def references(self) -> list[str]:
        """The environment variables that the address refers to."""
        return references(self.url or "")


class SegmentSettings(Section):
    """How a camera's stream is cut into segments, the records on the segments topic."""

    min_seconds: float = Field(0.5, gt=0, le=_MAX_SECONDS, description="Seconds that a segment lasts at least.")
    max_seconds: float = Field(
        2.0,
        gt=0,
        le=_MAX_SECONDS,
        description="Seconds after which a segment ends at the next keyframe. Longer segments add delay.",
    )
    max_megabytes: float = Field(8.0, gt=0, le=9, description="Megabytes (1,048,576 bytes) of a segment at most.")
    max_gap_seconds: float = Field(
        10.0,
        gt=0,
        le=_MAX_SECONDS,
        description="Seconds between two frames beyond which the stream counts as interrupted.",
    )

    @property
    def limits(self) -> SegmentLimits:
        return SegmentLimits(
            self.min_seconds,
            self.max_seconds,
            int(self.max_megabytes * 1024 * 1024),
            self.max_gap_seconds,
        )

    @model_validator(mode="after")
    def _limits_agree(self) -> SegmentSettings:
        _ = self.limits
        return self


class SpoolSettings(Section):
    """Where an agent keeps segments of live cameras on disk while the broker is away."""

    folder: Path = Field(
        Path("~/.local/state/clipline/spool"),
        description="Folder for segments that wait, one folder below it for each agent. It is made when it is needed.",
    )
    max_megabytes: float = Field(
        2000.0,
        gt=0,
        le=_MAX_MEGABYTES,
        description="Megabytes of segments that an agent keeps there, at most. The oldest are dropped first, and "
        "counted as skipped (spool_full).",
    )
    max_hours: float = Field(
        24.0,
        gt=0,
        le=_MAX_HOURS,
        description="Hours after which a segment that waits is dropped, and counted as skipped (spool_expired).",
    )


class WorkerSettings(Section):
    """What classifies the cameras."""

    model: str = Field(
        "default", description="A shipped model's name (`clipline models` lists them) or a checkpoint's path."
    )
    engine: Literal["auto", "openvino", "openvino-f32", "torch"] = Field(
        "auto",
        description="What runs the model. auto takes OpenVINO where it is installed and can run the model, else "
        "PyTorch; openvino-f32 computes in 32 bits where openvino would use bf16.",
    )
    group: str = Field(
        "clipline-classify",
        min_length=1,
        description="Kafka consumer group. Workers of one group share the cameras; a second group with another model "
        "sees all cameras, too. Sites that share a broker under different prefixes need different groups.",
    )
    stride_seconds: float | None = Field(
        None,
        examples=[0.8],
        gt=0,
        le=_MAX_SECONDS,
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
        le=_MAX_MEGABYTES,
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
        le=_MAX_SECONDS,
        description="Seconds of processor time after which decoding of a segment is given up, and the segment is a "
        "dead letter.",
    )
    idle_seconds: float = Field(
        60.0,
        gt=0,
        le=_MAX_DAYS,
        description="Seconds after which a camera counts as gone, its open windows and events are closed: all of its "
        "records have been classified, and none came.",
    )
    max_reread_seconds: float = Field(
        600.0,
        ge=0,
        le=_MAX_DAYS,
        description="Seconds that a worker reads back at most, to decode a long group of pictures of a camera that it "
        "takes over. Of a longer group the frames up to the next are skipped.",
    )
    instance: str | None = Field(
        None,
        examples=["worker-1"],
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="A name of this worker that no other worker of its group has, and that it keeps over restarts, for "
        "example that of a StatefulSet's pod. What it left open when it was killed ends with its next start. Left out: "
        "after ten seconds at most.",
    )
    guarantee: Literal["exactly-once", "at-least-once"] = Field(
        "exactly-once",
        description="exactly-once: predictions, events, the state of cameras and offsets are one transaction. "
        "at-least-once: without transactions; after a kill, predictions and events may come again, with the same ids. "
        "The embedded broker knows no other.",
    )

    @property
    def decode_limits(self) -> DecodeLimits:
        return DecodeLimits(round(self.max_megapixels * 1e6), self.max_decode_seconds)


class LabelSettings(Section):
    """One label's own rule, [tracker.labels.NAME]. What is left out comes from the model or from [tracker]."""

    start: float | None = Field(
        None,
        examples=[0.9],
        gt=0,
        le=1,
        description="Score, 0 to 1, from which an event may begin. Left out: the model's.",
    )
    end: float | None = Field(
        None, examples=[0.5], ge=0, le=1, description="Score, 0 to 1, below which an event ends. Left out: the model's."
    )
    min_seconds: float | None = Field(
        None,
        examples=[3.0],
        ge=0,
        le=_MAX_DAYS,
        description="Seconds that the score has to stay high before an event begins.",
    )
    cooldown_seconds: float | None = Field(
        None,
        examples=[5.0],
        ge=0,
        le=_MAX_DAYS,
        description="Seconds that the score has to stay low before an event ends.",
    )
    smoothing: int | None = Field(
        None, examples=[3], ge=1, le=100, description="Windows over which scores are averaged."
    )


class TrackerSettings(Section):
    """How scores become events."""

    min_seconds: float = Field(
        2.0, ge=0, le=_MAX_DAYS, description="Seconds that the score has to stay high before an event begins."
    )
    cooldown_seconds: float = Field(
        5.0, ge=0, le=_MAX_DAYS, description="Seconds that the score has to stay low before an event ends."
    )
    update_seconds: float = Field(
        10.0, gt=0, le=_MAX_DAYS, description="Seconds between two reports of an event that continues."
    )
    smoothing: int = Field(
        1, ge=1, le=100, description="Windows over which scores are averaged before they meet a threshold."
    )
    labels: dict[str, LabelSettings] = Field(
        default_factory=dict, description="Rules of single labels, each a table [tracker.labels.NAME]."
    )


class RedisSettings(Section):
    """How much Redis keeps."""

    max_predictions: int = Field(1000, ge=1, le=_MAX_COUNT, description="Predictions kept for each camera, about.")
    max_events: int = Field(10_000, ge=1, le=_MAX_COUNT, description="Reports of events kept, over all cameras, about.")
    max_remembered_events: int = Field(
        100_000,
        ge=1,
        le=_MAX_COUNT,
        description="Reports of events remembered, so that one that a topic holds twice is shown once. About 100 "
        "bytes each.",
    )
    camera_hours: float = Field(
        24.0,
        gt=0,
        le=_MAX_HOURS,
        description="Hours after its last window that a camera's state and predictions are kept.",
    )


class RunSettings(Section):
    """`clipline run` and `clipline up`: which services, how many processes, and what happens when one dies."""

    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Worker processes. One uses all cores; more help only where a single process cannot.",
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
        le=_MAX_MEGABYTES,
        description="Megabytes of video that the embedded broker keeps in memory, at most. The oldest goes first.",
    )
    take_over: bool = Field(
        False,  # noqa: FBT003  a default
        description="Read cameras that another agent on this broker reads, which stops then. Left out: refuse.",
    )
    max_restarts: int = Field(
        5,
        ge=0,
        le=_MAX_COUNT,
        description="Restarts of one process within restart_window_seconds, after which everything stops.",
    )
    restart_window_seconds: float = Field(
        300.0, gt=0, le=_MAX_DAYS, description="Seconds in which max_restarts are counted."
    )
    log_folder: Path = Field(
        Path("clipline-logs"), description="Folder for the log files of the processes. It is made if it is missing."
    )


class Settings(Section):
    """Everything that can be set, with the defaults that suit one machine."""

    kafka: Annotated[_Address, AfterValidator(check_kafka)] = Field(
        "127.0.0.1:9092", min_length=1, description="The Kafka broker, host:port; several are separated by commas."
    )
    redis: Annotated[_Address, AfterValidator(check_redis)] = Field(
        "redis://127.0.0.1:6379/0",
        description="The Redis server or Redis Cluster, redis://host:port/database; several hosts are separated by "
        "commas; rediss:// for TLS, unix:// for a socket, redis+sentinel://host:port,host:port/name/database for the "
        "primary that sentinels know by that name. With a "
        "password: redis://:${REDIS_PASSWORD}@host:port/database, where ${NAME} stands for an environment variable.",
    )
    cameras: dict[_CameraId, CameraSettings] = Field(
        default_factory=dict,
        description="The cameras that `clipline run` watches, each a table [cameras.NAME]. A name has 1 to 64 letters, "
        "digits, '.', '_' or '-'.",
    )
    run: RunSettings = Field(RunSettings(), description="Processes and services.")
    worker: WorkerSettings = Field(WorkerSettings(), description="Model and windows.")
    tracker: TrackerSettings = Field(TrackerSettings(), description="Events.")
    segments: SegmentSettings = Field(SegmentSettings(), description="Segments.")
    spool: SpoolSettings = Field(SpoolSettings(), description="Segments that wait for the broker.")
    topics: TopicSettings = Field(TopicSettings(), description="Topics.")
    redis_limits: RedisSettings = Field(RedisSettings(), description="What Redis keeps.")
    log: LogSettings = Field(LogSettings(), description="Logs.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Metrics and probes.")
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
    def _cameras_know_their_names(self) -> Settings:
        for name, camera in self.cameras.items():
            camera._name = name  # noqa: SLF001  the one who knows it
        return self


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field of this type is, or of which it holds many by name; None for a plain value."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
