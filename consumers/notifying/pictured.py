"""Which pictures belong to a message about an event, and whether it waits for them. Pure: records and a time in.

    report ─────────────▶ message queued ──── waits ────▶ sent with `pictures`
       └─▶ footage, Redis ─▶ record of its pictures ─┘          the record, or why there is none

What is said of pictures becomes a part of the message when it is tried for the first time, so the ledger says what was
told, and a message that is tried again says the same. The ledger holds where pictures lie, never their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from consumers.records.delivery import Delivery
from consumers.records.event_pictures import KINDS, EventPictures, Kind
from consumers.settings.sections.notifying import ChannelSettings

#: Pictures that travel with a message, WebP.
Pictures = Mapping[Kind, bytes]
NO_PICTURES: Final[Pictures] = MappingProxyType({})
#: Reports whose pictures are remembered; messages about earlier ones go without.
MOST: Final = 10_000
#: Where it stands in the data of a message.
_KEY: Final = "pictures"
#: Reports that have pictures of their own. One that an event goes on has those of its begin.
_PICTURED: Final = frozenset({"started", "ended"})


class PicturedReports:
    """What the newest records of pictures say, by event and state."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], EventPictures] = {}

    def apply(self, pictures: EventPictures) -> None:
        """Take the next record. One that comes again changes nothing."""
        self._records[pictures.event, pictures.state] = pictures
        if len(self._records) > MOST:
            del self._records[next(iter(self._records))]

    def awaits(self, entry: Delivery, channel: ChannelSettings, now_us: int) -> bool:
        """Whether a message is not to be tried yet, since its pictures may still come."""
        if not _wants(entry, channel) or _is_drill_or_news(entry) or self._of(entry) is not None:
            return False
        until_us, longest_us = waits_until_us(entry, channel), int(channel.pictures_wait_seconds * 1e6)
        # What lies further ahead than anything waits was written by a wrong clock.
        return now_us < until_us <= now_us + longest_us

    def added(self, entry: Delivery, channel: ChannelSettings) -> Delivery:
        """The message with what is to be said of its pictures now; as it is where its channel wants none."""
        if not _wants(entry, channel):
            return entry
        record = self._of(entry)
        pictures = _none(*_why_none(entry, channel)) if record is None else record.body()
        data = {**entry.message["data"], _KEY: pictures}
        return replace(entry, message={**entry.message, "data": data})

    def _of(self, entry: Delivery) -> EventPictures | None:
        data = entry.message["data"]
        state = data["state"] if data["state"] in _PICTURED else "started"
        return self._records.get((data["event"], state))


def waits_until_us(entry: Delivery, channel: ChannelSettings) -> int:
    """How long a message waits for pictures, or for the Redis that holds them: never so long that it is too late.

    Only before its first try: the past for one that was tried.
    """
    if entry.state != "queued":
        return 0
    left_us = max(0, entry.expires_us - entry.time_us)
    return entry.time_us + min(int(channel.pictures_wait_seconds * 1e6), left_us // 2)


def pictures_of(entry: Delivery) -> Mapping[str, Any] | None:
    """What a message says of its pictures; None where it says nothing."""
    found: Mapping[str, Any] | None = entry.message["data"].get(_KEY) if entry.kind == "event" else None
    return found


def with_pictures(entry: Delivery, changes: Mapping[Kind, Mapping[str, Any]]) -> Delivery:
    """The message, where more is said of those pictures that it names: by kind, what is added."""
    said = pictures_of(entry)
    if said is None or not changes:
        return entry
    named = {kind: change for kind, change in changes.items() if said.get(kind) is not None}
    more = dict(said) | {kind: {**said[kind], **change} for kind, change in named.items()}
    return replace(entry, message={**entry.message, "data": {**entry.message["data"], _KEY: more}})


def left_out(entry: Delivery) -> str:
    """Which pictures do not travel with a message that was to hold them, and why, in words; empty where none."""
    said = pictures_of(entry) or {}
    whys: dict[str, Any] = {kind: (said.get(kind) or {}).get("not_inline") for kind in KINDS}
    return "".join(f"; {kind} left out: {why['detail']}" for kind, why in whys.items() if why)


def _wants(entry: Delivery, channel: ChannelSettings) -> bool:
    return channel.pictures != "none" and entry.kind == "event" and _KEY not in entry.message["data"]


def _is_drill_or_news(entry: Delivery) -> bool:
    """Whether no pictures are made of the report itself."""
    return entry.drill is not None or entry.message["data"]["state"] not in _PICTURED


def _why_none(entry: Delivery, channel: ChannelSettings) -> tuple[str, str]:
    if entry.drill is not None:
        return "drill", "no pictures are made of drills"
    if _is_drill_or_news(entry):
        return "not_in_time", "those of its begin are not known"
    return "not_in_time", f"not there within {channel.pictures_wait_seconds:g} s"


def _none(reason: str, detail: str) -> dict[str, Any]:
    """As a record's body says it."""
    why = {"reason": reason, "detail": detail}
    return {"peak": None, "strip": None, "missing": {"peak": why, "strip": why}}
