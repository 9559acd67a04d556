"""Events over HTTP, as server-sent events: `GET /events?label=fight&camera=gate*&since=1h`, `&drills=1`.

    : waiting for Kafka at …          what is waited for, and every 15 s a comment
    id: 5f3a9c1e/0:17

    id: 5f3a9c1e/0:18                 where to go on behind this event, over all partitions (position.py)
    data: {"event": "3f0c…", …}       the body of the event

Each client has a place of its own: one that reads slowly holds up nobody, and what it has not taken stays on the
topic. Those that are up to date share a consumer (tail.py), one that is behind has its own. Between the two lies what
one poll returned and what the connection buffers; a client that takes nothing of a full buffer for a while is
disconnected, and goes on where it was when it comes back with `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from consumers.forgetting import ForgottenBook
from consumers.printable import printable
from consumers.settings import ServeSettings, Settings, SettingsError, is_loopback
from consumers.web_server import parse_address, web_server
from stream import KafkaAddress, Secret, Transport

from .selection import Selection
from .shared import Answers, SharedTransport
from .subscription import Subscription, open_subscription, parse_since
from .tail import Tails

log = logging.getLogger(__name__)

PATH: Final = "/events"
#: A client that was disconnected is asked to come back after so long.
_RETRY_SECONDS: Final = 2
#: How soon somebody is told what is waited for, and where it stands.
_LOOK_SECONDS: Final = 0.5
#: Lines of what is waited for that wait for a client; the oldest go.
_MOST_LINES: Final = 20
#: A client that there is no room for is asked to come back after so long.
BUSY_SECONDS: Final = 5
#: Requests beside those of clients that are served, such as those that are refused.
_MORE_REQUESTS: Final = 16
_PARAMETERS: Final = frozenset({"label", "camera", "since", "drills"})

Open = Callable[[Selection, int | None, str | None, Callable[[str], None]], Subscription]


class BusyError(Exception):
    """There is no room for one more client."""


class EventStreams:
    """Answers requests for streams of events. All but `close` is for the event loop that serves them."""

    def __init__(self, open_stream: Open, settings: ServeSettings, token: Secret | None) -> None:
        """Prepare.

        Args:
            open_stream: subscribes to a selection, from a time or behind a place; tells what is waited for.
            settings: limits.
            token: what clients have to send; None lets in whoever speaks to this machine by its own name.
        """
        self._open, self._settings, self._token = open_stream, settings, token
        self._open_streams: set[Subscription] = set()
        self._is_closing = False
        #: Ends a client's connection at once, and what it has not taken; set by whoever serves.
        self.abort: Callable[[Any], None] = lambda _: None
        #: How many other clients were disconnected since they took nothing; set by whoever serves.
        self.let_go: Callable[[], int] = lambda: 0
        #: Clients that were disconnected since they took nothing.
        self.slow = 0
        self.app = Starlette(
            routes=[Route(PATH, self._answer, methods=["GET"])],
            exception_handlers={404: _not_found},
        )

    async def _answer(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused is not None:
            return refused
        if request.method == "HEAD":
            return Response(headers={"Content-Type": "text/event-stream"})
        try:
            return self.stream(request)
        except BusyError as error:
            return _text(503, str(error), {"Retry-After": str(BUSY_SECONDS)})
        except ValueError as error:
            return _text(400, str(error))

    def stream(
        self, request: Request, within: tuple[str, ...] | None = None, holds: Callable[[], bool] = lambda: True
    ) -> Response:
        """The stream that a request asks for, whoever sent it.

        Args:
            request: its query and `Last-Event-ID` say what is wanted.
            within: ids or patterns of the cameras that there are for this client; None: all.
            holds: whether this client may go on; asked again and again.

        Raises:
            BusyError: there is no room.
            ValueError: it asks for what cannot be; the message begins with what is wrong.
        """
        if self._is_closing or len(self._open_streams) >= self._settings.max_clients:
            why = "it ends" if self._is_closing else f"{self._settings.max_clients} clients are served"
            raise BusyError(f"come back later: {why}")
        said: deque[str] = deque(maxlen=_MOST_LINES)
        subscription = self._subscribe(request, said.append, within)
        self._open_streams.add(subscription)
        return _Stream(self, subscription, said, self._settings, holds)

    def _refused(self, request: Request) -> Response | None:
        if self._token is None:
            # A page of another site may have its name lead here; what it then asks for names that site.
            if not is_loopback(_host_of(request)):
                return _text(403, "expected a request to localhost; for others, set serve.token")
            return None
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        # Headers are read as Latin-1, whatever was sent.
        if scheme.lower() == "bearer" and hmac.compare_digest(
            sent.strip().encode("latin-1"), self._token.reveal().encode()
        ):
            return None
        return _text(401, "expected the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _subscribe(self, request: Request, say: Callable[[str], None], within: tuple[str, ...] | None) -> Subscription:
        query = request.query_params
        if unknown := sorted(query.keys() - _PARAMETERS):
            raise ValueError(f"{printable(unknown[0])[:100]}: expected {', '.join(sorted(_PARAMETERS))}")
        if len(query.getlist("since")) > 1:
            raise ValueError("since: expected one time")
        if (drills := query.get("drills", "0")) not in {"0", "1"}:
            raise ValueError("drills: expected 1 for events and drills, or 0")
        selection = Selection.of(query.getlist("label"), query.getlist("camera"), drills=drills == "1", within=within)
        since = parse_since(query.get("since"))
        # A browser that connects again sends both: it has had what came since then.
        after = request.headers.get("last-event-id") or None
        return self._open(selection, None if after else since, after, say)

    def forget(self, subscription: Subscription) -> None:
        """Give a place to the next client."""
        self._open_streams.discard(subscription)

    def close(self) -> None:
        """Let all streams end where they are. Any thread may."""
        self._is_closing = True
        for subscription in list(self._open_streams):
            subscription.stop()


class _Stream(EventSourceResponse):
    """A client's stream, from its begin to its end."""

    def __init__(
        self,
        streams: EventStreams,
        subscription: Subscription,
        said: deque[str],
        settings: ServeSettings,
        holds: Callable[[], bool],
    ) -> None:
        super().__init__(
            self._messages(),
            ping=0,
            sep="\n",
            send_timeout=settings.slow_seconds,
            headers={"Cache-Control": "no-store"},
        )
        self._streams, self._subscription, self._said, self._holds = streams, subscription, said, holds
        self._beat_seconds = settings.heartbeat_seconds
        self._slow_seconds = settings.slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        client = ":".join(map(str, scope.get("client") or ("?",)))
        log.info("%s: subscribes", client)
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            self._streams.slow += 1
            log.warning(
                "%s: disconnected, it took nothing for %g s and its buffer is full; it can go on behind the last event "
                "that it has got",
                *(client, self._slow_seconds),
            )
            self._streams.abort(scope.get("client"))
            await asyncio.sleep(0)
        finally:
            self._streams.forget(self._subscription)
            await self._subscription.aclose()
            log.info("%s: gone, after %.0f s", client, time.monotonic() - began)

    async def _messages(self) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(comment="clipline", retry=_RETRY_SECONDS * 1000, sep="\n")
        told, told_at = None, time.monotonic()
        while self._holds():
            try:
                event = await asyncio.wait_for(anext(self._subscription), _LOOK_SECONDS)
            except TimeoutError:
                place, now = self._subscription.position, time.monotonic()
                is_due = now - told_at >= self._beat_seconds
                if not self._said and not is_due and (told is not None or place is None):
                    continue
                lines = self._lines()
                if is_due and lines is None:
                    lines = printable(f"waiting for {self._subscription.awaited or 'events'}")
                # An id without data moves the place where a client goes on, and is no event.
                yield ServerSentEvent(comment=lines, id=place, sep="\n")
                told, told_at = place, now
            except StopAsyncIteration:
                return
            else:
                if not self._holds():
                    return
                told, told_at = self._subscription.position, time.monotonic()
                body = json.dumps(event.body(), allow_nan=False)
                yield ServerSentEvent(body, id=told, comment=self._lines(), sep="\n")

    def _lines(self) -> str | None:
        """What was said since the last call; None where nothing was."""
        return "\n".join(printable(self._said.popleft()) for _ in range(len(self._said))) or None


def _text(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _text(404, f"known is {PATH}")


def _host_of(request: Request) -> str:
    """The host that a request asks for; nothing where it names none that can be read."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def event_streams(settings: Settings, token: Secret | None, forgotten: ForgottenBook | None = None) -> EventStreams:
    """Streams of the events on the broker of the settings, whose clients share what can be shared.

    Args:
        settings: name broker and topics.
        token: see `EventStreams`.
        forgotten: what is streamed to nobody; if None, each client's subscription reads it.
    """
    connect, tails = _connecting(settings.broker), Tails()

    def open_stream(
        selection: Selection, since_us: int | None, after: str | None, say: Callable[[str], None]
    ) -> Subscription:
        return open_subscription(
            settings,
            selection,
            since_us=since_us,
            after=after,
            say=say,
            connect=connect,
            follow=tails.follow,
            forgotten=forgotten,
        )

    return EventStreams(open_stream, settings.serve, token)


@contextlib.contextmanager
def serving(settings: Settings, address: str) -> Iterator[tuple[str, EventStreams]]:
    """Serve events at an address while the body runs; yield the URL.

    Raises:
        SettingsError: other machines could read along, the address cannot be listened on, or the token not be used.
        ValueError: it is no address.
    """
    host, _ = parse_address(address)
    token = settings.serve.secret()
    if token is None and not is_loopback(host):
        raise SettingsError(
            f"{address}: whoever reaches this address could read all events: set serve.token, or listen on 127.0.0.1"
        )

    streams = event_streams(settings, token)
    clients = settings.serve.max_clients + _MORE_REQUESTS
    slow_seconds = settings.serve.slow_seconds
    with web_server(streams.app, address, clients, "events over HTTP", slow_seconds=slow_seconds) as server:
        streams.abort = server.abort
        try:
            yield f"{server.url}{PATH}", streams
        finally:
            streams.close()


def _connecting(broker: KafkaAddress) -> Callable[[], Transport]:
    answers = Answers()
    return lambda: SharedTransport(broker, answers)
