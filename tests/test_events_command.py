"""`clipline events`: what is asked for, in the form that is asked for."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import replace

import pytest

from consumers.records.event import BODY_KEYS
from consumers.terminal.printing.events import EVENTS as EVENT_COLUMNS
from consumers.terminal.printing.events import INCIDENTS, _cell
from stream import KafkaTransport, Topic
from stream.services import Service
from tests.command_line import Finished, clipline
from tests.test_subscribing import event, publish

#: A label that quotes, separates, breaks lines and moves the cursor.
ODD = 'to "run", or\nnot\x1b[2J'
EVENTS = [event(0), event(1, "gate-2"), event(2, "dock", "run"), event(3, "dock", ODD)]


@pytest.fixture
def shown(embedded_broker: Service, topics_prefix: str):
    transport, topic = KafkaTransport(embedded_broker.address), f"{topics_prefix}.events"
    transport.ensure_topics([Topic(topic, 1)])
    publish(transport, *EVENTS, topic=topic)

    def shown(*arguments: str) -> Finished:
        environment = {"CLIPLINE_KAFKA": embedded_broker.address, "CLIPLINE_TOPICS__PREFIX": topics_prefix}
        return clipline("events", *arguments, **environment)

    return shown


def test_labels_cameras_and_times_are_chosen(shown):
    def cameras(*arguments: str) -> list[str]:
        finished = shown("--json", *arguments)
        assert finished.returncode == 0, finished.stderr
        return [json.loads(line)["camera"] for line in finished.stdout.splitlines()]

    assert cameras("--camera", "gate*") == ["gate", "gate-2"]
    assert cameras("--camera", "gate", "--camera", "dock", "--label", "fight", "--label", "run") == ["gate", "dock"]
    assert cameras("--since", "1h") == ["gate", "gate-2", "dock", "dock"]
    time.sleep(0.01)
    now = shown("--json", "--since", "0s")
    assert (now.returncode, now.stdout, now.stderr.strip()) == (0, "", "no events")


def test_csv_has_the_body_of_each_event_in_one_line(shown):
    assert set(EVENT_COLUMNS.csv) == BODY_KEYS
    text = shown("--format", "csv").stdout
    assert len(text.splitlines()) == len(EVENTS) + 1
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["event"] for row in rows] == [each.id for each in EVENTS]
    assert rows[3]["label"] == 'to "run", or\\nnot\\x1b[2J'
    for row, each in zip(rows[:3], EVENTS, strict=False):
        assert row == {name: "" if value is None else str(value) for name, value in each.body().items()}


def test_a_spreadsheet_calculates_nothing_of_a_csv():
    for label in ("=1+1", "+1", "-1", "@x"):
        assert _cell(label) == f"'{label}"
    assert _cell("fight=1") == "fight=1"


def test_a_table_has_a_row_for_each_event(shown):
    heading, *rows = shown("--format", "table").stdout.splitlines()
    assert heading.split("  ")[0] == "end (UTC)"
    assert len(rows) == len(EVENTS)
    at = heading.index("label")
    assert [row[at:].split("  ")[0] for row in rows[:3]] == ["fight", "fight", "run"]
    assert "\x1b" not in "".join(rows)
    assert rows[0].endswith(EVENTS[0].id[:8])


def test_what_cameras_of_a_group_see_at_once_is_one_incident(shown, embedded_broker, topics_prefix):
    transport, topic = KafkaTransport(embedded_broker.address), f"{topics_prefix}.events"
    yard = [replace(each, group="yard", merge_seconds=3.0) for each in (event(10), event(11, "gate-2"), event(90))]
    publish(transport, *yard[:2], topic=topic)
    *alone, first = [json.loads(line) for line in shown("--merge", "--json").stdout.splitlines()]
    assert [(each["group"], each["events"]) for each in alone] == [(None, [each.id]) for each in EVENTS]
    assert (first["cameras"], first["state"]) == (["gate", "gate-2"], "started")
    assert first["events"] == [each.id for each in yard[:2]]
    ends = [replace(each, revision=1, state="ended", ending="gap") for each in yard]
    publish(transport, *ends[:2], yard[2], ends[2], topic=topic)
    first, second = [json.loads(line) for line in shown("--merge", "--json").stdout.splitlines()][-2:]
    assert (second["incident"], first["state"], second["state"]) == (yard[2].id, "ended", "ended")
    assert set(first) == set(INCIDENTS.csv)
    rows = list(csv.DictReader(io.StringIO(shown("--merge", "--format", "csv").stdout)))
    assert [row["cameras"] for row in rows[-2:]] == ["gate gate-2", "gate"]
    assert shown("--merge", "--format", "table").stdout.splitlines()[-2].endswith(f"{yard[0].id[:8]}  gate gate-2")
    assert "fight at yard (gate, gate-2)" in shown("--merge").stdout


def test_json_and_its_format_are_one(shown):
    assert shown("--json").stdout == shown("--format", "json").stdout == shown("--json", "--format", "json").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--camera", "yard*"], "no camera 'yard*' has sent anything; known: dock, gate, gate-2"),
        (["--label", "figt"], "did you mean 'fight'?"),
        (["--camera", "gate,dock"], "--camera: expected an id such as 'gate-1', or a pattern such as 'gate*', found"),
        (["--label", ""], "--label: expected names of labels, found ''"),
        (["--since", "soon"], "--since: expected how long ago (90s, 15m, 1h, 2d), a time like"),
        (["--since", "2999-01-01"], "--since: expected a time that is over, found one in the future"),
        (["--follow", "--all", "--since", "1h"], "--since is for events without --all"),
        (["--json", "--format", "csv"], "--format is for events without --json"),
        (["--group", "a"], "--group is for --follow"),
        (["--follow", "--group", "clipline-classify"], "--group: 'clipline-classify' does Clipline's own work"),
    ],
)
def test_what_cannot_be_shown_is_said(shown, arguments, said):
    finished = shown(*arguments)
    assert finished.returncode == 2
    assert said in " ".join(finished.stderr.split())


def test_repetitions_are_not_shown(shown, embedded_broker, topics_prefix):
    transport, topic = KafkaTransport(embedded_broker.address), f"{topics_prefix}.events"
    publish(transport, EVENTS[0], replace(EVENTS[0], revision=1, state="updated"), EVENTS[1], topic=topic)
    assert len(shown("--json").stdout.splitlines()) == len(EVENTS) + 1
