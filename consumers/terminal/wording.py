"""How durations, times and events are worded wherever a person reads them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from rich.text import Text

from consumers.printable import printable

STATE_STYLES: Final = {"started": "bold red", "updated": "yellow", "ended": "green"}

#: Of a worker whose model has no thresholds.
NO_EVENTS: Final = "no events: no label has a threshold (set tracker.labels.NAME.start)"

_SKIP_REASONS: Final = {
    "head": "before the first whole window",
    "tail": "after the last whole window",
    "gap": "beside a missing piece",
    "between": "between two windows",
    "duplicate": "sent twice",
    "absent": "announced but not there",
    "stale_epoch": "of another feed under this name",
    "stray_epoch": "of another feed under this name",
    "stray_segment": "numbered or timed out of order",
    "unscored": "without a score",
    "still": "not computed, as nothing moved",
    "no_timestamp": "without a time",
    "discontinuity": "after a jump in time",
    "no_keyframe": "before the first picture that can be decoded",
    "not_clean": "while the picture was still building up",
    "incomplete": "cut off at the end of the file",
    "other_codec": "at or behind a change of codec",
    "sparse": "alone, too far from other frames",
    "behind": "too old when their turn came",
    "degraded": "left out for lack of time",
    "too_large": "in a piece too large for Kafka",
}

#: So much of an event's id tells it from others: `clipline evidence` takes the beginning of one.
_SHORT_ID: Final = 8

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def duration(seconds: float) -> str:
    """In the two largest units: "0.4 s", "40 s", "2 min 11 s", "3 h 5 min", "2 d 3 h"; never negative."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = int(seconds + 0.05)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def count(many: int, what: str) -> str:
    """A number with its noun: "1 camera", "2 cameras"."""
    return f"{many} {what}{'' if many == 1 else 's'}"


def withheld(many: int, what: str) -> str:
    """That a list is without so many, as somebody had their time forgotten."""
    return f"{count(many, what)} not shown: forgotten (`clipline forget --check`)"


def moment(rfc3339: str) -> str:
    """The time of day in UTC of an RFC 3339 time in UTC, with the date before it unless it is today."""
    date, time = rfc3339[:10], rfc3339[11:19]
    return time if date == dt.datetime.now(dt.UTC).date().isoformat() else f"{date} {time}"


def describe(body: Mapping[str, Any]) -> Text:
    """One line about one report of an event, from the body that subscribers get; ends as its id begins."""
    # Reports of earlier versions have neither a severity nor a reason.
    noted = "detection" if body.get("severity") == "detection" else None
    is_drill = "drill" if body.get("drill") is not None else None
    words = [each.replace("_", " ") for each in (is_drill, noted, body["ending"], body.get("reason")) if each]
    notes = f"  ({', '.join(words)})" if words else ""
    return Text.assemble(
        (f"{moment(body['end'])} UTC  ", "dim"),
        (f"{body['state']:8}", STATE_STYLES[body["state"]]),
        f"{printable(body['label'])} on {printable(body['camera'])}, {duration(body['seconds'])}, "
        f"peak score {body['peak_score']:.2f}",
        (f"{notes}  {printable(body['event'][:_SHORT_ID])}", "dim"),
    )


def describe_incident(body: Mapping[str, Any]) -> Text:
    """One line about an incident, from its body: who saw it, and of which group of cameras they are."""
    cameras = ", ".join(map(printable, body["cameras"]))
    place = cameras if body["group"] is None else f"{printable(body['group'])} ({cameras})"
    notes = [*(["detection"] if body["severity"] == "detection" else []), count(len(body["events"]), "event")]
    return Text.assemble(
        (f"{moment(body['end'])} UTC  ", "dim"),
        (f"{body['state']:8}", STATE_STYLES[body["state"]]),
        f"{printable(body['label'])} at {place}, {duration(body['seconds'])}, peak score {body['peak_score']:.2f}",
        (f"  ({', '.join(notes)})  {printable(body['incident'][:_SHORT_ID])}", "dim"),
    )


def skip_reason(reason: str) -> str:
    """Why frames were skipped, in words."""
    return _SKIP_REASONS.get(reason, reason.replace("_", " "))
