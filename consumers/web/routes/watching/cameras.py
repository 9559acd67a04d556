"""Cameras: how they are, their scores, and tokens for their live views."""

from __future__ import annotations

import time
from typing import Annotated, Final

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.records.prediction import Prediction, rfc3339
from consumers.rules.rule import Rule
from consumers.running.overview import CameraLine
from consumers.web.access import Asker
from consumers.web.bodies import Camera, CameraRules, Cameras, LabelRule, LiveToken
from consumers.web.cameras.bodies import ForgottenSpan, PredictionBody, Predictions
from consumers.web.desk import AnyAsker, AtDesk, Desk, TaggedRoute
from consumers.web.memory.view import UNKNOWN
from consumers.web.paging import CameraId, Moment, to_us, waits
from consumers.web.problems import not_found, problem_responses
from consumers.web.routes.remembered import check_known, check_knows_forgotten

router = APIRouter(route_class=TaggedRoute, tags=["cameras"])

_LONGEST_US: Final = 24 * 3_600_000_000
_MOST_PREDICTIONS: Final = 10_000
_MOST_FORGOTTEN: Final = 200

CameraName = Annotated[CameraId, Path(description="The camera's id.", examples=["gate-1"])]


class Stretch(BaseModel):
    """A stretch of event time."""

    model_config = ConfigDict(extra="forbid")

    from_: Moment = Field(alias="from", description="Event time, ISO 8601.", examples=["2026-11-24T08:00:00Z"])
    to: Moment = Field(
        description="Of more than a day the first is answered, and `cut` is true.", examples=["2026-11-24T08:10:00Z"]
    )
    limit: int = Field(1000, ge=1, le=_MOST_PREDICTIONS, description="How many, at most.")


@router.get("/cameras", responses=problem_responses(422))
def list_cameras(asker: AnyAsker, desk: AtDesk) -> Cameras:
    """All cameras, by name: how each of them is, since when and why."""
    now = desk.view.overview()
    lines = [line for line in now.cameras if asker.sees(line.state.feed.camera)]
    return Cameras(items=[camera_body(line) for line in lines], **waits(desk.view, "states"))


@router.get("/cameras/{camera}", responses=problem_responses(404, 422))
def get_camera(camera: CameraName, asker: AnyAsker, desk: AtDesk) -> Camera:
    """One camera."""
    return camera_body(known_line(desk, asker, camera))


@router.get("/cameras/{camera}/predictions", responses=problem_responses(404, 422, 503))
async def list_predictions(
    camera: CameraName, query: Annotated[Stretch, Query()], asker: AnyAsker, desk: AtDesk
) -> Predictions:
    """The scores of a camera's windows over a stretch of time, oldest first.

    They are found by when their records were sent: of footage that was recorded long before it was sent, less may be
    found than there is, and `cut` is true then.
    """
    await check_known(desk, asker, camera)
    check_knows_forgotten(desk)
    begin, end = to_us(query.from_), to_us(query.to)
    last, reader = min(end, begin + _LONGEST_US), desk.scores
    found = await to_thread.run_sync(reader.read, camera, begin, last, query.limit, limiter=reader.room)
    return Predictions(
        camera=camera,
        items=[_scores(each) for each in found.predictions],
        cut=found.is_cut or end > begin + _LONGEST_US,
        left_out=found.left_out,
        forgotten=found.forgotten,
        forgotten_spans=forgotten_spans(desk, camera, begin, last),
    )


class At(BaseModel):
    """A moment."""

    model_config = ConfigDict(extra="forbid")

    at: Moment | None = Field(None, description="Event time; left out: now.", examples=["2026-11-24T08:00:00Z"])


@router.get("/cameras/{camera}/rules", responses=problem_responses(404, 422, 503))
async def get_camera_rules(
    camera: CameraName, query: Annotated[At, Query()], asker: AnyAsker, desk: AtDesk
) -> CameraRules:
    """By which scores of a camera become events, as workers with the settings of this server have it.

    Rules that were applied, else those of the settings, over what the model says.
    """
    await check_known(desk, asker, camera)
    at_us = time.time_ns() // 1000 if query.at is None else to_us(query.at)
    found = await to_thread.run_sync(desk.thresholds.read, camera, at_us, desk.view.rules())
    return CameraRules(
        camera=camera,
        model=found.model,
        version=found.version,
        items=[label_rule(label, rule) for label, rule in found.rules.items()],
        why=found.why,
    )


@router.post("/cameras/{camera}/live-token", responses=problem_responses(403, 404, 422))
def make_live_token(camera: CameraName, asker: AnyAsker, desk: AtDesk, response: Response) -> LiveToken:
    """A token that lets a player have the live view of this camera, for a while."""
    known_line(desk, asker, camera)
    response.headers["Cache-Control"] = "no-store"
    signer = desk.access.signer
    expires_us = (int(time.time()) + signer.live_seconds) * 1_000_000
    return LiveToken(camera=camera, token=signer.live_token(camera, asker.holder), expires=rfc3339(expires_us))


def known_line(desk: Desk, asker: Asker, camera: str) -> CameraLine:
    """A camera that there is for who asks, and how it is: for what it has recorded see `check_known`.

    Raises:
        ProblemError: there is none.
    """
    found = desk.view.camera(camera) if asker.sees(camera) else None
    if found is None:
        raise not_found(f"no camera {camera!r} is known")
    return found


def forgotten_spans(desk: Desk, camera: str, from_us: int, to_us: int) -> list[ForgottenSpan]:
    """What of a stretch of a camera's event time is forgotten, oldest first: the latest of very many."""
    found = [each for each in desk.view.forgotten.stretches(camera) if each.touches(from_us, to_us)]
    found.sort(key=lambda each: (each.from_us, each.to_us))
    return [
        ForgottenSpan(
            **{"from": rfc3339(each.from_us)}, to=rfc3339(each.to_us), time=rfc3339(each.time_us), why=each.why
        )
        for each in found[-_MOST_FORGOTTEN:]
    ]


def camera_body(line: CameraLine) -> Camera:
    """A camera as the API shows it."""
    feed, seen = line.state.feed, line.classified
    return Camera(
        camera=feed.camera,
        status=line.status,
        since=rfc3339(feed.since_us),
        why=line.trouble or None,
        cause=feed.why if line.status == feed.shown else None,
        code=_code(line),
        over=feed.status == "ended" and line.status == feed.shown,
        heard=rfc3339(line.state.time_us),
        data=None if feed.data_us is None else rfc3339(feed.data_us),
        codec=feed.codec,
        width=feed.width,
        height=feed.height,
        frames_per_second=feed.frames_per_second,
        frames=feed.frames,
        segments=feed.segments,
        bytes=feed.bytes,
        agent=line.state.agent.id,
        worker=line.worker.worker.id if line.worker else None,
        behind_seconds=seen.behind_seconds if seen else None,
        label=seen.label if seen else None,
        score=seen.score if seen else None,
        events=list(seen.events) if seen else [],
    )


def _code(line: CameraLine) -> str | None:
    feed = line.state.feed
    if line.status == "lost":
        return "unheard" if line.is_with_all else "lost"
    if line.status == UNKNOWN:
        return "broker-away"
    return feed.code or ("no-data" if line.status in {"failed", "stalled"} and not feed.why else None)


def label_rule(label: str, rule: Rule) -> LabelRule:
    """A rule as the API shows it."""
    return LabelRule(
        label=label,
        start=rule.start,
        end=rule.end,
        min_seconds=rule.min_seconds,
        cooldown_seconds=rule.cooldown_seconds,
        smoothing=rule.smoothing,
        severity=rule.severity,
        schedule=list(rule.schedule.stretches) if rule.schedule else [],
        time_zone=rule.schedule.time_zone if rule.schedule else None,
    )


def _scores(each: Prediction) -> PredictionBody:
    return PredictionBody(
        id=each.id,
        start=rfc3339(each.start_us),
        end=rfc3339(each.end_us),
        epoch_us=each.epoch_us,
        window=each.window,
        model=each.model,
        label=each.label,
        scores=dict(each.scores),
        degraded=each.degraded,
        gated=each.gated,
    )
