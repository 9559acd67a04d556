"""What the API answers with, as OpenAPI shows it. Times are ISO 8601 in UTC with six decimals, so they sort as text."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from consumers.records.delivery import Kind as MessageKind
from consumers.records.delivery import State as MessageState
from consumers.records.event import Ending, Reason, Severity, State
from consumers.records.verdict import Said
from consumers.running.troubles import TroubleKind
from consumers.settings import Role

from .paging import Page, Told, Waits

_TIME = "2026-11-24T08:00:00.000000Z"
_EVENT = "3f0c6a1be29d4c5f8a7b6c5d"


class Camera(BaseModel):
    """A camera, and how it is."""

    camera: str = Field(examples=["gate-1"])
    status: str = Field(
        description="connecting, opening, live, stalled, failed or ended, as its agent says; lost where that died "
        "without a word; unknown where the broker is away. ended: its film was sent whole, or its agent was stopped. "
        "failed: it cannot be read; with `over`, its agent has given up.",
        examples=["live"],
    )
    over: bool = Field(default=False, description="Whether nobody reads it any more: it stays `ended` or `failed`.")
    since: str = Field(description="Since when the agent says so; wall clock.", examples=[_TIME])
    why: str | None = Field(description="Why it gives nothing; null while it is live.", examples=[None])
    cause: str | None = Field(None, description="The same as its agent says it, without since when.", examples=[None])
    code: str | None = Field(
        description="The same in one word, for programs, as its agent says (`refused`, `no-answer`, `over` …), or "
        "`lost`, `unheard`, `no-data`, `broker-away`; null where it has none.",
        examples=[None],
    )
    heard: str = Field(description="When its agent was heard of last.", examples=[_TIME])
    data: str | None = Field(description="When its newest video came.", examples=[_TIME])
    codec: str = Field(examples=["h264"])
    width: int = Field(examples=[1920])
    height: int = Field(examples=[1080])
    frames_per_second: float = Field(examples=[25.0])
    frames: int = Field(description="Since the agent reads it.", examples=[90_000])
    segments: int = Field(examples=[1_800])
    bytes: int = Field(examples=[450_000_000])
    agent: str = Field(description="Who reads it.", examples=["host-4711-agent"])
    worker: str | None = Field(
        description="Who classifies it; null where nobody does.", examples=["host-4711-worker-1"]
    )
    behind_seconds: float | None = Field(description="How far behind that one is.", examples=[1.2])
    label: str | None = Field(description="Of its newest window.", examples=["walk"])
    score: float | None = Field(examples=[0.93])
    events: list[str] = Field(description="Labels of events that go on.", examples=[["fight"]])


class Cameras(Waits):
    """All cameras that there are for who asks, by name."""

    items: list[Camera]


class Picture(BaseModel):
    """A picture of an event."""

    href: str = Field(examples=[f"/api/v1/events/{_EVENT}/pictures/strip?revision=2"])
    media_type: str = Field(examples=["image/webp"])
    width: int = Field(examples=[1280])
    height: int = Field(examples=[180])
    bytes: int = Field(examples=[48_000])
    frames: list[str] = Field(description="Event times of the frames in it.", examples=[[_TIME]])


class MissingPicture(BaseModel):
    """Why there is no picture."""

    reason: str = Field(examples=["retention"])
    detail: str = Field(examples=["retention has removed the footage"])


class Pictures(BaseModel):
    """Pictures of one report of an event: those that there are, and why others are missing."""

    revision: int = Field(description="Of the report that they are of.", examples=[2])
    peak: Picture | None
    strip: Picture | None
    missing: dict[str, MissingPicture]


class EventBody(BaseModel):
    """An event as its newest report tells it, and what was added."""

    event: str = Field(examples=[_EVENT])
    revision: int = Field(description="Of the report, counting up from 0.", examples=[2])
    state: State = Field(examples=["ended"])
    camera: str = Field(examples=["gate-1"])
    label: str = Field(examples=["fight"])
    model: str = Field(examples=["default"])
    start: str = Field(description="Event time, as all times here.", examples=[_TIME])
    end: str = Field(examples=[_TIME])
    seconds: float = Field(examples=[4.0])
    peak_score: float = Field(examples=[0.97])
    peak: str = Field(examples=[_TIME])
    windows: int = Field(examples=[5])
    ending: Ending | None = Field(examples=["below_threshold"])
    severity: Severity = Field(examples=["alert"])
    rule: str | None = Field(description="The version of the rules that made it.", examples=["9f2c11aa"])
    escalated: bool
    reason: Reason | None
    group: str | None = Field(description="The group of cameras that it was seen in, by the rules.", examples=["yard"])
    merge_seconds: float | None = Field(
        description="Seconds between it and another event of its group that is of the same incident.", examples=[30.0]
    )
    drill: str | None = Field(description="The camera that it is a drill for; null where it is none.")
    verdict: Literal["right", "false", "contested"] | None = Field(
        description="What people said of it, all in all; null where nobody did."
    )
    pictures: Pictures | None = Field(description="null where none were made (yet).")


class EventPage(Page):
    items: list[EventBody]
    forgotten: int = Field(description="Those left out here, of stretches that are forgotten.", examples=[0])


class LabelRule(BaseModel):
    """When a label is an event."""

    label: str = Field(examples=["fight"])
    start: float = Field(description="Score from which one may begin.", examples=[0.6])
    end: float = Field(description="Score below which it ends.", examples=[0.4])
    min_seconds: float = Field(examples=[2.0])
    cooldown_seconds: float = Field(description="After one, in which no other begins.", examples=[5.0])
    smoothing: int = Field(description="Windows over which scores are averaged.", examples=[1])
    severity: Severity = Field(examples=["alert"])
    schedule: list[str] = Field(description="When there are events; none: always.", examples=[["mon-fri 18:00-07:00"]])
    time_zone: str | None = Field(description="Of the schedule.", examples=["Europe/Berlin"])


class CameraRules(BaseModel):
    """By which scores of a camera become events, at one time."""

    camera: str = Field(examples=["gate-1"])
    model: str | None = Field(
        description="The model of the settings, as predictions name it; null where it is not on this machine.",
        examples=["movenet-views-7e7d60cf"],
    )
    version: str | None = Field(description="Of the rules.", examples=["9f2c11aa"])
    items: list[LabelRule] = Field(description="The labels that make events.")
    why: str | None = Field(description="Why nobody knows; null where it is known.", examples=[None])


class AgentBody(BaseModel):
    """A process that reads cameras."""

    agent: str = Field(examples=["host-4711-agent"])
    host: str = Field(examples=["host"])
    version: str = Field(examples=["0.1.0"])
    started: str = Field(examples=[_TIME])
    heard: str = Field(description="When it was heard of last, by its own clock.", examples=[_TIME])
    state: Literal["running", "ended", "dead"] = Field(description="dead: without a word.", examples=["running"])
    cameras: int = Field(examples=[12])
    live: int = Field(description="Those of them that give a picture.", examples=[11])
    disk: str | None = Field(description="Why segments cannot wait on its disk; null where they can.", examples=[None])
    spooled: int | None = Field(description="Segments that wait there for the broker.", examples=[0])


class WorkerBody(BaseModel):
    """A process that classifies."""

    worker: str = Field(examples=["host-4711-worker-1"])
    name: str | None = Field(description="That it keeps over restarts.", examples=["hub-1"])
    host: str = Field(examples=["host"])
    version: str = Field(examples=["0.1.0"])
    started: str = Field(examples=[_TIME])
    heard: str = Field(examples=[_TIME])
    state: Literal["working", "ended", "dead"] = Field(examples=["working"])
    group: str = Field(examples=["clipline-classify"])
    model: str = Field(examples=["movenet-views-7e7d60cf"])
    engine: str = Field(examples=["openvino"])
    cameras: list[str] = Field(examples=[["gate-1"]])
    lag: int = Field(description="Records that it has not acknowledged.", examples=[4])
    waiting: int | None = Field(description="Those that nobody has worked on.", examples=[0])
    behind_seconds: float | None = Field(description="Of the camera that is furthest behind.", examples=[1.2])
    awaited: list[str] = Field(description="Services that do not answer.", examples=[[]])
    awaited_told: list[Told] = Field([], description="They, as what that is made of; of older workers nothing.")
    alarms: list[str] | None = Field(description="Labels that make events.", examples=[["fight"]])
    partitions: list[int] | None = Field(description="Of the topic of segments, those that it has.", examples=[[0, 3]])
    exactly_once: bool | None = Field(
        description="Whether results are stored in transactions, so that none is lost or there twice after a kill.",
        examples=[True],
    )
    redis_behind: int | None = Field(description="Records that Redis does not show yet.", examples=[0])
    lost_to_retention: int | None = Field(
        description="Segments that the broker deleted before it came to them.", examples=[0]
    )


class TroubleBody(BaseModel):
    """One thing that is wrong, for those who say it in other words."""

    kind: TroubleKind = Field(examples=["camera_quiet"])
    name: str = Field(description="The camera, agent, worker or channel; empty: none.", examples=["gate-1"])
    seconds: float | None = Field(description="Since when, or by how much.", examples=[20.0])
    count: int | None = Field(description="Frames or segments.", examples=[None])
    names: list[str] = Field(description="Of cameras.", examples=[[]])
    why: str = Field(description="As whoever noticed it says it; may be empty.", examples=["connection refused"])
    code: str | None = Field(None, description="The same in one word, as cameras have it.", examples=["refused"])
    told: Told | None = Field(None, description="The same, where a service does not answer.")


class Fleet(Waits):
    """Processes that read and classify cameras."""

    agents: list[AgentBody]
    workers: list[WorkerBody]
    problems: list[str] = Field(examples=[["gate-1: no data for 20 s"]])
    troubles: list[TroubleBody] = Field(description="The same, one by one, in the same order.")


class VerdictBody(BaseModel):
    """What somebody said of an event."""

    id: str = Field(examples=[_EVENT])
    answer: Said = Field(description="withdrawn takes back what was said by hand before.", examples=["right"])
    event: str = Field(examples=[_EVENT])
    camera: str = Field(examples=["gate-1"])
    label: str = Field(examples=["fight"])
    start: str = Field(examples=[_TIME])
    end: str = Field(examples=[_TIME])
    time: str = Field(description="When it was said; wall clock.", examples=[_TIME])
    channel: str | None = Field(description="Through whose link; null by hand.", examples=[None])
    until: str | None = Field(description="Of a snooze, until when.", examples=[None])
    by: str | None = Field(description="Who said it by hand, where that is known.", examples=["ana"])


class VerdictPage(Page):
    items: list[VerdictBody]
    forgotten: int = Field(description="Those left out here, of stretches that are forgotten.", examples=[0])


class DeliveryBody(BaseModel):
    """A message to a channel, and what became of it."""

    delivery: str = Field(examples=[_EVENT])
    channel: str = Field(examples=["ops"])
    kind: MessageKind = Field(examples=["event"])
    state: MessageState = Field(examples=["sent"])
    time: str = Field(description="Of that state; wall clock.", examples=[_TIME])
    expires: str = Field(examples=[_TIME])
    attempt: int = Field(examples=[1])
    why: str | None = Field(examples=[None])
    detail: str | None = Field(description="What the other side said.", examples=[None])
    due: str | None = Field(description="When it is tried again.", examples=[None])
    pauses: bool
    covers: list[str] = Field(description="Of a summary: what it sums up.", examples=[[]])
    message: dict[str, Any] = Field(examples=[{"type": "clipline.event.started", "data": {"camera": "gate-1"}}])


class DeliveryPage(Page):
    items: list[DeliveryBody]
    forgotten: int = Field(description="Those left out here, of stretches that are forgotten.", examples=[0])


class RulesBody(BaseModel):
    """A version of the rules of the workers' group."""

    version: str = Field(examples=["9f2c11aa"])
    since: str = Field(description="The event time from which it holds.", examples=[_TIME])
    applied: str = Field(description="Wall clock.", examples=[_TIME])
    holds: bool = Field(description="Whether it holds now.")
    tracker: dict[str, Any] = Field(examples=[{"smoothing": 3}])
    rules: list[dict[str, Any]] = Field(examples=[[{"camera": "dock-*", "severity": "detection"}]])


class RulesHistory(Waits):
    """All versions, newest first; none where workers go by their settings."""

    group: str = Field(examples=["clipline-classify"])
    items: list[RulesBody]


class AuditBody(BaseModel):
    """One change that somebody asked for."""

    id: str = Field(examples=[_EVENT])
    time: str = Field(examples=[_TIME])
    actor: str = Field(examples=["ana"])
    way: Literal["token", "password", "proxy", "oidc", "local"] = Field(examples=["token"])
    role: str = Field(examples=["operator"])
    address: str = Field(examples=["10.0.0.9"])
    action: str = Field(examples=["verdict.give"])
    subject: str = Field(examples=[_EVENT])
    camera: str | None = Field(examples=["gate-1"])
    value: str | None = Field(examples=["right"])


class AuditPage(Page):
    items: list[AuditBody]


class TopicHealth(BaseModel):
    """How far the topics of one kind were read."""

    topics: list[str] = Field(examples=[["clipline.events"]])
    away: str | None = Field(description="Where the broker is away, since when.", examples=[None])
    away_told: Told | None = Field(None, description="The same, as what it is made of.")
    missing: bool = Field(description="Whether there is no such topic (yet).")
    behind: int | None = Field(description="Records still to be read; null where nobody knows.", examples=[0])
    records: int = Field(description="Read since the start.", examples=[1234])
    left_out: int = Field(description="Older records, which were not read at the start.", examples=[0])
    kept: int | None = Field(description="What is kept of it in memory.", examples=[412])
    dropped: int | None = Field(description="What was dropped since there was no room.", examples=[0])


class FootageHealth(BaseModel):
    """What playlists and segments cost."""

    cameras: int = Field(description="Cameras whose live views somebody watches.", examples=[16])
    segments: int = Field(description="Segments that were read from Kafka.", examples=[52020])
    bytes: int = Field(description="Kept of them, for the next who asks.", examples=[100_000_000])
    left_out: int = Field(
        description="Segments, and pages of their index, that cannot be read or played.", examples=[0]
    )
    fast_views: int = Field(description="Fast views that are open.", examples=[1])
    fast_dropped: int = Field(description="Segments that viewers of fast views were too slow for.", examples=[0])


class Health(BaseModel):
    """How the API itself is, and what it waits for."""

    ok: bool = Field(description="Whether all that is there has been read, and nothing is waited for.")
    version: str = Field(examples=["0.1.0"])
    broker: str | None = Field(description="Where it is away, since when.", examples=[None])
    redis: str | None = Field(description="Likewise.", examples=[None])
    broker_told: Told | None = Field(None, description="`broker`, as what it is made of.")
    redis_told: Told | None = Field(None, description="`redis`, likewise.")
    problems: list[str] = Field(
        description="What is wrong with cameras, agents and workers, as `clipline status` says it; for those who see "
        "all cameras.",
        examples=[["gate-1: no data for 20 s"]],
    )
    unreadable: int = Field(description="Records that are not what their topic holds.", examples=[0])
    let_go: int = Field(
        description="Clients that were disconnected, as they took nothing of what they had asked for.", examples=[0]
    )
    topics: dict[str, TopicHealth]
    footage: FootageHealth


class SessionBody(BaseModel):
    """Who asks, and what that one may."""

    name: str = Field(examples=["ana"])
    way: Literal["token", "password", "proxy", "oidc", "local"] = Field(examples=["password"])
    role: Role = Field(examples=["operator"])
    cameras: list[str] | None = Field(description="Which there are for this one; null: all.", examples=[None])
    csrf: str | None = Field(
        description="Of a session: what requests that change something send in the header X-CSRF-Token.",
        examples=["k3x…"],
    )


class ShareBody(BaseModel):
    """A link that shows one event to whoever has it."""

    id: str = Field(examples=[_EVENT])
    event: str = Field(examples=[_EVENT])
    camera: str = Field(examples=["gate-1"])
    by: str = Field(description="Who made it.", examples=["ana"])
    created: str = Field(examples=[_TIME])
    expires: str = Field(examples=[_TIME])


class MadeShare(ShareBody):
    """Likewise, just made: nobody is told its address again."""

    address: str = Field(description="Below this server.", examples=["/share/clipline_…"])


class Shares(BaseModel):
    """The links that hold, the newest first."""

    items: list[ShareBody]


class LiveToken(BaseModel):
    """Lets a player have the live view of one camera."""

    camera: str = Field(examples=["gate-1"])
    token: str = Field(examples=["ImdhdGUtMSI.aSx…"])
    expires: str = Field(examples=[_TIME])
