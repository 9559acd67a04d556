"""What a bundle holds of an event, read from the topics: its reports and scores as they lie there, and its footage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from consumers.files import content_digest
from consumers.footage_index import FootageIndex
from consumers.forgetting import ForgottenBook, read_forgotten
from consumers.outputs.evidence import Evidence, TooMuchFootageError, evidence_of
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction, rfc3339
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet, version_of
from consumers.rules.topic import RulesTopic
from consumers.settings import RuleSettings, Settings, SettingsError, TopicSettings, TrackerSettings
from models import Checkpoint, ModelError, find, shipped
from stream import Partition, Record, SourceError, Transport

#: Records of other cameras lie between.
_MOST_RECORDS: Final = 50_000
#: Windows that are kept: an hour of them, at more than one a second.
_MOST_WINDOWS: Final = 5_000
#: Clocks of cameras may be ahead of the broker's by less; and where two models classify a camera, one may be so far
#: behind the other.
_BESIDE_US: Final = 60_000_000
_DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is of an event."""

    event: Event
    #: Its reports, as they lie on the topic.
    reports: tuple[dict[str, Any], ...]
    #: The scores of its camera around it, likewise.
    predictions: tuple[dict[str, Any], ...]
    #: None where there is no footage any more.
    evidence: Evidence | None
    #: The rule by which it is an event; `why` where that is not known.
    rule: dict[str, Any]
    #: What classified it, likewise.
    model: dict[str, Any]
    #: What is not there, in words.
    missing: tuple[str, ...]


def gather(
    transport: Transport, settings: Settings, event: Event, lead_seconds: float, tail_seconds: float, max_bytes: float
) -> Gathered:
    """Read all of an event.

    Args:
        transport: the broker.
        settings: topics, rules and model.
        event: its newest report.
        lead_seconds: footage and scores before it.
        tail_seconds: and after it.
        max_bytes: of the footage.

    Raises:
        TooMuchFootageError: there is more.
        SourceError: the event is forgotten.
        BrokerError: the broker is away.
    """
    book = read_forgotten(transport, settings.topics)
    if (stretch := book.of(event.camera, event.start_us, event.end_us, event.id)) is not None:
        raise SourceError(f"event {event.id}: {stretch.explained()}")
    from_us, to_us = event.start_us - round(lead_seconds * 1e6), event.end_us + round(tail_seconds * 1e6)
    missing: list[str] = []
    evidence = None
    try:
        with FootageIndex(transport, settings.topics) as index:
            evidence = evidence_of(transport, index, event, lead_seconds, tail_seconds, max_bytes)
        missing += evidence.missing
    except TooMuchFootageError:
        raise
    except SourceError as error:
        missing.append(str(error))
    since_us = _sent_us(transport, event, evidence, from_us)
    predictions, is_cut, withheld = _predictions(transport, settings.topics, event, (from_us, to_us), since_us, book)
    if withheld:
        missing.append(f"scores: {withheld} windows are of a stretch that is forgotten")
    if is_cut:
        missing.append(f"scores: only the first {len(predictions)} windows are kept")
    reports = _reports(transport, settings.topics, event, since_us)
    for name, records in (("reports", reports), ("scores", predictions)):
        if not records:
            missing.append(f"{name}: none were found; retention has removed them, or too many records lie before them")
    checkpoint, model = _model(settings, event)
    rule = _rule(transport, settings, event, checkpoint)
    return Gathered(event, tuple(reports), tuple(predictions), evidence, rule, model, tuple(missing))


def _kept(record: Record) -> dict[str, Any]:
    """A record as a bundle keeps it: where it lies, and what stands there, word for word."""

    def text(data: bytes | None) -> str | None:
        return None if data is None else data.decode("utf-8", "surrogateescape")

    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "sent": rfc3339(record.sent_us),
        "key": text(record.key),
        "headers": [[name, text(value)] for name, value in record.headers],
        "value": text(record.value),
    }


def _sent_us(transport: Transport, event: Event, evidence: Evidence | None, from_us: int) -> int:
    """Before what was made of the footage was sent, by the broker's clock: recordings tell other times than that."""
    if evidence is not None:
        first = (*evidence.context, *evidence.segments)[0]
        partition, offset = evidence.place(first)
        for record in transport.read({partition: (offset, offset + 1)}):
            if record.sent_us:
                return record.sent_us
    return min(from_us, event.start_us)


def _of_camera(transport: Transport, topic: str, event: Event, since_us: int) -> Iterator[Record]:
    """Records of an event's camera on a topic, sent at a time or later: so many are looked through."""
    if not transport.existing([topic]):
        return
    partition: Partition = topic, transport.partition_of(topic, event.camera.encode())
    first, end = transport.offsets(topic).get(partition, (0, 0))
    begin = max(first, transport.sent_since(topic, max(0, since_us - _BESIDE_US)).get(partition, first))
    for number, record in enumerate(transport.read({partition: (begin, end)})):
        if number >= _MOST_RECORDS:
            return
        if record.key == event.camera.encode():
            yield record


def _reports(transport: Transport, topics: TopicSettings, event: Event, since_us: int) -> list[dict[str, Any]]:
    begins = f"{event.id}-".encode()
    return [
        _kept(record)
        for record in _of_camera(transport, topics.events, event, since_us)
        if dict(record.headers).get("ce_id", b"").startswith(begins)
    ]


def _predictions(
    transport: Transport,
    topics: TopicSettings,
    event: Event,
    interval_us: tuple[int, int],
    since_us: int,
    book: ForgottenBook,
) -> tuple[list[dict[str, Any]], bool, int]:
    """The scores of windows that begin within an interval, whether there are more, and how many are forgotten."""
    found: list[dict[str, Any]] = []
    withheld = 0
    from_us, to_us = interval_us
    for record in _of_camera(transport, topics.predictions, event, since_us):
        try:
            prediction = Prediction.decode(record.key, record.headers, record.value, record.where, drills=True)
        except RecordError:
            continue  # has its place among the dead letters
        if prediction.start_us >= to_us + _BESIDE_US:
            break
        if from_us <= prediction.start_us < to_us:
            if book.of(event.camera, prediction.start_us, prediction.end_us) is not None:
                withheld += 1
                continue
            if len(found) == _MOST_WINDOWS:
                return found, True, withheld
            found.append(_kept(record))
    return found, False, withheld


def _model(settings: Settings, event: Event) -> tuple[Checkpoint | None, dict[str, Any]]:
    """The checkpoint of an event's model, where it is here, and what is told of it."""
    name = settings.worker.model
    told: dict[str, Any] = {"id": event.model, "files": {}, "why": None}
    # Others are fetched by workers: nobody waits for a download.
    if name not in {_DEFAULT, *shipped()} and not Path(name).is_file():
        return None, told | {"why": "the model of the settings is not on this machine"}
    try:
        checkpoint = find(name)
        if checkpoint.id != event.model:
            return None, told | {"why": f"the model of the settings here is another one, {checkpoint.id}"}
        # A graph of OpenVINO has its weights beside it.
        files = {checkpoint.path, checkpoint.path.with_suffix(".bin")} if checkpoint.path.suffix == ".xml" else None
        told["files"] = {path.name: content_digest(path) for path in sorted(files or {checkpoint.path})}
    except (ModelError, OSError) as error:
        return None, told | {"why": str(error)}
    return checkpoint, told


def _rule(transport: Transport, settings: Settings, event: Event, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """The version of the rules that the event names, and what it makes of its camera and label."""
    told: dict[str, Any] = {"version": event.rule, "tracker": None, "rules": None, "label": None, "why": None}
    if event.rule is None:
        return told | {"why": "the event does not say by which rules it was made"}
    found = _version(transport, settings, event.rule)
    if found is None:
        return told | {"why": "neither their topic nor the settings here hold this version (any more)"}
    tracker, tables = found
    told["tracker"] = tracker.model_dump(mode="json", exclude_none=True)
    told["rules"] = [table.model_dump(mode="json", exclude_none=True) for table in tables]
    if checkpoint is None:
        return told | {"why": "what the model says beneath them is not known here"}
    try:
        rule = RuleSet(checkpoint.contract, tracker, tables).of(event.camera).get(event.label)
    except SettingsError as error:
        return told | {"why": str(error)}
    return told | {"label": None if rule is None else _told_rule(rule)}


def _version(
    transport: Transport, settings: Settings, name: str
) -> tuple[TrackerSettings, tuple[RuleSettings, ...]] | None:
    for version in RulesTopic(transport, settings.topics, settings.worker.group).read():
        if version.version == name:
            return version.tracker, version.tables
    if version_of(settings.tracker, settings.rules) == name:
        return settings.tracker, settings.rules
    return None


def _told_rule(rule: Rule) -> dict[str, Any]:
    told = {each.name: getattr(rule, each.name) for each in fields(rule) if each.name != "schedule"}
    schedule = rule.schedule
    return told | {
        "schedule": None
        if schedule is None
        else {"stretches": list(schedule.stretches), "time_zone": schedule.time_zone}
    }
