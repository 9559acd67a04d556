"""Verdicts without a link: which there are, and giving one."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from dataclasses import dataclass
from typing import Literal

from consumers.forgetting import forgotten_events, read_forgotten
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
        SourceError: there is no such event, there are several, or it is forgotten.
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


@dataclass(frozen=True, slots=True)
class Listed:
    """Verdicts that count."""

    verdicts: tuple[Verdict, ...]
    #: A line about each.
    lines: tuple[str, ...]
    #: How many are not among them, as their events are forgotten.
    withheld: int


def listed_verdicts(transport: Transport, settings: Settings, since_us: int | None) -> Listed:
    """The verdicts that were given since a time, as far as nobody had their events forgotten.

    Raises:
        BrokerError: the broker is away, or has no such topic.
    """
    verdicts = list(stored_verdicts(transport, settings.topics))
    book = read_forgotten(transport, settings.topics)
    # A verdict tells what was reported when it was given: the event may have gone on into a stretch.
    gone = {each.event for each in verdicts if book.of(each.camera, each.start_us, each.end_us)}
    gone |= forgotten_events(transport, settings.topics, book).keys()
    judged = judged_events(verdicts)
    wanted = [verdict for verdict in verdicts if verdict.time_us >= (since_us or 0)]
    told = tuple(verdict for verdict in wanted if verdict.event not in gone)
    lines = tuple(describe_verdict(verdict, judged.get(verdict.event)) for verdict in told)
    return Listed(told, lines, len(wanted) - len(told))


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
