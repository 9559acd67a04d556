"""Verdicts: what people said of events, giving one, and taking it back."""

from __future__ import annotations

import time
from typing import Annotated, Final, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.records.verdict import Said, Verdict
from consumers.verdicts.by_hand import verdict_by_hand
from consumers.web.access import Asker
from consumers.web.bodies import VerdictBody, VerdictPage
from consumers.web.desk import AnyAsker, AtDesk, Operator, TaggedRoute, audit_entry
from consumers.web.paging import Cameras, Id, SpanQuery, cursor
from consumers.web.problems import ProblemError, not_found, problem_responses
from stream import camera_behind

from .events import find_event
from .remembered import check_remembered

router = APIRouter(route_class=TaggedRoute, tags=["verdicts"])

_EVENT: Final = "3f0c6a1be29d4c5f8a7b6c5d"


class VerdictQuery(SpanQuery):
    """Which verdicts, by when they were given."""

    camera: Cameras = Field([], description="Ids, or patterns such as `gate*`; of several, any.")
    event: Id | None = Field(None, examples=[_EVENT])
    answer: Said | None = Field(None, examples=["false"])

    def wants(self, verdict: Verdict, asker: Asker) -> bool:
        """Whether a verdict is wanted, and there for who asks."""
        camera = camera_behind(verdict.camera)
        asked = Asker(asker.name, asker.way, asker.role, tuple(self.camera) or None, asker.address)
        return (
            asker.sees(camera)
            and asked.sees(camera)
            and self.event in {None, verdict.event}
            and self.answer in {None, verdict.answer}
            and self.is_within(verdict.time_us, verdict.time_us)
        )


class Given(BaseModel):
    """What somebody says of an event."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"event": _EVENT, "answer": "false"}]})

    event: Id = Field(description="The whole id of the event.")
    answer: Literal["right", "false", "withdrawn"] = Field(
        description="false: a false alarm. withdrawn: what was said by hand is taken back, and what links say counts."
    )


@router.get("/verdicts", responses=problem_responses(404, 422))
def list_verdicts(query: Annotated[VerdictQuery, Query()], asker: AnyAsker, desk: AtDesk) -> VerdictPage:
    """Verdicts by when they were given, the newest first."""
    found = desk.view.verdicts(query.limit, lambda each: query.wants(each, asker), query.after)
    return VerdictPage(
        items=[VerdictBody(**each.body()) for each in found.items],
        next=cursor(found.after),
        waiting=desk.view.waiting("verdicts") or desk.view.waiting("forgotten"),
        forgotten=found.withheld,
    )


@router.get("/verdicts/{verdict}", responses=problem_responses(404, 410, 422, 503))
def get_verdict(
    verdict: Annotated[Id, Path(description="The verdict's id.")], asker: AnyAsker, desk: AtDesk
) -> VerdictBody:
    """One verdict."""
    found = desk.view.verdict(verdict)
    if found is None or not asker.sees(camera_behind(found.camera)):
        raise not_found(f"no verdict {verdict} is kept")
    check_remembered(desk, found.camera, found.start_us, found.end_us)
    return VerdictBody(**found.body())


@router.post("/verdicts", status_code=201, responses=problem_responses(400, 403, 404, 409, 410, 422, 503))
async def give_verdict(given: Given, asker: Operator, desk: AtDesk, response: Response) -> VerdictBody:
    """Say whether an event was right, or take that back. It wins over what links say, and the newest counts.

    Needs the role operator. Who did it is on the topic of the audit before the verdict is on its own.
    """
    known = find_event(desk, asker, given.event)
    by_hand = known.judged is not None and known.judged.newest.channel is None
    if given.answer == "withdrawn" and not by_hand:
        raise ProblemError(409, "nothing-to-withdraw", f"nothing was said of event {given.event} by hand")
    verdict = verdict_by_hand(known.report, given.answer, asker.name)
    action = "verdict.withdraw" if given.answer == "withdrawn" else "verdict.give"
    entry = audit_entry(asker, action, verdict.event, known.report.drill or verdict.camera, verdict.answer)
    topic, writer = desk.settings.topics.verdicts, desk.writer
    await to_thread.run_sync(writer.write, entry, topic, verdict.encode(), limiter=writer.room)
    # Whoever looks now sees it, whenever the topic tells of it.
    desk.view.put_audit(entry)
    desk.view.put_verdict(verdict, time.time_ns() // 1000)
    response.headers["Location"] = f"/api/v1/verdicts/{verdict.id}"
    return VerdictBody(**verdict.body())
