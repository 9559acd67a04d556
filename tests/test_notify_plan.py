"""Which reports become messages, and what follows from what came of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.notifying.answers import Answers
from consumers.notifying.ledger import MAX_LABELS, Ledger
from consumers.notifying.plan import MAX_REFUSALS, Again, Never, Plan, Sent
from consumers.notifying.words import words_of
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.verdict import Verdict
from consumers.settings.sections.notifying import ChannelSettings
from tests.snapshots import event

NOW_US = 1_795_860_000_000_000  # 2026-11-28T10:00:00Z
SECOND, MINUTE, HOUR = 1_000_000, 60_000_000, 3_600_000_000


class Desk:
    """A plan with one channel, and its ledger, at a time that the test sets."""

    def __init__(self, max_open: int = 10_000, **channel: object) -> None:
        self.channel, self.said = ChannelSettings(url="http://127.0.0.1/", **channel), Answers()
        self.plan = Plan({"ops": self.channel}, max_open, self.said)
        self.ledger, self.now = Ledger(), NOW_US
        self.written: list[Delivery] = []

    def write(self, entries: Iterable[Delivery]) -> list[Delivery]:
        found = []
        for entry in entries:
            self.ledger.apply(entry)
            found.append(entry)
        self.written += found
        return found

    def report(self, *events: Event) -> list[Delivery]:
        return [e for each in events for e in self.write(self.plan.entries(each, self.now, self.ledger, self.now))]

    def due(self, after_us: int = 0) -> list[Delivery]:
        self.now += after_us
        return self.write(self.plan.due(self.ledger, (), self.now))

    def next(self, busy: Iterable[str] = ()) -> list[Delivery]:
        return list(self.plan.next(self.ledger, frozenset(busy), self.now))

    def came(self, tried: Delivery, outcome: Sent | Again | Never) -> list[Delivery]:
        return self.write(self.plan.outcome(tried, outcome, self.ledger, self.now))

    def again(self) -> Ledger:
        """The ledger as another notifier reads it."""
        ledger = Ledger()
        for entry in self.written:
            record = entry.encode()
            ledger.apply(Delivery.decode(record[0], record[2], "deliveries[0]@0"))
        return ledger


def verdict(event_id: str | None) -> Verdict:
    assert event_id is not None
    return Verdict("f" * 24, "right", event_id, "gate", "fight", NOW_US, NOW_US + 1, NOW_US, "guard", None)


def reports(count: int, **fields: object) -> list[Event]:
    return [event(f"gate-{n}", at_us=NOW_US - 10 * SECOND + n, **fields) for n in range(count)]


def test_a_report_becomes_one_message_however_often_it_comes():
    desk = Desk()
    (report,) = reports(1)
    assert [e.state for e in desk.report(report, report)] == ["queued"]
    (queued,) = desk.next()
    desk.came(queued, Sent("HTTP 200"))
    assert desk.report(report) == []
    assert desk.next() == []


@pytest.mark.parametrize(
    ("channel", "told"),
    [
        ({}, 1),
        ({"cameras": ["gate*"]}, 1),
        ({"cameras": ["dock", "gate-0"]}, 1),
        ({"cameras": ["dock*"]}, 0),
        ({"labels": ["fight"]}, 1),
        ({"labels": ["fall"]}, 0),
        ({"states": ["ended"]}, 0),
        ({"severities": ["detection"]}, 0),
        ({"severities": ["alert", "detection"]}, 1),
    ],
)
def test_a_channel_is_told_of_what_it_asks_for(channel: dict[str, object], told: int):
    assert len(Desk(**channel).report(*reports(1))) == told


def test_what_a_rule_only_notes_is_told_once_it_escalates():
    desk = Desk()
    (noted,) = reports(1)
    assert desk.report(replace(noted, severity="detection")) == []
    (entry,) = desk.report(replace(noted, state="updated", revision=1, escalated=True, reason="escalated"))
    assert entry.message["data"]["reason"] == "escalated"


def test_what_comes_too_late_fails_at_once_and_what_waits_too_long_fails_then():
    desk = Desk(use_by_minutes=10)
    late, early = reports(2)
    (entry,) = desk.write(desk.plan.entries(late, desk.now - 11 * MINUTE, desk.ledger, desk.now))
    assert (entry.state, entry.why) == ("failed", "expired")
    desk.report(early)
    assert desk.due(9 * MINUTE) == []
    assert [(e.state, e.why) for e in desk.due(2 * MINUTE)] == [("failed", "expired")]
    assert desk.next() == []


def test_pauses_grow_to_five_minutes_and_a_receivers_wish_counts():
    desk = Desk(use_by_minutes=10_000)
    desk.report(*reports(1))
    (tried,) = desk.next()
    pauses = []
    for _ in range(14):
        (tried,) = desk.came(tried, Again("http_500", "HTTP 500"))
        assert tried.due_us is not None
        pauses.append((tried.due_us - desk.now) / SECOND)
        desk.now = tried.due_us
        assert [e.id for e in desk.next()] == [tried.id]
    assert all(2**n / 2 <= pause <= min(2**n, 300) for n, pause in enumerate(pauses[:9]))
    assert all(150 <= pause <= 300 for pause in pauses[9:])
    (tried,) = desk.came(tried, Again("http_429", "HTTP 429", after_seconds=1800))
    assert tried.due_us == desk.now + 1800 * SECOND
    (tried,) = desk.came(tried, Again("http_429", "HTTP 429", after_seconds=1e9))
    assert tried.due_us == desk.now + 3600 * SECOND


def test_while_a_channel_cannot_be_reached_one_message_is_tried_and_then_the_others_in_order():
    desk = Desk()
    desk.report(*reports(5))
    first, second, *_ = desk.next()
    desk.came(first, Again("unreachable", "Connection refused"))
    assert desk.next() == []
    desk.now += 2 * SECOND
    (probe,) = desk.next()
    assert probe.id == first.id
    assert desk.next(busy=[probe.id]) == []
    desk.came(probe, Sent("HTTP 200"))
    assert next(iter(desk.next())).id == second.id
    assert len(desk.next()) == 4


def test_a_message_that_its_receiver_cannot_take_does_not_keep_the_others_from_it():
    desk = Desk()
    poison, *_ = desk.report(*reports(5))
    sent: set[str] = set()
    for _ in range(200):
        for tried in desk.next():
            if tried.id == poison.id:
                desk.came(tried, Again("http_500", "HTTP 500"))
            else:
                sent |= {entry.id for entry in desk.came(tried, Sent("HTTP 200"))}
        desk.due(SECOND)
    assert len(sent) == 4


def test_messages_that_were_under_way_at_once_are_one_try_of_their_channel():
    desk = Desk()
    desk.report(*reports(16))
    for tried in desk.next():
        desk.came(tried, Again("unreachable", "Connection refused"))
    assert desk.ledger.missed("ops") == desk.again().missed("ops") == 1
    paused_us = desk.ledger.paused_until_us("ops")
    assert paused_us is not None
    assert paused_us <= desk.now + 2 * SECOND


@pytest.mark.parametrize("ahead_us", [2 * HOUR, 366 * 24 * HOUR])
def test_a_clock_that_was_ahead_keeps_nothing_back(ahead_us: int):
    desk = Desk(per_hour=2)
    desk.now += ahead_us
    desk.report(*reports(2))
    desk.came(desk.next()[0], Again("unreachable", "Connection refused"))
    desk.now = NOW_US
    assert len(desk.next()) == 1
    (later,) = desk.report(event("dock", at_us=NOW_US))
    assert later.state == "queued"


def test_what_a_clock_that_was_ahead_held_back_is_summed_up():
    desk = Desk(quiet="22:00-07:00")
    desk.now += 366 * 24 * HOUR + 13 * HOUR
    (held,) = desk.report(*reports(1))
    assert held.why == "quiet"
    desk.now = NOW_US
    (summary,) = desk.due()
    assert summary.covers == (held.id,)


def test_a_snooze_of_a_clock_that_was_ahead_is_as_long_as_it_was_meant():
    snoozes = Answers()
    asked_us = NOW_US + 366 * 24 * HOUR
    snoozes.apply(
        Verdict("f" * 24, "snooze", "e", "gate", "fight", NOW_US, NOW_US + 1, asked_us, "ops", asked_us + HOUR), NOW_US
    )
    assert snoozes.until_us("ops", "gate", "fight", NOW_US) == NOW_US + HOUR
    assert snoozes.until_us("ops", "gate", "fight", NOW_US + HOUR) is None


def test_a_camera_with_any_labels_takes_a_bounded_place():
    ledger = Ledger()
    for n in range(200):
        queued = Delivery.about(
            replace(event("gate", at_us=NOW_US + n), label=f"label-{n}", id=f"{n:024x}"),
            "ops",
            now_us=NOW_US,
            expires_us=NOW_US,
        )
        ledger.apply(queued)
    assert len(ledger.labels("ops")["gate"]) == MAX_LABELS


def test_what_waits_when_quiet_hours_begin_is_held_back_and_a_summary_comes_after_them():
    desk = Desk(quiet="11:00-13:00", use_by_minutes=90)
    first, second = desk.report(*reports(2))
    desk.came(first, Again("unreachable", "Connection refused"))
    assert {(e.id, e.state, e.why) for e in desk.due(HOUR)} == {
        (first.id, "held", "quiet"),
        (second.id, "held", "quiet"),
    }
    assert desk.due(MINUTE) == desk.next() == []
    (summary,) = desk.due(2 * HOUR)
    assert summary.covers == (first.id, second.id)
    assert [e.id for e in desk.next()] == [summary.id]


def test_a_summary_that_could_not_be_told_before_quiet_hours_is_told_after_them():
    desk = Desk(quiet="11:00-15:00", per_hour=1, use_by_minutes=30)
    desk.now -= HOUR // 2
    first, _ = desk.report(*reports(2))
    desk.came(first, Sent("HTTP 200"))
    desk.now = NOW_US + HOUR // 2 + 1
    (summary,) = desk.due()
    desk.due(HOUR)
    assert desk.next() == []
    desk.due(3 * HOUR + 45 * MINUTE)
    assert [e.id for e in desk.next()] == [summary.id]


def test_a_limit_counts_the_summary_and_one_summary_stands_for_all():
    desk = Desk(per_hour=10, use_by_minutes=10_000)
    sent: list[int] = []
    kinds: list[str] = []
    for number in range(51):  # five hours
        desk.report(event(f"gate-{number}", at_us=desk.now))
        desk.due()
        for tried in desk.next():
            desk.came(tried, Sent("HTTP 200"))
            sent.append(desk.now)
            kinds.append(tried.kind)
        desk.now += 350 * SECOND
    assert all(sum(begin <= at < begin + HOUR for at in sent) <= 10 for begin in sent)
    assert kinds.count("summary") <= 5


def test_what_is_open_is_known_however_much_comes_after_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("consumers.notifying.ledger._REMEMBERED", 3)
    desk = Desk(per_hour=100)
    first, *others = desk.report(*reports(20))
    for each in others:
        desk.came(each, Sent("HTTP 200"))
    assert desk.ledger.knows(first.id)
    desk.came(first, Sent("HTTP 200"))
    assert desk.next() == []


def test_one_turn_brings_no_more_than_a_transaction_holds():
    desk = Desk(per_hour=100_000)
    desk.report(*reports(1200))
    desk.now += 2 * HOUR
    assert [len(desk.due()) for _ in range(4)] == [500, 500, 200, 0]


def test_a_message_that_is_refused_holds_up_no_other_and_is_given_up_in_the_end():
    desk = Desk()
    desk.report(*reports(2))
    bad, good = desk.next()
    for _ in range(MAX_REFUSALS):
        assert good.id in {e.id for e in desk.next()}
        (bad,) = desk.came(bad, Again("http_422", "HTTP 422 no such user", is_of_message=True))
        desk.now += 400 * SECOND
    assert (bad.state, bad.why, bad.attempt) == ("failed", "http_422", MAX_REFUSALS)
    assert bad.detail == "HTTP 422 no such user"


def test_a_receiver_that_wants_nothing_any_more_gets_nothing_until_a_test_gets_there():
    desk = Desk()
    desk.report(*reports(3))
    first = desk.next()[0]
    entries = desk.came(first, Never("disabled", "HTTP 410"))
    assert desk.next() == []
    assert [(e.state, e.why) for e in entries + desk.due()] == [("failed", "disabled")] * 3
    (later,) = desk.report(event("dock", at_us=NOW_US))
    assert (later.state, later.why) == ("failed", "disabled")
    test = Delivery("f" * 24, "ops", "test", "queued", desk.now, desk.now + MINUTE, {"data": {}})
    desk.write([test, test.then("sent", desk.now, attempt=1)])
    assert [e.state for e in desk.report(event("yard", at_us=NOW_US))] == ["queued"]


def test_beyond_the_hourly_limit_messages_are_held_back_and_summed_up():
    desk = Desk(per_hour=3)
    entries = desk.report(*reports(8))
    assert [e.state for e in entries] == ["queued"] * 3 + ["held"] * 5
    assert {e.why for e in entries[3:]} == {"rate"}
    for entry in desk.next():
        desk.came(entry, Sent("HTTP 200"))
    assert desk.due(HOUR - SECOND) == []
    (summary,) = desk.due(2 * SECOND)
    assert summary.kind == "summary"
    assert summary.message["data"]["held"] == 5
    assert summary.message["data"]["reasons"] == {"rate": 5}
    assert summary.covers == tuple(e.id for e in entries[3:])
    assert [e.id for e in desk.next()] == [summary.id]
    assert desk.ledger.count_open("ops") == 1


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-11-28T20:59:59+00:00", None),
        ("2026-11-28T21:00:00+00:00", "2026-11-29T06:00:00+00:00"),  # 22:00 in Berlin, until 7:00
        ("2026-11-29T05:59:00+00:00", "2026-11-29T06:00:00+00:00"),
        ("2026-11-29T06:00:00+00:00", None),
        # Clocks go forward at 2:00, and back at 3:00.
        ("2026-03-28T22:00:00+00:00", "2026-03-29T05:00:00+00:00"),
        ("2026-10-24T21:00:00+00:00", "2026-10-25T06:00:00+00:00"),
    ],
)
def test_quiet_hours_are_of_the_channels_time_zone(now: str, until: str | None):
    desk = Desk(quiet="22:00-07:00", time_zone="Europe/Berlin")
    desk.now = int(dt.datetime.fromisoformat(now).timestamp() * 1e6)
    (entry,) = desk.report(*reports(1))
    assert entry.state == ("queued" if until is None else "held")
    assert entry.due_us == (None if until is None else int(dt.datetime.fromisoformat(until).timestamp() * 1e6))


def test_a_digest_collects_the_events_of_a_day_and_tells_of_them_at_its_time():
    desk = Desk(digest="08:00", time_zone="Europe/Berlin")
    entries = desk.report(*reports(3))  # at 11:00 in Berlin
    assert {(e.state, e.why, e.due_us) for e in entries} == {("held", "digest", NOW_US + 21 * HOUR)}
    assert desk.due(21 * HOUR - SECOND) == []
    (summary,) = desk.due(SECOND)
    assert summary.message["data"]["reasons"] == {"digest": 3}
    assert words_of(summary, desk.channel)[0] == "3 events of the day"
    assert [e.id for e in desk.next()] == [summary.id]
    desk.came(summary, Sent("ok"))
    # A day on which nothing happens has none.
    assert desk.due(24 * HOUR) == []
    (later,) = desk.report(event("gate", at_us=desk.now))
    assert later.due_us == desk.now + 24 * HOUR


def test_who_is_told_of_what_nobody_answers_hears_of_that_alone():
    desk = Desk(unanswered_minutes=5, use_by_minutes=10)
    entries = desk.report(*reports(3))
    assert {(e.state, e.why, e.due_us) for e in entries} == {("held", "unanswered", NOW_US + 5 * MINUTE)}
    assert desk.next() == []
    seen, answered, open_ = entries
    desk.write([seen.then("acknowledged", desk.now)])
    desk.said.apply(verdict(answered.event), desk.now)
    assert [(e.id, e.state, e.why) for e in desk.due(MINUTE)] == [(answered.id, "acknowledged", "answered")]
    assert desk.due(4 * MINUTE - SECOND) == []
    assert [(e.id, e.state) for e in desk.due(SECOND)] == [(open_.id, "queued")]
    (tried,) = desk.next()
    assert tried.message["data"]["unanswered_minutes"] == 5
    title, text = words_of(tried, desk.channel)
    assert title == "Unanswered: fight at gate-2"
    assert "Nobody has answered for 5 min." in text
    # It is of use from then on for as long as any other message.
    assert desk.due(9 * MINUTE) == []
    assert [e.why for e in desk.due(2 * MINUTE)] == ["expired"]


@pytest.mark.parametrize("how", ["acknowledged", "answered"])
def test_what_was_answered_before_is_not_told_to_the_next_person_when_it_goes_on(how: str):
    desk = Desk(unanswered_minutes=5, states=["started", "ended"])
    (report,) = reports(1)
    (first,) = desk.report(report)
    if how == "answered":
        desk.said.apply(verdict(report.id), desk.now)
    else:
        desk.write([first.then("acknowledged", desk.now)])
    (second,) = desk.report(replace(report, state="ended", revision=1))
    assert second.state == "acknowledged"


def test_what_nobody_answered_counts_in_the_hourly_limit_when_it_is_let_in():
    desk = Desk(unanswered_minutes=5, per_hour=2)
    seen = desk.report(*reports(4))
    desk.write([e.then("acknowledged", desk.now) for e in seen])
    desk.report(*(event(f"dock-{n}", at_us=NOW_US + n) for n in range(4)))
    let_in = desk.due(5 * MINUTE)
    assert [(e.state, e.why) for e in let_in] == [("queued", None)] * 2 + [("held", "rate")] * 2
    assert [e.kind for e in desk.due(HOUR) if e.state == "queued"] == ["summary"]
    assert list(desk.again().open("ops")) == list(desk.ledger.open("ops"))


def test_what_nobody_answered_waits_for_the_end_of_quiet_hours():
    desk = Desk(unanswered_minutes=5, quiet="10:00-12:00")
    desk.report(*reports(2))
    assert {(e.state, e.why) for e in desk.due(5 * MINUTE)} == {("held", "quiet")}
    (summary,) = desk.due(2 * HOUR)
    assert summary.message["data"]["held"] == 2


@pytest.mark.parametrize("channel", [{"digest": "08:00"}, {"unanswered_minutes": 5}])
def test_a_drill_is_not_told_later(channel: dict[str, object]):
    desk = Desk(drill=True, **channel)
    (entry,) = desk.report(event("gate~drill-0123abcd", at_us=NOW_US))
    assert (entry.state, entry.why) == ("failed", next(iter(channel)).removesuffix("_minutes"))


def in_yard(camera: str, at_us: int) -> Event:
    return event(camera, at_us=at_us, group="yard", merge_seconds=30.0)


def test_what_several_cameras_of_a_group_see_is_told_once_and_summed_up():
    desk = Desk()
    begun = [in_yard(name, NOW_US + n * SECOND) for n, name in enumerate(("gate-1", "gate-2", "yard"))]
    begun.append(event("dock", at_us=NOW_US + 3 * SECOND, group="docks", merge_seconds=30.0))
    entries = desk.report(*begun)
    assert [(e.state, e.why) for e in entries] == [
        ("queued", None),
        ("held", "merged"),
        ("held", "merged"),
        ("queued", None),
    ]
    assert list(desk.again().told("ops", "fight")) == list(desk.ledger.told("ops", "fight"))
    # The same camera has news of its own, and so has a camera of the group that sees something else, or later.
    others = (
        in_yard("gate-1", NOW_US + 20 * SECOND),
        replace(in_yard("gate-2", NOW_US + 20 * SECOND), label="fall", id="f" * 24),
        in_yard("gate-2", NOW_US + 60 * SECOND),
    )
    assert [e.state for e in desk.report(*others)] == ["queued"] * 3
    for entry in desk.next():
        desk.came(entry, Sent("ok"))
    assert desk.due(30 * SECOND - 1) == []
    (summary,) = desk.due(1)
    assert summary.covers == tuple(e.id for e in entries[1:3])
    assert words_of(summary, desk.channel)[0] == "2 events held back"


def test_an_event_that_escalates_is_told_whoever_has_told_of_it():
    desk = Desk()
    first, second = in_yard("gate-1", NOW_US), in_yard("gate-2", NOW_US)
    desk.report(first, second)
    goes_on = replace(second, state="updated", revision=1, escalated=True, reason="escalated")
    assert [e.state for e in desk.report(goes_on)] == ["queued"]


def test_more_than_may_wait_fails_at_once_and_says_so():
    desk = Desk(max_open=10)
    entries = desk.report(*reports(12))
    assert [(e.state, e.why) for e in entries[10:]] == [("failed", "overflow")] * 2


def test_what_a_clock_that_was_ahead_queued_counts_in_no_hour():
    desk = Desk(per_hour=2)
    ahead, *others = reports(4)
    desk.now += 6 * HOUR
    desk.report(ahead)
    desk.now -= 6 * HOUR
    assert [e.state for e in desk.report(*others)] == ["queued", "queued", "held"]
    # Nor does it for whoever reads the ledger.
    assert desk.again().queued_within_hour("ops", desk.now)[0] == 2


def test_messages_of_a_channel_that_the_settings_lost_fail():
    desk = Desk()
    desk.report(*reports(2))
    gone = Plan({}, 10)
    assert [(e.state, e.why) for e in gone.due(desk.ledger, (), desk.now)] == [("failed", "no_channel")] * 2


@given(
    st.lists(st.sampled_from(["sent", "again", "refused", "never", "time"]), max_size=25),
    st.integers(1, 6),
    st.sampled_from([None, 7]),
)
def test_whoever_reads_the_ledger_knows_what_its_writer_knew(steps: list[str], count: int, minutes: float | None):
    desk = Desk(per_hour=4, use_by_minutes=30, unanswered_minutes=minutes)
    desk.report(*reports(count))
    for step in steps:
        tried = next(iter(desk.next()), None)
        if step == "time" or tried is None:
            desk.due(5 * MINUTE)
        elif step == "sent":
            desk.came(tried, Sent("ok"))
        elif step == "never":
            desk.came(tried, Never("disabled", "HTTP 410"))
        else:
            desk.came(tried, Again("why", "detail", is_of_message=step == "refused"))
    other = desk.again()
    assert list(other.open("ops")) == list(desk.ledger.open("ops"))
    assert other.paused_until_us("ops") == desk.ledger.paused_until_us("ops")
    assert other.disabled("ops") == desk.ledger.disabled("ops")
    for entry in desk.written:  # told twice, it changes nothing
        other.apply(entry)
    assert [e.id for e in other.open("ops")] == [e.id for e in desk.ledger.open("ops")]
    # Nothing is lost: each message is open, over or in a summary.
    ids, covered = {e.id for e in desk.written}, {c for e in desk.written for c in e.covers}
    over = sum(desk.ledger.over.get("ops", {}).values())
    assert len(ids) == desk.ledger.count_open("ops") + over + len(covered)


def test_what_a_clock_that_was_ahead_has_told_of_holds_nothing_back_for_longer():
    desk = Desk()
    desk.now += 6 * HOUR
    desk.report(in_yard("gate-1", NOW_US))
    desk.now -= 6 * HOUR
    (held,) = desk.report(in_yard("yard", NOW_US))
    assert (held.why, held.due_us) == ("merged", desk.now + 30 * SECOND)
