"""No command shows what somebody had forgotten, and each that leaves it out says how much that is."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("fastapi")

from consumers.cli.main import app
from consumers.forgetting import ForgottenBook, forgotten_events
from consumers.records.dead_letter import DeadLetter
from consumers.records.delivery import Delivery
from consumers.records.verdict import Verdict
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_forgotten
from consumers.web.sharing.by_hand import make_share
from stream import SourceError
from stream.services import Service
from tests.dashboards import Site, ended, event, settings_of
from tests.test_forgetting import BEGIN_US, FROM_US, SECOND_US, TO_US, forget, iso, seen_event, stretch

#: Its first report ends before the stretch, its last one within.
REACHES = event(2, "gate", start_us=FROM_US - SECOND_US, end_us=FROM_US - 1, peak_us=FROM_US - SECOND_US)
GONE, KEPT = seen_event(4), seen_event(1)
HOUR_US = 3_600_000_000


def run(settings: Settings, *arguments: str) -> Result:
    environment = {
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_REDIS": settings.redis,
        "CLIPLINE_TOPICS__PREFIX": settings.topics.prefix,
    }
    return CliRunner().invoke(app, [*arguments], env=environment, standalone_mode=False)


@pytest.fixture
def here(embedded_broker: Service, topics_prefix: str) -> Site:
    found = Site(settings_of(embedded_broker.address, topics_prefix))
    found.cameras("gate", "dock")
    found.events(KEPT, GONE, REACHES, ended(REACHES), seen_event(4, "dock"))
    return found


def objects(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_events_leave_out_all_reports_of_an_event_that_is_forgotten(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    before = run(here.settings, "events", "--json")
    assert len(objects(before)) == 5
    assert "forgotten" not in before.output
    forget(here)
    after = run(here.settings, "events", "--json")
    assert [each["event"] for each in objects(after)] == [KEPT.id, seen_event(4, "dock").id]
    assert "3 reports of events at gate not shown: forgotten (`clipline forget --check`)" in caplog.text
    assert forgotten_events(here.transport, here.topics, ForgottenBook([stretch()])).keys() == {GONE.id, REACHES.id}


def test_verdicts_are_listed_without_those_on_what_is_forgotten_and_none_is_given(here: Site) -> None:
    ids = iter("abcd")
    for judged in (GONE, KEPT):
        for answer in ("right", "false"):
            verdict = Verdict(
                next(ids) * 24, answer, judged.id, judged.camera, "fight", judged.start_us, judged.end_us, 5, None
            )
            here.send(here.topics.verdicts, verdict)
    # Given when nobody knew that the event would go on into the stretch.
    early = Verdict("e" * 24, "right", REACHES.id, "gate", "fight", REACHES.start_us, REACHES.end_us, 5, None)
    here.send(here.topics.verdicts, early)
    forget(here)
    listed = run(here.settings, "verdicts", "--json")
    assert {each["event"] for each in objects(listed)} == {KEPT.id}
    assert "3 verdicts not shown: forgotten" in listed.stderr
    assert "not shown" not in run(here.settings, "verdicts", "--since", "2026-11-24T08:00:00Z").stderr
    refused = run(here.settings, "verdicts", "give", GONE.id, "false")
    assert isinstance(refused.exception, SourceError)
    assert "forgotten, as ana asked" in str(refused.exception)
    assert run(here.settings, "verdicts", "give", KEPT.id, "false").return_value is None


def test_messages_are_listed_without_those_about_what_is_forgotten_and_none_is_acknowledged(here: Site) -> None:
    def about(report, at: int) -> Delivery:
        return Delivery.about(report, "ops", now_us=at, expires_us=at + HOUR_US)

    later = ended(REACHES)
    messages = [about(each, BEGIN_US + n) for n, each in enumerate((KEPT, GONE, REACHES, later, seen_event(4, "dock")))]
    # Of another one, only the message about its beginning was sent.
    early = event(0, "gate", start_us=BEGIN_US, end_us=BEGIN_US + 1, peak_us=BEGIN_US)
    here.events(early, replace(ended(early), end_us=TO_US))
    here.send(here.topics.deliveries, *messages, messages[1].then("sent", BEGIN_US + 9), about(early, BEGIN_US + 8))
    forget(here)
    listed = run(here.settings, "deliveries", "--json")
    assert [each["delivery"] for each in objects(listed)] == [messages[0].id, messages[4].id]
    assert "4 messages not shown: forgotten" in listed.stderr
    assert "1 message not shown: forgotten" in run(here.settings, "deliveries", "--state", "sent").stderr
    refused = run(here.settings, "notify", "ack", messages[1].id)
    assert "forgotten, as ana asked" in str(refused.exception)
    assert "acknowledged" in run(here.settings, "notify", "ack", KEPT.id).stdout


def test_links_to_what_is_forgotten_are_said_to_show_nothing(here: Site) -> None:
    shares = {each.id: make_share(here.transport, here.settings, each.id, 1.0)[0] for each in (GONE, KEPT)}
    forget(here)
    listed = run(here.settings, "shares").stdout.splitlines()
    (gone,) = [line for line in listed if line.startswith(shares[GONE.id].id)]
    (kept,) = [line for line in listed if line.startswith(shares[KEPT.id].id)]
    assert re.search(r"; shows nothing: forgotten since \d{4}-", gone)
    assert "forgotten" not in kept
    said = {each["event"]: each["forgotten"] for each in objects(run(here.settings, "shares", "--json"))}
    assert (said[GONE.id] is not None, said[KEPT.id]) == (True, None)


def test_who_asks_what_is_left_is_told_who_had_it_forgotten_when_and_why(here: Site) -> None:
    one = forget(here)
    checked = run(here.settings, "forget", "--check")
    assert f", as ana asked at {iso(one.time_us)} (a bystander asked)" in checked.stdout.splitlines()[0]


@pytest.mark.parametrize("command", [("share",), ("pictures", "show"), ("evidence",)], ids=" ".join)
def test_nothing_is_made_of_an_event_that_is_forgotten(here: Site, command: tuple[str, ...]) -> None:
    forget(here)
    refused = run(here.settings, *command, GONE.id)
    assert isinstance(refused.exception, SourceError)
    assert f"event {GONE.id}: camera gate, " in str(refused.exception)


@pytest.mark.parametrize("command", [("share",), ("pictures", "show"), ("evidence",)], ids=" ".join)
def test_an_event_of_which_only_its_id_is_noted_is_said_to_be_forgotten(here: Site, command: tuple[str, ...]) -> None:
    ensure_topic_of_forgotten(here.transport, here.topics)
    here.send(here.topics.forgotten, stretch().with_events(["1" * 24, "12" + "3" * 22]))
    refused = run(here.settings, *command, "11")
    assert isinstance(refused.exception, SourceError)
    assert f"event {'1' * 24}: camera gate" in str(refused.exception)
    assert "beginning of 2 ids" in str(run(here.settings, *command, "1").exception)
    assert "no such event" in str(run(here.settings, *command, "f00").exception)


def test_dead_letters_are_listed_without_what_is_forgotten_and_none_of_it_is_shown_or_sent_again(here: Site) -> None:
    def letter(second: int, camera: bytes = b"gate") -> DeadLetter:
        start_us = BEGIN_US + second * SECOND_US
        headers = [("start-us", str(start_us).encode()), ("end-us", str(start_us + SECOND_US).encode())]
        return DeadLetter(camera, headers, b"body", f"{second} is damaged", "segments[0]@1")

    here.send(here.topics.deadletter, letter(4), letter(1), letter(4, b"dock"))
    forget(here)
    listed = run(here.settings, "deadletter", "list", "--json")
    shown = {(each["camera"], each["reason"]) for each in objects(listed)}
    assert shown == {("gate", "1 is damaged"), ("dock", "4 is damaged")}
    assert "1 dead letter not shown: forgotten" in listed.stderr
    assert "not shown" not in run(here.settings, "deadletter", "list", "--camera", "dock").stderr
    for action in ("show", "retry"):
        refused = run(here.settings, "deadletter", action, f"{here.topics.deadletter}[0]@0")
        assert str(refused.exception).endswith("@0: forgotten (`clipline forget --check`)")


def test_a_dry_run_says_what_would_go_and_changes_nothing(here: Site) -> None:
    asked = ["--camera", "gate", "--from", iso(FROM_US), "--to", iso(TO_US), "--dry-run"]
    told = run(here.settings, "forget", *asked)
    assert told.return_value is None
    line = f"{here.topics.events} (report of an event): 3: would not be shown, and there until the `clipline"
    assert line in told.stdout
    assert "Redis could not be looked at" in told.stdout
    assert "Nothing was changed." in told.stdout
    assert not here.transport.existing([here.topics.forgotten])
    empty = run(
        here.settings, "forget", "--camera", "dock", "--from", iso(TO_US), "--to", iso(TO_US + SECOND_US), "--dry-run"
    )
    assert (empty.return_value, "nothing of it was found" in empty.stdout) == (None, True)
