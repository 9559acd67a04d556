"""Footage for players: playlists of a camera's live view, of a stretch of its time, of an event; and their segments."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.footage_index import FoundFootage
from consumers.records.index.page import IndexedSegment
from consumers.records.prediction import rfc3339
from consumers.web.access import Access, Asker
from consumers.web.credentials import MAX_TOKEN, Holder
from consumers.web.desk import AnyAsker, AtDesk, Bearer, Cookie, Desk, TaggedRoute, is_known
from consumers.web.paging import Moment, to_us
from consumers.web.playlists import NotPlayableError, evidence_playlist, live_playlist, recorded_playlist
from consumers.web.playlists.playlist import newest
from consumers.web.playlists.store import Wanted, joined_tag
from consumers.web.problems import ProblemError, forgotten, not_found, problem_responses
from consumers.web.routes.remembered import check_known, check_knows_forgotten, check_remembered
from consumers.web.routes.reviewing.events import EventId, find_event
from consumers.web.routes.watching.cameras import CameraName
from stream import BrokerError

router = APIRouter(tags=["footage"])
_tagged = APIRouter(route_class=TaggedRoute)

PLAYLIST: Final = "application/vnd.apple.mpegurl"
_SEGMENT: Final = "video/mp2t"
#: A first answer waits for so many segments: players begin three before the end.
_FIRST_SEGMENTS: Final = 3
_FIRST_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 2
_LONGEST_US: Final = 6 * 3_600_000_000
#: What a segment holds stays as it is.
_FOR_GOOD: Final = "private, max-age=86400, immutable"
_MAX_OFFSET: Final = (1 << 53) - 1


def _shows(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string"} if media_type == PLAYLIST else {"type": "string", "format": "binary"}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


@dataclass(frozen=True, slots=True)
class AnyViewer:
    """Who asks for the footage of a camera, or the token of its live view that lets somebody in."""

    asker: Asker | None
    holder: Holder
    token: str | None = None
    #: Until when the token lets in; wall clock in seconds since the Unix epoch.
    until: float = math.inf

    def sees(self, camera: str) -> bool:
        # A token that holds is of this camera.
        return self.asker is None or self.asker.sees(camera)

    def holds(self, access: Access) -> bool:
        """Whether this one would still be let in."""
        return time.time() < self.until and access.holds(self.holder)


async def _viewer(
    request: Request,
    camera: CameraName,
    desk: AtDesk,
    _bearer: Bearer,
    _cookie: Cookie,
    token: Annotated[
        str | None,
        Query(max_length=MAX_TOKEN, description="Of `live-token`, for players that send nothing else."),
    ] = None,
) -> AnyViewer:
    if token is not None and (grant := desk.access.live_grant(request, camera, token)) is not None:
        return AnyViewer(None, grant.holder, token, grant.until)
    asker = desk.access.asker(request, of_footage=True)
    return AnyViewer(asker, asker.holder)


Viewer = Annotated[AnyViewer, Depends(_viewer)]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which segments a playlist names."""

    partition: int
    offsets: tuple[int, ...]
    #: Epoch and number of the first one.
    of: str | None
    #: The offset of the one before.
    after: int | None

    def places(self) -> set[tuple[int, int]]:
        """Partition and offset of all from which something is served."""
        before = () if self.after is None else (self.after,)
        return {(self.partition, each) for each in (*before, *self.offsets)}


async def _asked(
    segment: Annotated[
        str,
        Path(pattern=r"^[0-9]{1,6}-[0-9]{1,16}$", description="Partition and offset.", examples=["3-904142"]),
    ],
    of: Annotated[
        str | None,
        Query(pattern=r"^[0-9]{1,20}\.[0-9]{1,10}$", description="Its epoch and number there: another one is none."),
    ] = None,
    after: Annotated[
        int | None,
        Query(ge=0, le=_MAX_OFFSET, description="Offset of the one before, which may hold pictures of this one."),
    ] = None,
    more: Annotated[
        str | None,
        Query(alias="with", pattern=r"^[0-9]{1,16}(\.[0-9]{1,16}){0,63}$", description="Offsets that follow it."),
    ] = None,
) -> _Asked:
    partition, offset = map(int, segment.split("-"))
    offsets = (offset, *map(int, more.split(".") if more else ()))
    return _Asked(partition, tuple(min(each, _MAX_OFFSET) for each in offsets), of, after)


AskedSegment = Annotated[_Asked, Depends(_asked)]


class Part(BaseModel):
    """A stretch of event time."""

    model_config = ConfigDict(extra="forbid")

    from_: Moment = Field(alias="from", description="Event time, ISO 8601.", examples=["2026-11-24T08:00:00Z"])
    to: Moment = Field(description="Of more than six hours there are the first.", examples=["2026-11-24T08:10:00Z"])


@_tagged.get(
    "/cameras/{camera}/live.m3u8",
    response_class=Response,
    responses={**_shows(PLAYLIST, "The newest segments."), **problem_responses(404, 406, 410, 422, 503)},
)
async def get_live_playlist(camera: CameraName, viewer: Viewer, desk: AtDesk) -> Response:
    """The live view of a camera, HLS: its newest segments, as the camera sent them.

    The first answer waits a few seconds for three of them. A token in the address is put on those of segments.
    """
    if not viewer.sees(camera) or desk.view.camera(camera) is None:
        raise not_found(f"no camera {camera!r} is known")
    check_knows_forgotten(desk)
    window = await _window(desk, camera)
    try:
        text = live_playlist(window, desk.settings.segments.max_seconds, viewer.token)
    except NotPlayableError as error:
        raise not_playable(error) from None
    return Response(text, media_type=PLAYLIST)


@_tagged.get(
    "/cameras/{camera}/recorded.m3u8",
    response_class=Response,
    responses={**_shows(PLAYLIST, "What there is of it."), **problem_responses(404, 406, 410, 422, 503)},
)
async def get_recorded_playlist(
    camera: CameraName, part: Annotated[Part, Query()], asker: AnyAsker, desk: AtDesk
) -> Response:
    """A stretch of a camera's time, HLS: where there is nothing of it, players go on with what comes next.

    It begins where decoding can, and says at which second players are to start.
    """
    await check_known(desk, asker, camera)
    begin = to_us(part.from_)
    found = await desk.footage.find(camera, begin, max(begin, min(to_us(part.to), begin + _LONGEST_US)))
    try:
        text = recorded_playlist(found, desk.settings.segments.max_seconds)
    except NotPlayableError as error:
        raise not_playable(error) from None
    if text is None:
        raise _nothing(found)
    return Response(text, media_type=PLAYLIST)


@router.get(
    "/cameras/{camera}/segments/{segment}.ts",  # noqa: FAST003  `AskedSegment` takes it
    response_class=Response,
    responses={
        **_shows(_SEGMENT, "The segment, MPEG-TS."),
        304: {"description": "Whoever asks has it."},
        **problem_responses(404, 410, 422, 503),
    },
)
async def get_segment(
    camera: CameraName,
    asked: AskedSegment,
    request: Request,
    viewer: Viewer,
    desk: AtDesk,
) -> Response:
    """A segment of a camera, by its place on the topic; playlists name them. It never changes."""
    await check_known(desk, viewer, camera)
    if viewer.token is not None and not all(desk.footage.live.holds(camera, *place) for place in asked.places()):
        raise not_found("the token is for the newest footage only")
    return await segment_response(request, desk, camera, asked)


async def segment_response(request: Request, desk: Desk, camera: str, asked: _Asked) -> Response:
    """A segment, or several in a row as one, for whoever may have them.

    Raises:
        ProblemError: one of them is not there any more, or forgotten.
        BrokerError: the broker is away.
    """
    partition, of, after = asked.partition, asked.of, asked.after
    found = []
    for each in asked.offsets:
        one = await desk.footage.segments.get(Wanted(partition, each, after), of)
        if one is None or one.camera != camera:
            raise not_found(f"camera {camera} has no segment {partition}-{each} (any more)")
        check_remembered(desk, camera, one.start_us, one.end_us)
        found.append(one)
        after, of = each, one.next_name
    tag = found[0].tag if len(found) == 1 else joined_tag(found)
    headers = {"ETag": tag, "Cache-Control": _FOR_GOOD, "Vary": "Authorization, Cookie"}
    if is_known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(b"".join(one.data for one in found), media_type=_SEGMENT, headers=headers)


class Around(BaseModel):
    """How much of what was before and after an event."""

    model_config = ConfigDict(extra="forbid")

    lead_seconds: float = Field(5.0, ge=0, le=600, description="Footage before it, in seconds.")
    tail_seconds: float = Field(5.0, ge=0, le=600, description="Footage after it, in seconds.")


@_tagged.get(
    "/events/{event}/evidence.m3u8",
    response_class=Response,
    responses={**_shows(PLAYLIST, "Its footage."), **problem_responses(404, 406, 410, 422, 503)},
)
async def get_evidence_playlist(
    event: EventId, around: Annotated[Around, Query()], asker: AnyAsker, desk: AtDesk
) -> Response:
    """The footage of an event, HLS, as a stretch of its camera's time."""
    report = find_event(desk, asker, event).report
    begin = max(0, report.start_us - round(around.lead_seconds * 1e6))
    end = min(report.end_us + round(around.tail_seconds * 1e6), begin + _LONGEST_US)
    found = await desk.footage.find(report.camera, begin, end)
    try:
        text = evidence_playlist(found, desk.settings.segments.max_seconds)
    except NotPlayableError as error:
        raise not_playable(error) from None
    if text is None:
        raise _nothing(found)
    return Response(text, media_type=PLAYLIST)


router.include_router(_tagged)


async def _window(desk: Desk, camera: str) -> Sequence[IndexedSegment]:
    """A camera's newest segments, of which something came of late.

    Raises:
        ProblemError: there are none, or none yet.
        BrokerError: the broker is away.
    """
    until = time.monotonic() + _FIRST_SECONDS
    while True:
        now = desk.footage.live.window(camera)
        segments = now.segments or ()
        if now.is_fresh and _is_enough(segments):
            return segments
        if time.monotonic() >= until:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    if now.away is not None or now.segments is None:
        raise BrokerError(now.away or "the index of segments is not read yet")
    why = "its footage begins just now"
    if not segments:
        why = "nothing of it is stored yet"
    elif not now.is_fresh:
        why = f"nothing has come since {rfc3339(segments[-1].end_us)}"
    raise ProblemError(503, "no-footage-yet", f"camera {camera}: {why}", {"Retry-After": str(_RETRY_SECONDS)})


def _is_enough(segments: Sequence[IndexedSegment]) -> bool:
    try:
        return len(newest(segments)) >= _FIRST_SEGMENTS
    except NotPlayableError:
        return True  # and that is said


def _nothing(found: FoundFootage) -> ProblemError:
    if found.forgotten:
        return forgotten("; ".join(found.notes))
    reasons = [f"retention has taken {found.gone} segments of it"] if found.gone else []
    more = [*reasons, *found.notes]
    # What else there is to say is not in the word for it.
    return not_found("; ".join(["there is no footage of that time", *more]), None if more else "no-footage-then")


def not_playable(error: NotPlayableError) -> ProblemError:
    return ProblemError(406, "not-playable", str(error))
