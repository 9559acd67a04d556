"""Errors as RFC 9457 has them: `application/problem+json`, each with a type that programs can tell apart."""

from __future__ import annotations

import http
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from consumers.outputs.redis.connection import REDIS_ERRORS, SinkError
from consumers.printable import printable
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import rfc3339
from stream import BrokerError

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
#: Of what somebody sent, so much is said back.
_SHOWN: Final = 200
_AWAY_SECONDS: Final = 5
_NO_JSON: Final = "send Content-Type: application/json"


ProblemCode = Literal["broker-away", "redis-away", "unexpected", "no-footage-then"]


class Invalid(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="`query.limit`, `body.answer` …", examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 500"])


class WasForgotten(BaseModel):
    """Who had something forgotten, when and why."""

    time: str = Field(description="When that was asked for; wall clock.", examples=["2026-11-24T08:00:00.000000Z"])
    by: str = Field(description="Who asked for it.", examples=["ana"])
    why: str | None = Field(description="Why, as that one wrote it.", examples=["request 17"])


class Problem(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    type: str = Field(
        description="What kind of problem it is; programs tell problems apart by it.",
        examples=["urn:clipline:problem:not-found"],
    )
    title: str = Field(description="The kind in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(description="This one in words.", examples=["no event 3f0c6a is kept"])
    code: ProblemCode | None = Field(
        None, description="`detail` in one word, where it is one of few sentences.", examples=[None]
    )
    errors: list[Invalid] = Field([], description="What is wrong with the request, one by one.")
    forgotten: WasForgotten | None = Field(
        None, description="Of what is forgotten; absent of other problems, and where it is of several stretches."
    )


class ProblemError(HTTPException):
    """A request cannot be answered, and why."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        code: ProblemCode | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        #: The last part of the problem's type.
        self.kind = kind
        #: What is forgotten, where that is the problem.
        self.stretch: Forgotten | None = None
        #: The detail in one word; None where it has none.
        self.code = code


def not_found(detail: str, code: ProblemCode | None = None) -> ProblemError:
    return ProblemError(404, "not-found", detail, code=code)


def forgotten(detail: str, stretch: Forgotten | None = None) -> ProblemError:
    """Say that something is forgotten, and of which stretch it is, where that is known."""
    error = ProblemError(410, "forgotten", detail)
    error.stretch = stretch
    return error


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside what it is for, for OpenAPI."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses}


def add_problems(app: FastAPI) -> None:
    """Have all errors of an application be problems."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework names those of the first route of a path only.
            headers |= {"Allow": allowed} if (allowed := _allowed(app, request.url.path)) else {}
        phrase = http.HTTPStatus(error.status_code).phrase
        kind, code, stretch = phrase.lower().replace(" ", "-"), None, None
        if isinstance(error, ProblemError):
            kind, code, stretch = error.kind, error.code, error.stretch
        return _problem(error.status_code, kind, str(error.detail), headers=headers, code=code, stretch=stretch)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if any(each["loc"] == ("body",) and each["type"] != "missing" for each in error.errors()) and not _says_json(
            request
        ):
            # Without it the framework takes the body for a text, and complains of that.
            said = [Invalid(where="header.content-type", message=_NO_JSON)]
            return _problem(422, "invalid", f"the body is not said to be JSON: {_NO_JSON}", errors=said)
        found = [
            Invalid(where=printable(".".join(map(str, each["loc"])))[:_SHOWN], message=printable(each["msg"])[:_SHOWN])
            for each in error.errors()
        ]
        return _problem(422, "invalid", "the request is not as it has to be", errors=found)

    async def away(_request: Request, error: Exception) -> JSONResponse:
        log.debug("%s", error)
        headers = {"Retry-After": str(_AWAY_SECONDS)}
        if isinstance(error, BrokerError):
            return _problem(503, "service-away", "the broker is away", headers=headers, code="broker-away")
        return _problem(503, "service-away", "Redis is away", headers=headers, code="redis-away")

    for kind in (BrokerError, SinkError, *REDIS_ERRORS):
        app.add_exception_handler(kind, away)

    @app.exception_handler(500)
    async def failed(_request: Request, _error: Exception) -> JSONResponse:
        # The traceback is in the log, by the server.
        return _problem(
            500, "unexpected", "nobody foresaw this; the log of the dashboard tells more", code="unexpected"
        )


def check_given_once(request: Request) -> None:
    """See that what a query gives more than once is a list: of several values the framework takes the last.

    Raises:
        RequestValidationError: something else is; names it.
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    repeated = {name: times for name, times in given.items() if times > 1}
    if not repeated:
        return
    # The first one, as routes are tried.
    method = request.method.lower()
    operation: Mapping[str, Any] = next(
        (each[method] for each in _operations(request.app, request.url.path) if method in each), {}
    )
    single = {each["name"] for each in operation.get("parameters", ()) if not _is_list(each.get("schema", {}))}
    errors = [
        {"type": "repeated", "loc": ("query", name), "msg": f"expected one value, found {times}"}
        for name, times in repeated.items()
        if name in single
    ]
    if errors:
        raise RequestValidationError(errors)


def _is_list(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "array" or any(map(_is_list, schema.get("anyOf", ())))


def _says_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _allowed(app: FastAPI, path: str) -> str:
    """The methods that there are for a path, as the header `Allow` has them; nothing where OpenAPI does not know it."""
    methods = {method.upper() for operations in _operations(app, path) for method in operations}
    return ", ".join(sorted(methods))


def _operations(app: FastAPI, path: str) -> Iterator[Mapping[str, Any]]:
    """What OpenAPI knows of a path, by method; of each template that it is like."""
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path):
            yield operations


def _problem(
    status: int,
    kind: str,
    detail: str,
    *,
    errors: Sequence[Invalid] = (),
    headers: Mapping[str, str] | None = None,
    stretch: Forgotten | None = None,
    code: ProblemCode | None = None,
) -> JSONResponse:
    body = Problem(
        type=f"urn:clipline:problem:{kind}",
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors),
        forgotten=None
        if stretch is None
        else WasForgotten(time=rfc3339(stretch.time_us), by=stretch.by, why=stretch.why),
    )
    content, headers = body.model_dump(exclude_none=True), {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)
