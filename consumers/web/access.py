"""Who asks, and what that one may see and do.

Authorization: Bearer TOKEN      a token of the settings; nothing else is looked at
a header of a trusted proxy      whom the proxy names
a session's cookie               who has logged in, and not out; what changes something needs the session's X-CSRF-Token
nothing                          whoever is at this machine, where the settings name nobody and it listens there only
"""

from __future__ import annotations

import fnmatch
import hmac
import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from consumers.rate_limit import RateLimit
from consumers.records.access import EndedSession, Share
from consumers.records.audit import Way
from consumers.settings import DashboardSettings, Role, is_loopback
from stream import BrokerError

from .credentials import (
    MAX_TOKEN,
    Holder,
    LiveGrant,
    Passwords,
    Session,
    Signer,
    fingerprint,
    patterns_of,
    read_password_hashes,
    read_tokens,
    token_hash,
)
from .oidc import Person, client_mark, rights_of
from .problems import ProblemError
from .sharing.book import AccessBook

COOKIE: Final = "clipline_session"
CSRF_HEADER: Final = "X-CSRF-Token"
_ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NAME: Final = re.compile(r"[^\x00-\x20\x7f-\xff]{1,64}")
_UNKNOWN_ADDRESS: Final = "unknown"
#: As clocks differ.
_SLACK_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks."""

    name: str
    way: Way
    role: Role
    #: Ids or patterns of the cameras that there are for this one; None: all.
    cameras: tuple[str, ...] | None
    #: From where, as far as that is known.
    address: str
    session: Session | None = None
    #: Names the token of the settings that was sent; empty: none was.
    token: str = ""

    @property
    def holder(self) -> Holder:
        """By what this one was let in, to ask later whether that still holds."""
        if self.session is not None:
            return Holder("session", self.session.id, self.session.begun_us)
        return Holder("token", self.token) if self.token else Holder(self.way)

    def sees(self, camera: str) -> bool:
        """Whether there is such a camera, as far as this one is concerned."""
        return self.cameras is None or any(fnmatch.fnmatchcase(camera, pattern) for pattern in self.cameras)

    def may(self, role: Role) -> bool:
        """Whether this one has that role, or a higher one."""
        return _ROLES.index(self.role) >= _ROLES.index(role)


class Access:
    """Tells who asks. For several threads."""

    def __init__(self, settings: DashboardSettings) -> None:
        """Read what the settings name.

        Raises:
            SettingsError: a file of them cannot be used, or two tokens are the same.
        """
        self._settings = settings
        self.signer = Signer(settings.signing(), settings.session_hours * 3600, settings.live_token_seconds)
        self.passwords = Passwords()
        self._tokens = read_tokens(settings)
        self._by_mark = {fingerprint(hashed): token for hashed, token in self._tokens.items()}
        self._hashes = read_password_hashes(settings)
        self._provider_mark = client_mark(settings.oidc)
        self._proxies = [ipaddress.ip_network(each) for each in settings.trusted_proxies]
        self._rate = RateLimit(settings.requests_per_minute)
        self._footage_rate = RateLimit(settings.footage_requests_per_minute)
        self._failures = RateLimit(settings.failures_per_minute)
        #: Of links that are wrong or over: whoever has an old one may still log in.
        self._wrong_links = RateLimit(settings.failures_per_minute)
        self._book = AccessBook()
        self._knows: Callable[[], bool] = lambda: True
        self._started_us = time.time_ns() // 1000

    def follow(self, book: AccessBook, knows: Callable[[], bool]) -> None:
        """Go by a book of shares and ended sessions; `knows` says whether it holds all that there is."""
        self._book, self._knows = book, knows

    def asker(self, request: Request, *, of_footage: bool = False) -> Asker:
        """Who sends a request; one that is of footage is counted among those.

        Raises:
            ProblemError: nobody who is let in, too many requests, or one that another site may have had sent.
        """
        asker = self._identified(request)
        rate = self._footage_rate if of_footage else self._rate
        if not rate.take(f"{asker.way} {asker.name} {asker.address if asker.way == 'local' else ''}", _now()):
            raise _too_many(rate)
        if request.method not in _SAFE and asker.way != "token":
            self.check_origin(request)
            sent = request.headers.get(CSRF_HEADER, "")
            if asker.session is not None and not hmac.compare_digest(
                sent.encode("latin-1"), asker.session.csrf.encode()
            ):
                raise ProblemError(403, "csrf", f"expected the session's token in the header {CSRF_HEADER}")
        return asker

    def live_grant(self, request: Request, camera: str, token: str) -> LiveGrant | None:
        """What lets whoever sends a request in to a camera's live view; None where the token does not.

        Raises:
            ProblemError: too many requests with it.
            BrokerError: it is not known yet whether whoever made it has logged out.
        """
        grant = self.signer.live_grant(token, camera)
        if grant is None or not self.holds(grant.holder):
            return None
        self._check_knows(grant.holder.begun_us)
        if not self._footage_rate.take(f"live {camera} {self.address(request)}", _now()):
            raise _too_many(self._footage_rate)
        return grant

    def holds(self, holder: Holder) -> bool:
        """Whether somebody who was let in would still be, as far as is known now. It counts as no request."""
        match holder.kind:
            case "session":
                return self.signer.is_in_time(holder.begun_us) and not self._book.has_ended(holder.mark)
            case "token":
                found = self._by_mark.get(holder.mark)
                return found is not None and not found.is_over
            case "proxy":
                return self._settings.user_header is not None
            case _:
                return self._settings.is_open

    def share(self, request: Request, token: str) -> Share:
        """The share of which somebody has the link.

        Raises:
            ProblemError: there is none (any more), or there are too many requests.
        """
        found = self._book.of_token(token) if len(token) <= MAX_TOKEN else None
        address = self.address(request)
        if found is None:
            if not self._wrong_links.take(address, _now()):
                raise _too_many(self._wrong_links)
            raise self.no_share()
        if not self._footage_rate.take(f"share {found.id} {address}", _now()):
            raise _too_many(self._footage_rate)
        return found

    @staticmethod
    def no_share() -> ProblemError:
        """What a link is answered with that shows nothing, whatever the reason."""
        return ProblemError(404, "no-such-share", "this link shows nothing, or nothing any more")

    def end(self, session: Session) -> EndedSession:
        """Let nobody in with a session any more, here; what tells the others."""
        seconds = self.signer.session_seconds
        ended = EndedSession(session.id, time.time_ns() // 1000 + (seconds + _SLACK_SECONDS) * 1_000_000)
        self._book.end(ended)
        return ended

    def check_origin(self, request: Request) -> None:
        """See that no other site's page has a browser send this.

        Raises:
            ProblemError: one does.
        """
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site is not None:
            is_own = site in {"same-origin", "none"}
        else:
            is_own = origin is None or _place(origin) == request.headers.get("host")
        if not is_own:
            raise ProblemError(403, "csrf", "another site's page asked for this")

    def logged_in(self, request: Request, user: str, password: str) -> tuple[str, Session]:
        """Begin a session: a cookie's value, and the session.

        Raises:
            ProblemError: there is no such user, the password is another one, or it was tried too often.
        """
        self.check_origin(request)
        address = self.address(request)
        hashed = self._hashes.get(user)
        # Before the check, which is dear.
        self.count_try(address)
        if not self.passwords.is_right(hashed, password) or hashed is None:
            raise ProblemError(401, "wrong-password", "no such user, or another password")
        self.forgive_try(address)
        return self.signer.begin(user, hashed)

    def vouched(self, person: Person, address: str) -> tuple[str, Asker]:
        """Begin the session of somebody whom an OpenID provider vouches for: a cookie's value, and who that is.

        Raises:
            ProblemError: the settings let that one not in.
        """
        assert self._provider_mark is not None
        cookie, session = self.signer.begin(person.name, self._provider_mark, person.groups)
        if (asker := self._of_provider(session, address)) is None:
            raise ProblemError(
                403, "unknown-user", f"the provider names {person.name!r}, who is in no group that is let in here"
            )
        if len(cookie) > MAX_TOKEN:  # browsers would not keep it
            raise ProblemError(403, "unknown-user", f"{person.name!r} is in too many of the groups of the settings")
        return cookie, asker

    def count_stranger(self, address: str) -> None:
        """Count a request that anybody may send.

        Raises:
            ProblemError: too many of them.
        """
        if not self._rate.take(f"anybody {address}", _now()):
            raise _too_many(self._rate)

    def count_try(self, address: str) -> None:
        """Count somebody's try to log in as one that failed; see `forgive_try`.

        Raises:
            ProblemError: it was tried too often.
        """
        if not self._failures.take(address, _now()):
            raise _too_many(self._failures)

    def forgive_try(self, address: str) -> None:
        """Count a try no more: it did not fail."""
        self._failures.give_back(address)

    def is_secure(self, request: Request) -> bool:
        """Whether the client speaks TLS, with us or with a trusted proxy."""
        proto = request.headers.get("x-forwarded-proto", "") if self._is_proxy(request) else ""
        return request.url.scheme == "https" or proto.strip().lower() == "https"

    def address(self, request: Request) -> str:
        """Where a request comes from: what a trusted proxy says of it, else who is connected."""
        peer = request.client.host if request.client is not None else _UNKNOWN_ADDRESS
        # Proxies put what they see last: all before it, anybody may have written.
        said = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if said and self._is_proxy(request):
            try:
                return str(ipaddress.ip_address(said))
            except ValueError:
                return peer
        return peer

    def _identified(self, request: Request) -> Asker:
        address = self.address(request)
        if self._settings.is_open:
            # A page of another site may have its name lead here; what it then asks for names that site.
            if not is_loopback(host_of(request)):
                raise ProblemError(
                    403, "not-local", "expected a request to localhost; for others, set dashboard.tokens"
                )
            return Asker("local", "local", "admin", None, address)
        if (said := request.headers.get("authorization")) is not None:
            return self._of_token(said, address)
        if (found := self._of_proxy(request, address) or self._of_session(request, address)) is not None:
            return found
        raise ProblemError(401, "unauthenticated", "expected a token, or a session", {"WWW-Authenticate": "Bearer"})

    def _of_token(self, said: str, address: str) -> Asker:
        scheme, _, sent = said.partition(" ")
        sent = sent.strip()
        found = None
        if scheme.lower() == "bearer" and len(sent) <= MAX_TOKEN:
            found = self._tokens.get(token_hash(sent))
        if found is None or found.is_over:
            self.count_try(address)
            raise ProblemError(
                401,
                "unauthenticated",
                "no such token, or it has expired",
                {"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return Asker(found.name, "token", found.role, found.cameras, address, token=fingerprint(token_hash(sent)))

    def _of_proxy(self, request: Request, address: str) -> Asker | None:
        header = self._settings.user_header
        name = None if header is None else request.headers.get(header)
        if not name or not self._is_proxy(request):
            return None
        if not _NAME.fullmatch(name):
            raise ProblemError(403, "unknown-user", "the proxy names somebody who can be no user")
        user = self._settings.users.get(name)
        role = self._settings.proxy_role if user is None else user.role
        if role is None:
            raise ProblemError(403, "unknown-user", f"the proxy names {name!r}, who is no user here")
        return Asker(name, "proxy", role, patterns_of(None if user is None else user.cameras), address)

    def _of_session(self, request: Request, address: str) -> Asker | None:
        cookie = request.cookies.get(COOKIE)
        session = None if cookie is None else self.signer.session(cookie, self._hashes, self._provider_mark)
        if session is None:
            return None
        if self._book.has_ended(session.id):
            return None
        self._check_knows(session.begun_us)
        if session.groups is not None:
            return self._of_provider(session, address)
        user = self._settings.users[session.user]
        return Asker(session.user, "password", user.role, patterns_of(user.cameras), address, session)

    def _check_knows(self, begun_us: int) -> None:
        if begun_us and begun_us < self._started_us and not self._knows():
            # Somebody may have logged out of it before this began.
            raise BrokerError("which sessions have ended is not read yet")

    def _of_provider(self, session: Session, address: str) -> Asker | None:
        rights = rights_of(session.user, session.groups or (), self._settings)
        return None if rights is None else Asker(session.user, "oidc", rights.role, rights.cameras, address, session)

    def _is_proxy(self, request: Request) -> bool:
        try:
            peer = ipaddress.ip_address(request.client.host if request.client is not None else "")
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)


def _now() -> float:
    return time.monotonic()


def _too_many(limit: RateLimit) -> ProblemError:
    return ProblemError(429, "too-many-requests", "too many requests", {"Retry-After": str(limit.retry_seconds)})


def host_of(request: Request) -> str:
    """The host that a client asked for; nothing where it names none."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Host and port of an origin; nothing where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
