"""Links by which an event is answered: signed, and good for a while. Pure: a secret and a time in.

    BASE/right/TOKEN                  TOKEN = base64url(what is asked, JSON) . base64url(signature)
    BASE/false/TOKEN
    BASE/snooze/TOKEN                 one token for all: whoever has the link may give any of the answers

The token holds all that the page shows, so nothing is looked up and any server can answer. That a link counts once
follows from the topic: see `consumers.records.verdict`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from consumers.records.verdict import ANSWERS, Answer, link_id
from consumers.times import parse_time_us
from stream import Secret

_FORMAT: Final = 1
#: Of SHA-256, so many bytes: 128 bits cannot be guessed, and messages are short.
_SIGNATURE_BYTES: Final = 16
#: So that secrets that sign something else, too, are no danger.
_PURPOSE: Final = b"clipline.verdict.1:"
#: Longer than any link of ours: a camera has 64 characters, a label a few words.
MAX_TOKEN: Final = 2048


class ForgedLinkError(ValueError):
    """It is no link of ours, or was changed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a link asks about; times in microseconds since the Unix epoch."""

    event: str
    camera: str
    label: str
    #: Of the event, event time.
    start_us: int
    end_us: int
    #: Through which channel it was sent.
    channel: str
    #: From when on it is of no use; wall clock.
    expires_us: int

    @classmethod
    def about(cls, data: Mapping[str, Any], channel: str, expires_us: int) -> Self:
        """What is asked about the event of a message; `data` is its body."""
        start_us, end_us = parse_time_us(data["start"]), parse_time_us(data["end"])
        return cls(data["event"], data["camera"], data["label"], start_us, end_us, channel, expires_us)

    def id(self, answer: Answer) -> str:
        """Names what is answered, once."""
        return link_id(self.event, self.channel, answer)


class Links:
    """Makes links and reads them back."""

    def __init__(self, base_url: str, secret: Secret, *older: Secret) -> None:
        """Prepare.

        Args:
            base_url: with which links begin.
            secret: signs them.
            older: what signed links before, which are still read.
        """
        self._base_url, self._secrets = base_url.rstrip("/"), (secret, *older)

    def all(self, asked: Asked) -> dict[Answer, str]:
        """A link for each answer."""
        token = self.token(asked)
        return {answer: f"{self._base_url}/{answer}/{token}" for answer in ANSWERS}

    def token(self, asked: Asked) -> str:
        """The signed part of a link."""
        content = [
            *(_FORMAT, asked.event, asked.camera, asked.label, asked.start_us, asked.end_us),
            *(asked.channel, asked.expires_us),
        ]
        payload = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        return f"{_text(payload)}.{_text(_signature(payload, self._secrets[0]))}"

    def read(self, token: str) -> Asked:
        """What a token asks; whether that is over is the caller's to see.

        Raises:
            ForgedLinkError: it was made with none of these secrets.
        """
        payload, _, signature = token.partition(".")
        try:
            if len(token) > MAX_TOKEN:
                raise ForgedLinkError
            content = _bytes(payload)
            # Before anything of it is looked at.
            if not self._has_signed(content, _bytes(signature)):
                raise ForgedLinkError
            version, *fields = json.loads(content)
            if version != _FORMAT:
                raise ForgedLinkError
            return Asked(*fields)
        except (ValueError, TypeError, binascii.Error):
            raise ForgedLinkError("no link of ours, or changed") from None

    def _has_signed(self, payload: bytes, signature: bytes) -> bool:
        return any(hmac.compare_digest(signature, _signature(payload, secret)) for secret in self._secrets)


def _signature(payload: bytes, secret: Secret) -> bytes:
    return hmac.digest(secret.reveal().encode(), _PURPOSE + payload, hashlib.sha256)[:_SIGNATURE_BYTES]


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """What `_text` gave.

    Raises:
        ValueError: it is no such text; also where other text stands for the same bytes, so that a link has one form.
    """
    content = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(content) != text:
        raise ValueError("not as it was written")
    return content
