"""Shares: links that show one event to whoever has them. Making, listing and revoking them."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from consumers.records.access import Share
from consumers.records.prediction import rfc3339
from consumers.web.access import Asker
from consumers.web.bodies import MadeShare, ShareBody, Shares
from consumers.web.credentials import new_token, token_hash
from consumers.web.desk import AtDesk, Desk, Operator, TaggedRoute, audit_entry
from consumers.web.paging import Id
from consumers.web.problems import ProblemError, not_found, problem_responses
from stream import BrokerError, camera_behind

from .events import EventId, find_event

router = APIRouter(route_class=TaggedRoute, tags=["shares"])


class NewShare(BaseModel):
    """For how long a link is to hold."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"hours": 72}]})

    hours: float | None = Field(
        None, gt=0, le=24 * 366, description="Left out: `dashboard.share_hours`. At most `dashboard.max_share_hours`."
    )


class ShareQuery(BaseModel):
    """Which shares."""

    model_config = ConfigDict(extra="forbid")

    event: Id | None = Field(None, description="Those of this event.")


@router.post("/events/{event}/shares", status_code=201, responses=problem_responses(400, 403, 404, 409, 410, 422, 503))
async def make_share(event: EventId, wanted: NewShare, asker: Operator, desk: AtDesk, response: Response) -> MadeShare:
    """Make a link that shows this event, and nothing else, to whoever has it, without a login.

    Its address is in this answer only: what is kept is a hash of it. Needs the role operator.
    """
    report = find_event(desk, asker, event).report
    settings = desk.settings.dashboard
    hours = settings.share_hours if wanted.hours is None else wanted.hours
    if hours > settings.max_share_hours:
        raise ProblemError(422, "invalid", f"hours: expected at most {settings.max_share_hours:g}")
    _check_known(desk)
    if len(desk.view.access.shares()) >= settings.max_shares:
        raise ProblemError(409, "too-many-shares", f"there are {settings.max_shares} shares: revoke some")
    token, now_us = new_token(), time.time_ns() // 1000
    expires_us = now_us + round(hours * 3.6e9)
    share = Share(secrets.token_hex(12), token_hash(token), event, report.camera, asker.name, now_us, expires_us)
    entry = audit_entry(asker, "share.make", share.event, report.drill or share.camera, share.id)
    topic, writer = desk.settings.topics.access, desk.writer
    records = [*desk.view.access.forget_over(), share.encode()]
    await to_thread.run_sync(writer.write, entry, topic, *records, limiter=writer.room)
    desk.view.put_audit(entry)
    desk.view.access.put(share)
    response.headers["Cache-Control"] = "no-store"
    return MadeShare(**_body(share).model_dump(), address=f"/share/{token}")


@router.get("/shares", responses=problem_responses(403, 422, 503))
def list_shares(query: Annotated[ShareQuery, Query()], asker: Operator, desk: AtDesk) -> Shares:
    """Links that hold, the newest first: an operator's own, an admin's all. Needs the role operator."""
    _check_known(desk)
    found = [share for share in desk.view.access.shares() if _is_for(share, asker)]
    return Shares(items=[_body(each) for each in found if query.event in {None, each.event}])


@router.delete("/shares/{share}", status_code=204, responses=problem_responses(403, 404, 422, 503))
async def revoke_share(
    share: Annotated[Id, Path(description="The share's id.")], asker: Operator, desk: AtDesk
) -> None:
    """Let a link show nothing any more, at once. Needs the role operator; of others' links, admin."""
    _check_known(desk)
    found = desk.view.access.get(share)
    if found is None or not _is_for(found, asker):
        raise not_found(f"no share {share} holds")
    entry = audit_entry(asker, "share.revoke", found.event, camera_behind(found.camera), found.id)
    topic, writer = desk.settings.topics.access, desk.writer
    records = [*desk.view.access.forget_over(), (found.key, [], None)]
    await to_thread.run_sync(writer.write, entry, topic, *records, limiter=writer.room)
    desk.view.put_audit(entry)
    desk.view.access.drop(found.id)


def _check_known(desk: Desk) -> None:
    """See that it is known which shares there are; raises BrokerError."""
    if not desk.view.knows("access"):
        raise BrokerError(desk.view.waiting("access") or "what is shared is not read yet")


def _is_for(share: Share, asker: Asker) -> bool:
    return asker.sees(camera_behind(share.camera)) and (share.by == asker.name or asker.may("admin"))


def _body(share: Share) -> ShareBody:
    return ShareBody(
        id=share.id,
        event=share.event,
        camera=share.camera,
        by=share.by,
        created=rfc3339(share.created_us),
        expires=rfc3339(share.expires_us),
    )
