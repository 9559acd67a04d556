"""Processes that read and classify cameras."""

from __future__ import annotations

from fastapi import APIRouter

from consumers.printable import printable
from consumers.records.prediction import rfc3339
from consumers.running.overview import AgentLine, WorkerLine
from consumers.web.bodies import AgentBody, Fleet, TroubleBody, WorkerBody
from consumers.web.desk import AnyAsker, AtDesk, TaggedRoute
from consumers.web.paging import away_told, waits
from consumers.web.problems import ProblemError, problem_responses

router = APIRouter(route_class=TaggedRoute, tags=["health"])


@router.get("/fleet", responses=problem_responses(403))
def get_fleet(asker: AnyAsker, desk: AtDesk) -> Fleet:
    """Agents, workers, and what is wrong with them. Not for who sees some cameras only: they have cameras of all."""
    if asker.cameras is not None:
        raise ProblemError(403, "cameras", f"{asker.name} sees some cameras only, and the fleet is of all")
    now = desk.view.overview()
    return Fleet(
        agents=[_agent(line) for line in now.agents],
        workers=[_worker(line) for line in now.workers],
        problems=list(now.problems),
        troubles=[
            TroubleBody(
                kind=each.kind,
                name=each.name,
                seconds=each.seconds,
                count=each.count,
                names=list(each.names),
                why=printable(each.why),
                code=each.code,
                told=away_told(each.away),
            )
            for each in now.troubles
        ],
        **waits(desk.view, "states"),
    )


def _agent(line: AgentLine) -> AgentBody:
    return AgentBody(
        agent=line.agent.id,
        host=line.agent.host,
        version=line.agent.version,
        started=rfc3339(line.agent.started_us),
        heard=rfc3339(line.heard_us),
        state="dead" if line.dead else "ended" if line.ended else "running",
        cameras=line.cameras,
        live=line.live,
        disk=None if line.disk is None else line.disk.why,
        spooled=line.spooled,
    )


def _worker(line: WorkerLine) -> WorkerBody:
    state = line.state
    behind = [each.behind_seconds for each in state.cameras if each.behind_seconds is not None]
    return WorkerBody(
        worker=state.worker.id,
        name=state.instance,
        host=state.worker.host,
        version=state.worker.version,
        started=rfc3339(state.worker.started_us),
        heard=rfc3339(state.time_us),
        state="dead" if line.dead else state.status,
        group=state.group,
        model=state.model,
        engine=state.engine,
        cameras=[each.camera for each in state.cameras],
        lag=state.lag,
        waiting=state.waiting,
        behind_seconds=max(behind, default=None),
        awaited=list(state.awaited),
        awaited_told=[told for each in state.away if (told := away_told(each)) is not None],
        alarms=None if state.alarms is None else list(state.alarms),
        partitions=None if state.partitions is None else list(state.partitions),
        exactly_once=state.exactly_once,
        redis_behind=state.redis_behind,
        lost_to_retention=state.lost_to_retention,
    )
