"""Events: their newest reports, their pictures, and the stream of reports as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.records.event import Severity, State
from consumers.records.event_pictures import EventPictures, Kind, Missing, StoredPicture
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import rfc3339
from consumers.subscribing.selection import Selection
from consumers.subscribing.serving import BUSY_SECONDS, BusyError
from consumers.web.access import Asker
from consumers.web.bodies import EventBody, EventPage, MissingPicture, Picture, Pictures
from consumers.web.desk import AnyAsker, AtDesk, Desk, TaggedRoute
from consumers.web.memory.view import KnownEvent
from consumers.web.paging import Cameras, Id, Labels, SpanQuery, cursor, waits
from consumers.web.problems import ProblemError, forgotten, not_found, problem_responses
from consumers.web.review.bodies import Calendar, DayBody
from consumers.web.review.days import days_of
from consumers.web.routes.remembered import check_remembered

router = APIRouter(route_class=TaggedRoute, tags=["events"])

EventId = Annotated[Id, Path(description="The event's id.", examples=["3f0c6a1be29d4c5f8a7b6c5d"])]
#: A picture of one report stays what it is.
_FOR_GOOD: Final = "private, max-age=86400, immutable"
_MEDIA_TYPE: Final = "image/webp"


class EventFilters(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    camera: Cameras = Field([], description="Ids, or patterns such as `gate*`; of several, any.", examples=[["gate*"]])
    label: Labels = Field([], description="Of several, any.", examples=[["fight"]])
    severity: Severity | None = Field(None, examples=["alert"])
    state: State | None = Field(None, description="Of the newest report.", examples=["ended"])
    verdict: Literal["right", "false", "contested", "none"] | None = Field(
        None, description="What people said, all in all; none: nobody said anything.", examples=["none"]
    )
    unseen_by: Literal["me"] | None = Field(
        None, description="me: of which who asks has said nothing by hand, whatever others said.", examples=["me"]
    )
    model: str | None = Field(None, min_length=1, max_length=256, examples=["default"])
    min_score: float | None = Field(None, ge=0, le=1, description="Peak score, at least.", examples=[0.8])
    drills: bool = Field(False, description="Drills, too.")  # noqa: FBT003  a default

    def holds_for(self, asker: Asker) -> Callable[[KnownEvent], bool]:
        """Whether an event is wanted, whenever it was, and there for who asks."""
        # Made once: of many events, few may be wanted.
        holds = Selection(tuple(self.label), tuple(self.camera), self.drills, asker.cameras).holds
        exact = {name: value for name in ("severity", "state", "model") if (value := getattr(self, name)) is not None}
        judged = None if self.verdict == "none" else self.verdict

        def wanted(event: KnownEvent) -> bool:
            report = event.report
            return (
                all(getattr(report, name) == value for name, value in exact.items())
                and (self.verdict is None or judged == (event.judged and event.judged.judged))
                and (self.unseen_by is None or asker.name not in event.seen_by)
                and (self.min_score is None or report.peak_score >= self.min_score)
                and holds(report)
            )

        return wanted


class EventQuery(EventFilters, SpanQuery):
    """Which events, and which part of their list."""

    def wanted_by(self, asker: Asker) -> Callable[[KnownEvent], bool]:
        """Whether an event is wanted, and there for who asks."""
        holds = self.holds_for(asker)

        def wanted(event: KnownEvent) -> bool:
            return self.is_within(event.report.start_us, event.report.end_us) and holds(event)

        return wanted


class MonthQuery(EventFilters):
    """Which events, of which month."""

    month: str = Field(pattern=r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])$", examples=["2026-11"])
    time_zone: str = Field(
        "UTC",
        pattern=r"^[A-Za-z0-9_+/-]{1,64}$",
        description="In which days begin and end, by its name.",
        examples=["Europe/Berlin"],
    )


class StreamQuery(BaseModel):
    """Which reports are streamed."""

    model_config = ConfigDict(extra="forbid")

    camera: Cameras = Field([], description="Ids, or patterns such as `gate*`; of several, any.")
    label: Labels = Field([], description="Of several, any.")
    since: str | None = Field(
        None, max_length=64, description="90s, 15m, 1h, 2d ago, a time, or earliest; else from now on.", examples=["1h"]
    )
    drills: Literal["0", "1"] = Field("0", description="1: drills, too.")


@router.get("/events", responses=problem_responses(404, 422))
def list_events(query: Annotated[EventQuery, Query()], asker: AnyAsker, desk: AtDesk) -> EventPage:
    """Events by their begin, the newest first; each is its newest report.

    Pages stay in order while events come: `next` leads to those before the last one of this page.
    """
    found = desk.view.events(query.limit, query.wanted_by(asker), query.after)
    return EventPage(
        items=[event_body(each) for each in found.items],
        next=cursor(found.after),
        **waits(desk.view, "events", "forgotten"),
        forgotten=found.withheld,
    )


@router.get("/events/calendar", responses=problem_responses(404, 422))
def get_calendar(query: Annotated[MonthQuery, Query()], asker: AnyAsker, desk: AtDesk) -> Calendar:
    """How many events began on each day of a month, of those that are kept and wanted."""
    try:
        days = days_of(query.month, query.time_zone)
    except ValueError as error:
        raise ProblemError(404, "no-such-zone", str(error)) from None
    counts = desk.view.counts(days.from_us, days.to_us, query.holds_for(asker), days.of)
    return Calendar(
        month=query.month,
        time_zone=query.time_zone,
        days=[
            DayBody(day=day, alerts=each.alerts, detections=each.detections, unjudged=each.unjudged)
            for day, each in sorted(counts.items())
        ],
        **waits(desk.view, "events", "forgotten"),
    )


@router.get(
    "/events/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: the body of each report under `data`, where to go on under `id`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problem_responses(422, 503),
    },
)
async def stream_events(
    request: Request,
    query: Annotated[StreamQuery, Query()],  # noqa: ARG001  for OpenAPI; who streams reads it itself
    asker: AnyAsker,
    desk: AtDesk,
    last_event_id: Annotated[str | None, Header(description="The `id` behind which to go on.", max_length=4096)] = None,  # noqa: ARG001
) -> Response:
    """Reports as they come, as server-sent events. Who comes back with `Last-Event-ID` misses none."""
    try:
        return desk.streams.stream(request, asker.cameras, lambda: desk.access.holds(asker.holder))
    except BusyError as error:
        raise ProblemError(503, "busy", str(error), {"Retry-After": str(BUSY_SECONDS)}) from None
    except ValueError as error:
        raise ProblemError(422, "invalid", str(error)) from None


@router.get("/events/{event}", responses=problem_responses(404, 410, 422, 503))
def get_event(event: EventId, asker: AnyAsker, desk: AtDesk) -> EventBody:
    """One event, as its newest report tells it."""
    return event_body(find_event(desk, asker, event))


@router.get("/events/{event}/pictures", responses=problem_responses(404, 410, 422, 503))
def get_pictures(event: EventId, asker: AnyAsker, desk: AtDesk) -> Pictures:
    """Which pictures of an event there are, and why others are missing."""
    found = find_event(desk, asker, event).pictures
    if found is None:
        raise not_found(f"no pictures of event {event} were made (yet)")
    return _pictures(found)


@router.get(
    "/events/{event}/pictures/{kind}",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, WebP.",
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(404, 410, 422, 503),
    },
)
def get_picture(
    event: EventId,
    kind: Annotated[Kind, Path(description="strip: its course. peak: its best moment.")],
    asker: AnyAsker,
    desk: AtDesk,
    revision: Annotated[
        int | None, Query(ge=0, le=10**9, description="Of the report; browsers may keep the picture then.")
    ] = None,
) -> Response:
    """A picture of an event; Redis keeps them for a while."""
    found = find_event(desk, asker, event).pictures
    if found is None:
        raise not_found(f"no pictures of event {event} were made (yet)")
    if revision not in {None, found.revision}:
        raise not_found(f"pictures are of report {found.revision} now")
    picture = found.strip if kind == "strip" else found.peak
    if isinstance(picture, Missing):
        raise not_found(f"there is no {kind} ({picture.reason}: {picture.detail})")
    data = desk.pictures.get(kind, picture.key)
    if data is None:
        raise not_found(f"the {kind} of event {event} is not kept any more")
    headers = {} if revision is None else {"Cache-Control": _FOR_GOOD}
    return Response(data, media_type=_MEDIA_TYPE, headers=headers)


def find_event(desk: Desk, asker: Asker, event: str) -> KnownEvent:
    """An event that there is for who asks.

    Raises:
        ProblemError: there is none, or it is forgotten.
    """
    found = known_event(desk, asker, event)
    if found is None and (stretch := noted_stretch(desk, asker, event)) is not None:
        raise forgotten(stretch.explained(), stretch)
    if found is None:
        raise not_found(f"no event {event} is kept")
    check_remembered(desk, found.report.camera, found.report.start_us, found.report.end_us, found.report.id)
    return found


def known_event(desk: Desk, asker: Asker, event: str) -> KnownEvent | None:
    """Likewise; None where there is none."""
    found = desk.view.event(event)
    return found if found is not None and asker.sees(found.report.drill or found.report.camera) else None


def noted_stretch(desk: Desk, asker: Asker, event: str) -> Forgotten | None:
    """The stretch beside which an event is noted that is not kept any more; None where none that who asks may know."""
    stretch = desk.view.forgotten.of_event(event)
    return stretch if stretch is not None and asker.sees(stretch.camera) else None


def event_body(event: KnownEvent) -> EventBody:
    """An event as the API shows it."""
    report = event.report
    body: dict[str, Any] = {"drill": None, **report.body(), "revision": report.revision}
    judged = None if event.judged is None else event.judged.judged
    return EventBody(**body, verdict=judged, pictures=None if event.pictures is None else _pictures(event.pictures))


def _pictures(found: EventPictures) -> Pictures:
    kinds: dict[str, StoredPicture | Missing] = {"peak": found.peak, "strip": found.strip}

    def shown(kind: str) -> Picture | None:
        each = kinds[kind]
        if isinstance(each, Missing):
            return None
        return Picture(
            href=f"/api/v1/events/{found.event}/pictures/{kind}?revision={found.revision}",
            media_type=_MEDIA_TYPE,
            width=each.width,
            height=each.height,
            bytes=each.bytes,
            frames=[rfc3339(time_us) for time_us in each.frames_us],
        )

    missing = {
        kind: MissingPicture(reason=each.reason, detail=each.detail)
        for kind, each in kinds.items()
        if isinstance(each, Missing)
    }
    return Pictures(revision=found.revision, peak=shown("peak"), strip=shown("strip"), missing=missing)
