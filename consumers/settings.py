"""What an operator can set: one TOML file, overridden by environment variables.

    # clipline.toml
    kafka = "broker.example:9092"            # or CLIPLINE_KAFKA
    redis = "redis://cache.example:6379/0"   # or CLIPLINE_REDIS

    [worker]
    model = "cnn-lstm"                       # or CLIPLINE_WORKER__MODEL
    stride_seconds = 0.8

    [tracker.labels.fight]
    start = 0.7

The file is `clipline.toml` in the working directory, or the one that `--settings` or CLIPLINE_SETTINGS names.
Unknown keys are errors: a misspelt threshold must not be silently ignored.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream import SegmentLimits

ENVIRONMENT_PREFIX: Final = "CLIPLINE_"
DEFAULT_FILE: Final = Path("clipline.toml")
#: Variables with the prefix that are not settings.
_OTHER_VARIABLES: Final = frozenset(
    {"CLIPLINE_SETTINGS", "CLIPLINE_KAFKA_LIBS", "CLIPLINE_REQUIRE_APACHE", "CLIPLINE_REQUIRE_RTSP"}
)


class SettingsError(Exception):
    """A setting is unknown or has an unusable value; the message names where it came from."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TopicSettings(_Section):
    prefix: str = Field("clipline", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    #: More partitions let more workers share the cameras.
    partitions: int = Field(8, ge=1, le=1000)
    retention_hours: float = Field(24.0, gt=0)

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


class SegmentSettings(_Section):
    min_seconds: float = Field(0.5, gt=0)
    max_seconds: float = Field(2.0, gt=0)
    max_gop_seconds: float = Field(30.0, gt=0)
    max_megabytes: float = Field(8.0, gt=0, le=9)
    max_gap_seconds: float = Field(10.0, gt=0)

    @property
    def limits(self) -> SegmentLimits:
        return SegmentLimits(
            self.min_seconds,
            self.max_seconds,
            self.max_gop_seconds,
            int(self.max_megabytes * 1024 * 1024),
            self.max_gap_seconds,
        )

    @model_validator(mode="after")
    def _limits_agree(self) -> SegmentSettings:
        _ = self.limits
        return self


class WorkerSettings(_Section):
    #: A shipped model's name (`clipline models`) or a checkpoint's path.
    model: str = "default"
    engine: Literal["auto", "openvino", "openvino-f32", "torch"] = "auto"
    group: str = Field("clipline-classify", min_length=1)
    #: How often a window begins; None is half a window, rounded to the model's frame spacing.
    stride_seconds: float | None = Field(None, gt=0)
    #: Decoding threads; None is one a core.
    threads: int | None = Field(None, ge=1, le=256)
    max_batch: int = Field(16, ge=1, le=1024)
    #: Encoded footage that waits for a decoder, at most.
    max_queue_megabytes: float = Field(32.0, gt=0)
    #: A camera that sends nothing for so long is considered gone: its open windows and events are closed.
    idle_seconds: float = Field(60.0, gt=0)
    #: A worker that takes over a camera reads an event that goes on again from its begin, up to so far back; a longer
    #: one begins anew.
    max_reread_seconds: float = Field(600.0, ge=0)


class LabelSettings(_Section):
    """Overrides of a model's own thresholds for one label."""

    start: float | None = Field(None, gt=0, le=1)
    end: float | None = Field(None, ge=0, le=1)
    min_seconds: float | None = Field(None, ge=0)
    cooldown_seconds: float | None = Field(None, ge=0)
    smoothing: int | None = Field(None, ge=1, le=100)


class TrackerSettings(_Section):
    min_seconds: float = Field(2.0, ge=0)
    cooldown_seconds: float = Field(5.0, ge=0)
    #: An event that goes on is reported again this often.
    update_seconds: float = Field(10.0, gt=0)
    #: Scores are averaged over so many windows before they meet a threshold.
    smoothing: int = Field(1, ge=1, le=100)
    labels: dict[str, LabelSettings] = Field(default_factory=dict)


class RedisSettings(_Section):
    max_predictions: int = Field(1000, ge=1)
    max_events: int = Field(10_000, ge=1)


class Settings(_Section):
    """Everything that can be set, with the defaults that suit one machine."""

    kafka: str = Field("127.0.0.1:9092", min_length=1)
    redis: str = Field("redis://127.0.0.1:6379/0", pattern=r"^(rediss?|unix)://")
    topics: TopicSettings = TopicSettings()
    segments: SegmentSettings = SegmentSettings()
    worker: WorkerSettings = WorkerSettings()
    tracker: TrackerSettings = TrackerSettings()
    redis_limits: RedisSettings = RedisSettings()


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file (if there is one) and the environment over it.

    Raises:
        SettingsError: the named file is absent, is not TOML, or a key or value is not understood.
    """
    environment = os.environ if environment is None else environment
    named = path or (Path(environment["CLIPLINE_SETTINGS"]) if "CLIPLINE_SETTINGS" in environment else None)
    file = named or DEFAULT_FILE
    values: dict[str, Any] = {}
    if named is not None and not file.is_file():
        raise SettingsError(f"{file}: no such settings file")
    if file.is_file():
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: not TOML: {error}") from None
        except OSError as error:
            raise SettingsError(f"{file}: cannot be read ({error.strerror})") from None
        _validate(values, str(file))
    from_environment = _from_environment(environment)
    _validate(from_environment, "environment")
    return _validate(_merged(values, from_environment), f"{file} and environment")


def override(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    """`settings` with `values` over them, nested as the sections are; a value of None leaves what is there.

    Raises:
        SettingsError: a key or value is not understood; the message begins with `where`.
    """
    return _validate(_merged(settings.model_dump(), _given(values)), where)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _given(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}


def _validate(values: Mapping[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SettingsError(f"{where}: unknown setting {key!r}{_near(first['loc'])}") from None
        # What stands before an '@' may be a password.
        found = re.sub(r"[^\s'\"]*@", "…@", repr(first["input"]))
        raise SettingsError(f"{where}: {key or 'settings'} = {found}: {first['msg']}") from None


def _near(location: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Settings
    for part in location[:-1]:
        known = section.model_fields.get(str(part))
        if known is None or not (isinstance(known.annotation, type) and issubclass(known.annotation, BaseModel)):
            return ""
        section = known.annotation
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(section.model_fields)}"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or name in _OTHER_VARIABLES:
            continue
        *sections, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(
                    f"environment: {name} is inside {section!r}, which another variable sets to a value"
                )
        if isinstance(place.get(key), dict):
            raise SettingsError(
                f"environment: {name} = {value!r}: {key!r} is a section, and other variables set its keys"
            )
        place[key] = value
    return values


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
