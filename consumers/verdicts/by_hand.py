"""Verdicts without a link: which there are, and giving one."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from typing import Literal

from consumers.outputs.evidence import newest_report
from consumers.records.event import Event
from consumers.records.prediction import rfc3339
from consumers.records.verdict import Verdict
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_verdicts
from stream import Transport

from .book import JudgedEvent, judged_events, stored_verdicts, write_verdict


def give_verdict(transport: Transport, settings: Settings, event: str, answer: Literal["right", "false"]) -> Verdict:
    """Store what somebody with access to the broker says of an event; it wins over what links say.

    Raises:
        SourceError: there is no such event, or there are several.
        BrokerError: the broker is away.
    """
    report = newest_report(transport, settings.topics, event)
    ensure_topic_of_verdicts(transport, settings.topics, settings.verdicts.keep_days * 24)
    verdict = verdict_by_hand(report, answer)
    write_verdict(transport, settings.topics.verdicts, verdict)
    return verdict


def verdict_by_hand(report: Event, answer: Literal["right", "false", "withdrawn"], by: str | None = None) -> Verdict:
    """What somebody says of the event of a report, now; `by` names who, where that is known."""
    return Verdict(
        id=secrets.token_hex(12),
        answer=answer,
        event=report.id,
        camera=report.camera,
        label=report.label,
        start_us=report.start_us,
        end_us=report.end_us,
        time_us=time.time_ns() // 1000,
        channel=None,
        by=by,
    )


def verdict_lines(transport: Transport, settings: Settings, since_us: int | None) -> tuple[list[Verdict], list[str]]:
    """The verdicts that count, given since a time, and a line about each.

    Raises:
        BrokerError: the broker is away, or has no such topic.
    """
    verdicts = list(stored_verdicts(transport, settings.topics))
    judged = judged_events(verdicts)
    wanted = [verdict for verdict in verdicts if verdict.time_us >= (since_us or 0)]
    return wanted, [describe_verdict(verdict, judged.get(verdict.event)) for verdict in wanted]


def describe_verdict(verdict: Verdict, judged: JudgedEvent | None = None) -> str:
    """One line about a verdict, and what became of it where others say otherwise."""
    by = (
        ("by hand" if verdict.by is None else f"by {verdict.by}")
        if verdict.channel is None
        else (f"through {verdict.channel}")
    )
    answer: str = "false alarm" if verdict.answer == "false" else verdict.answer
    if verdict.until_us is not None:
        answer = f"snoozed until {dt.datetime.fromtimestamp(verdict.until_us / 1e6, dt.UTC):%H:%M:%S} UTC"
    line = (
        f"{rfc3339(verdict.time_us)[:19]}Z {answer}: {verdict.label} at {verdict.camera}, "
        f"{rfc3339(verdict.start_us)[:19]}Z, event {verdict.event[:12]} ({by})"
    )
    if judged is None or verdict.answer in {"snooze", "withdrawn"}:
        return line
    if judged.judged == "contested":
        return f"{line}; contested: settle it with `clipline verdicts give`"
    return line if verdict in judged.verdicts else f"{line}; corrected by hand: {judged.judged}"
