"""What was there of forgotten stretches, what is left and until when. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.records.forgotten import Forgotten
from stream import Described

from .search import Held

#: A broker looks every five minutes which files are over, and takes them from its disk a minute later.
_SLACK_MS: Final = 6 * 60_000
#: Until when the embedded broker keeps what is to be taken out of it.
TAKEN_OUT: Final = (
    "the `clipline run`, `up` or `demo` that runs the embedded broker takes it out, within about a minute (the newest "
    "record of each partition only when newer ones have come), or ends"
)
NOBODY_KNOWS: Final = (
    "backups and mirrors of the brokers' and of Redis's disks",
    "what people exported: evidence, bundles, models that learnt from it",
    "data sets of `clipline verdicts export` (the next export into the same folder takes it out)",
    "what receivers of messages, subscribers and browsers (a day, in their caches) have got",
    "segments in the spool of an agent whose broker was away (what comes of them is shown to nobody; --check finds it)",
    "the topics of states, which hold the newest of each camera, and logs",
)


@dataclass(frozen=True, slots=True)
class _Place:
    """What one place holds of a stretch."""

    where: str
    what: str
    found: int
    found_bytes: int

    def body(self) -> dict[str, Any]:
        return {"where": self.where, "what": self.what, "found": self.found, "bytes": self.found_bytes}


@dataclass(frozen=True, slots=True)
class Row(_Place):
    """What one place held, and what is left of it."""

    left: int
    #: Until when that is there, in words; None where nothing is left.
    until: str | None

    @property
    def gone(self) -> int:
        return max(0, self.found - self.left)

    def body(self) -> dict[str, Any]:
        return _Place.body(self) | {"gone": self.gone, "left": self.left, "until": self.until}


@dataclass(frozen=True, slots=True)
class Report:
    """The table, and what cannot stand in it."""

    stretches: tuple[Forgotten, ...]
    rows: tuple[Row, ...]
    #: What could not be looked at, in words.
    notes: tuple[str, ...]

    @property
    def is_anything_left(self) -> bool:
        """Whether something is left, or may be."""
        return bool(self.notes) or any(row.left for row in self.rows)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing at all."""
        return not any(row.found or row.left for row in self.rows)

    def body(self) -> dict[str, Any]:
        return {
            "stretches": [each.body() for each in self.stretches],
            "rows": [row.body() for row in self.rows],
            "left": sum(row.left for row in self.rows),
            "notes": list(self.notes),
            "nobody_knows": list(NOBODY_KNOWS),
        }


@dataclass(frozen=True, slots=True)
class Would(_Place):
    """What would become of what one place holds."""

    #: In words.
    then: str

    def body(self) -> dict[str, Any]:
        return _Place.body(self) | {"then": self.then}


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would become of a stretch that nobody has had forgotten yet."""

    stretch: Forgotten
    rows: tuple[Would, ...]
    #: What could not be looked at, in words.
    notes: tuple[str, ...]

    def body(self) -> dict[str, Any]:
        return {
            "dry_run": True,
            "stretches": [self.stretch.body()],
            "rows": [row.body() for row in self.rows],
            "notes": list(self.notes),
            "nobody_knows": list(NOBODY_KNOWS),
        }


def fates(held: Iterable[Held], until: Mapping[str, str], deleted: Collection[str]) -> tuple[Would, ...]:
    """What would become of what is there.

    Args:
        held: what was found.
        until: by topic, until when records of it are kept, in words; what is in Redis is not in it.
        deleted: topics of which it would be deleted, with all before it.
    """

    def then(where: str) -> str:
        if where in deleted:
            return "would be deleted, with all that was sent before it"
        words = until.get(where)
        return "would be deleted" if words is None else f"would not be shown, and there until {words}"

    return tuple(Would(each.where, each.what, each.count, each.bytes, then(each.where)) for each in held if each.count)


def rows(before: Iterable[Held], after: Iterable[Held], until: Mapping[str, str]) -> tuple[Row, ...]:
    """What was found and what is left of it.

    Args:
        before: what was found at first.
        after: what was found when all was done.
        until: by topic, until when records of it are kept, in words.
    """
    first = {held.where: held for held in before}
    last = {held.where: held for held in after}
    found = []
    for where in dict.fromkeys((*first, *last)):
        held = first.get(where) or last[where]
        left = last[where].count if where in last else 0
        words = until.get(where, "it is deleted") if left else None
        found.append(Row(where, held.what, max(held.count, left), held.bytes, left, words))
    return tuple(found)


def kept_until(topic: Described | None, newest_us: int, *, is_embedded: bool, is_taken_out: bool = True) -> str:
    """Until when a broker keeps a record that was sent at `newest_us`, in words.

    Args:
        topic: what the broker says of its topic.
        newest_us: wall clock, in microseconds since the Unix epoch.
        is_embedded: whether it is the embedded broker.
        is_taken_out: whether that one takes records of this topic out.
    """
    if is_embedded:
        return TAKEN_OUT if is_taken_out else "the embedded broker ends, or has no more room for it"
    if topic is None or topic.retention_ms is None:
        return "the broker does not say"
    if "delete" not in (topic.cleanup or "delete"):
        return "for ever: the topic is compacted, without a retention"
    if topic.retention_ms < 0:
        return "for ever: the topic has no retention"
    earliest = _clock(newest_us + topic.retention_ms * 1000)
    if topic.file_ms is None:
        return f"{earliest}, or later"
    # The file may go on for so long behind it, and goes when its newest record is over.
    latest = _clock(newest_us + (topic.retention_ms + topic.file_ms + _SLACK_MS) * 1000)
    return f"{earliest}, or later, when its file is full; {latest} at the latest"


def unreadable_notes(unreadable: Mapping[str, int]) -> Sequence[str]:
    """What to say of records that cannot be read."""
    return [
        f"{topic}: {count} records cannot be read, so nobody knows whose they are"
        for topic, count in sorted(unreadable.items())
    ]


def event_notes(stretches: Iterable[Forgotten], reaching: Collection[str]) -> Sequence[str]:
    """What to say of events that reach beyond their stretch, and of which that is not noted.

    Args:
        stretches: as they are noted.
        reaching: ids of such events that were found now.
    """
    noted = {event for each in stretches for event in each.events}
    full = sum(each.events_left_out for each in stretches)
    late = len(set(reaching) - noted) - full
    notes = []
    if full > 0:
        notes.append(
            f"{full} events reach beyond their stretch and could not be noted, as there is no more room: once their "
            "reports are gone, what was told of their begin is listed again"
        )
    if late > 0:
        notes.append(
            f"{late} events reach beyond their stretch, which is not noted yet: `clipline forget` with the same times "
            "once more does"
        )
    return notes


def _clock(time_us: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(time_us / 1e6, dt.UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return "a time beyond the year 9999"
