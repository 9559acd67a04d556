"""Who asks: logging in, out, and what one may."""

from __future__ import annotations

import logging
from typing import Final

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from consumers.printable import printable
from consumers.web.access import COOKIE, Asker
from consumers.web.bodies import SessionBody
from consumers.web.credentials import MAX_PASSWORD
from consumers.web.desk import AnyAsker, AtDesk, Desk, TaggedRoute
from consumers.web.problems import problem_responses
from stream import BrokerError

log = logging.getLogger(__name__)
router = APIRouter(route_class=TaggedRoute, tags=["session"])

#: Of what holds the session's token: how small it is once it is compressed tells of what is in it (BREACH).
_AS_IT_IS: Final = "no-store, no-transform"


class Login(BaseModel):
    """A user and the password."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user": "ana", "password": "…"}]})

    user: str = Field(min_length=1, max_length=64)
    password: SecretStr = Field(min_length=1, max_length=MAX_PASSWORD)


@router.get("/session")
def get_session(asker: AnyAsker, response: Response) -> SessionBody:
    """Who asks, and what that one may."""
    response.headers["Cache-Control"] = _AS_IT_IS
    return _body(asker)


@router.post("/session", status_code=201, responses=problem_responses(400, 403, 422))
def log_in(login: Login, request: Request, desk: AtDesk, response: Response) -> SessionBody:
    """Log in with a password. The answer sets a cookie, which nothing but the browser can read, and names what requests
    that change something have to send in the header `X-CSRF-Token`.
    """
    cookie, session = desk.access.logged_in(request, login.user, login.password.get_secret_value())
    remember(response, desk, cookie, secure=desk.access.is_secure(request))
    user = desk.settings.dashboard.users[login.user]
    address = desk.access.address(request)
    log.info("%s: %s logs in", address, printable(login.user))
    cameras = None if user.cameras is None else tuple(user.cameras)
    return _body(Asker(login.user, "password", user.role, cameras, address, session))


def remember(response: Response, desk: Desk, cookie: str, *, secure: bool) -> None:
    """Have the browser keep a session."""
    seconds = desk.access.signer.session_seconds
    response.set_cookie(COOKIE, cookie, max_age=seconds, secure=secure, httponly=True, samesite="lax")
    response.headers["Cache-Control"] = _AS_IT_IS


@router.delete("/session", status_code=204, responses=problem_responses(403))
async def log_out(asker: AnyAsker, desk: AtDesk, response: Response) -> None:
    """End the session, wherever its cookie is by now, and have the browser forget it."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    log.info("%s: %s logs out", asker.address, asker.name)
    if asker.session is None:
        return
    ended, writer = desk.access.end(asker.session), desk.writer
    records = [*desk.view.access.forget_over(), ended.encode()]
    try:
        await to_thread.run_sync(writer.store, desk.settings.topics.access, *records, limiter=writer.room)
    except BrokerError as error:
        # Whoever logs out is out, as far as this process goes.
        log.warning("%s: other servers are not told that %s has logged out: %s", asker.address, asker.name, error)


def _body(asker: Asker) -> SessionBody:
    return SessionBody(
        name=asker.name,
        way=asker.way,
        role=asker.role,
        cameras=None if asker.cameras is None else list(asker.cameras),
        csrf=None if asker.session is None else asker.session.csrf,
    )
