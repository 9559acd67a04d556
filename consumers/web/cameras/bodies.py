"""What routes of one camera answer with, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from consumers.web.paging import Waits

from .decoding import NoSampleCode

_TIME = "2026-11-24T08:00:00.000000Z"


class ClipBody(BaseModel):
    """What the model takes in at once, as its contract says."""

    model: str = Field(examples=["movenet-views-7e7d60cf"])
    frames: int = Field(description="Pictures of a clip.", examples=[10])
    spacing_seconds: float = Field(description="From one to the next.", examples=[0.13])
    width: int = Field(description="To which each is brought.", examples=[384])
    height: int = Field(examples=[384])
    fit: str = Field(description="stretch: squeezed to it. crop: the middle is cut out.", examples=["stretch"])
    views: int = Field(
        description="2: the network is given the whole picture at half that size, and a part of it close up.",
        examples=[2],
    )


class CameraSettingsBody(BaseModel):
    """What the settings of this server say of a camera. Its agent may go by others."""

    camera: str = Field(examples=["gate-1"])
    is_named: bool = Field(description="Whether they name it; `clipline attach` needs no name in them.")
    source: str | None = Field(
        description="Where its video is, without user, password and what else may be secret; for operators.",
        examples=["rtsp://***@10.0.0.7/stream"],
    )
    loop: bool = Field(description="Whether footage begins again at its end.")
    transcode: bool = Field(description="Whether its video is encoded once more where that is needed.")
    fps: float | None = Field(description="Pictures a second, where they had to be said.", examples=[None])
    clip: ClipBody | None = Field(description="Of the model of the settings; null where that is not here.")
    why: str | None = Field(description="Why that is not known; null where it is.", examples=[None])


class StateSpan(BaseModel):
    """A time for which a camera was the same; wall clock."""

    status: str = Field(
        description="As of cameras; `unknown` where nobody here has heard, `lost` where its agent fell silent.",
        examples=["live"],
    )
    from_: str = Field(alias="from", serialization_alias="from", examples=[_TIME])
    to: str = Field(examples=[_TIME])
    why: str | None = Field(examples=[None])
    code: str | None = Field(description="The same in one word, for programs; null where it has none.", examples=[None])


class TimeSpan(BaseModel):
    """From when to when."""

    from_: str = Field(alias="from", serialization_alias="from", examples=[_TIME])
    to: str = Field(examples=[_TIME])


class ForgottenSpan(TimeSpan):
    """A stretch of event time of which nothing is shown any more, as somebody asked. It may reach beyond the answer."""

    time: str = Field(description="When somebody asked for it; wall clock.", examples=[_TIME])
    why: str | None = Field(description="Why, as that one wrote it.", examples=["as a visitor asked"])


class ForgettingPlace(BaseModel):
    """What one topic, or one kind of key in Redis, holds of a stretch."""

    where: str = Field(examples=["clipline.segments"])
    what: str = Field(description="One of them, in words.", examples=["segment"])
    found: int = Field(examples=[600])
    bytes: int = Field(examples=[150_000_000])
    left: int | None = Field(description="Of these; null for a dry run.", examples=[600])
    then: str | None = Field(
        description="Until when the rest is there, or, for a dry run, what would become of it; null where nothing is.",
        examples=["2026-11-25 08:00 UTC, or later"],
    )


class ForgettingBody(ForgottenSpan):
    """A stretch of a camera's time that somebody had forgotten, and what came of it."""

    camera: str = Field(examples=["gate-1"])
    by: str = Field(description="Who asked for it.", examples=["ana"])
    dry_run: bool = Field(description="Whether nothing was noted, only looked at.", examples=[False])
    state: Literal["noted", "waiting", "working", "done", "failed"] = Field(
        description="noted: this server has not looked for what is left. waiting, working: what can be deleted is, and "
        "the rest is looked for. done: `places` say what is left. failed: `problem` says why. In each of these nobody "
        "is shown anything of it, but for dry runs.",
        examples=["done"],
    )
    problem: str | None = Field(examples=[None])
    places: list[ForgettingPlace] = Field(description="Where something was found.")
    left: int | None = Field(description="All that is left; null while that is not known.", examples=[600])
    notes: list[str] = Field(description="What could not be looked at.", examples=[[]])
    nobody_knows: list[str] = Field(
        description="Where there may be some of it that cannot be looked at from here.", examples=[["backups"]]
    )


class Forgettings(Waits):
    """Stretches of a camera's time, the newest request first."""

    items: list[ForgettingBody]
    left_out: int = Field(description="Older ones.", examples=[0])


def _forgotten_spans() -> Any:
    return Field(default=[], description="Stretches within this one that are forgotten, oldest first.", examples=[[]])


class ClockBody(BaseModel):
    """How far footage, by its own time, was behind its arrival."""

    at: str = Field(description="Wall clock.", examples=[_TIME])
    offset_seconds: float = Field(examples=[0.4])


class StateSeconds(BaseModel):
    """Seconds of the stretch; together they are as long as it is."""

    watched: float = Field(description="It was live, and classified in time.", examples=[3500.0])
    late: float = Field(description="It was live, and classified more than 30 s late, or by nobody.", examples=[40.0])
    blind: float = Field(description="It gave no picture.", examples=[60.0])
    unknown: float = Field(description="Nobody here has heard how it was.", examples=[0.0])
    ended: float = Field(description="Its film was over, or its agent was stopped.", examples=[0.0])


class CameraHistory(Waits):
    """How a camera was over the last hours."""

    camera: str = Field(examples=["gate-1"])
    from_: str = Field(alias="from", serialization_alias="from", examples=[_TIME])
    to: str = Field(examples=[_TIME])
    items: list[StateSpan] = Field(description="Oldest first, without a hole between them.")
    seconds: StateSeconds
    late: list[TimeSpan] = Field(description="When it was live and not classified in time.")
    clock: list[ClockBody] = Field(description="Every two minutes or so, while it is live.")
    drift_ppm: int = Field(
        description="How much slower than time the camera's clock is, in millionths; its times are corrected.",
        examples=[12],
    )


class FootageStep(BaseModel):
    """What was sent of a part of the stretch, by event time."""

    start: str = Field(examples=[_TIME])
    seconds: float = Field(description="Of which there is footage.", examples=[60.0])
    bytes: int = Field(examples=[15_000_000])
    segments: int = Field(examples=[60])


class CameraFootage(BaseModel):
    """How much footage there is of a stretch of a camera's time, as the index of segments has it."""

    camera: str = Field(examples=["gate-1"])
    from_: str = Field(alias="from", serialization_alias="from", examples=[_TIME])
    to: str = Field(examples=[_TIME])
    step_seconds: float = Field(examples=[60.0])
    items: list[FootageStep] = Field(description="Oldest first, one after the other.")
    gaps: list[TimeSpan] = Field(description="Of which there is none: the longest ones, in the order of time.")
    gaps_left_out: int = Field(examples=[0])
    covered_seconds: float = Field(examples=[3540.0])
    gone: int = Field(description="Segments that retention has taken.", examples=[0])
    notes: list[str] = Field(description="What could not be read.", examples=[[]])
    forgotten_spans: list[ForgottenSpan] = _forgotten_spans()


class SamplePicture(BaseModel):
    """Pictures side by side."""

    href: str = Field(examples=["/api/v1/cameras/gate-1/sample/picture?tag=0123456789abcdef"])
    media_type: str = Field(examples=["image/webp"])
    width: int = Field(description="Of all of them together.", examples=[960])
    height: int = Field(examples=[768])
    columns: int = Field(description="So many in a row.", examples=[5])
    frames: list[str] = Field(description="Event times, in their order.", examples=[[_TIME]])
    clip: ClipBody


def _code() -> Any:
    return Field(default=None, description="`why` in one word, where it has one.", examples=["no-footage"])


class SnapshotPicture(BaseModel):
    """One picture."""

    href: str = Field(examples=["/api/v1/cameras/gate-1/snapshot/picture?tag=0123456789abcdef"])
    media_type: str = Field(examples=["image/webp"])
    width: int = Field(examples=[640])
    height: int = Field(examples=[360])
    time: str = Field(description="Event time.", examples=[_TIME])
    codec: str = Field(description="What the camera sends.", examples=["hevc"])


class SnapshotBody(BaseModel):
    """The newest keyframe of a camera."""

    camera: str = Field(examples=["gate-1"])
    picture: SnapshotPicture | None = Field(description="null where there is none.")
    why: str | None = Field(description="Why there is none; null where there is.", examples=[None])
    code: NoSampleCode | None = _code()


class SampleBody(BaseModel):
    """Pictures of a camera's newest footage, as the model is given them."""

    camera: str = Field(examples=["gate-1"])
    picture: SamplePicture | None = Field(description="null where there are none.")
    why: str | None = Field(description="Why there are none; null where there are.", examples=[None])
    code: NoSampleCode | None = _code()


class PredictionBody(BaseModel):
    """The scores of one window."""

    id: str = Field(examples=["3f0c6a1be29d4c5f8a7b6c5d"])
    start: str = Field(examples=[_TIME])
    end: str = Field(examples=[_TIME])
    epoch_us: int = Field(examples=[1_763_971_200_000_000])
    window: int = Field(examples=[17])
    model: str = Field(examples=["default"])
    label: str = Field(description="That with the highest score.", examples=["walk"])
    scores: dict[str, float] = Field(examples=[{"walk": 0.9, "fight": 0.1}])
    degraded: str | None = Field(description="keyframes where others were not decoded, for want of time.")
    gated: bool = Field(description="Whether nothing moved, so that it was not computed.")


class Predictions(BaseModel):
    """The scores of a camera over a stretch of time, oldest first."""

    camera: str = Field(examples=["gate-1"])
    items: list[PredictionBody]
    cut: bool = Field(description="Whether there may be more behind the last one: ask again with `from` there.")
    left_out: int = Field(description="Records that could not be read.", examples=[0])
    forgotten: int = Field(description="Those left out here, of stretches that are forgotten.", examples=[0])
    forgotten_spans: list[ForgottenSpan] = _forgotten_spans()
