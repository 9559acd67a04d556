"""`clipline tune --from-verdicts`: propose thresholds from kept scores and from what people said; apply nothing."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from consumers.files import write_text
from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook, forgotten_events, read_forgotten
from consumers.records.fields import OtherRecordError, RecordError
from consumers.records.prediction import Prediction, rfc3339
from consumers.replaying.errors import ReplayError
from consumers.rules.applying import holding
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet
from consumers.rules.topic import RulesTopic
from consumers.rules.version import RulesVersion
from consumers.settings import RuleSettings, Settings
from consumers.settings.schedule import zone
from consumers.terminal.console import Output
from consumers.terminal.printing.rules import rules_toml
from consumers.terminal.wording import count
from consumers.verdicts.book import JudgedEvent, judged_events, stored_verdicts
from models import find
from stream import KafkaTransport, Transport

from .budget import AlarmBudget, Unit, unit_of, unit_words
from .kept import Alarm, Proposal, propose

log = logging.getLogger(__name__)

_HEAD: Final = "# Proposed by `clipline tune --from-verdicts`."
#: Windows that are held in memory at most: those whose score may belong to an event.
MAX_WINDOWS: Final = 1_000_000
#: With fewer of them, what is proposed is said to be uncertain.
_FEW_UNITS: Final = {"night": 7, "day": 7, "week": 4}
_FEW_VERDICTS: Final = 20
#: Records that cannot be read are named, so many; all are counted.
_DAMAGED_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    budget: AlarmBudget | None = None
    camera: str = "*"
    #: Event time from which scores count; None: all that are kept.
    since_us: int | None = None
    time_zone: str = "UTC"
    output: Path | None = None

    @property
    def unit(self) -> Unit:
        return "night" if self.budget is None else self.budget.unit


@dataclass(slots=True)
class Kept:
    """The scores of one model that are kept."""

    #: By camera, in order: windows that may belong to an event. What is left out is a gap, which ends one as well.
    scores: dict[str, dict[tuple[int, int], Prediction]] = field(default_factory=dict)
    #: Nights, days or weeks of which there is a score.
    units: set[str] = field(default_factory=set)
    first_us: int = 0
    last_us: int = 0
    windows: int = 0

    def add(self, prediction: Prediction, rules: Mapping[str, Rule], unit: str | None) -> bool:
        """Take a window; whether it has to be held."""
        self.first_us = min(self.first_us, prediction.start_us) if self.windows else prediction.start_us
        self.last_us = max(self.last_us, prediction.end_us)
        self.windows += 1
        if unit is not None:
            self.units.add(unit)
        known = self.scores.setdefault(prediction.camera, {})
        place = prediction.epoch_us, prediction.window
        # Of a window that was classified twice, the first counts.
        if place in known or not any(
            label in prediction.scores and (rule.smoothing > 1 or prediction.scores[label] >= rule.end)
            for label, rule in rules.items()
        ):
            return False
        known[place] = prediction
        return True


def run_from_verdicts(settings: Settings, wanted: Wanted, out: Output, errors: Output) -> None:
    """Read scores and verdicts, print what is proposed, and write it where an output is named.

    Raises:
        ReplayError: scores are missing, or are too many, or the output cannot be written.
        SettingsError, ModelError: the rules or the model cannot be used.
        BrokerError: the broker is away, or no verdict was given yet.
    """
    path = wanted.output
    if path is not None and path.exists() and not path.read_text("utf-8", errors="replace").startswith(_HEAD):
        raise ReplayError(f"{path}: holds other settings; name another file with --output")
    transport = KafkaTransport(settings.broker, at_once=True)
    book = read_forgotten(transport, settings.topics)
    gone = forgotten_events(transport, settings.topics, book)
    judged = {
        event: said
        for event, said in judged_events(stored_verdicts(transport, settings.topics)).items()
        if fnmatchcase(said.newest.camera, wanted.camera)
        and said.newest.end_us >= (wanted.since_us or 0)
        and event not in gone
        and book.of(said.newest.camera, said.newest.start_us, said.newest.end_us, said.newest.event) is None
    }
    now = rules_now(transport, settings)
    rules = RuleSet(find(settings.worker.model).contract, now.tracker, now.tables)
    local = zone(wanted.time_zone)
    model, kept, others = read_scores(transport, settings, wanted, rules, local, book)
    found = propose(
        {camera: list(windows.values()) for camera, windows in kept.scores.items()},
        rules.of,
        judged,
        lambda time_us: unit_of(wanted.unit, time_us, local),
        None if wanted.budget is None else wanted.budget.most,
    )
    for line in doubts(found, kept, judged, wanted.unit, others):
        errors.print(line, style="yellow", soft_wrap=True, markup=False, highlight=False)
    span = f"{rfc3339(kept.first_us)[:16]}Z to {rfc3339(kept.last_us)[:16]}Z"
    for line in (
        f"{model}, rules {now.version}: {count(kept.windows, 'window')} of {count(len(kept.scores), 'camera')}, {span}",
        *proposal_lines(found, len(kept.units), wanted, local),
    ):
        out.print(line, soft_wrap=True, markup=False, highlight=False)
    if wanted.output is None:
        return
    if not found.raised:
        out.print(f"{wanted.output}: not written, as nothing is proposed", soft_wrap=True)
        return
    write_text(wanted.output, "\n".join(rules_file(now, found, settings)) + "\n", ReplayError)
    out.print(
        f"{wanted.output}: nothing holds yet; `clipline rules apply --settings {wanted.output} --kafka HOST:PORT` "
        "applies it, or copy its [tracker] and [[rules]] into clipline.toml",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def rules_now(transport: Transport, settings: Settings) -> RulesVersion:
    """The version that holds now in the group, or that of the settings, if none was applied."""
    group = settings.worker.group
    found = holding(RulesTopic(transport, settings.topics, group).read(), time.time_ns() // 1000)
    return RulesVersion(group, 0, 0, settings.tracker, settings.rules) if found is None else found


def read_scores(
    transport: Transport,
    settings: Settings,
    wanted: Wanted,
    rules: RuleSet,
    local: dt.tzinfo,
    book: ForgottenBook = NOTHING_FORGOTTEN,
) -> tuple[str, Kept, int]:
    """The scores of the model that classified last, and how many windows there are of other models.

    What is forgotten by `book` is a gap.

    Raises:
        ReplayError: there are none, or too many.
        BrokerError: the broker is away.
    """
    topic = settings.topics.predictions
    by_model: dict[str, Kept] = {}
    held = 0
    for prediction in _stored(transport, topic, wanted, book):
        kept = by_model.setdefault(prediction.model, Kept())
        unit = unit_of(wanted.unit, prediction.start_us, local)
        held += kept.add(prediction, rules.of(prediction.camera), unit)
        if held > MAX_WINDOWS:
            raise ReplayError(
                f"topic {topic}: more than {MAX_WINDOWS:,} windows may be of an event; name fewer with --since or "
                "--camera"
            )
    if not by_model:
        asked = "" if wanted.camera == "*" else f" of cameras {wanted.camera}"
        since = "" if wanted.since_us is None else f" since {rfc3339(wanted.since_us)[:19]}Z"
        raise ReplayError(
            f"topic {topic}: no scores{asked}{since}; none were written yet, or the broker's retention has taken them"
        )
    model = max(by_model, key=lambda name: by_model[name].last_us)
    return model, by_model[model], sum(kept.windows for name, kept in by_model.items() if name != model)


def _stored(transport: Transport, topic: str, wanted: Wanted, book: ForgottenBook) -> Iterator[Prediction]:
    """The windows that are wanted; at the end it is said what was left out."""
    damaged = forgotten = 0
    for record in transport.read(transport.offsets(topic)) if transport.existing([topic]) else ():
        try:
            found = Prediction.decode(record.key, record.headers, record.value, record.where)
        except OtherRecordError:  # a drill's
            continue
        except RecordError as error:
            damaged += 1
            if damaged <= _DAMAGED_NAMED:
                log.warning("%s: left out", error)
            continue
        if found.start_us < (wanted.since_us or 0) or not fnmatchcase(found.camera, wanted.camera):
            continue
        if book.of(found.camera, found.start_us, found.end_us) is None:
            yield found
        else:
            forgotten += 1
    if damaged > _DAMAGED_NAMED:
        log.warning("topic %s: %d more records that are no predictions left out", topic, damaged - _DAMAGED_NAMED)
    if forgotten:
        log.warning("topic %s: left out %s that are forgotten", topic, count(forgotten, "window"))


def doubts(found: Proposal, kept: Kept, judged: Mapping[str, JudgedEvent], unit: Unit, others: int) -> Iterator[str]:
    """Why what is proposed may not come true, in words."""
    if len(kept.units) < _FEW_UNITS[unit]:
        yield f"scores of {count(len(kept.units), unit)} are kept: too few to tell what others will be like"
    answers = Counter(said.judged for said in judged.values())
    if (many := answers["right"] + answers["false"]) < _FEW_VERDICTS:
        yield f"{count(many, 'judged event')} ({answers['right']} right, {answers['false']} false): too few to rely on"
    if answers["contested"]:
        yield f"{count(answers['contested'], 'contested event')} left out; `clipline verdicts give` settles them"
    if others:
        yield f"{count(others, 'window')} of other models left out"
    for verdict in found.unseen:
        yield (
            f"not counted: {verdict.label} at {verdict.camera}, {rfc3339(verdict.start_us)[:19]}Z, event "
            f"{verdict.event[:12]}: its scores are not kept, or the rules now raise no alert of them"
        )


def proposal_lines(found: Proposal, units: int, wanted: Wanted, local: dt.tzinfo) -> Iterator[str]:
    """What is proposed, and what it does to the alarms of the kept scores."""
    for each in found.raised:
        yield f"{each.camera}, {each.label}: start {each.before:g} -> {each.start:g}"
    if not found.raised:
        yield "nothing is proposed: thresholds stay as they are"
    for name, alarms in (("now", found.before), ("then", found.after)):
        total, most = sum(alarms.values()), max(alarms.values(), default=0)
        rate = f"{total / units:.1f}" if units else "0"
        yield f"{name}: {rate} alarms per {wanted.unit}, at most {most} ({total} in {count(units, wanted.unit)})"
    yield f"counted by {unit_words(wanted.unit, local)}"
    if wanted.budget is not None:
        kept = "kept" if found.within else "NOT kept: no threshold keeps it"
        yield f"budget of {wanted.budget.most} per {wanted.unit}: {kept}"
    yield f"false alarms avoided: {len(found.lost_as('false'))}"
    right = found.lost_as("right")
    yield f"confirmed events lost: {len(right)}"
    yield from (f"  lost: {_told(alarm)}" for alarm in right)
    unjudged = found.lost_as("open")
    yield f"alarms lost that nobody judged: {len(unjudged)}"
    yield from (f"  lost: {_told(alarm)}" for alarm in unjudged)


def _told(alarm: Alarm) -> str:
    return (
        f"{alarm.label} at {alarm.camera}, {rfc3339(alarm.start_us)[:19]}Z, event {alarm.event[:12]}, "
        f"peak {alarm.peak_score:.3f}"
    )


def rules_file(now: RulesVersion, found: Proposal, settings: Settings) -> Iterator[str]:
    """The rules now with what is proposed beneath them, as settings. Addresses may hold secrets: they are not there."""
    added = tuple(RuleSettings(camera=r.camera, label=r.label, start=r.start) for r in found.raised)
    version = RulesVersion(now.group, 0, 0, now.tracker, (*now.tables, *added))
    yield _HEAD
    yield f"# Version {version.version}, in place of {now.version}. The last {count(len(added), 'rule')} are new."
    worker = settings.worker
    keys = {"model": worker.model, "group": worker.group}
    yield from ("", "[worker]", *(f"{key} = {_quoted(text)}" for key, text in keys.items()))
    yield from ("", "[topics]", f"prefix = {_quoted(settings.topics.prefix)}")
    yield from rules_toml(version)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of TOML, too
