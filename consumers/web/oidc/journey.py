"""What a browser carries from the login page to the provider and back: signed, in cookies that soon expire.

    clipline_login_DIGEST    on the way there and back: state, nonce and PKCE's verifier, and where to go afterwards;
                             one for each login that was begun, as several tabs may, named by its state
    clipline_login_problem   back to the login page: why it came to nothing, shown once

Nothing of it is kept here: whoever never comes back leaves nothing behind, and any server with the secret may be the
one that somebody comes back to.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from stream import Secret

_JOURNEY: Final = re.compile(r"clipline_login_[0-9a-f]{16}")
_PROBLEM: Final = "clipline_login_problem"
#: Whoever types a password and looks for a second factor.
_JOURNEY_SECONDS: Final = 600
_PROBLEM_SECONDS: Final = 60
#: Logins that a browser may be on the way of; with one more, the oldest is given up.
_MOST_JOURNEYS: Final = 4
#: Browsers keep no larger cookie.
_MAX_COOKIE: Final = 4096


@dataclass(frozen=True, slots=True)
class LoginProblem:
    """Why a login came to nothing."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Journey:
    """A login that was begun in this browser; without a cookie, none was."""

    #: What the provider's client put into a session.
    session: dict[str, Any] = field(default_factory=dict)
    #: Where to go afterwards.
    to: str = "/"
    cookie: str | None = None


class Journeys:
    """Signs and reads both kinds of cookies."""

    def __init__(self, secret: Secret | None, path: str, shown_at: str) -> None:
        """Prepare; without a secret, what is signed is good for as long as this process lives.

        Args:
            secret: signs.
            path: below which journeys' cookies are sent.
            shown_at: where the problem's cookie is sent.
        """
        key = secrets.token_urlsafe(32) if secret is None else secret.reveal()
        self._journeys = URLSafeTimedSerializer(key, salt="clipline.login.2")
        self._problems = URLSafeTimedSerializer(key, salt="clipline.login-problem.1")
        self._path, self._shown_at = path, shown_at

    def begun(
        self, request: Request, response: Response, state: str, session: dict[str, Any], to: str, *, secure: bool
    ) -> None:
        """Have the browser carry what a provider's client put into a session, and where to go afterwards."""
        carried = self._carried(request)
        for name, _, _ in carried[_MOST_JOURNEYS - 1 :]:
            self._delete(response, name)
        value = self._journeys.dumps([session, to])
        _set(response, cookie_of(state), value, _JOURNEY_SECONDS, self._path, secure=secure)

    def of(self, request: Request) -> Journey:
        """The journey that a browser comes back from, by the state that it brings; the newest where it brings none."""
        state = request.query_params.get("state")
        wanted = None if state is None else cookie_of(state)
        found = (Journey(*what, name) for name, _, what in self._carried(request) if wanted in {None, name})
        return next(found, Journey())

    def ended(self, response: Response, journey: Journey) -> None:
        """Have the browser carry it no more."""
        if journey.cookie is not None:
            self._delete(response, journey.cookie)

    def _carried(self, request: Request) -> list[tuple[str, float, tuple[dict[str, Any], str]]]:
        """Names of cookies, when they were made, and what they hold; the newest first."""
        found = []
        for name in filter(_JOURNEY.fullmatch, request.cookies):
            try:
                (session, to), made = self._journeys.loads(
                    _cookie(request, name), max_age=_JOURNEY_SECONDS, return_timestamp=True
                )
            except (BadData, ValueError, TypeError):
                continue
            found.append((name, made.timestamp(), (session, to)))
        return sorted(found, key=lambda each: each[1], reverse=True)

    def _delete(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path=self._path, httponly=True, samesite="lax")

    def failed(self, response: Response, problem: LoginProblem, *, secure: bool) -> None:
        """Have the browser carry to the login page why a login came to nothing."""
        value = self._problems.dumps([problem.kind, problem.detail])
        _set(response, _PROBLEM, value, _PROBLEM_SECONDS, self._shown_at, secure=secure)

    def problem(self, request: Request, response: Response) -> LoginProblem | None:
        """The problem that a browser carries, which it then carries no more."""
        if _PROBLEM not in request.cookies:
            return None
        response.delete_cookie(_PROBLEM, path=self._shown_at, httponly=True, samesite="lax")
        try:
            return LoginProblem(*self._problems.loads(_cookie(request, _PROBLEM), max_age=_PROBLEM_SECONDS))
        except (BadData, ValueError, TypeError):
            return None


def cookie_of(state: str) -> str:
    """The name of the cookie of a journey, by the state that comes back from the provider."""
    return f"clipline_login_{hashlib.sha256(state.encode()).hexdigest()[:16]}"


def _cookie(request: Request, name: str) -> str:
    return request.cookies.get(name, "")[:_MAX_COOKIE]


def _set(response: Response, name: str, value: str, seconds: int, path: str, *, secure: bool) -> None:
    # Lax: it is another site that sends the browser back.
    response.set_cookie(name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="lax")
