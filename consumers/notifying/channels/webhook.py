"""Webhooks as Standard Webhooks (standardwebhooks.com) has them: signed, named by an id, tried again.

    POST url
    webhook-id         names the message: the same on each try
    webhook-timestamp  seconds of the try
    webhook-signature  v1,… of each secret: two while receivers change from one to the other
    content-type       application/json
    {"type": …, "timestamp": …, "data": {…}}

Pictures that travel with a message are base64 in `data.pictures.KIND.data_base64`.

Answers: 2xx got there; 410 wants nothing any more; 429 and 5xx, no answer and nonsense: the receiver is left alone for
a while; another 3xx or 4xx: this message is refused.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import email.utils
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, ClassVar, Final

import httpx
from standardwebhooks import Webhook

from consumers import __version__
from consumers.notifying.pictured import NO_PICTURES, Pictures, with_pictures
from consumers.notifying.plan import Again, Never, Outcome, Sent
from consumers.records.delivery import Delivery
from consumers.records.fields import to_json
from consumers.settings import SettingsError
from consumers.settings.sections.notifying import ChannelSettings

from .hiding import without_secrets

# It logs each address, and many hold a secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

#: Of an answer no more is read: it is only shown.
_READ_BYTES: Final = 2048
_SHOWN_CHARACTERS: Final = 200
_GONE: Final = 410
#: How long the Standard Webhooks specification has a secret be.
_SECRET_BYTES: Final = (24, 64)
#: An idle connection is not kept for so long that its receiver may have closed it.
_KEEP_SECONDS: Final = 2.0
#: Answers that are about the receiver and not about the message.
_BUSY: Final = frozenset({408, 425, 429})


def open_webhook(name: str, address: str, settings: ChannelSettings) -> WebhookChannel:
    """A channel that posts to `address`.

    Raises:
        SettingsError: a secret or the address cannot be used.
    """
    if not _is_web_address(address):
        # Not what is wrong with it: that may show a piece of a password.
        raise SettingsError(
            f"channels.{name}.url: expected an address that begins with https:// or http://, such as "
            "https://example.org/hooks; /, ? and # in a password are written %2F, %3F and %23"
        )
    signers = [Webhook(_checked(name, secret.reveal())) for secret in settings.signing(name)]
    return WebhookChannel(address, signers, settings.timeout_seconds)


def _is_web_address(address: str) -> bool:
    try:
        url = httpx.URL(address)
        return url.scheme in {"http", "https"} and bool(url.host) and (url.port is None or 0 < url.port < 1 << 16)
    except (httpx.InvalidURL, ValueError):
        return False


def _checked(name: str, secret: str) -> str:
    """The secret, which the library would take whatever it is, leaving out what is no base64."""
    try:
        size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not _SECRET_BYTES[0] <= size <= _SECRET_BYTES[1]:
        raise SettingsError(
            f"channels.{name}.secret: expected whsec_ and base64 of {_SECRET_BYTES[0]} to {_SECRET_BYTES[1]} bytes; "
            "python3 -c 'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(24)).decode())' makes one"
        )
    return secret


class WebhookChannel:
    """Posts messages to one address."""

    can_tell: ClassVar = True
    at_once: ClassVar = 16

    def __init__(self, url: str, signers: Sequence[Webhook], timeout_seconds: float) -> None:
        self._url, self._signers, self._timeout = url, tuple(signers), timeout_seconds
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=self.at_once, keepalive_expiry=_KEEP_SECONDS),
            # A receiver that gives a cookie with each answer would get all of them with each message.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        # One loop for all messages under way, since a loop can cut off what threads cannot: an answer that trickles.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="webhooks", daemon=True).start()

    def begin(self, labels: Mapping[str, Sequence[str]]) -> None:
        """See `Channel.begin`; there is nothing to take."""

    def end(self, *, is_taken_over: bool) -> None:
        """See `Channel.end`."""

    def send(self, delivery: Delivery, pictures: Pictures = NO_PICTURES) -> Outcome:
        """See `Channel.send`. The whole answer has to be there in time: one that trickles is cut off."""
        try:
            message = with_pictures(delivery, {kind: _encoded(data) for kind, data in pictures.items()})
            return asyncio.run_coroutine_threadsafe(self._post(message), self._loop).result()
        except (TimeoutError, httpx.TimeoutException):
            return Again("timeout", f"no whole answer within {self._timeout:g} s")
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            return Again("unreachable", without_secrets(_words(error), self._url))

    async def _post(self, delivery: Delivery) -> Outcome:
        text, now = to_json(dict(delivery.message)), dt.datetime.now(dt.UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": f"clipline/{__version__}",
            # Of an answer that unpacks to gigabytes nothing is unpacked.
            "accept-encoding": "identity",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signers:
            headers["webhook-signature"] = " ".join(s.sign(delivery.id, now, text) for s in self._signers)
        async with (
            asyncio.timeout(self._timeout),
            self._client.stream("POST", self._url, content=text.encode(), headers=headers) as response,
        ):
            return _judged(response, without_secrets(await _beginning(response), self._url)[:_SHOWN_CHARACTERS])


def _encoded(data: bytes) -> Mapping[str, Any]:
    return {"data_base64": base64.b64encode(data).decode()}


async def _beginning(response: httpx.Response) -> str:
    found = b""
    async for piece in response.aiter_raw(_READ_BYTES):
        found += piece
        if len(found) >= _READ_BYTES:
            break
    return " ".join(found[:_READ_BYTES].decode("utf-8", errors="replace").split())


def _words(error: Exception) -> str:
    """What went wrong; an address, which may hold a secret, is in none of these."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return str(cause if isinstance(cause, OSError) and cause.strerror else error) or type(error).__name__


def _judged(response: httpx.Response, said: str) -> Outcome:
    code = response.status_code
    words = f"HTTP {code} {said}".strip()
    if response.is_success:
        return Sent(words)
    if code == _GONE:
        return Never("disabled", f"{words}: the receiver wants nothing any more")
    if code in _BUSY or response.is_server_error:
        return Again(f"http_{code}", words, _retry_after(response.headers.get("retry-after")))
    return Again(f"http_{code}", words, is_of_message=True)


def _retry_after(text: str | None) -> float | None:
    """Seconds that a receiver asks for: a number, or a date; None where it says neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, moment.timestamp() - time.time())
