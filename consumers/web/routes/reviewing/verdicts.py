"""Verdicts: what people said of events, giving one, and taking it back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.records.verdict import Said, Verdict
from consumers.verdicts.by_hand import verdict_by_hand
from consumers.web.access import Asker
from consumers.web.bodies import VerdictBody, VerdictPage
from consumers.web.desk import AnyAsker, AtDesk, Desk, Operator, TaggedRoute, audit_entry
from consumers.web.memory.view import KnownEvent
from consumers.web.paging import Cameras, Id, SpanQuery, cursor, waits
from consumers.web.problems import ProblemError, forgotten, not_found, problem_responses
from consumers.web.review.bodies import LeftOut, VerdictBatch
from consumers.web.routes.remembered import check_knows_forgotten, check_remembered
from stream import camera_behind

from .events import find_event, known_event, noted_stretch

router = APIRouter(route_class=TaggedRoute, tags=["verdicts"])

_EVENT: Final = "3f0c6a1be29d4c5f8a7b6c5d"
_MOST_AT_ONCE: Final = 100

Answer = Literal["right", "false", "withdrawn"]


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
    answer: Answer = Field(
        description="false: a false alarm. withdrawn: what was said by hand is taken back, and what links say counts."
    )


class GivenBatch(BaseModel):
    """What somebody says of several events."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"events": [_EVENT], "answer": "false"}]})

    events: list[Id] = Field(min_length=1, max_length=_MOST_AT_ONCE, description="Their whole ids.")
    answer: Answer = Field(description="As of one.")


@router.get("/verdicts", responses=problem_responses(404, 422))
def list_verdicts(query: Annotated[VerdictQuery, Query()], asker: AnyAsker, desk: AtDesk) -> VerdictPage:
    """Verdicts by when they were given, the newest first."""
    found = desk.view.verdicts(query.limit, lambda each: query.wants(each, asker), query.after)
    return VerdictPage(
        items=[VerdictBody(**each.body()) for each in found.items],
        next=cursor(found.after),
        **waits(desk.view, "verdicts", "forgotten"),
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
    check_remembered(desk, *desk.view.when_judged(found))
    return VerdictBody(**found.body())


@router.post("/verdicts", status_code=201, responses=problem_responses(400, 403, 404, 409, 410, 422, 503))
async def give_verdict(given: Given, asker: Operator, desk: AtDesk, response: Response) -> VerdictBody:
    """Say whether an event was right, or take that back. It wins over what links say, and the newest counts.

    Needs the role operator. Who did it is on the topic of the audit before the verdict is on its own.
    """
    known = find_event(desk, asker, given.event)
    why = _why_not(known, given.answer)
    if why is not None:
        raise ProblemError(409, "nothing-to-withdraw", why)
    (verdict,) = await _store(desk, asker, given.answer, [known])
    response.headers["Location"] = f"/api/v1/verdicts/{verdict.id}"
    return VerdictBody(**verdict.body())


@router.post("/verdicts/batch", status_code=201, responses=problem_responses(400, 403, 404, 409, 410, 422, 503))
async def give_verdicts(given: GivenBatch, asker: Operator, desk: AtDesk) -> VerdictBatch:
    """Say of several events at once whether they were right, or take that back; each as if it had been said alone.

    Those of which it cannot be said are left out, with why. Needs the role operator.
    """
    check_knows_forgotten(desk)
    wanted: list[KnownEvent] = []
    left_out: list[LeftOut] = []
    kinds: set[str] = set()
    for event in dict.fromkeys(given.events):
        known = known_event(desk, asker, event)
        if known is None and (stretch := noted_stretch(desk, asker, event)) is not None:
            kind, why = "forgotten", stretch.explained()
        elif known is None:
            kind, why = "not-found", "it is not kept"
        elif (gone := _forgotten(desk, known)) is not None:
            kind, why = "forgotten", gone
        elif (nothing := _why_not(known, given.answer)) is not None:
            kind, why = "nothing-to-withdraw", nothing
        else:
            wanted.append(known)
            continue
        kinds.add(kind)
        left_out.append(LeftOut(event=event, why=why))
    if not wanted and kinds == {"nothing-to-withdraw"}:
        raise ProblemError(409, "nothing-to-withdraw", "nothing was said of these events by hand")
    if not wanted and kinds == {"forgotten"}:
        raise forgotten(left_out[0].why)
    if not wanted:
        raise not_found("none of these events is kept")
    stored = await _store(desk, asker, given.answer, wanted)
    return VerdictBatch(items=[VerdictBody(**each.body()) for each in stored], left_out=left_out)


def _forgotten(desk: Desk, known: KnownEvent) -> str | None:
    report = known.report
    stretch = desk.view.forgotten.of(report.camera, report.start_us, report.end_us, report.id)
    return None if stretch is None else stretch.explained()


def _why_not(known: KnownEvent, answer: Answer) -> str | None:
    by_hand = known.judged is not None and known.judged.newest.channel is None
    if answer == "withdrawn" and not by_hand:
        return f"nothing was said of event {known.report.id} by hand"
    return None


async def _store(desk: Desk, asker: Asker, answer: Answer, events: Sequence[KnownEvent]) -> list[Verdict]:
    """Have it said of events, and who says so.

    Raises:
        BrokerError: the broker is away.
    """
    action = "verdict.withdraw" if answer == "withdrawn" else "verdict.give"
    verdicts = [verdict_by_hand(known.report, answer, asker.name) for known in events]
    entries = [
        audit_entry(asker, action, verdict.event, known.report.drill or verdict.camera, verdict.answer)
        for known, verdict in zip(events, verdicts, strict=True)
    ]
    changes = [(entry, verdict.encode()) for entry, verdict in zip(entries, verdicts, strict=True)]
    topic, writer = desk.settings.topics.verdicts, desk.writer
    await to_thread.run_sync(writer.write_all, changes, topic, limiter=writer.room)
    # Whoever looks now sees it, whenever the topic tells of it.
    for entry, verdict in zip(entries, verdicts, strict=True):
        desk.view.put_audit(entry)
        desk.view.put_verdict(verdict, time.time_ns() // 1000)
    return verdicts
