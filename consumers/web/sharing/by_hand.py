"""Links without a page: made, listed and revoked by whoever may write to the topic."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable

from consumers.forgetting import forgotten_events, read_forgotten
from consumers.outputs.audit import entry_by_hand, who
from consumers.outputs.evidence import newest_report
from consumers.records.access import Share
from consumers.records.audit import AuditEntry
from consumers.records.forgotten import Forgotten
from consumers.settings import Settings
from consumers.web.credentials import new_token, token_hash
from consumers.web.desk import Writable, Writer
from stream import SourceError, Transport, camera_behind

from .book import AccessBook


def make_share(transport: Transport, settings: Settings, event: str, hours: float) -> tuple[Share, str]:
    """Make a link to an event; return it, and its token, which is nowhere else.

    Raises:
        SourceError: there is no such event, it is forgotten, or no link may be made for it.
        BrokerError: the broker is away.
    """
    most = settings.dashboard
    if hours > most.max_share_hours:
        raise SourceError(f"--for: expected at most {most.max_share_hours:g} hours (dashboard.max_share_hours)")
    report = newest_report(transport, settings.topics, event)
    book = stored_shares(transport, settings)
    if len(book.shares()) >= most.max_shares:
        raise SourceError(f"there are {most.max_shares} links (dashboard.max_shares): revoke some")
    token, now_us = new_token(), time.time_ns() // 1000
    expires_us = now_us + round(hours * 3.6e9)
    share = Share(secrets.token_hex(12), token_hash(token), report.id, report.camera, who(), now_us, expires_us)
    entry = entry_by_hand("share.make", share.event, camera_behind(share.camera), share.id)
    records = [*book.forget_over(), share.encode()]
    _write(transport, settings, entry, *records)
    return share, token


def stored_shares(transport: Transport, settings: Settings) -> AccessBook:
    """What is on the topic now.

    Raises:
        BrokerError: the broker is away.
    """
    book, topic = AccessBook(), settings.topics.access
    if transport.existing([topic]):
        for record in transport.read(transport.offsets(topic)):
            book.take(record)
    return book


def forgotten_shares(transport: Transport, settings: Settings, shares: Iterable[Share]) -> dict[str, Forgotten]:
    """Of what stretch the event of a link is, by the link's id; of links that show something there is nothing.

    Raises:
        BrokerError: the broker is away, or does not let us read events.
    """
    asked, book = list(shares), read_forgotten(transport, settings.topics)
    if not any(book.has(share.camera) for share in asked):
        return {}
    found = forgotten_events(transport, settings.topics, book)
    return {share.id: found[share.event] for share in asked if share.event in found}


def revoke_share(transport: Transport, settings: Settings, id_: str) -> Share:
    """Let a link show nothing any more; return what it was.

    Args:
        transport: the broker.
        settings: name the topic.
        id_: of the share, or the beginning of it.

    Raises:
        SourceError: there is none, or there are several.
        BrokerError: the broker is away.
    """
    book = stored_shares(transport, settings)
    found = [share for share in book.shares() if share.id.startswith(id_)]
    if len(found) != 1:
        many = f"the beginning of {len(found)} ids; give more of it" if found else "no such link holds"
        raise SourceError(f"share {id_!r}: {many}; `clipline shares` lists them")
    (share,) = found
    entry = entry_by_hand("share.revoke", share.event, camera_behind(share.camera), share.id)
    records = [*book.forget_over(), (share.key, [], None)]
    _write(transport, settings, entry, *records)
    return share


def _write(transport: Transport, settings: Settings, entry: AuditEntry, *records: Writable) -> None:
    with contextlib.closing(Writer(lambda: transport, settings)) as writer:
        writer.write(entry, settings.topics.access, *records)
