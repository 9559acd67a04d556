"""Rules, messages to channels, and who changed what."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from consumers.records.audit import AuditEntry
from consumers.records.delivery import Delivery, Kind, State
from consumers.records.prediction import rfc3339
from consumers.rules.applying import holding
from consumers.rules.version import RulesVersion
from consumers.web.access import Asker
from consumers.web.bodies import AuditBody, AuditPage, DeliveryBody, DeliveryPage, RulesBody, RulesHistory
from consumers.web.desk import Admin, AnyAsker, AtDesk, Desk, TaggedRoute
from consumers.web.paging import Id, SpanQuery, cursor, waits
from consumers.web.problems import ProblemError, not_found, problem_responses
from stream import camera_behind

router = APIRouter(route_class=TaggedRoute)


class DeliveryQuery(SpanQuery):
    """Which messages, by the time of their newest entry."""

    channel: str | None = Field(None, min_length=1, max_length=64, examples=["ops"])
    state: State | None = Field(None, examples=["failed"])
    kind: Kind | None = Field(None, examples=["event"])
    event: Id | None = Field(None, description="Those about this event.")
    drills: bool = Field(False, description="Those about drills, too.")  # noqa: FBT003  a default

    def wants(self, entry: Delivery, asker: Asker) -> bool:
        """Whether a message is wanted, and there for who asks."""
        return (
            _is_for(entry, asker)
            and self.channel in {None, entry.channel}
            and self.state in {None, entry.state}
            and self.kind in {None, entry.kind}
            and self.event in {None, entry.event}
            and (self.drills or entry.drill is None)
            and self.is_within(entry.time_us, entry.time_us)
        )


class AuditQuery(SpanQuery):
    """Which changes."""

    actor: str | None = Field(None, min_length=1, max_length=64, examples=["ana"])
    action: str | None = Field(None, min_length=1, max_length=64, examples=["verdict.give"])

    def wants(self, entry: AuditEntry, asker: Asker) -> bool:
        """Whether a change is wanted, and there for who asks."""
        return (
            (asker.cameras is None or (entry.camera is not None and asker.sees(camera_behind(entry.camera))))
            and self.actor in {None, entry.actor}
            and self.action in {None, entry.action}
            and self.is_within(entry.time_us, entry.time_us)
        )


@router.get("/deliveries", tags=["deliveries"], responses=problem_responses(404, 422))
def list_deliveries(query: Annotated[DeliveryQuery, Query()], asker: AnyAsker, desk: AtDesk) -> DeliveryPage:
    """Messages to channels by when they were queued, the newest first; each is its newest entry.

    Who sees some cameras only sees the messages about one of them: no summaries, nothing of agents and workers.
    """
    found = desk.view.deliveries(query.limit, lambda each: query.wants(each, asker), query.after)
    return DeliveryPage(
        items=[DeliveryBody(**each.body()) for each in found.items],
        next=cursor(found.after),
        **waits(desk.view, "deliveries", "forgotten"),
        forgotten=found.withheld,
    )


@router.get("/rules", tags=["rules"], responses=problem_responses(403))
def list_rules(asker: AnyAsker, desk: AtDesk) -> RulesHistory:
    """All versions of the rules, the newest first. Not for who sees some cameras only: rules are of all."""
    _check_sees_all(asker)
    versions, holds = _versions(desk)
    return RulesHistory(
        group=desk.settings.worker.group,
        items=[_rules(each, holds=each is holds) for each in reversed(versions)],
        **waits(desk.view, "rules"),
    )


@router.get("/rules/{version}", tags=["rules"], responses=problem_responses(403, 404, 422))
def get_rules(
    version: Annotated[str, Path(pattern=r"^[0-9a-f]{1,64}$|^current$", description="Its name, or `current`.")],
    asker: AnyAsker,
    desk: AtDesk,
) -> RulesBody:
    """One version of the rules; `current` is the one that holds now."""
    _check_sees_all(asker)
    versions, holds = _versions(desk)
    found = holds if version == "current" else next((e for e in reversed(versions) if e.version == version), None)
    if found is None and version == "current":
        raise not_found(
            "no rules were applied that hold now: those of the settings of each worker do, [tracker] and [[rules]] "
            "(`clipline rules apply` would apply them; `/cameras/CAMERA/rules` tells a camera's)"
        )
    if found is None:
        raise not_found(f"there is no version {version!r} of the rules")
    return _rules(found, holds=found is holds)


@router.get("/audit", tags=["audit"], responses=problem_responses(403, 404, 422))
def list_audit(query: Annotated[AuditQuery, Query()], asker: Admin, desk: AtDesk) -> AuditPage:
    """Who changed what through this API, the newest first. Needs the role admin."""
    found = desk.view.audit(query.limit, lambda each: query.wants(each, asker), query.after)
    return AuditPage(
        items=[AuditBody(**each.body()) for each in found.items],
        next=cursor(found.after),
        **waits(desk.view, "audit"),
    )


def _is_for(entry: Delivery, asker: Asker) -> bool:
    """Whether a message is about one camera that there is for who asks, or that one sees all."""
    if asker.cameras is None:
        return True
    data = entry.message.get("data", {})
    if entry.kind == "event":
        return asker.sees(camera_behind(data["camera"]))
    return entry.kind == "condition" and data["subject"] == "camera" and asker.sees(data["name"])


def _check_sees_all(asker: Asker) -> None:
    if asker.cameras is not None:
        raise ProblemError(403, "cameras", f"{asker.name} sees some cameras only, and rules are of all")


def _versions(desk: Desk) -> tuple[list[RulesVersion], RulesVersion | None]:
    versions = desk.view.rules()
    return versions, holding(versions, time.time_ns() // 1000)


def _rules(version: RulesVersion, *, holds: bool) -> RulesBody:
    body = version.body()
    return RulesBody(
        version=version.version,
        since=rfc3339(version.since_us),
        applied=rfc3339(version.applied_us),
        holds=holds,
        tracker=body["tracker"],
        rules=body["rules"],
    )
