"""Messages for people."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Any

from consumers.records.delivery import Delivery
from consumers.records.prediction import rfc3339
from consumers.settings.sections.notifying import ChannelSettings
from consumers.terminal.wording import count, duration
from consumers.times import parse_time_us

from .pictured import pictures_of
from .withheld import is_withheld


def words_of(delivery: Delivery, settings: ChannelSettings) -> tuple[str, str]:
    """Title and text of a message, by the channel's templates and in its time zone."""
    data: Mapping[str, Any] = delivery.message["data"]
    zone = zoneinfo.ZoneInfo(settings.time_zone)
    if delivery.kind == "test":
        return "Clipline: a test", str(data["text"])
    if delivery.kind == "summary":
        reasons = ", ".join(f"{count} {_HELD.get(why, why)}" for why, count in data["reasons"].items())
        lines = [f"{each['events']} x {each['label']} at {each['camera']}" for each in data["counts"]]
        lines += [": ".join(_condition(each, zone)) for each in data.get("newest", ())]
        span = f"{_local(data['first'], zone)} to {_local(data['last'], zone)}"
        if data["reasons"].keys() == {"digest"}:
            return f"{_held_words(data)} of the day", "\n".join([span, *lines])
        return f"{_held_words(data)} held back", "\n".join([f"{span}, {reasons}", *lines])
    if delivery.kind == "condition":
        return _condition(data, zone)
    filled = {
        "label": data["label"],
        "camera": delivery.drill or data["camera"],
        "state": data["state"],
        "start": _local(data["start"], zone),
        "end": _local(data["end"], zone),
        "seconds": f"{data['seconds']:.1f}",
        "score": f"{data['peak_score']:.2f}",
        "event": data["event"],
        "model": data["model"],
    }
    links = [f"{_ASKED[answer]}: {link}" for answer, link in data.get("links", {}).items()]
    title = settings.title.format(**filled)
    lines = [settings.body.format(**filled)]
    if (minutes := data.get("unanswered_minutes")) is not None:
        title = f"Unanswered: {title}"
        lines.append(f"Nobody has answered for {minutes:g} min.")
    body = "\n".join([*lines, *_no_picture(pictures_of(delivery)), *links])
    if delivery.drill is None:
        return title, body
    return f"DRILL: {title}", f"This is a drill, nothing happened.\n{body}"


def _no_picture(said: Mapping[str, Any] | None) -> Iterator[str]:
    """Why there is none; nothing where there is one, or none was asked for."""
    if said is None:
        return
    reasons = [
        said["missing"][kind] if said.get(kind) is None else said[kind].get("not_inline") for kind in ("strip", "peak")
    ]
    if all(reasons):
        yield f"No picture: {reasons[0]['detail']}"


_HELD = {
    "digest": "collected",
    "merged": "seen by several cameras",
    "quiet": "in quiet hours",
    "rate": "beyond the hourly limit",
    "snoozed": "snoozed",
}


def _condition(data: Mapping[str, Any], zone: dt.tzinfo) -> tuple[str, str]:
    """Title and text about a condition that began or ended."""
    since = f"since {_local(data['since'], zone)}"
    if data["state"] != "started":
        return _condition_title(data), f"after {duration(data['seconds'])}, {since}"
    return _condition_title(data), since if data.get("why") is None else f"{since}: {data['why']}"


def _condition_title(data: Mapping[str, Any]) -> str:
    status = data["status"]
    return f"{data['subject']} {data['name']}: {status if data['state'] == 'started' else _AGAIN.get(status, status)}"


def _held_words(data: Mapping[str, Any]) -> str:
    """How much a summary covers, in words."""
    conditions = data.get("conditions", 0)
    if not conditions:
        return f"{data['held']} events"
    events, changes = data["held"] - conditions, "1 change" if conditions == 1 else f"{conditions} changes"
    return f"{changes} of state" if not events else f"{count(events, 'event')} and {changes} of state"


#: How a condition is over, by the status that follows it.
_AGAIN = {
    "live": "live again",
    "working": "working again",
    "reading": "reading again",
    "writable": "writable again",
    "ended": "has ended as it should",
    "gone": "is gone, others do its work",
}
#: What a link by this name is for.
_ASKED = {"right": "Right", "false": "False alarm", "snooze": "Not for a while"}


def _local(text: str, zone: dt.tzinfo) -> str:
    moment = dt.datetime.fromtimestamp(parse_time_us(text) / 1e6, zone)
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def describe(entry: Delivery) -> str:
    """One line about an entry of the ledger."""
    data: Mapping[str, Any] = entry.message["data"]
    if is_withheld(entry):
        about = f"{entry.kind}, not sent"
    elif entry.kind == "event":
        where = data["camera"] if entry.drill is None else f"{entry.drill}, a drill"
        about = f"{data['label']} at {where} ({data['state']}, event {data['event'][:6]})"
    elif entry.kind == "condition":
        about = f"{_condition_title(data)} ({data['state']}, since {data['since'][:19]}Z)"
    else:
        about = f"summary of {_held_words(data)}" if entry.kind == "summary" else "test"
    why = "" if entry.why is None else f", {entry.why}"
    detail = "" if entry.detail is None else f" ({entry.detail})"
    tries = f", {entry.attempt} tries" if entry.attempt > 1 else ""
    return f"{rfc3339(entry.time_us)[:19]}Z {entry.channel} {entry.id[:6]} {entry.state}{why}: {about}{tries}{detail}"
