"""What a browser carries from the login page to the provider and back: signed, in cookies that soon expire.

    clipline_login           on the way there and back: state, nonce and PKCE's verifier, and where to go afterwards
    clipline_login_problem   back to the login page: why it came to nothing, shown once

Nothing of it is kept here: whoever never comes back leaves nothing behind, and any server with the secret may be the
one that somebody comes back to.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from stream import Secret

_JOURNEY: Final = "clipline_login"
_PROBLEM: Final = "clipline_login_problem"
#: Whoever types a password and looks for a second factor.
_JOURNEY_SECONDS: Final = 600
_PROBLEM_SECONDS: Final = 60
#: Browsers keep no larger cookie.
_MAX_COOKIE: Final = 4096


@dataclass(frozen=True, slots=True)
class LoginProblem:
    """Why a login came to nothing."""

    kind: str
    detail: str


class Journeys:
    """Signs and reads both cookies."""

    def __init__(self, secret: Secret | None, path: str, shown_at: str) -> None:
        """Prepare; without a secret, what is signed is good for as long as this process lives.

        Args:
            secret: signs.
            path: below which the journey's cookie is sent.
            shown_at: where the problem's cookie is sent.
        """
        key = secrets.token_urlsafe(32) if secret is None else secret.reveal()
        self._journeys = URLSafeTimedSerializer(key, salt="clipline.login.1")
        self._problems = URLSafeTimedSerializer(key, salt="clipline.login-problem.1")
        self._path, self._shown_at = path, shown_at

    def begun(self, response: Response, session: dict[str, Any], to: str, *, secure: bool) -> None:
        """Have the browser carry what a provider's client put into a session, and where to go afterwards."""
        _set(response, _JOURNEY, self._journeys.dumps([session, to]), _JOURNEY_SECONDS, self._path, secure=secure)

    def of(self, request: Request) -> tuple[dict[str, Any], str]:
        """Session and place to go that a browser carries; nothing and the first page where it does not."""
        try:
            session, to = self._journeys.loads(_cookie(request, _JOURNEY), max_age=_JOURNEY_SECONDS)
        except (BadData, ValueError, TypeError):
            return {}, "/"
        return session, to

    def ended(self, response: Response) -> None:
        """Have the browser carry nothing any more."""
        response.delete_cookie(_JOURNEY, path=self._path, httponly=True, samesite="lax")

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


def _cookie(request: Request, name: str) -> str:
    return request.cookies.get(name, "")[:_MAX_COOKIE]


def _set(response: Response, name: str, value: str, seconds: int, path: str, *, secure: bool) -> None:
    # Lax: it is another site that sends the browser back.
    response.set_cookie(name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="lax")
