"""Logging in at an OpenID provider: how one can, the way there, and the way back.

A browser goes both by itself, so problems are told on the login page.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse

from consumers.printable import printable
from consumers.settings import is_loopback
from consumers.web.access import host_of
from consumers.web.desk import AtDesk, Desk
from consumers.web.oidc import Journey, LoginProblem, NamelessError, Provider, ProviderError
from consumers.web.oidc.errors import STATUS
from consumers.web.problems import ProblemError, not_found, problem_responses

from .session import remember

log = logging.getLogger(__name__)
router = APIRouter(tags=["session"])

_BELOW: Final = "/api/v1"
LOGIN_PATH: Final = f"{_BELOW}/session/oidc"
WAYS_PATH: Final = f"{_BELOW}/session/ways"
#: A place on the pages, all of which are at /: nothing that a browser could take for another host.
_PLACE: Final = r"^/(#[!-~]{0,400})?$"
_RESPONSES: Final = {
    **problem_responses(400, 403, 404, 422, 502, 503),
    303: {"description": "Where the browser is to go; to the login page, where browsers are shown a problem"},
}


class ProviderLink(BaseModel):
    """An OpenID provider at which one can log in."""

    name: str = Field(description="What the settings call it.", examples=["Keycloak"])
    address: str = Field(
        description="Where a browser is to go; `to`, a path of the pages, says where it comes back to.",
        examples=["/api/v1/session/oidc"],
    )


class LoginFailure(BaseModel):
    """Why this browser's login at the provider came to nothing."""

    kind: str = Field(description="The last part of the problem's type.", examples=["login-refused"])
    detail: str = Field(examples=["the provider does not let this one in: the login was refused there"])


class WaysBody(BaseModel):
    """How one can log in."""

    password: bool = Field(description="Whether anybody has a password.", examples=[True])
    provider: ProviderLink | None = Field(description="null: there is none.")
    problem: LoginFailure | None = Field(description="Told once; null: there is none.", examples=[None])


@router.get("/session/ways")
async def get_ways(request: Request, desk: AtDesk, response: Response) -> WaysBody:
    """How one can log in, for everybody."""
    desk.access.count_stranger(desk.access.address(request))
    response.headers["Cache-Control"] = "no-store"
    settings = desk.settings.dashboard
    provider = None
    if desk.provider is not None:
        provider = ProviderLink(name=_name(desk), address=LOGIN_PATH)
    found = desk.journeys.problem(request, response)
    problem = None if found is None else LoginFailure(kind=found.kind, detail=found.detail)
    return WaysBody(password=settings.has_passwords, provider=provider, problem=problem)


@router.get("/session/oidc", status_code=303, response_class=RedirectResponse, responses=_RESPONSES)
async def go_to_provider(
    request: Request,
    desk: AtDesk,
    to: Annotated[str, Query(pattern=_PLACE, description="A path of the pages, to come back to.")] = "/",
) -> Response:
    """Go to the OpenID provider of the settings, and come back from there logged in."""
    provider = _provider(desk)
    try:
        site = _site(request, desk)
        desk.access.count_stranger(desk.access.address(request))
        # The provider's client keeps there what it needs when the browser comes back.
        session: dict[str, Any] = {}
        request.scope["session"] = session
        answer = await provider.begin(request, f"{site}{LOGIN_PATH}/callback")
        answer.status_code = 303
        state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
        desk.journeys.begun(request, answer, state, session, to, secure=_is_secure(request, desk))
    except (ProviderError, ProblemError) as error:
        return _told(request, desk, error, Journey(to=to))
    return answer


@router.get("/session/oidc/callback", status_code=303, response_class=RedirectResponse, responses=_RESPONSES)
async def come_back_from_provider(request: Request, desk: AtDesk) -> Response:
    """Where the provider sends a browser: begins the session."""
    provider = _provider(desk)
    address = desk.access.address(request)
    journey = desk.journeys.of(request)
    request.scope["session"] = journey.session
    try:
        desk.access.count_try(address)
        person = await provider.end(request)
        cookie, asker = desk.access.vouched(person, address)
    except (ProviderError, NamelessError, ProblemError) as error:
        log.warning("%s: nobody is logged in: %s", address, printable(_problem(error).detail))
        return _told(request, desk, error, journey)
    desk.access.forgive_try(address)
    answer = RedirectResponse(journey.to, 303)
    remember(answer, desk, cookie, secure=_is_secure(request, desk))
    desk.journeys.ended(answer, journey)
    log.info("%s: %s logs in, as %s, by %s", address, asker.name, asker.role, _name(desk))
    return answer


def _provider(desk: Desk) -> Provider:
    if desk.provider is None:
        raise not_found("there is no OpenID provider in the settings")
    return desk.provider


def _name(desk: Desk) -> str:
    settings = desk.settings.dashboard.oidc
    return settings.title or urlsplit(settings.issuer or "").hostname or "OpenID"


def _site(request: Request, desk: Desk) -> str:
    """Where browsers reach us. What they say themselves is taken on this machine only."""
    if (public := desk.settings.dashboard.oidc.public_url) is not None:
        return public
    if not is_loopback(host_of(request)):
        raise ProblemError(403, "not-local", "set dashboard.oidc.public_url, the address of the pages")
    return f"{request.url.scheme}://{request.headers['host']}"


def _is_secure(request: Request, desk: Desk) -> bool:
    public = desk.settings.dashboard.oidc.public_url or ""
    return public.startswith("https:") or desk.access.is_secure(request)


def _problem(error: ProviderError | NamelessError | ProblemError) -> ProblemError:
    if isinstance(error, ProviderError):
        return ProblemError(STATUS[error.kind], error.kind, str(error))
    if isinstance(error, NamelessError):
        return ProblemError(403, "unknown-user", f"the provider gives this one no name that can be used: {error}")
    return error


def _told(
    request: Request,
    desk: Desk,
    error: ProviderError | NamelessError | ProblemError,
    journey: Journey,
) -> Response:
    """A problem for programs; browsers are sent to the login page, which tells it."""
    problem = _problem(error)
    if "text/html" not in request.headers.get("accept", ""):
        raise problem
    answer = RedirectResponse(journey.to, 303)
    desk.journeys.ended(answer, journey)
    told = LoginProblem(problem.kind, str(problem.detail)[:1000])
    desk.journeys.failed(answer, told, secure=_is_secure(request, desk))
    return answer
