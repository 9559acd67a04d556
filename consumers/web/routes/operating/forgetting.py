"""Having a stretch of a camera's time forgotten, and what came of it."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from consumers.forgetting.book import MOST
from consumers.forgetting.report import NOBODY_KNOWS, DryRun, Report
from consumers.forgetting.serving import BrokerHangsError, Job, TooManyStretchesError
from consumers.forgetting.work import LEAST_AGE_SECONDS
from consumers.records.forgotten import MAX_CHARACTERS, Forgotten
from consumers.records.prediction import rfc3339
from consumers.web.access import Asker
from consumers.web.cameras.bodies import ForgettingBody, ForgettingPlace, Forgettings
from consumers.web.desk import Admin, AtDesk, Desk, TaggedRoute, audit_entry
from consumers.web.paging import MOST as MOST_LISTED
from consumers.web.paging import Moment, to_us, waits
from consumers.web.problems import ProblemError, problem_responses
from consumers.web.routes.remembered import check_known
from consumers.web.routes.watching.cameras import CameraName
from stream import BrokerError

router = APIRouter(route_class=TaggedRoute, tags=["cameras"])

_RETRY_SECONDS: Final = 30


class ForgetAsked(BaseModel):
    """Which stretch."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"from": "2026-11-24T08:00:00Z", "to": "2026-11-24T08:10:00Z", "why": "request 17"}]
        },
    )

    from_: Moment = Field(alias="from", description="Of event time: when it was filmed. ISO 8601.")
    to: Moment = Field(description=f"Where it ends: {LEAST_AGE_SECONDS:g} s back, or more.")
    why: Annotated[str, StringConstraints(max_length=MAX_CHARACTERS)] | None = Field(
        None, description="Stands beside it; whoever may see the camera may read it."
    )
    dry_run: StrictBool = Field(False, description="Look what there is of it, and change nothing.")  # noqa: FBT003  a default


@router.post("/cameras/{camera}/forget", status_code=202, responses=problem_responses(400, 403, 404, 409, 422, 503))
async def forget_stretch(
    camera: CameraName, asked: ForgetAsked, asker: Admin, desk: AtDesk, response: Response
) -> ForgettingBody:
    """Have a stretch of a camera's time forgotten, for good. Needs the role admin.

    It is noted when this is answered: from then on nobody is shown anything of it. Deleting what can be deleted, and
    looking for what is left, takes as long as reading the topics does: what came of it is among the camera's
    forgettings. One that is forgotten already is looked for again. `dry_run` notes nothing.
    """
    await check_known(desk, asker, camera)
    stretch = _stretch(camera, asked, asker.name)
    if not desk.view.knows_forgotten():
        raise BrokerError(desk.view.waiting("forgotten") or "what is forgotten is not read yet")
    try:
        with desk.forgetter.place():
            if not asked.dry_run:
                async with desk.forgetter.noting:
                    await _note_once(desk, asker, stretch)
            job = desk.forgetter.put(_noted(desk, stretch) or stretch, dry_run=asked.dry_run)
    except TooManyStretchesError as error:
        raise ProblemError(503, "busy", str(error), {"Retry-After": str(_RETRY_SECONDS)}) from None
    except BrokerHangsError as error:
        raise ProblemError(503, "service-away", str(error), {"Retry-After": str(_RETRY_SECONDS)}) from None
    response.headers["Location"] = f"/api/v1/cameras/{camera}/forgettings"
    return _body(job.stretch, job)


@router.get("/cameras/{camera}/forgettings", responses=problem_responses(403, 404, 422, 503))
async def list_forgettings(
    camera: CameraName,
    asker: Admin,
    desk: AtDesk,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="How many, at most.")] = 50,
) -> Forgettings:
    """Stretches of a camera's time that are forgotten, and dry runs, newest first. Needs the role admin.

    Those that others had forgotten, as with `clipline forget`, are `noted`: what is left of them is asked for with one
    more POST.
    """
    await check_known(desk, asker, camera)
    jobs = desk.forgetter.jobs(camera)
    worked_on = {job.stretch.key for job in jobs if not job.dry_run}
    noted = [each for each in desk.view.forgotten.stretches(camera) if each.key not in worked_on]
    items = [*(_body(job.stretch, job) for job in jobs), *(_body(each, None) for each in noted)]
    items.sort(key=lambda each: each.time, reverse=True)
    return Forgettings(items=items[:limit], left_out=max(0, len(items) - limit), **waits(desk.view, "forgotten"))


def _noted(desk: Desk, stretch: Forgotten) -> Forgotten | None:
    """The same stretch as it was noted first; None where it was not."""
    return next((each for each in desk.view.forgotten.stretches(stretch.camera) if each.key == stretch.key), None)


async def _note_once(desk: Desk, asker: Asker, stretch: Forgotten) -> None:
    """Note a stretch, and who asked, where it is not noted yet. Hold `noting`."""
    if _noted(desk, stretch) is not None:
        return
    if len(desk.view.forgotten) >= MOST:
        raise ProblemError(409, "too-many-forgotten", f"{MOST} stretches are forgotten, and readers heed no more")
    entry = audit_entry(asker, "camera.forget", stretch.key.decode(), stretch.camera, None)
    topic, writer = desk.settings.topics.forgotten, desk.writer
    await to_thread.run_sync(desk.forgetter.prepare, limiter=writer.room)
    await to_thread.run_sync(writer.write, entry, topic, stretch.encode(), limiter=writer.room)
    desk.view.put_audit(entry)
    desk.view.forgotten.put(stretch)


def _stretch(camera: str, asked: ForgetAsked, by: str) -> Forgotten:
    now_us = time.time_ns() // 1000
    from_us, end_us = max(0, to_us(asked.from_)), to_us(asked.to)
    if from_us >= end_us:
        raise ProblemError(409, "empty-stretch", "to: expected a time after `from`")
    if end_us > now_us - round(LEAST_AGE_SECONDS * 1e6):
        raise ProblemError(
            409,
            "too-recent",
            f"to: expected a time {LEAST_AGE_SECONDS:g} s back: what is more recent is still under way",
        )
    return Forgotten(camera, from_us, end_us, now_us, by, asked.why or None)


def _body(stretch: Forgotten, job: Job | None) -> ForgettingBody:
    result = None if job is None else job.result
    times: dict[str, Any] = {"from": rfc3339(stretch.from_us)}
    return ForgettingBody(
        **times,
        to=rfc3339(stretch.to_us),
        time=rfc3339(stretch.time_us),
        why=stretch.why,
        camera=stretch.camera,
        by=stretch.by,
        dry_run=job is not None and job.dry_run,
        state="noted" if job is None else job.state,
        problem=None if job is None else job.why,
        places=[] if result is None else _places(result),
        left=sum(row.left for row in result.rows) if isinstance(result, Report) else None,
        notes=[] if result is None else list(result.notes),
        nobody_knows=list(NOBODY_KNOWS),
    )


def _places(result: Report | DryRun) -> list[ForgettingPlace]:
    if isinstance(result, DryRun):
        return [
            ForgettingPlace(where=r.where, what=r.what, found=r.found, bytes=r.found_bytes, left=None, then=r.then)
            for r in result.rows
        ]
    return [
        ForgettingPlace(where=r.where, what=r.what, found=r.found, bytes=r.found_bytes, left=r.left, then=r.until)
        for r in result.rows
        if r.found or r.left
    ]
