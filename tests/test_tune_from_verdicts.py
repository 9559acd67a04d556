"""Thresholds from verdicts: what is false goes first, and what is right is lost by name only."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.records.event import Event, event_id
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.records.verdict import Answer, Verdict
from consumers.replaying.errors import ReplayError
from consumers.replaying.tuning.budget import AlarmBudget, unit_of
from consumers.replaying.tuning.from_verdicts import Wanted, run_from_verdicts
from consumers.replaying.tuning.kept import Proposal, propose
from consumers.rules.applying import apply_settings
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet
from consumers.rules.topic import RulesTopic
from consumers.settings import Settings, load_settings, override
from consumers.settings.schedule import zone
from consumers.terminal.console import Output
from consumers.times import parse_time_us
from consumers.topics import ensure_topic_of_forgotten, ensure_topic_of_verdicts, ensure_topics
from consumers.verdicts.book import judged_events, write_verdict
from models import find
from stream import BrokerError, KafkaTransport
from stream.services import Service

SECOND = 1_000_000
RULE = Rule(start=0.5, end=0.3, min_seconds=1.0, cooldown_seconds=1.0, update_seconds=10.0)


def scores(camera: str, *peaks: tuple[int, float], length: int) -> list[Prediction]:
    """A window each second, quiet but for three seconds with a score from each of some seconds on."""
    found = {at + n: peak for at, peak in peaks for n in range(3)}
    return [
        Prediction(camera, 0, n, n * SECOND, (n + 1) * SECOND, "m", {"fight": found.get(n, 0.01)})
        for n in range(length)
    ]


def said(camera: str, at: int, answer: Answer) -> Verdict:
    id_ = event_id(camera, 0, "fight", at * SECOND, "m")
    return Verdict(f"{id_}-1", answer, id_, camera, "fight", at * SECOND, (at + 3) * SECOND, 0, "ops")


def by_minute(time_us: int) -> str:
    return str(time_us // (60 * SECOND))


def proposed(budget: int | None, *verdicts: Verdict) -> Proposal:
    kept = {
        "gate": scores("gate", (10, 0.6), (30, 0.95), (70, 0.62), length=120),
        "yard": scores("yard", (20, 0.7), (40, 0.8), (90, 0.72), length=120),
        "quiet": scores("quiet", length=120),
    }
    return propose(kept, lambda _: {"fight": RULE}, judged_events(verdicts), by_minute, budget)


def test_false_alarms_go_where_nothing_else_is_lost():
    found = proposed(None, said("gate", 10, "false"), said("gate", 70, "false"), said("gate", 30, "right"))
    (raised,) = found.raised
    assert (raised.camera, raised.label, raised.before) == ("gate", "fight", 0.5)
    assert 0.62 < raised.start < 0.95
    assert [(a.camera, a.start_us // SECOND) for a in found.lost] == [("gate", 10), ("gate", 70)]
    assert found.lost_as("right") == []
    assert len(found.kept) == 4


def test_nothing_is_proposed_where_nobody_said_that_anything_was_false():
    assert proposed(None).raised == ()
    assert proposed(None, said("gate", 10, "right")).raised == ()


def test_a_budget_is_kept_with_the_least_that_is_right_lost_and_that_is_named():
    right = [said("gate", 10, "right"), said("gate", 30, "right")]
    found = proposed(2, *right)
    assert max(found.before.values()) == 4
    assert found.within
    assert max(found.after.values()) <= 2
    assert found.lost_as("right") == []  # the yard's, which nobody judged, go first
    none = proposed(0, *right)
    assert none.within
    assert sorted(a.start_us // SECOND for a in none.lost_as("right")) == [10, 30]


def test_a_verdict_without_kept_scores_is_named():
    assert [v.camera for v in proposed(None, said("dock", 10, "false")).unseen] == ["dock"]


def test_a_night_is_that_of_the_evening_on_which_it_begins():
    berlin = zone("Europe/Berlin")

    def at(text: str) -> int:
        return parse_time_us(text)

    assert unit_of("night", at("2026-11-28T20:59:59Z"), berlin) is None
    assert unit_of("night", at("2026-11-28T21:00:00Z"), berlin) == "2026-11-28"
    assert unit_of("night", at("2026-11-29T04:59:59Z"), berlin) == "2026-11-28"
    assert unit_of("night", at("2026-11-29T05:00:00Z"), berlin) is None
    assert unit_of("day", at("2026-11-28T23:30:00Z"), berlin) == "2026-11-29"
    assert unit_of("week", at("2026-11-29T23:30:00Z"), berlin) == "2026-W49"


def test_a_budget_is_read_or_refused_by_name():
    assert AlarmBudget.parse("3 per night") == AlarmBudget(3, "night")
    assert AlarmBudget.parse("10 a day") == AlarmBudget(10, "day")
    assert AlarmBudget.parse("20/week") == AlarmBudget(20, "week")
    for text in ("three per night", "3", "3 per hour", "-1 per day"):
        with pytest.raises(ReplayError, match="like '3 per night'"):
            AlarmBudget.parse(text)


def test_what_is_proposed_is_a_file_that_rules_apply_takes_and_nothing_holds_before(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = Settings.model_validate(
        {"kafka": embedded_broker.address, "topics": {"prefix": topics_prefix}, "tracker": {"min_seconds": 1}}
    )
    out, output = Output(width=200), tmp_path / "rules.toml"
    wanted = Wanted(AlarmBudget.parse("1 per day"), output=output)
    transport = KafkaTransport(settings.broker, at_once=True)
    with pytest.raises(BrokerError, match="no verdict was given yet"):
        run_from_verdicts(settings, wanted, out, out)
    ensure_topics(transport, settings.topics)
    ensure_topic_of_verdicts(transport, settings.topics, 24)
    with pytest.raises(ReplayError, match="no scores"):
        run_from_verdicts(settings, wanted, out, out)
    producer = transport.producer()
    for prediction in scores("gate", (10, 0.93), (40, 0.97), length=60):
        producer.send(settings.topics.predictions, *prediction.encode())
    producer.flush()
    producer.close()
    for verdict in (said("gate", 10, "right"), said("gate", 40, "right")):
        write_verdict(transport, settings.topics.verdicts, verdict)
    run_from_verdicts(settings, wanted, out, out)
    told = capsys.readouterr().out
    lost = event_id("gate", 0, "fight", 10 * SECOND, "m")
    assert f"  lost: fight at gate, 1970-01-01T00:00:10Z, event {lost[:12]}" in told
    assert "confirmed events lost: 1" in told
    assert "budget of 1 per day: kept" in told
    assert "2 judged events (2 right, 0 false): too few" in told
    assert RulesTopic(transport, settings.topics, settings.worker.group).read() == []
    proposed = override(load_settings(output, {}), {"kafka": embedded_broker.address}, "test")
    contract = find(proposed.worker.model).contract
    applied = apply_settings(transport, proposed, contract, 0, lambda: 0)
    assert applied.version.version in output.read_text()
    assert 0.93 < RuleSet(contract, proposed.tracker, proposed.rules).of("gate")["fight"].start < 0.97
    # What holds is what is tuned from then on, and our own file may be written again.
    run_from_verdicts(settings, wanted, out, out)
    assert "nothing is proposed" in capsys.readouterr().out
    output.write_text("[worker]\n")
    with pytest.raises(ReplayError, match="holds other settings"):
        run_from_verdicts(settings, wanted, out, out)


def test_nothing_is_proposed_from_what_is_forgotten_nor_is_it_named(
    embedded_broker: Service,
    topics_prefix: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    settings = Settings.model_validate(
        {"kafka": embedded_broker.address, "topics": {"prefix": topics_prefix}, "tracker": {"min_seconds": 1}}
    )
    out, wanted = Output(width=200), Wanted(AlarmBudget.parse("0 per day"))
    transport = KafkaTransport(settings.broker, at_once=True)
    ensure_topics(transport, settings.topics)
    ensure_topic_of_verdicts(transport, settings.topics, 24)
    ensure_topic_of_forgotten(transport, settings.topics)
    producer = transport.producer()
    for prediction in scores("gate", (10, 0.93), (40, 0.97), length=60):
        producer.send(settings.topics.predictions, *prediction.encode())
    producer.send(settings.topics.forgotten, *Forgotten("gate", 39 * SECOND, 44 * SECOND, 1, "ana").encode())
    # One was judged when nobody knew that it would go on into the stretch.
    early = said("gate", 20, "right")
    times = early.start_us, 40 * SECOND, 0.9, early.start_us, 20
    went_on = Event("gate", "m", "fight", "ended", 1, early.event, *times, "below_threshold")
    producer.send(settings.topics.events, *went_on.encode())
    producer.flush()
    producer.close()
    for verdict in (said("gate", 10, "right"), said("gate", 40, "right"), early):
        write_verdict(transport, settings.topics.verdicts, verdict)
    run_from_verdicts(settings, wanted, out, out)
    told = capsys.readouterr().out
    assert "55 windows of 1 camera" in told
    assert "1970-01-01T00:00:10Z" in told
    assert "1970-01-01T00:00:40Z" not in told
    assert "1970-01-01T00:00:20Z" not in told
    assert "1 judged event (1 right, 0 false)" in told
    assert "left out 5 windows that are forgotten" in caplog.text
