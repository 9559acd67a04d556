"""What another threshold would have done, by the scores that are kept: answered by the tracker that workers use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from consumers.records.event import Event
from consumers.records.prediction import rfc3339
from consumers.replaying.tuning.kept import Alarm
from consumers.web.desk import AnyAsker, AtDesk, TaggedRoute
from consumers.web.paging import Label, Moment, to_us
from consumers.web.problems import ProblemError, problem_responses
from consumers.web.routes.remembered import check_known, check_knows_forgotten
from consumers.web.routes.watching.cameras import CameraName, label_rule
from consumers.web.what_if.answers import Answers, TooManyQuestionsError
from consumers.web.what_if.bodies import WhatIf, WhatIfEvent
from consumers.web.what_if.compare import Compared, TooLongError, supposed
from consumers.web.what_if.scores import Asked, PastScores

router = APIRouter(route_class=TaggedRoute, tags=["rules"])

_DAY_US: Final = 24 * 3_600_000_000
_LAST_US: Final = 7 * _DAY_US
_LONGEST_US: Final = 31 * _DAY_US
_MOST_LISTED: Final = 200
#: Whoever asks up to now within so long asks the same.
_TOGETHER_US: Final = 10_000_000
_RETRY_SECONDS: Final = 5
_T = TypeVar("_T")


class Supposed(BaseModel):
    """Another rule, and the time in question."""

    model_config = ConfigDict(extra="forbid")

    label: Label = Field(description="Of which.", examples=["fight"])
    start: float = Field(ge=0, le=1, description="The score from which an event may begin.", examples=[0.8])
    end: float | None = Field(None, ge=0, le=1, description="Below which it ends, `start` at most; left out: as now.")
    min_seconds: float | None = Field(
        None, ge=0, le=3600, description="For so long it has to be high; left out: as now.", examples=[2.0]
    )
    from_: Moment | None = Field(
        None, alias="from", description="Event time; left out: a week before `to`.", examples=["2026-11-24T08:00:00Z"]
    )
    to: Moment | None = Field(None, description="Left out: now, to ten seconds. Of more than 31 days the last.")


@router.get("/cameras/{camera}/what-if", responses=problem_responses(404, 422, 503))
async def get_what_if(
    camera: CameraName, query: Annotated[Supposed, Query()], request: Request, asker: AnyAsker, desk: AtDesk
) -> WhatIf:
    """Which events of a label there would have been, and which not, had its rule been another one.

    The rule of now is asked the same question, by the same scores, so that nothing but the rule differs. A request
    reads scores for a few seconds, the newest first: while `goes_on` is true, the next one knows more.
    """
    await check_known(desk, asker, camera)
    check_knows_forgotten(desk)
    now_us = time.time_ns() // 1000
    end_us = now_us - now_us % _TOGETHER_US if query.to is None else max(0, to_us(query.to))
    begin_us = end_us - _LAST_US if query.from_ is None else to_us(query.from_)
    begin_us = min(max(0, begin_us, end_us - _LONGEST_US), end_us)
    found = desk.thresholds.read(camera, now_us, desk.view.rules())
    rule = found.rules.get(query.label)
    if rule is None or found.model is None:
        why = found.why or f"{query.label} makes no events on this camera"
        return _nothing(camera, query.label, found.model, (begin_us, end_us), why)
    then = supposed(rule, query.start, query.end, query.min_seconds)
    asked = Asked(camera, query.label, found.model)

    def look() -> tuple[PastScores, Compared, list[Event]]:
        scores = desk.past_scores.read(asked, begin_us).within(begin_us, end_us)
        scores = scores.without(desk.view.forgotten.stretches(camera))
        known = desk.view.reported(camera, query.label, begin_us, end_us)
        return *desk.what_if.compare(scores, rule, then, desk.view.judged(camera, query.label)), known

    scores, result, known = await _in_turn(request, desk.what_if, look)
    lost = sorted(result.lost, key=lambda each: (each.said == "right", each.start_us), reverse=True)
    gained = sorted(result.gained, key=lambda each: each.start_us, reverse=True)
    return WhatIf(
        camera=camera,
        label=query.label,
        model=found.model,
        **{"from": rfc3339(_oldest(scores, begin_us))},
        to=rfc3339(end_us),
        windows=len(scores),
        cut=scores.is_cut,
        goes_on=scores.goes_on,
        others=scores.others,
        left_out=scores.left_out,
        now=label_rule(query.label, rule),
        then=label_rule(query.label, then),
        before=len(result.before),
        after=len(result.after),
        lost_right=sum(each.said == "right" for each in lost),
        lost_false=sum(each.said == "false" for each in lost),
        lost=_events(lost[:_MOST_LISTED], known),
        gained=_events(gained[:_MOST_LISTED], known),
        lost_count=len(lost),
        gained_count=len(gained),
        why=None,
    )


async def _in_turn(request: Request, answers: Answers, look: Callable[[], _T]) -> _T:
    """What a question comes to, once it is its turn.

    Raises:
        ProblemError: too many are asked at once, or it takes too long.
    """
    try:
        with answers.place():
            async with answers.room:
                # Pages ask anew while one moves a slider: what nobody waits for any more holds nobody up.
                if await _is_gone(request):
                    raise ProblemError(503, "busy", "nobody waits for this any more")
                return await to_thread.run_sync(look)
    except TooManyQuestionsError as error:
        raise ProblemError(503, "busy", str(error), {"Retry-After": str(_RETRY_SECONDS)}) from None
    except TooLongError as error:
        raise ProblemError(422, "too-much", str(error)) from None


async def _is_gone(request: Request) -> bool:
    """Whether whoever asked has hung up."""
    try:
        await request.body()
    except ClientDisconnect:
        return True
    return await request.is_disconnected()


def _oldest(scores: PastScores, begin_us: int) -> int:
    if not len(scores):
        return begin_us
    return int(scores.numbers[:, 2].min())


def _events(alarms: Iterable[Alarm], known: list[Event]) -> list[WhatIfEvent]:
    return [
        WhatIfEvent(
            event=_reported(each, known),
            start=rfc3339(each.start_us),
            end=rfc3339(each.end_us),
            peak_score=each.peak_score,
            verdict=None if each.said == "open" else each.said,
        )
        for each in alarms
    ]


def _reported(alarm: Alarm, known: list[Event]) -> str | None:
    """The event that was reported of an alarm's time: under another rule it began at another time."""
    same = (each.id for each in known if each.id == alarm.event)
    beside = (each.id for each in known if each.start_us < alarm.end_us and each.end_us > alarm.start_us)
    return next(same, None) or next(beside, None)


def _nothing(camera: str, label: str, model: str | None, stretch: tuple[int, int], why: str) -> WhatIf:
    return WhatIf(
        camera=camera,
        label=label,
        model=model,
        **{"from": rfc3339(stretch[0])},
        to=rfc3339(stretch[1]),
        windows=0,
        cut=False,
        goes_on=False,
        others=0,
        left_out=0,
        now=None,
        then=None,
        before=0,
        after=0,
        lost_right=0,
        lost_false=0,
        lost=[],
        gained=[],
        lost_count=0,
        gained_count=0,
        why=why,
    )
