"""The sections of how scores become events: for all cameras, for single labels, and the rules over both."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from consumers.records.event import Severity
from consumers.settings.schedule import Schedule, check_stretch, check_zone
from consumers.settings.section import MAX_DAYS, Section

#: Tables [[rules]] in one file.
MAX_RULES: Final = 1000
ANY: Final = "*"


def _check_pattern(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected no control characters")
    return text


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
        le=MAX_DAYS,
        description="Seconds that the score has to stay high before an event begins.",
    )
    cooldown_seconds: float | None = Field(
        None,
        examples=[5.0],
        ge=0,
        le=MAX_DAYS,
        description="Seconds that the score has to stay low before an event ends.",
    )
    smoothing: int | None = Field(
        None, examples=[3], ge=1, le=100, description="Windows over which scores are averaged."
    )


class TrackerSettings(Section):
    """How scores become events."""

    min_seconds: float = Field(
        2.0, ge=0, le=MAX_DAYS, description="Seconds that the score has to stay high before an event begins."
    )
    cooldown_seconds: float = Field(
        5.0, ge=0, le=MAX_DAYS, description="Seconds that the score has to stay low before an event ends."
    )
    update_seconds: float = Field(
        10.0, gt=0, le=MAX_DAYS, description="Seconds between two reports of an event that continues."
    )
    smoothing: int = Field(
        1, ge=1, le=100, description="Windows over which scores are averaged before they meet a threshold."
    )
    labels: dict[str, LabelSettings] = Field(
        default_factory=dict, description="Rules of single labels, each a table [tracker.labels.NAME]."
    )


class RuleSettings(Section):
    """Rules of some cameras and labels, each a table [[rules]]. Where several are about a label of a camera, the lower
    one in the file wins, key by key; what none says comes from [tracker] or the model.
    """

    camera: Annotated[str, AfterValidator(_check_pattern)] = Field(
        ANY,
        min_length=1,
        max_length=200,
        examples=["dock-*"],
        description="Which cameras, by name: `*` stands for any text, `?` for any character.",
    )
    label: Annotated[str, AfterValidator(_check_pattern)] = Field(
        ANY, min_length=1, max_length=200, examples=["fight"], description="Which label; `*`: all that raise events."
    )
    enabled: bool | None = Field(
        None, examples=[False], description="false: no events. true: events again, where a rule above says false."
    )
    severity: Severity | None = Field(
        None,
        examples=["detection"],
        description="alert: somebody is to look. detection: it is noted. Left out: alert.",
    )
    start: float | None = Field(
        None,
        examples=[0.9],
        gt=0,
        le=1,
        description="Score from which an event may begin. It lowers an `end` from above that would be higher.",
    )
    end: float | None = Field(
        None, examples=[0.5], ge=0, le=1, description="Score below which an event ends; at most `start`."
    )
    min_seconds: float | None = Field(
        None, examples=[3.0], ge=0, le=MAX_DAYS, description="Seconds that the score has to stay high first."
    )
    cooldown_seconds: float | None = Field(
        None, examples=[5.0], ge=0, le=MAX_DAYS, description="Seconds after an event in which no other begins."
    )
    update_seconds: float | None = Field(
        None, examples=[10.0], gt=0, le=MAX_DAYS, description="Seconds between two reports of an event that continues."
    )
    smoothing: int | None = Field(
        None, examples=[3], ge=1, le=100, description="Windows over which scores are averaged."
    )
    escalate_after_seconds: float | None = Field(
        None,
        examples=[30.0],
        ge=0,
        le=MAX_DAYS,
        description="Seconds after which an event that still goes on is reported as escalated, and is an alert from "
        "then on. 0: never.",
    )
    group: Annotated[str, AfterValidator(_check_pattern)] | None = Field(
        None,
        max_length=200,
        examples=["yard"],
        description="What these cameras see: events of one label that cameras of one group see together are one "
        'incident. "": a camera by itself, where a rule above says otherwise.',
    )
    merge_seconds: float | None = Field(
        None,
        examples=[30.0],
        gt=0,
        le=3600,
        description="Seconds between two events of a group that are still one incident. Left out: 30.",
    )
    schedule: tuple[Annotated[str, AfterValidator(check_stretch)], ...] | None = Field(
        None,
        examples=[["mon-fri 22:00-06:00", "sat,sun"]],
        max_length=50,
        description="When there are events: days, hours or both, in event time. An end before its begin is on the "
        "next day. []: always, where a rule above says otherwise.",
    )
    time_zone: Annotated[str, AfterValidator(check_zone)] | None = Field(
        None,
        max_length=100,
        examples=["Europe/Berlin"],
        description="Time zone of the schedule, by its IANA name. Needed with a schedule.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> RuleSettings:
        if self.start is not None and self.end is not None and self.end > self.start:
            raise ValueError(f"expected end ({self.end}) <= start ({self.start})")
        if bool(self.schedule) != (self.time_zone is not None):
            raise ValueError("expected schedule and time_zone together, such as time_zone = 'Europe/Berlin'")
        return self

    def is_about(self, camera: str, label: str) -> bool:
        """Whether it says something of a label of a camera."""
        return self.label in {ANY, label} and fnmatchcase(camera, self.camera)

    @property
    def hours(self) -> Schedule | None:
        """When there are events; None where it is always, or not said."""
        return Schedule(self.schedule, self.time_zone) if self.schedule and self.time_zone is not None else None
