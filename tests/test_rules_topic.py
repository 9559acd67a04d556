"""Versions of rules on their topic: applied while workers run, kept, and the same events whoever hears of them when."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.live.tracker import Tracker
from consumers.live.worker import Worker
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction, rfc3339
from consumers.replaying.applied_rules import applied_rules
from consumers.rules.applying import Applied, apply_settings, holding, other_rules
from consumers.rules.book import RuleBook
from consumers.rules.rule_set import RuleSet, version_of
from consumers.rules.topic import LEAD_SECONDS, SPARE_SECONDS, STALE_SECONDS, RulesTopic, RulesWatch
from consumers.rules.version import RulesVersion
from consumers.settings import Settings, SettingsError
from consumers.terminal.console import Output
from consumers.terminal.printing.rules import apply_rules, show_history, show_rules
from consumers.topics import ensure_topics
from models import Threshold, find
from stream import KafkaTransport, MemoryTransport, Transport
from tests.test_worker import SPEC, START_US, Brightness, footage, run_until, segments_of, settings, transport

CONTRACT = replace(find("default").contract, labels=Brightness.labels, thresholds={"bright": Threshold(0.6, 0.5)})
NOW_US = START_US + 3_600_000_000
SECOND = 1_000_000
__all__ = ["footage", "settings", "transport"]


def having(settings: Settings, *tables: dict[str, Any]) -> Settings:
    return Settings.model_validate(settings.model_dump() | {"rules": list(tables), "redis": settings.redis})


def apply(transport: Transport, settings: Settings, since_us: int | None, *tables: dict[str, Any]) -> Applied:
    return apply_settings(transport, having(settings, *tables), CONTRACT, since_us, lambda: NOW_US)


def versions(transport: Transport, settings: Settings) -> list[RulesVersion]:
    return RulesTopic(transport, settings.topics, settings.worker.group).read()


@pytest.fixture
def memory() -> tuple[MemoryTransport, Settings]:
    transport, settings = MemoryTransport(), Settings()
    ensure_topics(transport, settings.topics)
    return transport, settings


class Watched:
    """A watch over a book, and the time that it is told."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self.now = 100.0
        first = RuleSet(CONTRACT, settings.tracker, settings.rules)
        self.book = RuleBook(first)
        topic = RulesTopic(transport, settings.topics, settings.worker.group)
        self.watch = RulesWatch(topic, CONTRACT, first.version, self.book, lambda: self.now)

    def start(self, seconds: float) -> float | None:
        """The threshold on a camera, so many seconds after `NOW_US`."""
        rule = self.book.at("gate", NOW_US + round(seconds * SECOND)).get("bright")
        return None if rule is None else rule.start


def test_a_version_comes_back_as_it_went():
    settings = having(Settings(), {"camera": "dock-*", "schedule": ["sat,sun"], "time_zone": "Europe/Berlin"})
    version = RulesVersion("a/b", NOW_US, NOW_US - 7, settings.tracker, settings.rules)
    key, _, value = version.encode()
    assert RulesVersion.decode("a/b", key, value, "rules[0]@1") == version
    assert json.loads(value)["version"] == version.version
    assert RulesVersion.decode("a", key, value, "rules[0]@1") is None
    assert RulesVersion.decode("a/b", key, None, "rules[0]@1") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"since_us": NOW_US + 1}, "expected the key"),
        ({"since_us": -1}, "expected a time from 1970 to 9998"),
        ({"rules": [{"strat": 1}]}, "strat: Extra inputs are not permitted"),
        ({"tracker": {"min_seconds": -1}}, "min_seconds: Input should be greater than or equal to 0"),
        ({"rules": None}, "expected rules to be of type list"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_with_its_place(change: dict[str, Any], reason: str):
    version = RulesVersion("group", NOW_US, NOW_US, Settings().tracker, ())
    key, _, value = version.encode()
    with pytest.raises(RecordError) as caught:
        RulesVersion.decode("group", key, json.dumps(json.loads(value) | change).encode(), "rules[0]@17")
    assert str(caught.value).startswith("rules[0]@17: ")
    assert reason in str(caught.value)


def test_rules_hold_a_while_after_they_were_applied(memory):
    transport, settings = memory
    applied = apply(transport, settings, None, {"start": 0.9})
    assert applied.version.since_us == NOW_US + LEAD_SECONDS * SECOND
    assert [each.version for each in versions(transport, settings)] == [applied.version.version]


def test_who_applies_rules_hears_that_the_broker_took_too_long_to_store_them(memory, monkeypatch):
    transport, settings = memory
    clock = iter((NOW_US, NOW_US + round((SPARE_SECONDS + 1) * SECOND)))
    slow = apply_settings(transport, having(settings, {"start": 0.9}), CONTRACT, None, lambda: next(clock))
    assert slow.late
    assert not apply(transport, settings, None, {"start": 0.8}).late
    # Of a time that somebody chose nobody expects that it lies ahead.
    clock = iter((NOW_US, NOW_US + 60 * SECOND))
    assert not apply_settings(transport, having(settings, {"start": 0.7}), CONTRACT, NOW_US, lambda: next(clock)).late


def test_rules_that_hold_already_are_not_applied_again(memory):
    transport, settings = memory
    first = apply(transport, settings, NOW_US, {"start": 0.9})
    again = apply(transport, settings, NOW_US + 5, {"start": 0.9})
    assert (first.held, again.held, again.version) == (False, True, first.version)
    assert len(versions(transport, settings)) == 1


def test_what_was_planned_for_a_time_is_replaced_by_what_is_applied_for_the_same(memory):
    transport, settings = memory
    apply(transport, settings, NOW_US + 60, {"start": 0.9})
    before = apply(transport, settings, NOW_US, {"start": 0.8})
    assert [each.since_us for each in before.later] == [NOW_US + 60]
    second = apply(transport, settings, NOW_US + 60, {"start": 0.7})
    found = versions(transport, settings)
    assert [each.since_us for each in found] == [NOW_US, NOW_US + 60]
    assert found[1].version == second.version.version
    assert holding(found, NOW_US + 59) is found[0]
    assert holding(found, NOW_US - 1) is None


def test_groups_have_rules_of_their_own(memory):
    transport, settings = memory
    apply(transport, settings, NOW_US, {"start": 0.9})
    other = Settings.model_validate({"worker": {"group": "another"}})
    assert versions(transport, other) == []


def test_the_oldest_versions_beyond_the_bound_are_dropped_and_told(memory, monkeypatch):
    monkeypatch.setattr("consumers.rules.topic.MAX_VERSIONS", 3)
    transport, settings = memory
    for n in range(4):
        applied = apply(transport, settings, NOW_US + n, {"start": 0.5 + n / 10})
    assert [each.since_us for each in applied.dropped] == [NOW_US]
    assert [each.since_us for each in versions(transport, settings)] == [NOW_US + 1, NOW_US + 2, NOW_US + 3]


def test_a_worker_knows_what_was_applied_before_it_began_and_hears_of_the_rest_within_two_seconds(memory):
    transport, settings = memory
    apply(transport, settings, NOW_US, {"start": 0.9})
    watched = Watched(transport, settings)
    assert watched.watch.look()
    assert [watched.start(-1), watched.start(0)] == [0.6, 0.9]
    apply(transport, settings, NOW_US + 10 * SECOND, {"camera": "gate", "enabled": False})
    watched.now += 1.9
    assert watched.watch.look()
    assert watched.start(10) == 0.9
    watched.now += 0.2
    assert watched.watch.look()
    assert [watched.start(9.9), watched.start(10)] == [0.9, None]


def test_single_versions_are_heard_of_on_every_broker(transport: KafkaTransport, settings: Settings):
    watched = Watched(transport, settings)
    assert watched.watch.look()
    for n, start in enumerate((0.8, 0.9)):
        apply(transport, settings, NOW_US + n * SECOND, {"start": start})
        deadline = time.monotonic() + 20
        while watched.start(n) != start:
            assert time.monotonic() < deadline
            watched.now += 2
            assert watched.watch.look()
            time.sleep(0.1)
    watched.watch.close()


def test_a_worker_that_cannot_read_the_rules_goes_on_for_a_while_and_then_waits(memory, monkeypatch):
    transport, settings = memory
    watched = Watched(transport, settings)
    assert watched.watch.look()
    consumer = watched.watch._consumer
    assert consumer is not None
    with monkeypatch.context() as away:
        away.setattr(type(consumer), "progress", lambda _: None)
        watched.now += STALE_SECONDS - 0.5
        assert watched.watch.look()
        watched.now += 1
        assert not watched.watch.look()
    watched.now += 2
    assert watched.watch.look()


def test_rules_that_a_model_cannot_use_are_left_out_by_all_its_workers(memory, caplog):
    transport, settings = memory
    apply(transport, settings, NOW_US, {"start": 0.9})
    strange = having(settings, {"label": "juggling", "start": 0.5})
    version = RulesVersion(settings.worker.group, NOW_US + SECOND, NOW_US, strange.tracker, strange.rules)
    RulesTopic(transport, settings.topics, settings.worker.group).apply(version)
    watched = Watched(transport, settings)
    with caplog.at_level(logging.WARNING):
        assert watched.watch.look()
    assert watched.start(2) == 0.9
    assert list(watched.watch.unusable) == [version.version]
    assert "rules #1.label: the model knows dark, bright" in caplog.text


def test_a_worker_says_that_its_settings_are_not_what_was_applied_last(memory, caplog):
    transport, settings = memory
    apply(transport, settings, NOW_US, {"start": 0.9})
    with caplog.at_level(logging.WARNING):
        Watched(transport, having(settings, {"start": 0.9})).watch.look()
        assert "clipline rules apply" not in caplog.text
        Watched(transport, settings).watch.look()
    assert "`clipline rules apply` applies them" in caplog.text


def test_it_is_said_where_others_than_the_rules_of_the_settings_were_applied(memory):
    transport, settings = memory
    assert other_rules(transport, settings) is None
    applied = apply(transport, settings, NOW_US, {"start": 0.9})
    assert other_rules(transport, having(settings, {"start": 0.9})) is None
    said = other_rules(transport, settings)
    assert said is not None
    assert applied.version.version in said
    assert "`clipline rules apply`" in said


@pytest.fixture
def printed(memory, monkeypatch) -> Callable[..., str]:
    """What a function of the command prints, on the broker in memory."""
    monkeypatch.setattr("consumers.terminal.printing.rules.KafkaTransport", lambda *_, **__: memory[0])

    def run(command: Callable[..., None], *words: Any, **options: Any) -> str:
        out, errors = Output(file=io.StringIO(), width=200), Output(file=io.StringIO(), width=200)
        consoles = (out,) if command is show_rules else (out, errors)
        command(memory[1], *words, *consoles, **options)
        return out.file.getvalue() + errors.file.getvalue()  # type: ignore[attr-defined]

    return run


def test_a_version_is_shown_as_settings_that_can_be_applied_again(memory, printed):
    transport, _ = memory
    table = {"camera": "dock-*", "schedule": ["sat,sun"], "time_zone": "Europe/Berlin", "start": 0.9, "enabled": True}
    tracker = {"min_seconds": 3.0, "labels": {"bright": {"end": 0.2}}}
    given = Settings.model_validate({"tracker": tracker, "rules": [table]})
    applied = apply_settings(transport, given, CONTRACT, NOW_US, lambda: NOW_US)
    text = printed(show_rules, applied.version.version[:6], None, as_json=False)
    shown = Settings.model_validate(tomllib.loads(text))
    assert version_of(shown.tracker, shown.rules) == applied.version.version
    assert text.startswith(f"# version {applied.version.version}, holds from {rfc3339(NOW_US)} on")
    with pytest.raises(SettingsError, match=f"there is no version 'ffff' .* known: {applied.version.version}"):
        printed(show_rules, "ffff", None, as_json=False)


def test_the_history_says_which_version_holds(memory, printed):
    transport, settings = memory
    assert "no rules were applied" in printed(show_history, as_json=False)
    for n in (0, 1):
        apply(transport, settings, n * SECOND, {"start": 0.8 + n / 10})
    first, second = (json.loads(line) for line in printed(show_history, as_json=True).splitlines())
    assert (first["holds"], second["holds"], second["rules"]) == (False, True, 1)
    assert printed(show_history, as_json=False).splitlines()[1].endswith("1 rule  holds now")


def test_who_applies_rules_for_a_time_that_has_passed_is_told_what_that_means(memory, printed, monkeypatch):
    monkeypatch.setattr("consumers.terminal.printing.rules.find", lambda _: SimpleNamespace(contract=CONTRACT))
    text = printed(apply_rules, NOW_US)
    assert f"holds from {rfc3339(NOW_US)} on" in text
    assert "keep their events" in text
    assert "holds already" in printed(apply_rules, NOW_US + SECOND)
    assert printed(show_rules, None, "dock-1", as_json=False).startswith("dock-1, bright: severity alert, start 0.6")


def test_a_replay_takes_the_rules_of_the_time_as_they_were_applied(memory):
    transport, settings = memory
    model, said = SimpleNamespace(id="brightness", contract=CONTRACT), list[str]()
    assert applied_rules(transport, settings, model, "then", NOW_US, said.append) == {}  # type: ignore[arg-type]
    apply(transport, settings, NOW_US, {"start": 0.9})
    apply(transport, settings, NOW_US + SECOND, {"camera": "dock-*", "enabled": False})
    found = applied_rules(transport, settings, model, "then", NOW_US, said.append)  # type: ignore[arg-type]
    book = RuleBook(RuleSet(CONTRACT, settings.tracker))
    book.set(found)
    starts = [book.at("dock-1", NOW_US + n * SECOND) for n in (-1, 0, 1)]
    assert [each["bright"].start if each else None for each in starts] == [0.6, 0.9, None]
    # Truth of a label that makes events at some time is judged.
    assert list(book.any_of(["dock-1"])) == ["bright"]
    assert said == [
        f"--rules then: none were applied in group {settings.worker.group}; those of the settings hold",
        f"--rules then: before {rfc3339(NOW_US)} none were applied; those of the settings hold",
    ]


@pytest.mark.parametrize(("at", "start"), [(-1, 0.6), (0, 0.9), (1, 0.95), (9, 0.95)])
def test_a_replay_takes_the_rules_of_now_for_all_footage(memory, at: int, start: float):
    transport, settings = memory
    model, said = SimpleNamespace(id="brightness", contract=CONTRACT), list[str]()
    apply(transport, settings, NOW_US, {"start": 0.9})
    apply(transport, settings, NOW_US + SECOND, {"start": 0.95})
    book = RuleBook(RuleSet(CONTRACT, settings.tracker))
    book.set(applied_rules(transport, settings, model, "now", NOW_US + at * SECOND, said.append))  # type: ignore[arg-type]
    assert {book.at("dock-1", time_us)["bright"].start for time_us in (0, NOW_US, NOW_US + 9 * SECOND)} == {start}
    assert [line[:11] for line in said] == ["--rules now"] * (at < 0)


def worker(transport: Transport, settings: Settings) -> Worker:
    rules = RuleSet(CONTRACT, settings.tracker, settings.rules)
    book = RuleBook(rules)
    watch = RulesWatch(RulesTopic(transport, settings.topics, settings.worker.group), CONTRACT, rules.version, book)
    return Worker(transport, Brightness(), SPEC, book, settings, watch)


def events(transport: Transport, settings: Settings) -> list[Event]:
    found = transport.read(transport.offsets(settings.topics.events))
    return [Event.decode(record.key, record.headers, record.value, record.where) for record in found]


def soon(ready: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_event_that_only_applied_rules_allow_goes_on_with_the_next_worker(memory, footage: Path):
    transport, settings = memory
    apply(transport, settings, START_US, {"enabled": True})
    own = having(settings, {"enabled": False})
    own = own.model_copy(update={"worker": own.worker.model_copy(update={"start": "earliest"})})
    sent = segments_of(footage, "gate")
    producer = transport.producer()

    def work(part: list[Any], until: Callable[[], bool]) -> None:
        for record in part:
            producer.send(settings.topics.segments, *record)
        producer.flush()
        stop = threading.Event()
        running = threading.Thread(target=worker(transport, own).run, args=(stop.is_set,))
        running.start()
        try:
            soon(until)
        finally:
            stop.set()
            running.join(30)

    half = next(n for n, (_, headers, _) in enumerate(sent) if int(dict(headers)["end-us"]) > START_US + 6 * SECOND)
    work(sent[:half], lambda: bool(events(transport, settings)))
    work(sent[half:], lambda: any(each.state == "ended" for each in events(transport, settings)))
    told = events(transport, settings)
    assert len({each.id for each in told}) == 1
    assert (told[0].state, told[-1].state, told[-1].ending) == ("started", "ended", "below_threshold")


@pytest.mark.slow
def test_rules_that_change_while_a_worker_runs_give_the_events_of_one_that_knew_before(
    transport: KafkaTransport, settings: Settings, footage: Path
):
    """Bright from 4 to 8 s: the event becomes a detection at 5 s, is reported each half second, and ends at 7 s."""
    settings = Settings.model_validate(
        settings.model_dump() | {"redis": settings.redis, "tracker": {"min_seconds": 0.8}}
    )
    changes: list[tuple[float, dict[str, Any]]] = [
        (5.0, {"severity": "detection", "update_seconds": 0.5, "escalate_after_seconds": 2.5, "group": "yard"}),
        (7.0, {"enabled": False}),
    ]
    sent = segments_of(footage, "gate")
    producer = transport.producer()

    def send(part: list[Any]) -> None:
        for record in part:
            producer.send(settings.topics.segments, *record)
        producer.flush()

    # One hears of each change as it runs, and is followed by another amid the event; before the footage comes.
    first, stop = worker(transport, settings), threading.Event()
    running = threading.Thread(target=first.run, args=(stop.is_set,))
    running.start()
    try:
        send(sent[:4])
        soon(lambda: first.counts["gate"].windows > 0)
        for seconds, table in changes:
            apply(transport, settings, START_US + round(seconds * SECOND), table)
        soon(lambda: len(first._rules._versions[0]) == 2)
        send(sent[4:-4])
        soon(lambda: any(event.reason == "escalated" for event in events(transport, settings)))
    finally:
        stop.set()
        running.join()
    send(sent[-4:])
    second = worker(transport, settings)
    run_until(second, lambda: second.counts["gate"].frames >= 300 and second.counts["gate"].pending == 0)

    # The other knows them from the beginning, and is not disturbed.
    undisturbed = MemoryTransport()
    ensure_topics(undisturbed, settings.topics)
    for seconds, table in changes:
        apply(undisturbed, settings, START_US + round(seconds * SECOND), table)
    for record in sent:
        undisturbed.append(settings.topics.segments, *record)
    third = worker(undisturbed, settings)
    run_until(third, lambda: third.counts["gate"].frames >= 300 and third.counts["gate"].pending == 0)

    expected = events(undisturbed, settings)
    assert events(transport, settings) == expected
    # So does a replay of what was seen.
    applied = applied_rules(transport, settings, SimpleNamespace(id="", contract=CONTRACT), "then", NOW_US, print)  # type: ignore[arg-type]
    book = RuleBook(RuleSet(CONTRACT, settings.tracker))
    book.set(applied)
    tracker = Tracker(book.of("gate"))
    seen = transport.read(transport.offsets(settings.topics.predictions))
    assert [e for r in seen for e in tracker.push(Prediction.decode(r.key, r.headers, r.value, r.where))] == expected
    told = [(e.state, e.severity, e.reason or e.ending) for e in expected]
    assert (told[0], told[-1]) == (("started", "alert", None), ("ended", "alert", "rule_removed"))
    assert ("updated", "detection", None) in told
    assert told.count(("updated", "alert", "escalated")) == 1
    assert {e.group for e in expected if e.end_us > START_US + 6 * SECOND} == {"yard"}
