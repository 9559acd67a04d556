"""What a share shows, to whoever has its link: a page with one event, its footage, pictures and scores.

    /share/TOKEN                      the page
    /share/TOKEN/event.json           what it shows
    /share/TOKEN/evidence.m3u8        footage, and below it segments/…; pictures/strip, pictures/peak

A link that is wrong, over or revoked, or whose event is not there any more, is answered alike.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response

from consumers.records.access import Share
from consumers.records.event_pictures import EventPictures, Kind, StoredPicture
from consumers.records.prediction import rfc3339
from consumers.web.desk import AtDesk, Desk
from consumers.web.memory.view import KnownEvent
from consumers.web.playlists import NotPlayableError, recorded_playlist
from consumers.web.problems import ProblemError
from consumers.web.routes.pages import POLICY, Pages
from consumers.web.sharing.footage import stretch_of
from stream import BrokerError

from .playlists import PLAYLIST, AskedSegment, not_playable, segment_response

SHELL: Final = "share.html"
GONE: Final = "share-gone.html"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Robots-Tag": "noindex, nofollow",
}


def shared_router(pages: Pages) -> APIRouter:
    """Its routes. Who has a link asks for them: nothing else is looked at."""
    router = APIRouter(include_in_schema=False)

    @router.get("/share/{token}")
    async def page(token: str, request: Request, desk: AtDesk) -> Response:
        try:
            _shown(desk, request, token)
        except ProblemError as error:
            if error.status_code != 404:
                raise
            return Response(pages.files[GONE].content, 404, _HEADERS, "text/html; charset=utf-8")
        return Response(pages.files[SHELL].content, 200, _HEADERS, "text/html; charset=utf-8")

    router.add_api_route("/share/{token}/event.json", _event, methods=["GET"])
    router.add_api_route("/share/{token}/evidence.m3u8", _playlist, methods=["GET"])
    router.add_api_route("/share/{token}/segments/{segment}.ts", _segment, methods=["GET"])
    router.add_api_route("/share/{token}/pictures/{kind}", _picture, methods=["GET"])
    return router


async def _shown_now(token: str, request: Request, desk: AtDesk) -> tuple[Share, KnownEvent]:
    return _shown(desk, request, token)


_Shown = Annotated[tuple[Share, KnownEvent], Depends(_shown_now)]


def _shown(desk: Desk, request: Request, token: str) -> tuple[Share, KnownEvent]:
    """The share that a link is of, and its event.

    Raises:
        ProblemError: it shows nothing, or is asked for too often.
        BrokerError: it is not known yet what is shared.
    """
    if not (desk.view.knows("access") and desk.view.knows_forgotten()):
        raise BrokerError("what is shared is not read yet")
    share = desk.access.share(request, token)
    known = desk.view.event(share.event)
    report = None if known is None else known.report
    forgotten = desk.view.forgotten
    if known is None or report is None or forgotten.of(report.camera, report.start_us, report.end_us, report.id):
        raise desk.access.no_share()
    return share, known


async def _event(token: str, shown: _Shown, desk: AtDesk) -> Response:
    share, known = shown
    report = known.report
    begin, end = stretch_of(report)
    windows = await desk.shared_scores.find(report)
    body: dict[str, Any] = {
        **{name: value for name, value in report.body().items() if name in _FACTS},
        "from": rfc3339(begin),
        "to": rfc3339(end),
        "expires": rfc3339(share.expires_us),
        "pictures": _pictures(known.pictures, token),
        "windows": [
            {
                "start": rfc3339(each.start_us),
                "end": rfc3339(each.end_us),
                "scores": {report.label: each.score},
            }
            for each in windows
        ],
    }
    return _json(body)


#: What of a report is shown: what was seen, where and when; nothing of models, rules and other events.
_FACTS: Final = ("label", "camera", "state", "start", "end", "seconds", "peak_score", "peak", "severity", "drill")


def _pictures(found: EventPictures | None, token: str) -> dict[str, Any]:
    kinds = {} if found is None else {"strip": found.strip, "peak": found.peak}
    return {
        kind: {
            "href": f"/share/{token}/pictures/{kind}",
            "width": each.width,
            "height": each.height,
            "frames": len(each.frames_us),
        }
        for kind, each in kinds.items()
        if isinstance(each, StoredPicture)
    }


async def _playlist(token: str, shown: _Shown, desk: AtDesk) -> Response:  # noqa: ARG001  it is part of the path
    share, known = shown
    found = await desk.shared_footage.find(share, known.report)
    try:
        text = recorded_playlist(found, desk.settings.segments.max_seconds)
    except NotPlayableError as error:
        raise not_playable(error) from None
    if text is None:
        raise ProblemError(404, "not-found", "there is no footage of it any more")
    return Response(text, 200, _HEADERS, PLAYLIST)


async def _segment(token: str, request: Request, shown: _Shown, asked: AskedSegment, desk: AtDesk) -> Response:  # noqa: ARG001
    share, known = shown
    if not await desk.shared_footage.shows(share, known.report, asked.places()):
        raise ProblemError(404, "not-found", "the link does not show that")
    return await segment_response(request, desk, known.report.camera, asked)


async def _picture(token: str, kind: Kind, shown: _Shown, desk: AtDesk) -> Response:  # noqa: ARG001
    pictures = shown[1].pictures
    picture = None if pictures is None else pictures.strip if kind == "strip" else pictures.peak
    data = None
    if isinstance(picture, StoredPicture):
        data = await to_thread.run_sync(desk.pictures.get, kind, picture.key)
    if data is None:
        raise ProblemError(404, "not-found", f"there is no {kind} (any more)")
    return Response(data, 200, _HEADERS, "image/webp")


def _json(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body, allow_nan=False), 200, _HEADERS, "application/json")
