"""What routes work with: the parts of the server, who asks, and how answers are tagged."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from anyio import CapacityLimiter
from fastapi import Depends, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.responses import Response

from consumers.bundles.serving import BundleMaker
from consumers.forgetting.serving import Forgetter
from consumers.outputs.outages import ServiceWatch
from consumers.pictures.store import PictureReader
from consumers.records.audit import AuditEntry
from consumers.settings import Role, Settings
from consumers.subscribing.serving import EventStreams
from consumers.topics import ensure_topic_of_access, ensure_topic_of_audit, ensure_topic_of_verdicts
from stream import Headers, Producer, Transport

from .access import COOKIE, Access, Asker
from .cameras.sample import SampleMaker
from .cameras.snapshot import SnapshotMaker
from .fast import FastFootage
from .memory.view import View
from .oidc import Journeys, Provider
from .playlists import Footage
from .playlists.connection import Kept
from .problems import ProblemError
from .scores import ScoreReader
from .sharing import SharedFootage
from .sharing.scores import SharedScores
from .shelf.cards import ModelShelf
from .shelf.reports import ReportFolder
from .thresholds import ThresholdReader
from .what_if.answers import Answers
from .what_if.scores import PastScoreReader


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of the server."""

    settings: Settings
    access: Access
    view: View
    scores: ScoreReader
    past_scores: PastScoreReader
    what_if: Answers
    thresholds: ThresholdReader
    pictures: PictureReader
    redis: ServiceWatch
    streams: EventStreams
    writer: Writer
    footage: Footage
    fast: FastFootage
    bundles: BundleMaker
    forgetter: Forgetter
    samples: SampleMaker
    snapshots: SnapshotMaker
    models: ModelShelf
    reports: ReportFolder
    shared_footage: SharedFootage
    shared_scores: SharedScores
    #: Where people log in; None: with passwords only.
    provider: Provider | None
    journeys: Journeys


#: Key, headers and value of a record; without a value it deletes the key.
Writable = tuple[bytes, Headers, bytes | None]
#: Answers are for who asks: whoever keeps them asks each time whether they still hold.
_PRIVATE: Final = "private, no-cache"
#: Somebody waits for what is written.
_STORED_SECONDS: Final = 10.0
#: Who changes something, and the record that does.
Change = tuple[AuditEntry, Writable]


class Writer:
    """Writes what people change, each time with who did it. For one thread at a time: see `room`."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings) -> None:
        self._connect, self._settings = connect, settings
        #: Who is refused one topic hinders nobody else; where the broker hangs, those behind do not wait in turn.
        self._producer = Kept(self._open, pauses_when_refused=False)
        #: One after another, over one connection; whoever waits does so in no thread.
        self.room = CapacityLimiter(1)

    def write(self, entry: AuditEntry, topic: str | None = None, *records: Writable) -> None:
        """Store who changes something, and then the change; only who, where nothing on a topic changes.

        Raises:
            BrokerError: it is not stored, as far as the broker says.
        """
        self._store(
            [(self._settings.topics.audit, entry.encode())], [(topic, r) for r in records] if topic is not None else []
        )

    def write_all(self, changes: Sequence[Change], topic: str) -> None:
        """Likewise of several at once: who changes them, all of it, and then the changes.

        Raises:
            BrokerError: they are not stored, as far as the broker says; of several some may be.
        """
        audit = self._settings.topics.audit
        self._store([(audit, entry.encode()) for entry, _ in changes], [(topic, record) for _, record in changes])

    def store(self, topic: str, *records: Writable) -> None:
        """Store what nobody else asked for, such as that one has logged out.

        Raises:
            BrokerError: it is not stored, as far as the broker says.
        """
        self._store([(topic, record) for record in records])

    def _store(self, *steps: Sequence[tuple[str, Writable]]) -> None:
        """Store all of each step before the next."""

        def send(producer: Producer) -> None:
            for step in steps:
                for topic, record in step:
                    producer.send(topic, *record)
                producer.flush()

        try:
            self._producer.use(send)
        except BaseException:
            # What it still holds of this is nothing that the next one who writes asked for.
            self.close()
            raise

    def _open(self) -> Producer:
        transport, topics, dashboard = self._connect(), self._settings.topics, self._settings.dashboard
        # Each time: a broker that comes back may have lost them, and makes others when they are written to.
        ensure_topic_of_audit(transport, topics, dashboard.audit_days * 24)
        ensure_topic_of_verdicts(transport, topics, self._settings.verdicts.keep_days * 24)
        # What is on it holds no longer than that; a day more, as clocks differ.
        longest = max(dashboard.max_share_hours, dashboard.session_hours)
        ensure_topic_of_access(transport, topics, longest + 24)
        return transport.producer(_STORED_SECONDS)

    def close(self) -> None:
        """Let the connection go; writing opens it again."""
        self._producer.close()


def audit_entry(asker: Asker, action: str, subject: str, camera: str | None, value: str | None) -> AuditEntry:
    """That somebody changes something, now."""
    return AuditEntry(
        id=secrets.token_hex(12),
        time_us=time.time_ns() // 1000,
        actor=asker.name,
        way=asker.way,
        role=asker.role,
        address=asker.address,
        action=action,
        subject=subject,
        camera=camera,
        value=value,
    )


async def _desk(request: Request) -> Desk:
    found: Desk = request.app.state.desk
    return found


# Asynchronous, as all that is done at once: a thread for it would cost more than it.
AtDesk = Annotated[Desk, Depends(_desk)]
# For OpenAPI: who asks is seen from the request as a whole.
Bearer = Annotated[Any, Security(HTTPBearer(auto_error=False, scheme_name="token"))]
Cookie = Annotated[Any, Security(APIKeyCookie(name=COOKIE, auto_error=False, scheme_name="session"))]


async def _asker(request: Request, desk: AtDesk, _bearer: Bearer, _cookie: Cookie) -> Asker:
    asker = desk.access.asker(request)
    request.state.asker = asker
    return asker


AnyAsker = Annotated[Asker, Depends(_asker)]


def _at_least(role: Role) -> Callable[[Asker], Coroutine[Any, Any, Asker]]:
    async def check(asker: AnyAsker) -> Asker:
        if not asker.may(role):
            raise ProblemError(403, "role", f"this needs the role {role}, and {asker.name} has {asker.role}")
        return asker

    return check


Operator = Annotated[Asker, Depends(_at_least("operator"))]
Admin = Annotated[Asker, Depends(_at_least("admin"))]


class TaggedRoute(APIRoute):
    """Gives what is answered as a whole an ETag, and answers 304 to who has it already."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def tagged(request: Request) -> Response:
            return _tagged(request, await handle(request))

        return tagged


def _tagged(request: Request, response: Response) -> Response:
    body = getattr(response, "body", None)  # streams have none
    if request.method != "GET" or response.status_code != 200 or not isinstance(body, bytes):
        return response
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = tag_headers(tag, response.headers.get("cache-control", _PRIVATE))
    if is_known(request.headers.get("if-none-match"), tag):
        return not_modified(headers)
    response.headers.update(headers)
    return response


def tag_headers(tag: str, keep: str = _PRIVATE) -> dict[str, str]:
    """What goes with an answer so that whoever has it may ask whether it still holds."""
    # Weak: the same is sent with other bytes to who takes gzip.
    return {"ETag": f"W/{tag}", "Cache-Control": keep, "Vary": "Authorization, Cookie"}


def not_modified(headers: Mapping[str, str]) -> Response:
    """What whoever has an answer is told in its place."""
    # What compresses adds it where there is a body.
    return Response(status_code=304, headers={**headers, "Vary": "Authorization, Cookie, Accept-Encoding"})


def is_known(said: str | None, tag: str) -> bool:
    """Whether somebody who sends `If-None-Match` has what a tag is of."""
    if said is None:
        return False
    return any(each.strip() in {"*", tag, f"W/{tag}"} for each in said.split(","))
