"""The fast view of a camera: one MP4 that grows with each segment."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from anyio import to_thread
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from consumers.records.prediction import rfc3339
from consumers.web.desk import AtDesk, Desk
from consumers.web.fast import FastFeed, Fragment, Fragments
from consumers.web.fast.fragments import PLAYABLE
from consumers.web.problems import ProblemError, not_found, problem_responses
from consumers.web.routes.remembered import check_knows_forgotten
from consumers.web.routes.watching.cameras import CameraName
from stream import BrokerError, Segment

from .playlists import AnyViewer, Viewer

log = logging.getLogger(__name__)
router = APIRouter(tags=["footage"])

#: Event time at which the MP4's own time is 0.
TIME_HEADER: Final = "Clipline-Time"

_TYPE: Final = "video/mp4"
#: A camera with long groups of pictures begins with the next one.
_FIRST_SECONDS: Final = 20.0
#: One of which nothing comes, as far as its agent says, is not waited for so long.
_NOTHING_SECONDS: Final = 4.0
#: Of a camera that sends nothing for so long, nothing is live.
_SILENT_SECONDS: Final = 30.0
#: Then who watches has to ask again.
_LONGEST_SECONDS: Final = 3600.0
#: So often it is seen whether whoever watches would still be let in.
_LOOK_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = "5"


class _Sent(StreamingResponse):
    """A view, from its first fragment to its end. Whoever takes nothing for a while loses the place to others."""

    def __init__(self, desk: Desk, viewer: AnyViewer, feed: FastFeed, fragments: Fragments, first: Fragment) -> None:
        super().__init__(
            _stream(desk, viewer, feed, fragments, first),
            media_type=f'{_TYPE}; codecs="{first.codec}"',
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", TIME_HEADER: rfc3339(fragments.origin_us)},
        )
        self._desk, self._feed = desk, feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seconds = self._desk.settings.serve.slow_seconds

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(seconds):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            log.warning("fast view of %s: disconnected, it took nothing for %g s", self._feed.camera, seconds)
            self._desk.streams.slow += 1
            self._desk.streams.abort(scope.get("client"))
            await asyncio.sleep(0)
        finally:
            self._desk.fast.leave(self._feed)


@router.get(
    "/cameras/{camera}/fast.mp4",
    response_class=Response,
    responses={
        200: {
            "description": "H.264 or H.265 in fragments, each as soon as the broker has it; without an end.",
            "content": {_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(404, 406, 422, 503),
    },
)
async def get_fast_view(camera: CameraName, viewer: Viewer, desk: AtDesk) -> Response:
    """A camera's live view with as little delay as its segments allow, as one MP4 that goes on and on.

    It ends where the camera changes its parameters or is silent, after an hour, and with the session or token that it
    was asked for with: ask again. `Content-Type` names the
    codec, `Clipline-Time` when its time is 0.
    """
    known = desk.view.camera(camera)
    if not viewer.sees(camera) or known is None:
        raise not_found(f"no camera {camera!r} is known")
    check_knows_forgotten(desk)
    feed = desk.fast.watch(camera)
    if feed is None:
        limit = desk.settings.dashboard.max_fast_views
        raise ProblemError(503, "busy", f"{limit} fast views are open already", {"Retry-After": _RETRY_SECONDS})
    try:
        fragments = Fragments()
        comes = known.status == "live" and known.state.feed.segments > 0
        first = await _first(desk, feed, fragments, _FIRST_SECONDS if comes else _NOTHING_SECONDS)
    except BaseException:
        desk.fast.leave(feed)
        raise
    return _Sent(desk, viewer, feed, fragments, first)


async def _first(desk: Desk, feed: FastFeed, fragments: Fragments, seconds: float) -> Fragment:
    segment = await feed.next(seconds)
    if segment is None:
        if desk.fast.away is not None:
            raise BrokerError(desk.fast.away)
        why = f"camera {feed.camera}: nothing came within {seconds:g} s"
        raise ProblemError(503, "no-footage-yet", why, {"Retry-After": _RETRY_SECONDS})
    if not _is_playable(segment):
        raise ProblemError(
            406, "not-playable", f"camera {feed.camera} sends {segment.codec}, which browsers do not play"
        )
    try:
        return await to_thread.run_sync(fragments.add, segment)
    except ValueError as error:
        raise ProblemError(406, "not-playable", f"camera {feed.camera}: {error}") from None


def _is_playable(segment: Segment) -> bool:
    return segment.codec in PLAYABLE and segment.container == "mpegts"


async def _stream(
    desk: Desk, viewer: AnyViewer, feed: FastFeed, fragments: Fragments, first: Fragment
) -> AsyncGenerator[bytes]:
    until = time.monotonic() + _LONGEST_SECONDS
    try:
        yield first.head + first.body
        async for segment in _segments(desk, viewer, feed, until):
            if not _is_playable(segment):  # who asks again is told so
                return
            with contextlib.suppress(ValueError):  # a damaged segment: who classifies it says so
                fragment = await to_thread.run_sync(fragments.add, segment)
                if fragment.head != first.head:
                    return
                yield fragment.body
    finally:
        desk.fast.leave(feed)


async def _segments(desk: Desk, viewer: AnyViewer, feed: FastFeed, until: float) -> AsyncIterator[Segment]:
    """What comes, until nothing comes any more, or nothing of it is for this viewer."""
    came = time.monotonic()
    while viewer.holds(desk.access) and (now := time.monotonic()) < min(until, came + _SILENT_SECONDS):
        segment = await feed.next(min(_LOOK_SECONDS, came + _SILENT_SECONDS - now))
        # What waited may have waited for long.
        if segment is not None and viewer.holds(desk.access):
            came = time.monotonic()
            yield segment
