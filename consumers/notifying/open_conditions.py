"""Which conditions a channel was told of that are not over: the sum of the ledger's entries about conditions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumers.records.delivery import Delivery

#: What a condition is of: `camera`, `agent`, `worker` or `disk`, and its name.
Subject = tuple[str, str]
#: Conditions of a channel that are remembered at once; beyond them, of those told first their end is not told.
_MOST: Final = 10_000


def subject_of(entry: Delivery) -> Subject:
    """What a message about a condition is of."""
    data = entry.message["data"]
    return data["subject"], data["name"]


def newest_of(bodies: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What several messages about conditions say in the end, one of each subject, the newest first."""
    newest: dict[Subject, Mapping[str, Any]] = {}
    for body in bodies:
        subject = body["subject"], body["name"]
        newest.pop(subject, None)
        newest[subject] = body
    return list(reversed(newest.values()))


class OpenConditions:
    """By channel and subject, the message that told of a condition whose end nobody was told of."""

    def __init__(self) -> None:
        self._open: dict[str, dict[Subject, Delivery]] = {}

    def begin(self, entry: Delivery) -> None:
        """Take the first entry of a message; one that failed at once has told nobody."""
        if entry.kind != "condition":
            return
        here = self._open.setdefault(entry.channel, {})
        here.pop(subject_of(entry), None)
        if entry.message["data"]["state"] == "started" and entry.state != "failed":
            here[subject_of(entry)] = entry
            if len(here) > _MOST:
                del here[next(iter(here))]

    def end(self, entry: Delivery) -> None:
        """Take the last entry of a message. Where it failed nobody knows of the condition, nor need know of its end."""
        if entry.kind == "condition" and entry.state == "failed":
            here, subject = self._open.get(entry.channel, {}), subject_of(entry)
            if subject in here and here[subject].id == entry.id:
                del here[subject]

    def of(self, channel: str) -> Mapping[Subject, Delivery]:
        """Those of a channel, the one told first at the beginning."""
        return self._open.get(channel, {})
