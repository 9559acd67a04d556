"""More of one camera: its settings, how it was, what it sent, and what the model sees of it."""

from __future__ import annotations

import time
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.footage_index import Interval
from consumers.records.prediction import rfc3339
from consumers.web.access import Asker
from consumers.web.cameras.bodies import (
    CameraFootage,
    CameraHistory,
    CameraSettingsBody,
    ClipBody,
    ClockBody,
    FootageStep,
    SampleBody,
    SamplePicture,
    SnapshotBody,
    SnapshotPicture,
    StateSeconds,
    StateSpan,
    TimeSpan,
)
from consumers.web.cameras.decoding import NoSampleError
from consumers.web.cameras.rate import steps_of
from consumers.web.cameras.sample import Sheet
from consumers.web.cameras.snapshot import Snapshot
from consumers.web.desk import AnyAsker, AtDesk, Desk, TaggedRoute
from consumers.web.paging import Moment, to_us, waits
from consumers.web.problems import not_found, problem_responses
from consumers.web.routes.remembered import check_known
from models import Contract
from stream import display_name

from .cameras import CameraName, forgotten_spans, known_line

router = APIRouter(route_class=TaggedRoute, tags=["cameras"])

_HOUR_US: Final = 3_600_000_000
_LONGEST_US: Final = 24 * _HOUR_US
_LAST_US: Final = 6 * _HOUR_US
_MOST_STEPS: Final = 720
_SHORTEST_STEP_US: Final = 1_000_000
_MOST_GAPS: Final = 200
_MEDIA_TYPE: Final = "image/webp"
_NO_TIME: Final = NoSampleError("its agent does not say of what time its footage is", "no-time")
_FOR_A_WHILE: Final = "private, max-age=60, immutable"


class Hours(BaseModel):
    """A stretch of time, a day at most."""

    model_config = ConfigDict(extra="forbid")

    from_: Moment | None = Field(
        None, alias="from", description="ISO 8601; left out: six hours before `to`.", examples=["2026-11-24T08:00:00Z"]
    )
    to: Moment | None = Field(None, description="Left out: now.", examples=["2026-11-24T14:00:00Z"])

    def stretch(self, now_us: int) -> Interval:
        """Begin and end in microseconds: of more than a day the last."""
        end = now_us if self.to is None else max(0, to_us(self.to))
        begin = end - _LAST_US if self.from_ is None else to_us(self.from_)
        return min(max(0, begin, end - _LONGEST_US), end), end


class Steps(Hours):
    """Likewise, in parts."""

    steps: int = Field(120, ge=1, le=_MOST_STEPS, description="Into how many parts it is divided, at most.")


@router.get("/cameras/{camera}/settings", responses=problem_responses(404, 422))
def get_camera_settings(camera: CameraName, asker: AnyAsker, desk: AtDesk) -> CameraSettingsBody:
    """What the settings of this server say of a camera, and what its model takes in. Secrets are not among them."""
    known_line(desk, asker, camera)
    named = desk.settings.cameras.get(camera)
    model = desk.thresholds.checkpoint()
    source = None if named is None or not asker.may("operator") else named.url or f"file {named.url_file}"
    return CameraSettingsBody(
        camera=camera,
        is_named=named is not None,
        source=None if source is None else display_name(source),
        loop=named is not None and named.loop,
        transcode=named is not None and named.transcode,
        fps=None if named is None else named.fps,
        clip=None if isinstance(model, str) else clip_body(model.id, model.contract),
        why=model if isinstance(model, str) else None,
    )


@router.get("/cameras/{camera}/history", responses=problem_responses(404, 422))
def get_camera_history(
    camera: CameraName, query: Annotated[Hours, Query()], asker: AnyAsker, desk: AtDesk
) -> CameraHistory:
    """How a camera was, as its agents and workers said it, as far as this server has heard it.

    It hears from its start on, and reads what is left of before: a state that holds says since when it does.
    """
    line = known_line(desk, asker, camera)
    now_us = time.time_ns() // 1000
    begin, end = query.stretch(now_us)
    past = desk.view.past(camera, begin, end)
    return CameraHistory(
        camera=camera,
        **{"from": rfc3339(begin)},
        to=rfc3339(max(begin, min(end, now_us))),
        items=[
            StateSpan(status=s.status, **{"from": rfc3339(s.from_us)}, to=rfc3339(s.to_us), why=s.why, code=s.code)
            for s in past.spans
        ],
        seconds=StateSeconds(
            watched=round(past.watched_seconds, 3),
            late=round(past.late_seconds, 3),
            blind=round(past.blind_seconds, 3),
            unknown=round(past.unknown_seconds, 3),
            ended=round(past.ended_seconds, 3),
        ),
        late=[_span((each.from_us, each.to_us)) for each in past.late],
        clock=[ClockBody(at=rfc3339(each.at_us), offset_seconds=each.offset_us / 1e6) for each in past.clock],
        drift_ppm=line.state.feed.drift_ppm,
        **waits(desk.view, "states"),
    )


@router.get("/cameras/{camera}/footage", responses=problem_responses(404, 422, 503))
async def get_camera_footage(
    camera: CameraName, query: Annotated[Steps, Query()], asker: AnyAsker, desk: AtDesk
) -> CameraFootage:
    """How much a camera sent, and of which times there is nothing, as the index of segments has it."""
    await check_known(desk, asker, camera)
    begin, end = query.stretch(time.time_ns() // 1000)
    found = await desk.footage.find(camera, begin, max(end, begin + 1))
    step_us = max(_SHORTEST_STEP_US, -(-(found.to_us - begin) // query.steps))
    longest = sorted(found.gaps, key=lambda gap: gap[0] - gap[1])[:_MOST_GAPS]
    return CameraFootage(
        camera=camera,
        **{"from": rfc3339(begin)},
        to=rfc3339(found.to_us),
        step_seconds=step_us / 1e6,
        items=[
            FootageStep(
                start=rfc3339(each.start_us), seconds=each.covered_us / 1e6, bytes=each.bytes, segments=each.segments
            )
            for each in steps_of(found, step_us)
        ],
        gaps=[_span(gap) for gap in sorted(longest)],
        gaps_left_out=len(found.gaps) - len(longest),
        covered_seconds=found.covered_us / 1e6,
        gone=found.gone,
        notes=list(found.notes),
        forgotten_spans=forgotten_spans(desk, camera, begin, found.to_us),
    )


@router.get("/cameras/{camera}/sample", responses=problem_responses(404, 422, 503))
async def get_camera_sample(camera: CameraName, asker: AnyAsker, desk: AtDesk) -> SampleBody:
    """Pictures of a camera's newest footage as the model of the settings is given them; new ones every 10 s."""
    sheet = await _sheet(desk, asker, camera)
    if isinstance(sheet, NoSampleError):
        return SampleBody(camera=camera, picture=None, why=str(sheet), code=sheet.code)
    picture = SamplePicture(
        href=f"/api/v1/cameras/{camera}/sample/picture?tag={sheet.tag}",
        media_type=_MEDIA_TYPE,
        width=sheet.width,
        height=sheet.height,
        columns=sheet.columns,
        frames=[rfc3339(each) for each in sheet.frames_us],
        clip=clip_body(sheet.model, sheet.contract),
    )
    return SampleBody(camera=camera, picture=picture, why=None)


@router.get(
    "/cameras/{camera}/sample/picture",
    response_class=Response,
    responses={
        200: {
            "description": "They, side by side, WebP.",
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(404, 422, 503),
    },
)
async def get_camera_sample_picture(
    camera: CameraName,
    asker: AnyAsker,
    desk: AtDesk,
    tag: Annotated[
        str | None,
        Query(pattern=r"^[0-9a-f]{16}$", description="Of the sample: browsers may keep the picture then."),
    ] = None,
) -> Response:
    """The pictures themselves. Of a sample that is over, the newest one is answered."""
    sheet = await _sheet(desk, asker, camera)
    if isinstance(sheet, NoSampleError):
        raise not_found(str(sheet))
    headers = {"Cache-Control": _FOR_A_WHILE} if tag == sheet.tag else {}
    return Response(sheet.data, media_type=_MEDIA_TYPE, headers=headers)


@router.get("/cameras/{camera}/snapshot", responses=problem_responses(404, 422, 503))
async def get_camera_snapshot(camera: CameraName, asker: AnyAsker, desk: AtDesk) -> SnapshotBody:
    """The newest keyframe of a camera, for whoever cannot play what it sends; a new one every 10 s."""
    found = await _snapshot(desk, asker, camera)
    if isinstance(found, NoSampleError):
        return SnapshotBody(camera=camera, picture=None, why=str(found), code=found.code)
    picture = SnapshotPicture(
        href=f"/api/v1/cameras/{camera}/snapshot/picture?tag={found.tag}",
        media_type=_MEDIA_TYPE,
        width=found.width,
        height=found.height,
        time=rfc3339(found.at_us),
        codec=found.codec,
    )
    return SnapshotBody(camera=camera, picture=picture, why=None)


@router.get(
    "/cameras/{camera}/snapshot/picture",
    response_class=Response,
    responses={
        200: {
            "description": "The picture, WebP.",
            "content": {_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(404, 422, 503),
    },
)
async def get_camera_snapshot_picture(
    camera: CameraName,
    asker: AnyAsker,
    desk: AtDesk,
    tag: Annotated[
        str | None,
        Query(pattern=r"^[0-9a-f]{16}$", description="Of the snapshot: browsers may keep the picture then."),
    ] = None,
) -> Response:
    """The picture itself. Of a snapshot that is over, the newest one is answered."""
    found = await _snapshot(desk, asker, camera)
    if isinstance(found, NoSampleError):
        raise not_found(str(found))
    headers = {"Cache-Control": _FOR_A_WHILE} if tag == found.tag else {}
    return Response(found.data, media_type=_MEDIA_TYPE, headers=headers)


async def _snapshot(desk: Desk, asker: Asker, camera: str) -> Snapshot | NoSampleError:
    """The newest keyframe, or why there is none."""
    end_us, snapshots = known_line(desk, asker, camera).state.feed.end_us, desk.snapshots
    if not end_us:
        return _NO_TIME
    try:
        return await to_thread.run_sync(snapshots.newest, camera, end_us, limiter=snapshots.room)
    except NoSampleError as error:
        return error


async def _sheet(desk: Desk, asker: Asker, camera: str) -> Sheet | NoSampleError:
    """What the model sees, or why there is nothing to be shown."""
    line = known_line(desk, asker, camera)
    model = desk.thresholds.checkpoint()
    if isinstance(model, str):
        return NoSampleError(model)
    end_us, samples = line.state.feed.end_us, desk.samples
    if not end_us:
        return _NO_TIME
    try:
        return await to_thread.run_sync(samples.newest, camera, end_us, model, limiter=samples.room)
    except NoSampleError as error:
        return error


def clip_body(model: str, contract: Contract) -> ClipBody:
    """What a model takes in at once."""
    return ClipBody(
        model=model,
        frames=contract.frames,
        spacing_seconds=contract.spacing_seconds,
        width=contract.width,
        height=contract.height,
        fit=contract.fit,
        views=contract.views,
    )


def _span(interval: Interval) -> TimeSpan:
    return TimeSpan(**{"from": rfc3339(interval[0])}, to=rfc3339(interval[1]))
