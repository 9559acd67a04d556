"""Evidence to keep: the bundle of an event, made and signed for who asks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from anyio import to_thread
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from consumers.bundles.making import MadeBy, Wanted
from consumers.bundles.serving import BundleMaker, NoKeyError, TooManyBundlesError
from consumers.outputs.evidence import TooMuchFootageError
from consumers.records.event import Event
from consumers.records.prediction import rfc3339
from consumers.web.desk import AtDesk, Operator, audit_entry
from consumers.web.problems import ProblemError, forgotten, problem_responses
from stream import SourceError

from .events import EventId, find_event

router = APIRouter(tags=["events"])

_MEDIA_TYPE: Final = "text/html; charset=utf-8"
_CHUNK: Final = 1 << 20
_RETRY_SECONDS: Final = 10


class BundleAsked(BaseModel):
    """How much is wanted around the event."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"lead_seconds": 5, "tail_seconds": 5}]})

    lead_seconds: float = Field(5.0, ge=0, le=3600, description="Footage and scores before the event.")
    tail_seconds: float = Field(5.0, ge=0, le=3600, description="And after it.")


class _Sent(StreamingResponse):
    """Sends a file, and closes it whatever becomes of the client."""

    def __init__(self, file: BinaryIO, size: int, name: str, bundles: BundleMaker) -> None:
        headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{name}"'}
        super().__init__(_chunks(file), media_type=_MEDIA_TYPE, headers=headers)
        self._file, self._bundles = file, bundles

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()
            self._bundles.give_back()


@router.post(
    "/events/{event}/bundle",
    response_class=Response,
    responses={
        200: {
            "description": "The bundle: one HTML file, to be saved.",
            "content": {"text/html": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problem_responses(400, 403, 404, 410, 422, 500, 503),
    },
)
async def make_event_bundle(event: EventId, asked: BundleAsked, asker: Operator, desk: AtDesk) -> Response:
    """Make an event's bundle: segments, pictures, scores, rule and hashes in one HTML file, signed by this server.

    Needs the role operator. Who did it is on the topic of the audit before anything is sent. It takes seconds; one is
    made at a time, and where too many are asked for at once, the answer is 503.
    """
    report = find_event(desk, asker, event).report
    wanted, by = Wanted(report, asked.lead_seconds, asked.tail_seconds), MadeBy(asker.name, "dashboard")
    entry = audit_entry(asker, "evidence.bundle", report.id, report.drill or report.camera, None)
    bundles, writer = desk.bundles, desk.writer
    try:
        with bundles.place():
            file, made = await to_thread.run_sync(bundles.make, wanted, by, limiter=bundles.room)
            try:
                await to_thread.run_sync(writer.write, entry, limiter=writer.room)
            except BaseException:
                file.close()
                raise
    except TooManyBundlesError as error:
        raise ProblemError(503, "busy", str(error), {"Retry-After": str(_RETRY_SECONDS)}) from None
    except TooMuchFootageError as error:
        raise ProblemError(422, "bundle-too-large", str(error)) from None
    except SourceError as error:  # meanwhile
        raise forgotten(str(error)) from None
    except NoKeyError:
        raise ProblemError(500, "no-key", "this server has no key to sign with; its log tells more") from None
    desk.view.put_audit(entry)
    return _Sent(file, made.bytes, _file_name(report), bundles)


def _file_name(report: Event) -> str:
    began = re.sub(r"[^0-9TZ]", "", rfc3339(report.start_us)[:19])
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', report.camera)}-{began}Z-{report.id[:8]}.html"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_CHUNK):
        yield data
