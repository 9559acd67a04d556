"""The application: routes, errors, and what holds for every answer. Whatever serves it gives it a `Desk`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consumers import __version__

from .desk import Desk
from .problems import MEDIA_TYPE, Problem, ProblemError, add_problems, check_given_once, problem_responses
from .routes import ROUTERS
from .routes.pages import takes_gzip

PREFIX: Final = "/api/v1"
#: Of any request: what is sent here is a few words.
_MAX_BODY: Final = 64 * 1024
#: What is compressed: nothing that goes on and on, nothing that is compressed already.
_COMPRESSED: Final = frozenset({"application/json", MEDIA_TYPE})
#: Smaller answers go as they are; larger ones than the latter, which take a millisecond, are compressed in a thread.
_COMPRESSED_FROM: Final = 1024
_IN_THREAD_FROM: Final = 64 * 1024
#: Of nine; a few per cent more than with the highest, in a fifth of its time.
_COMPRESSION_LEVEL: Final = 5
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DESCRIPTION: Final = """
Cameras, events, scores, verdicts, rules and messages of a Clipline site. What is on the topics is read once for all
clients and kept in memory, as much of it as the settings say: `health` tells what that leaves out.

* Lists are the newest first. `next` of a page is the `cursor` of the one behind it.
* Answers carry an `ETag`; whoever sends it back in `If-None-Match` gets 304 where nothing has changed.
* Errors are `application/problem+json` (RFC 9457).
* Whoever sees some cameras only is answered as if there were no others.
"""


def make_app(desk: Desk, more: Sequence[APIRouter] = ()) -> FastAPI:
    """The application.

    Args:
        desk: what its routes work with.
        more: routers of what is served beside the API, with their whole paths.
    """
    app = FastAPI(
        title="Clipline",
        summary="Cameras in, action events out.",
        description=_DESCRIPTION,
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Spans are of segments and windows; who asks is in no trace.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.desk = desk
    add_problems(app)
    for router in ROUTERS:
        once = [Depends(check_given_once)]
        app.include_router(router, prefix=PREFIX, responses=problem_responses(401, 413, 429), dependencies=once)
    for router in more:
        app.include_router(router)
    app.add_middleware(_Compression)
    app.add_middleware(_Bounds)
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schema["components"]["schemas"] |= _schemas_of_problems()
            app.openapi_schema = schema
        return app.openapi_schema

    # As FastAPI's documentation has it.
    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _schemas_of_problems() -> dict[str, Any]:
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Problem": schema}


class _OfHttp:
    """What stands before the application and looks at requests; whatever else comes passes by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.answer if scope["type"] == "http" else self._app)(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        raise NotImplementedError


class _Bounds(_OfHttp):
    """Refuses what is too large, and puts headers on what does not have them. Streams pass through as they come.

    The framework's own limit answers with plain text where the request says how large it is.
    """

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > _MAX_BODY:
                raise ProblemError(413, "too-large", "the request is too large", {"Connection": "close"})
            return message

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, bounded, secured)


class _OnlyJson(IdentityResponder):
    """Passes on as it comes whatever is no JSON, or says that it has to stay as it is (`no-transform`)."""

    _passes = False

    async def send_with_compression(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            is_json = headers.get("content-type", "").partition(";")[0] in _COMPRESSED
            self._passes = not is_json or "no-transform" in headers.get("cache-control", "")
        if self._passes:
            await self.send(message)
        else:
            await super().send_with_compression(message)


class _GzippedJson(_OnlyJson, GZipResponder):
    pass


class _Compression(_OfHttp):
    """Compresses JSON for those who take gzip, and says to caches that there are both."""

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        responder: IdentityResponder
        if takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
            responder = _GzippedJson(
                self._app, _COMPRESSED_FROM, _COMPRESSION_LEVEL, thread_minimum_size=_IN_THREAD_FROM
            )
        else:
            responder = _OnlyJson(self._app, _COMPRESSED_FROM)
        await responder(scope, receive, send)
