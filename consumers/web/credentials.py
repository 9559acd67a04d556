"""Tokens, passwords, sessions and the tokens of live views: made, and checked. Nothing of them is kept in plain."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from itsdangerous import BadData, URLSafeTimedSerializer

from stream import Secret

#: So that scanners of leaked secrets, and people, know one when they see it.
_PREFIX: Final = "clipline_"
_TOKEN_BYTES: Final = 32
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


class Signer:
    """Signs what a browser carries. Another secret ends all of it."""

    def __init__(self, secret: Secret | None, session_seconds: float, live_seconds: float) -> None:
        """Prepare; without a secret, what is signed is good for as long as this process lives."""
        key = secrets.token_urlsafe(_TOKEN_BYTES) if secret is None else secret.reveal()
        # Of its own for each purpose: a session is no token of a live view.
        self._sessions = URLSafeTimedSerializer(key, salt="clipline.session.1")
        self._live = URLSafeTimedSerializer(key, salt="clipline.live.1")
        self.session_seconds, self.live_seconds = int(session_seconds), int(live_seconds)

    def begin(self, user: str, mark: str, groups: tuple[str, ...] | None = None) -> tuple[str, Session]:
        """A cookie's value, and the session that it stands for; it ends when the mark, a password's hash, changes."""
        session = Session(user, secrets.token_urlsafe(16), int(time.time()) * 1_000_000, groups)
        more = [] if groups is None else [groups]
        return self._sessions.dumps([user, session.csrf, _fingerprint(mark), *more]), session

    def session(
        self, cookie: str, password_hash_of: dict[str, str], provider_mark: str | None = None
    ) -> Session | None:
        """The session that a cookie stands for; None where it is over, or no cookie of ours."""
        if len(cookie) > MAX_TOKEN:
            return None
        try:
            found, begun = self._sessions.loads(cookie, max_age=self.session_seconds, return_timestamp=True)
            user, csrf, fingerprint, *more = found
        except (BadData, ValueError, TypeError):
            return None
        groups = tuple(more[0]) if more else None
        mark = password_hash_of.get(user) if groups is None else provider_mark
        if mark is None or fingerprint != _fingerprint(mark):
            return None
        return Session(user, csrf, int(begun.timestamp()) * 1_000_000, groups)

    def live_token(self, camera: str) -> str:
        """What lets a player have the live view of one camera, for a while."""
        return self._live.dumps(camera)

    def is_live_token(self, token: str, camera: str) -> bool:
        """Whether a token lets in to a camera's live view, now."""
        try:
            return len(token) <= MAX_TOKEN and bool(self._live.loads(token, max_age=self.live_seconds) == camera)
        except BadData:
            return False


def _fingerprint(mark: str) -> str:
    return hashlib.sha256(mark.encode()).hexdigest()[:16]
