"""Tokens, passwords, sessions and the tokens of live views: made, and checked. Nothing of them is kept in plain."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadData, URLSafeTimedSerializer

from consumers.settings import DashboardSettings, Role, SettingsError
from consumers.settings.section import only_line
from stream import Secret

#: So that scanners of leaked secrets, and people, know one when they see it.
_PREFIX: Final = "clipline_"
_TOKEN_BYTES: Final = 32
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: A password is checked with 64 MiB and half a core: so many at once, and the others wait.
_AT_ONCE: Final = 2
#: Longer ones are nobody's, and would be work.
MAX_PASSWORD: Final = 1024
MAX_TOKEN: Final = 4096


def new_token() -> str:
    """A token that nobody can guess."""
    return _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)


def token_hash(token: str) -> str:
    """What is kept of a token. It has 256 random bits, so no salt and no slow hash is needed."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


class Passwords:
    """Argon2id, with the parameters of RFC 9106's second choice. For several threads."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        #: Of nobody's password: whoever names no user is answered after as long as one who does.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def hash(self, password: str) -> str:
        """What is kept of a password."""
        return self._hasher.hash(password)

    def is_right(self, hashed: str | None, password: str) -> bool:
        """Whether a password is that of a hash; None is nobody's."""
        with self._room:
            try:
                return self._hasher.verify(hashed or self._nobody, password) and hashed is not None
            except (VerificationError, InvalidHashError):
                return False


@dataclass(frozen=True, slots=True)
class Session:
    """Who has logged in."""

    user: str
    #: What requests that change something have to send along, so that no other site can have them sent.
    csrf: str
    #: When it began, wall clock in microseconds since the Unix epoch, to a second.
    begun_us: int
    #: Of whom an OpenID provider vouched for: the groups that counted then. None: a password did.
    groups: tuple[str, ...] | None = None

    @property
    def id(self) -> str:
        """Names it, where it has ended, and says nothing of what it holds."""
        return hashlib.sha256(b"clipline.session." + self.csrf.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Holder:
    """By what somebody was let in. Nobody is let in by what it says."""

    #: "session", "token", or the way of an asker with neither.
    kind: str
    #: Names the session or the token.
    mark: str = ""
    #: When a session began, wall clock in microseconds since the Unix epoch.
    begun_us: int = 0


@dataclass(frozen=True, slots=True)
class LiveGrant:
    """What a token of a live view says."""

    #: Who made it: it is of no use once that one is not let in any more.
    holder: Holder
    #: Until when it lets in; wall clock in seconds since the Unix epoch.
    until: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the settings."""

    name: str
    role: Role
    cameras: tuple[str, ...] | None
    expires: dt.date | None

    @property
    def is_over(self) -> bool:
        """Whether its last day is over, in UTC."""
        return self.expires is not None and self.expires < dt.datetime.now(dt.UTC).date()


class Signer:
    """Signs what a browser carries. Another secret ends all of it."""

    def __init__(self, secret: Secret | None, session_seconds: float, live_seconds: float) -> None:
        """Prepare; without a secret, what is signed is good for as long as this process lives."""
        key = secrets.token_urlsafe(_TOKEN_BYTES) if secret is None else secret.reveal()
        # Of its own for each purpose: a session is no token of a live view.
        self._sessions = URLSafeTimedSerializer(key, salt="clipline.session.1")
        self._live = URLSafeTimedSerializer(key, salt="clipline.live.2")
        self.session_seconds, self.live_seconds = int(session_seconds), int(live_seconds)

    def begin(self, user: str, mark: str, groups: tuple[str, ...] | None = None) -> tuple[str, Session]:
        """A cookie's value, and the session that it stands for; it ends when the mark, a password's hash, changes."""
        session = Session(user, secrets.token_urlsafe(16), int(time.time()) * 1_000_000, groups)
        more = [] if groups is None else [groups]
        return self._sessions.dumps([user, session.csrf, fingerprint(mark), *more]), session

    def session(
        self, cookie: str, password_hash_of: dict[str, str], provider_mark: str | None = None
    ) -> Session | None:
        """The session that a cookie stands for; None where it is over, or no cookie of ours."""
        if len(cookie) > MAX_TOKEN:
            return None
        try:
            found, begun = self._sessions.loads(cookie, max_age=self.session_seconds, return_timestamp=True)
            user, csrf, known, *more = found
        except (BadData, ValueError, TypeError):
            return None
        groups = tuple(more[0]) if more else None
        mark = password_hash_of.get(user) if groups is None else provider_mark
        if mark is None or known != fingerprint(mark):
            return None
        return Session(user, csrf, int(begun.timestamp()) * 1_000_000, groups)

    def is_in_time(self, begun_us: int) -> bool:
        """Whether a session that began then may go on."""
        return time.time() - begun_us / 1e6 <= self.session_seconds

    def live_token(self, camera: str, holder: Holder) -> str:
        """What lets a player have the live view of one camera, for a while, and as long as its maker is let in."""
        return self._live.dumps([camera, holder.kind, holder.mark, holder.begun_us])

    def live_grant(self, token: str, camera: str) -> LiveGrant | None:
        """What a token of a camera's live view says; None where it is over, or none of this camera."""
        if len(token) > MAX_TOKEN:
            return None
        try:
            found, made = self._live.loads(token, max_age=self.live_seconds, return_timestamp=True)
            of, *holder = found
        except (BadData, ValueError, TypeError):
            return None
        return LiveGrant(Holder(*holder), made.timestamp() + self.live_seconds) if of == camera else None


def fingerprint(mark: str) -> str:
    """Names a secret, and says nothing of what it is."""
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


def patterns_of(cameras: list[str] | None) -> tuple[str, ...] | None:
    """Cameras of the settings, as askers have them."""
    return None if cameras is None else tuple(cameras)


def read_tokens(settings: DashboardSettings) -> Mapping[str, Token]:
    """The tokens of the settings, by their hashes.

    Raises:
        SettingsError: one is no hash, two are the same, or a file cannot be used.
    """
    found: dict[str, Token] = {}
    for name, each in settings.tokens.items():
        where = f"dashboard.tokens.{name}"
        hashed = each.hash if each.hash_file is None else only_line(each.hash_file, f"{where}.hash_file", "hash")
        if hashed is None or not _HASH.fullmatch(hashed):
            raise SettingsError(f"{where}: expected a hash that `clipline dashboard token` printed, sha256:…")
        if hashed in found:
            raise SettingsError(f"{where}: {found[hashed].name} has the same token")
        found[hashed] = Token(name, each.role, patterns_of(each.cameras), each.expires)
    return found


def read_password_hashes(settings: DashboardSettings) -> dict[str, str]:
    """The passwords' hashes of the settings, by user.

    Raises:
        SettingsError: one is no hash, or a file cannot be used.
    """
    found: dict[str, str] = {}
    for name, each in settings.users.items():
        where = f"dashboard.users.{name}.password_hash_file"
        file = each.password_hash_file
        hashed = each.password_hash if file is None else only_line(file, where, "hash")
        if hashed is not None:
            if not hashed.startswith("$argon2id$"):
                raise SettingsError(f"{where}: expected a hash that `clipline dashboard password` printed")
            found[name] = hashed
    return found
