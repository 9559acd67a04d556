"""What a worker writes where there is no terminal: one line a record, for grep and for whatever ships logs."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest

from consumers.terminal.plain import PlainLog, plain_log
from consumers.terminal.wording import describe, duration, moment, skip_reason
from tests.snapshots import MODEL, camera, event, now_us, worker

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (\S+) (.+)")
LONG_AGO_US = 1_700_000_000_000_000  # 2023-11-14 22:13:20


def told(out: io.StringIO) -> list[tuple[str, str]]:
    """Camera and what is said of it, of each line."""
    found = [LINE.fullmatch(line) for line in out.getvalue().splitlines()]
    assert all(found), out.getvalue()
    assert "\x1b" not in out.getvalue()
    return [(m[1], m[2]) for m in found if m]


def test_every_report_of_an_event_is_a_line_with_date_camera_and_what():
    out = io.StringIO()
    log = PlainLog(out)
    began = event("gate", 2.3, at_us=LONG_AGO_US)
    log.write(worker(newest_events=(began,), events_total=1))
    log.write(worker(newest_events=(began,), events_total=1))
    ended = event("gate", 5.5, "below_threshold", at_us=LONG_AGO_US)
    log.write(worker(newest_events=(began, ended), events_total=2))
    assert told(out) == [
        ("gate", "event started: fight from 2023-11-14T22:13:20.000000Z, 2.3 s, peak score 0.97"),
        ("gate", "event ended: fight from 2023-11-14T22:13:20.000000Z, 5.5 s, peak score 0.97 (below threshold)"),
    ]


def test_log_begins_with_the_model_and_ends_with_the_accounts_of_all_cameras():
    out = io.StringIO()
    snapshot = worker(camera("gate", skipped=Counter(tail=3)), camera("lobby", silent_seconds=40))
    with plain_log(lambda: snapshot, out):
        pass
    account = "1000 frames = 987 classified + 3 skipped (tail 3) + 0 dead-lettered + 10 pending; 90 windows, 0 events"
    assert told(out) == [
        ("-", f"model {MODEL} raises events for fight"),
        ("gate", f"{account}; 0.4 s behind"),
        ("lobby", f"{account}; no data for 40 s"),
        ("-", "2 segments waiting"),
    ]


def test_accounts_come_after_ten_seconds_and_then_every_minute(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    out = io.StringIO()
    log = PlainLog(out)
    written = []
    for second in range(200):
        clock[0] = 100.0 + second
        before = out.tell()
        log.write(worker(camera("gate"), lag=0))
        if out.tell() > before:
            written.append(second)
    assert written == [10, 70, 130, 190]


def test_events_that_came_too_fast_to_be_kept_are_counted():
    out = io.StringIO()
    PlainLog(out).write(worker(newest_events=(event("gate"),), events_total=120))
    assert told(out)[0] == ("-", "119 reports of events came too fast to be written here")
    assert told(out)[1][0] == "gate"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.4, "0.4 s"),
        (9.96, "10 s"),
        (40, "40 s"),
        (59.99, "1 min 0 s"),
        (131.749, "2 min 11 s"),
        (3 * 3600 + 305, "3 h 5 min"),
        (2 * 86400 + 3 * 3600, "2 d 3 h"),
    ],
)
def test_durations_are_in_words(seconds, words):
    assert duration(seconds) == words


def test_event_in_a_line_has_its_date_where_it_is_not_of_today_and_what_evidence_finds_it_by():
    body = event("gate", 5.5, "below_threshold", at_us=LONG_AGO_US).body()
    line, shown = describe(body).plain, body["event"][:8]
    assert line == (
        f"2023-11-14 22:13:25 UTC  ended   fight on gate, 5.5 s, peak score 0.97  (below threshold)  {shown}"
    )
    today = describe(event("gate", 0.0, at_us=now_us()).body()).plain
    assert re.fullmatch(r"\d\d:\d\d:\d\d UTC  started fight on gate, 0.0 s, peak score 0.97  \w{8}", today)
    assert moment("2023-11-14T22:13:20.000000Z") == "2023-11-14 22:13:20"


def test_reasons_for_skipping_are_in_words_and_unknown_ones_legible():
    assert skip_reason("tail") == "after the last whole window"
    assert skip_reason("some_new_one") == "some new one"
