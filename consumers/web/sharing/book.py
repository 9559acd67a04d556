"""Shares and ended sessions as their topic has them. For several threads."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from consumers.records.access import SESSION, SHARE, EndedSession, Share
from consumers.records.fields import RecordError
from consumers.web.credentials import token_hash
from stream import Headers, Record

log = logging.getLogger(__name__)

#: Ended sessions that are remembered. A login costs half a core for a while: nobody makes so many within hours.
_MOST_SESSIONS: Final = 100_000
#: Shares that are heeded; `dashboard.max_shares` is less.
_MOST_SHARES: Final = 20_000
#: Of what is over, so much is deleted from the topic at once.
_DELETED_AT_ONCE: Final = 100

Deletion = tuple[bytes, Headers, None]


class AccessBook:
    """Knows them by what is presented: a token, a session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shares: dict[str, Share] = {}
        #: Ids by the hashes of tokens.
        self._by_token: dict[str, str] = {}
        #: When ended sessions are over, by id.
        self._ended: dict[str, int] = {}
        #: Records that are neither.
        self.left_out = 0

    def take(self, record: Record) -> None:
        """Heed what a record says; one that cannot be read is said and counted."""
        key = record.key or b""
        try:
            if key.startswith(SESSION):
                self._take_session(key, record)
            else:  # what is neither is no share that can be read
                self._take_share(key, record)
        except RecordError as error:
            self.left_out += 1
            log.warning("%s: left out", error)

    def _take_share(self, key: bytes, record: Record) -> None:
        if record.value is None:
            self.drop(key.removeprefix(SHARE).decode(errors="replace"))
        else:
            self.put(Share.decode(record.key, record.value, record.where))

    def _take_session(self, key: bytes, record: Record) -> None:
        if record.value is None:
            with self._lock:
                self._ended.pop(key.removeprefix(SESSION).decode(errors="replace"), None)
        else:
            self.end(EndedSession.decode(record.key, record.value, record.where))

    def put(self, share: Share) -> None:
        """Know a share."""
        with self._lock:
            if len(self._shares) < _MOST_SHARES or share.id in self._shares:
                self._shares[share.id] = share
                self._by_token[share.token] = share.id

    def drop(self, id_: str) -> None:
        """Know it no more: it was revoked, or is over."""
        with self._lock:
            share = self._shares.pop(id_, None)
            if share is not None:
                self._by_token.pop(share.token, None)

    def end(self, session: EndedSession) -> None:
        """Let nobody in with a session any more."""
        with self._lock:
            self._ended[session.id] = session.expires_us
            while len(self._ended) > _MOST_SESSIONS:
                del self._ended[min(self._ended, key=self._ended.__getitem__)]

    def has_ended(self, session: str) -> bool:
        """Whether somebody has logged out of a session, by its id."""
        with self._lock:
            return session in self._ended

    def of_token(self, token: str) -> Share | None:
        """The share that a token is of; None where there is none, or it is over."""
        with self._lock:
            share = self._shares.get(self._by_token.get(token_hash(token), ""))
        return share if share is not None and share.expires_us > _now_us() else None

    def get(self, id_: str) -> Share | None:
        """A share that holds; None where there is none, or it is over."""
        with self._lock:
            share = self._shares.get(id_)
        return share if share is not None and share.expires_us > _now_us() else None

    def shares(self) -> list[Share]:
        """All that hold, the newest first."""
        now_us = _now_us()
        with self._lock:
            found = [share for share in self._shares.values() if share.expires_us > now_us]
        return sorted(found, key=lambda share: (share.created_us, share.id), reverse=True)

    def forget_over(self) -> list[Deletion]:
        """Drop some of what is over, and return the records that delete it from the topic."""
        now_us = _now_us()
        with self._lock:
            shares = [s for s in self._shares.values() if s.expires_us <= now_us][:_DELETED_AT_ONCE]
            sessions = [id_ for id_, until in self._ended.items() if until <= now_us][:_DELETED_AT_ONCE]
            for share in shares:
                del self._shares[share.id]
                self._by_token.pop(share.token, None)
            for id_ in sessions:
                del self._ended[id_]
        keys = [*(share.key for share in shares), *(SESSION + id_.encode() for id_ in sessions)]
        return [(key, [], None) for key in keys]


def _now_us() -> int:
    return time.time_ns() // 1000
