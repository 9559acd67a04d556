"""The page behind the links, over HTTP: GET asks, POST answers.

GET  …/right/TOKEN     what is asked, and a button; changes nothing, however often a preview fetches it
POST …/right/TOKEN     the answer is stored, or what was answered before is shown

200 asked, or noted    403 forged    404 no such page    405 another method    409 answered already (POST)
410 expired            413 a body    429 too many        503 the broker is away
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from consumers.outputs.outages import Outage
from consumers.rate_limit import RateLimit
from consumers.records.verdict import ANSWERS, Answer, Verdict
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_verdicts
from consumers.web_server import web_server
from stream import BrokerError, Transport

from .book import VerdictBook
from .links import Asked, ForgedLinkError, Links
from .page import HEADERS, answered_already, noted, question, refused

log = logging.getLogger(__name__)

#: Of what browsers send with the button; there is nothing in it.
_MAX_BODY: Final = 1024
_CONNECTIONS: Final = 64


class VerdictPages:
    """Answers requests for the pages of links."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        hear: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        """Prepare.

        Args:
            connect: connects to the broker, or raises BrokerError.
            settings: the secret, limits and topics.
            now_us: wall clock.
            hear: told of each verdict that was stored.

        Raises:
            SettingsError: there is no secret.
        """
        self._connect, self._settings, self._now_us, self._hear = connect, settings, now_us, hear
        self._links = Links(settings.verdicts.base_url or "", *settings.verdicts.signing())
        self._zones = {name: zoneinfo.ZoneInfo(each.time_zone) for name, each in settings.channels.items()}
        self._rate = RateLimit(settings.verdicts.requests_per_minute)
        self._book: VerdictBook | None = None
        self._lock = threading.Lock()
        self._outage = Outage(f"Kafka at {settings.broker}", lambda line: log.warning("%s", line))
        # Whatever a proxy leaves of the path: the last two parts count.
        self.app = Starlette(
            routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])],
            exception_handlers={405: _not_allowed},
        )

    async def _answer(self, request: Request) -> Response:
        client = request.client.host if request.client is not None else "?"
        if not self._rate.take(client, time.monotonic()):
            return _refusal(429, "Too many requests", "Please wait a minute.", {"Retry-After": "60"})
        try:
            is_small = request.method != "POST" or await _is_small(request)
        except ClientDisconnect:  # it began to send, and did not go on
            return _refusal(400, "Not whole", "The answer did not come as a whole.")
        if not is_small:
            return _refusal(413, "Too large", "Nothing is expected with the answer.", {"Connection": "close"})
        found = self._asked(request.url.path)
        if isinstance(found, Response):
            return found
        try:
            return await run_in_threadpool(self._page, *found, is_given=request.method == "POST")
        except BrokerError as error:
            self._drop(str(error))
            text = "The answer cannot be noted at the moment. Please try again in a minute."
            return _refusal(503, "Not now", text, {"Retry-After": "30"})

    def _asked(self, path: str) -> tuple[Asked, Answer] | Response:
        """What a path asks, and which answer it is for; what is said where that is nothing, or over."""
        *_, answer, token = ("", *path.split("/"))
        if answer not in ANSWERS:
            return _refusal(404, "No such page", "Expected a link out of a message.")
        try:
            asked = self._links.read(token)
        except ForgedLinkError:
            return _refusal(403, "Not a valid link", "It was changed, cut off on its way, or is not from here.")
        if asked.expires_us <= self._now_us():
            return _refusal(410, "Expired", "This link could be answered for a while only, and that is over.")
        return asked, cast(Answer, answer)

    def _page(self, asked: Asked, answer: Answer, *, is_given: bool) -> Response:
        zone = self._zones.get(asked.channel) or zoneinfo.ZoneInfo("UTC")
        book = self._opened()
        before = book.answered(asked.id(answer))
        if before is not None:
            return _html(409 if is_given else 200, answered_already(asked, before, zone))
        if not is_given:
            return _html(200, question(asked, answer, zone, self._settings.verdicts.snooze_hours))
        given = self._verdict(asked, answer)
        counts = book.give(given)
        if counts != given:
            return _html(409, answered_already(asked, counts, zone))
        self._hear(given)
        return _html(200, noted(asked, given, zone))

    def _verdict(self, asked: Asked, answer: Answer) -> Verdict:
        now = self._now_us()
        until = now + int(self._settings.verdicts.snooze_hours * 3.6e9) if answer == "snooze" else None
        return Verdict(
            id=asked.id(answer),
            answer=answer,
            event=asked.event,
            camera=asked.camera,
            label=asked.label,
            start_us=asked.start_us,
            end_us=asked.end_us,
            time_us=now,
            channel=asked.channel,
            until_us=until,
        )

    def _opened(self) -> VerdictBook:
        with self._lock:
            if self._book is None:
                transport, topics = self._connect(), self._settings.topics
                ensure_topic_of_verdicts(transport, topics, self._settings.verdicts.keep_days * 24)
                self._book = VerdictBook(transport, topics)
                self._outage.end()
            return self._book

    def _drop(self, why: str) -> None:
        with self._lock:
            self._book = None
            self._outage.begin(why)


async def _is_small(request: Request) -> bool:
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _MAX_BODY:
            return False
    return True


def _html(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return HTMLResponse(text, status, {**HEADERS, **(headers or {})})


def _refusal(status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return _html(status, refused(title, text), headers)


async def _not_allowed(_request: Request, _error: Exception) -> Response:
    return _refusal(405, "Not allowed", "Expected GET or POST.", {"Allow": "GET, HEAD, POST"})


@contextlib.contextmanager
def serving_verdicts(
    connect: Callable[[], Transport],
    settings: Settings,
    address: str,
    hear: Callable[[Verdict], None] = lambda _: None,
    watch: Callable[[Callable[[], float]], None] = lambda _: None,
) -> Iterator[str]:
    """Serve the pages at an address while the body runs; yield the URL.

    `watch` is given what tells for how many seconds the server has not turned.

    Raises:
        SettingsError: there is no secret, or the address cannot be listened on.
        ValueError: it is no address.
    """
    pages = VerdictPages(connect, settings, hear=hear)
    with web_server(pages.app, address, _CONNECTIONS, "verdicts") as server:
        watch(lambda: server.still_seconds)
        yield server.url
