"""Models with their figures and cards, and reports of what they did."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from consumers.records.prediction import rfc3339
from consumers.web.access import Asker
from consumers.web.desk import AnyAsker, AtDesk, Desk, TaggedRoute, is_known, not_modified, tag_headers
from consumers.web.problems import ProblemError, not_found, problem_responses
from consumers.web.routes.watching.camera_page import clip_body
from consumers.web.shelf.bodies import (
    Figure,
    ModelBody,
    ModelCard,
    Models,
    ReportBody,
    Reports,
    ThresholdBody,
    UnseenBody,
)
from consumers.web.shelf.cards import Card
from consumers.web.shelf.reports import NAME, OpenReport

log = logging.getLogger(__name__)
router = APIRouter(route_class=TaggedRoute, tags=["models"])

#: A report is a page of its own, of whoever wrote the file: it runs nothing and asks for nothing.
_SANDBOX: Final = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
#: Of a report, so much is in memory for each client.
_PIECE: Final = 256 * 1024
_TYPES: Final = {"html": "text/html; charset=utf-8", "json": "application/json"}


@router.get("/models")
def list_models(asker: AnyAsker, desk: AtDesk) -> Models:
    """Models that ship, and that of the settings where it is here: what they take in, and how good they are."""
    cards, notes = desk.models.cards()
    serving = _serving(desk, asker)
    return Models(
        items=[_body(desk, card, serving) for card in cards],
        elsewhere=sorted(set(serving or ()) - {card.checkpoint.id for card in cards}),
        baseline=desk.models.unseen.baseline_story,
        notes=notes,
    )


@router.get("/models/{model}", responses=problem_responses(404, 422))
def get_model(
    model: Annotated[
        str,
        Path(pattern=r"^[A-Za-z0-9._+-]{1,160}$", description="Its id, or its name.", examples=["movenet-views"]),
    ],
    asker: AnyAsker,
    desk: AtDesk,
) -> ModelCard:
    """One model, and its card."""
    cards, _ = desk.models.cards()
    found = next((card for card in cards if model in {card.checkpoint.id, card.name}), None)
    if found is None:
        raise not_found(f"model {model!r} is not here")
    return ModelCard(model=_body(desk, found, _serving(desk, asker)), text=found.text)


@router.get("/reports", responses=problem_responses(403))
async def list_reports(asker: AnyAsker, desk: AtDesk) -> Reports:
    """Reports in the folder that the settings name. Not for who sees some cameras only: they are of any."""
    _check_sees_all(asker)
    found, why = await to_thread.run_sync(desk.reports.listed, limiter=desk.reports.room)
    items = [
        ReportBody(name=r.name, href=f"/api/v1/reports/{r.name}", title=r.title, bytes=r.bytes, time=rfc3339(r.time_us))
        for r in found
    ]
    return Reports(items=items, is_named=desk.reports.is_named, why=why)


@router.get(
    "/reports/{report}",
    response_class=Response,
    responses={
        200: {
            "description": "The report, as it lies there.",
            "content": {
                "text/html": {"schema": {"type": "string"}},
                "application/json": {"schema": {}},
            },
        },
        **problem_responses(403, 404, 422),
    },
)
async def get_report(
    report: Annotated[str, Path(pattern=NAME, description="The name of the file.", examples=["yard.html"])],
    request: Request,
    asker: AnyAsker,
    desk: AtDesk,
) -> Response:
    """One report. Browsers run nothing of it, and it asks for nothing."""
    _check_sees_all(asker)
    room = desk.reports.room
    found = await to_thread.run_sync(desk.reports.open, report, limiter=room)
    if found is None:
        raise not_found(f"there is no report {report!r}")
    tag = f'"{found.tag}"'
    headers = tag_headers(tag)
    if is_known(request.headers.get("if-none-match"), tag):
        found.file.close()
        return not_modified(headers)
    headers["Content-Security-Policy"] = _SANDBOX
    return _Sent(desk, report, found, _TYPES[report.rpartition(".")[2]], headers)


class _ShrunkError(Exception):
    """A file became shorter while it was read."""


class _Sent(StreamingResponse):
    """Sends a report piece by piece, and closes it whatever becomes of the client."""

    def __init__(self, desk: Desk, name: str, report: OpenReport, media_type: str, headers: dict[str, str]) -> None:
        headers = {**headers, "Content-Length": str(report.bytes)}
        super().__init__(self._pieces(desk.reports.room), media_type=media_type, headers=headers)
        self._desk, self._name, self._report = desk, name, report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._report.file:
            try:
                await super().__call__(scope, receive, send)
            except _ShrunkError:
                log.warning("report %s became shorter while it was read: whoever read it was disconnected", self._name)
                # How long it would be has been said: only so is it seen that this is not all.
                self._desk.streams.abort(scope.get("client"))
                await asyncio.sleep(0)

    async def _pieces(self, room: CapacityLimiter) -> AsyncIterator[bytes]:
        left = self._report.bytes  # somebody may write to it meanwhile
        while left:
            piece = await to_thread.run_sync(self._report.file.read, min(left, _PIECE), limiter=room)
            if not piece:
                raise _ShrunkError
            left -= len(piece)
            yield piece


def _check_sees_all(asker: Asker) -> None:
    if asker.cameras is not None:
        raise ProblemError(403, "cameras", f"{asker.name} sees some cameras only, and reports are of any")


def _serving(desk: Desk, asker: Asker) -> Counter[str] | None:
    """By model, how many workers serve it; None for who may not know of all."""
    if asker.cameras is not None:
        return None
    lines = desk.view.overview().workers
    return Counter(line.state.model for line in lines if not line.dead and line.state.status == "working")


def _body(desk: Desk, card: Card, serving: Counter[str] | None) -> ModelBody:
    checkpoint, contract = card.checkpoint, card.checkpoint.contract
    served = desk.thresholds.checkpoint()
    metrics, training = contract.metrics, contract.training
    numbers = {name: float(value) for name, value in metrics.items() if _is_number(value)}
    return ModelBody(
        name=card.name,
        id=checkpoint.id,
        is_shipped=card.is_shipped,
        is_served=not isinstance(served, str) and served.id == checkpoint.id,
        workers=None if serving is None else serving[checkpoint.id],
        architecture=contract.architecture,
        labels=list(contract.labels),
        multi_label=contract.multi_label,
        knows_unknown=contract.unknown is not None,
        clip=clip_body(checkpoint.id, contract),
        thresholds=[ThresholdBody(label=n, start=each.start, end=each.end) for n, each in contract.thresholds.items()],
        temperature=contract.temperature,
        megabytes=round(card.bytes / 1e6, 1),
        accuracy=Figure(value=numbers["accuracy"], low=numbers.get("low"), high=numbers.get("high"))
        if "accuracy" in numbers
        else None,
        videos=_whole(numbers.get("videos")),
        sources=_whole(numbers.get("groups")),
        metrics=numbers,
        unseen=_unseen(desk, card),
        data=_texts(training.get("data")),
        held_out=_text(training.get("held_out")),
        command=_text(training.get("command")),
    )


def _unseen(desk: Desk, card: Card) -> UnseenBody | None:
    if card.unseen is None:
        return None
    of = desk.models.unseen
    return UnseenBody(
        accuracy=_figure(card.unseen.accuracy), auc=_figure(card.unseen.auc), clips=of.clips, sources=of.sources
    )


def _figure(values: tuple[float, ...]) -> Figure:
    low, high = values[1:3] if len(values) > 1 else (None, None)
    return Figure(value=values[0], low=low, high=high)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []
