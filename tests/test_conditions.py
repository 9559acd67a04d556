"""States of cameras, agents and workers are told once they have lasted, and so is their end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from consumers.notifying.conditions import Conditions
from consumers.notifying.ledger import Ledger
from consumers.notifying.plan import Plan, Sent
from consumers.notifying.words import describe, words_of
from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.states.camera_state import CameraState, DiskTrouble
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerState
from consumers.running.newest_states import FORGET_CAMERA_SECONDS, States
from consumers.running.overview import overview
from consumers.running.sending.disk import DiskCheck
from consumers.settings.sections.notifying import ChannelSettings
from stream import FeedState

NOW_US = 1_795_860_000_000_000  # 2026-11-28T10:00:00Z
SECOND, HOUR = 1_000_000, 3600
ALL = ["camera", "agent", "worker"]
NO_WORD = "has died without a word, or cannot reach the broker"


def process(name: str) -> ProcessInfo:
    return ProcessInfo(name, "hub", 41, "0.1.0", NOW_US - HOUR * SECOND)


AGENT = process("hub-agent")


class Site:
    """What processes say on topics, a notifier that looks each second, and its ledger."""

    def __init__(self, debounce: float = 60, **channel: Any) -> None:
        self.settings = {"ops": ChannelSettings(url="http://127.0.0.1/", **{"conditions": ALL, **channel})}
        self.debounce, self.now, self.states = debounce, NOW_US, States()
        self.written: list[Delivery] = []
        #: What is said anew each second.
        self.saying: dict[str, CameraState | WorkerState] = {}
        self.restart()

    def restart(self) -> None:
        """Another notifier goes on with the ledger."""
        self.plan, self.ledger = Plan(self.settings, 10_000), Ledger()
        self.conditions = Conditions(self.settings, self.debounce)
        for entry in self.written:
            key, _, value = entry.encode()
            self.ledger.apply(Delivery.decode(key, value, "deliveries[0]@0"))

    def camera(self, name: str, status: str | None, agent: ProcessInfo = AGENT, **feed: Any) -> None:
        """What its agent says of a camera from now on; None: nothing any more."""
        if status is None:
            self.saying.pop(name, None)
            return
        known = {"since_us": self.now, "data_us": self.now, **feed}
        self.saying[name] = CameraState(FeedState(name, status, **known), agent, self.now)  # type: ignore[arg-type]

    def worker(self, name: str, status: str | None, instance: str | None = None, waiting: int = 0) -> None:
        if status is None:
            self.saying.pop(name, None)
            return
        self.saying[name] = WorkerState(process(name), status, "g", "m", "e", (), waiting, self.now, instance=instance)  # type: ignore[arg-type]

    def say(self) -> None:
        for name, each in self.saying.items():
            states: dict[str, Any] = self.states.cameras if isinstance(each, CameraState) else self.states.workers
            states[name] = replace(each, time_us=self.now)

    def write(self, entries: Iterable[Delivery]) -> list[Delivery]:
        found = []
        for entry in entries:
            self.ledger.apply(entry)
            found.append(entry)
        self.written += found
        return found

    def look(self) -> list[Delivery]:
        now = overview(self.states, self.now, FORGET_CAMERA_SECONDS)
        queued = self.conditions.due(now, self.ledger.conditions, self.now, self.ledger.knows)
        return self.write(e for each in queued for e in self.plan.begun(each, self.ledger, self.now))

    def after(self, seconds: int, step: int = 1) -> list[str]:
        """What is told within so many seconds."""
        entries = []
        for _ in range(seconds // step):
            self.now += step * SECOND
            self.say()
            entries += self.look()
        return [said(entry) for entry in entries]


def said(entry: Delivery) -> str:
    return ": ".join(words_of(entry, ChannelSettings(url="http://127.0.0.1/")))


def test_a_camera_in_trouble_is_told_once_and_so_is_that_it_is_over():
    site = Site()
    site.camera("gate", "live")
    assert site.after(100) == []
    site.camera("gate", "failed", why="connection refused", data_us=site.now)
    assert site.after(60) == []
    assert site.after(600) == ["camera gate: failed: since 2026-11-28 10:01:40 UTC: connection refused"]
    site.camera("gate", "live")
    assert site.after(60) == []
    assert site.after(600) == ["camera gate: live again: after 11 min 1 s, since 2026-11-28 10:01:40 UTC"]
    assert [entry.message["type"] for entry in site.written] == [
        "clipline.condition.started",
        "clipline.condition.ended",
    ]


def test_what_goes_to_and_fro_is_not_told():
    site = Site()
    for status in ["failed", "live"] * 20:
        site.camera("gate", status)
        assert site.after(50) == []


def test_failed_and_stalled_are_one_trouble_and_connecting_does_not_end_it():
    site = Site()
    site.camera("gate", "live")
    site.after(20)
    began = site.now
    for status in ["failed", "stalled", "connecting"] * 20:
        site.camera("gate", status, data_us=began)
        site.after(9)
    assert len(site.written) == 1
    assert site.written[0].message["data"]["since"] == "2026-11-28T10:00:20.000000Z"
    # Nor is it over while it connects now and then.
    for status in ["live", "connecting"] * 10:
        site.camera("gate", status)
        assert site.after(30) == []


def test_while_a_camera_connects_nothing_is_told():
    site = Site()
    site.camera("gate", "failed")
    assert site.after(50) == []
    site.camera("gate", "connecting")
    assert site.after(30) == []
    site.camera("gate", "live")
    assert site.after(100) == []


def test_a_notifier_that_goes_on_with_the_ledger_tells_nothing_twice_and_misses_no_end():
    site = Site()
    site.camera("gate", "failed", why="connection refused")
    assert len(site.after(100)) == 1
    for _ in range(3):
        site.restart()
        # An agent that started again says another time.
        site.camera("gate", "failed", data_us=None, agent=replace(AGENT, started_us=site.now))
        assert site.after(200) == []
    site.restart()
    site.camera("gate", "live")
    assert site.after(30) == []
    site.restart()
    assert site.after(59) == []
    assert [line.partition(":")[2][:12] for line in site.after(100)] == [" live again:"]
    site.restart()
    assert site.after(100) == []


def test_what_nobody_was_told_of_has_no_end():
    site = Site()
    site.camera("gate", "failed")
    site.after(40)
    site.restart()
    site.camera("gate", "live")
    assert site.after(200) == []
    site.camera("gate", "failed")
    (entry,) = [site.after(100), site.written][1]
    site.write([entry.then("failed", site.now, why="expired")])
    site.camera("gate", "live")
    assert site.after(200) == []


@pytest.mark.parametrize("after", ["before it was told", "after it was told"])
def test_a_process_that_ends_in_order_is_no_trouble(after: str):
    site = Site()
    site.camera("gate", "live")
    site.worker("hub-worker-1", "working")
    assert site.after(30) == []
    told = []
    if after == "after it was told":
        site.camera("gate", "failed")
        told = site.after(100)
    site.camera("gate", "ended", why="the agent stopped")
    site.worker("hub-worker-1", "ended")
    site.say()
    site.camera("gate", None)
    site.worker("hub-worker-1", None)
    more = site.after(2 * HOUR, step=9)
    assert len(told) == len(more)
    assert [line[:37] for line in more] == ["camera gate: has ended as it should: "][: len(told)]


def test_a_worker_that_falls_silent_is_told_and_that_it_works_again():
    site = Site()
    site.worker("hub-worker-1", "working")
    site.after(30)
    site.worker("hub-worker-1", None)
    assert site.after(75) == []
    assert site.after(5 * HOUR, step=9) == [
        f"worker hub-worker-1: silent: since 2026-11-28 10:00:30 UTC: it {NO_WORD}",
    ]
    site.worker("hub-worker-1", "working")
    assert [line[:40] for line in site.after(100)] == ["worker hub-worker-1: working again: afte"]


def test_a_worker_that_falls_behind_is_told_and_that_it_has_caught_up():
    site = Site()
    site.worker("hub-worker-1", "working", waiting=60)
    assert site.after(100) == []
    site.worker("hub-worker-1", "working", waiting=61)
    assert site.after(30) == []
    site.worker("hub-worker-1", "working", waiting=500)
    # Since it was seen: workers do not say.
    assert site.after(100) == [
        "worker hub-worker-1: behind: since 2026-11-28 10:01:41 UTC: 500 segments wait for it",
    ]
    site.worker("hub-worker-1", "working")
    assert [line[:40] for line in site.after(100)] == ["worker hub-worker-1: working again: afte"]


def test_a_worker_whose_name_another_process_goes_on_under_is_no_trouble():
    site = Site()
    site.worker("pod-1", "working", "left")
    site.after(30)
    site.worker("pod-1", None)
    site.after(40)
    site.worker("pod-2", "working", "left")
    assert site.after(200) == []


def test_an_agent_that_falls_silent_is_one_message_that_names_its_cameras():
    site = Site()
    for name in ("gate", "dock"):
        site.camera(name, "live")
    site.after(30)
    for name in ("gate", "dock"):
        site.camera(name, None)
    assert site.after(200) == [
        f"agent hub-agent: silent: since 2026-11-28 10:00:30 UTC: it {NO_WORD}; it had dock, gate",
    ]
    # Another one takes its cameras over.
    for name in ("gate", "dock"):
        site.camera(name, "live", process("other"))
    assert [line[:50] for line in site.after(100)] == ["agent hub-agent: is gone, others do its work: afte"]
    assert site.after(100) == []


def test_who_is_told_of_cameras_only_hears_of_those_whose_agent_is_gone_and_of_no_others():
    site = Site(conditions=["camera"], cameras=["gate*"])
    for name in ("gate", "dock"):
        site.camera(name, "live")
    site.worker("hub-worker-1", "working")
    site.after(30)
    site.saying.clear()
    assert site.after(200) == [
        f"camera gate: lost: since 2026-11-28 10:00:30 UTC: its agent hub-agent {NO_WORD}",
    ]
    site.camera("gate", "live")
    assert [line[:24] for line in site.after(100)] == ["camera gate: live again:"]


def test_a_disk_on_which_nothing_could_wait_is_told_and_that_it_is_writable_again():
    site = Site(conditions=["disk"])
    site.camera("gate", "live")
    site.after(30)
    full = replace(site.saying["gate"], disk=DiskTrouble("No space left on device", site.now))
    site.saying["gate"] = full
    why = "no segment could wait there while the broker is away: No space left on device"
    assert site.after(100) == [f"disk hub-agent: unwritable: since 2026-11-28 10:00:30 UTC: {why}"]
    assert "agent hub-agent has no disk for segments while the broker is away (No space left on device)" in (
        overview(site.states, site.now).problems
    )
    # While nothing is known of it, nothing is told of it.
    site.camera("gate", None)
    assert site.after(300) == []
    site.camera("gate", "live")
    assert [line[:33] for line in site.after(100)] == ["disk hub-agent: writable again: a"]


def test_a_disk_is_tried_now_and_then(tmp_path: Path):
    now = 0.0
    folder = tmp_path / "spool" / "clipline"
    disk = DiskCheck(folder, lambda: now, lambda: round(now * SECOND))
    assert disk.trouble() is None
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("in the way")
    assert disk.trouble() is None
    now = 20.0
    found = disk.trouble()
    assert found is not None
    assert found.since_us == 20 * SECOND
    now = 40.0
    assert disk.trouble() == found
    folder.unlink()
    now = 60.0
    assert disk.trouble() is None


def test_what_an_agent_says_of_its_disk_is_read_back_and_an_older_one_says_nothing():
    site = Site()
    site.camera("gate", "live")
    state = replace(site.saying["gate"], disk=DiskTrouble("Read-only file system", NOW_US))
    assert CameraState.decode(state.encode()[2], "t[0]@1") == state
    body = state.body()
    del body["disk"]
    assert CameraState.decode(json.dumps(body).encode(), "t[0]@1").disk is None
    with pytest.raises(RecordError, match=r"t\[0\]@1: disk: expected why to be of type str, found nothing"):
        CameraState.decode(json.dumps({**body, "disk": {}}).encode(), "t[0]@1")


def test_a_channel_that_asks_for_none_is_told_of_none():
    site = Site(conditions=[])
    site.camera("gate", "failed")
    site.say()
    assert site.look() == []
    assert site.after(200) == []


def test_after_a_time_in_which_nobody_could_read_nothing_is_told_before_it_has_lasted_anew():
    site = Site(debounce=5)
    site.camera("gate", "live")
    site.worker("hub-worker-1", "working")
    site.after(30)
    site.camera("dock", "failed")
    site.after(3)
    site.now += 300 * SECOND  # the broker is away: nobody says anything, and nobody looks
    assert site.look() == []
    # When it is back, all say within seconds how they are; one of them not.
    saying, site.saying = site.saying, {"dock": site.saying["dock"]}
    assert site.after(12) == ["camera dock: failed: since 2026-11-28 10:00:30 UTC"]
    site.saying = {"gate": saying["gate"], "dock": saying["dock"]}
    assert [line[:27] for line in site.after(100)] == ["worker hub-worker-1: silent"]


def test_of_a_clock_that_is_ahead_no_time_to_come_is_told():
    site = Site()
    site.camera("gate", "failed", data_us=NOW_US + 300 * HOUR * SECOND)
    site.after(100)
    assert site.written[0].message["data"]["since"] <= "2026-11-28T10:02:00"
    assert site.after(100) == []


def test_what_is_held_back_is_summed_up_beside_events():
    site = Site(quiet="10:00-11:00", cameras=["gate"])
    site.camera("gate", "failed", why="connection refused")
    site.worker("hub-worker-1", "working")
    site.after(30)
    site.worker("hub-worker-1", None)
    site.after(100)
    assert [(entry.state, entry.why) for entry in site.written] == [("held", "quiet")] * 2
    site.camera("gate", "live")
    site.after(100)
    site.restart()
    site.now = NOW_US + HOUR * SECOND
    (summary,) = site.write(site.plan.due(site.ledger, (), site.now))
    data = summary.message["data"]
    assert (data["held"], data["conditions"], data["counts"]) == (3, 3, [])
    assert [each["status"] for each in data["newest"]] == ["live", "silent"]
    title, text = words_of(summary, site.settings["ops"])
    assert title == "3 changes of state held back"
    assert "camera gate: live again: after 2 min" in text
    assert describe(summary).endswith("queued: summary of 3 changes of state")
    # One that is over is over, and what goes on is still known.
    assert [subject for subject, _ in site.ledger.conditions.of("ops").items()] == [("worker", "hub-worker-1")]
    site.worker("hub-worker-1", "working")
    assert [line[:35] for line in site.after(100)] == ["worker hub-worker-1: working again:"]


def test_a_look_brings_no_more_than_a_transaction_holds():
    site = Site(per_hour=10_000)
    for number in range(1200):
        site.camera(f"gate-{number}", "failed")
    site.debounce = 2
    site.restart()
    site.say()
    site.look()
    counts = []
    for _ in range(5):
        site.now += SECOND
        counts.append(len(site.look()))
    assert counts == [0, 500, 500, 200, 0]


def test_the_ledger_shows_conditions():
    site = Site()
    site.camera("gate", "failed", why="connection refused")
    site.after(70)
    (entry,) = site.written
    (tried,) = site.plan.next(site.ledger, (), site.now)
    site.write(site.plan.outcome(tried, Sent("HTTP 200"), site.ledger, site.now))
    assert describe(entry).endswith("queued: camera gate: failed (started, since 2026-11-28T10:00:00Z)")


def test_what_is_told_and_what_agents_say_is_what_asyncapi_promises():
    document = yaml.safe_load((Path(__file__).parents[1] / "docs" / "asyncapi.yaml").read_text("utf-8"))
    site = Site(conditions=["disk"])
    site.camera("gate", "live")
    state = replace(site.saying["gate"], disk=DiskTrouble("Read-only file system", NOW_US))
    site.saying["gate"] = state
    site.after(100)
    for name, record in {"cameraState": state, "delivery": site.written[0]}.items():
        schema = {**document, "$ref": f"#/components/messages/{name}/payload"}
        jsonschema.validate(json.loads(record.encode()[2]), schema)


@pytest.mark.parametrize(("name", "value"), [("since", "yesterday"), ("since", None), ("subject", 7), ("seconds", "1")])
def test_what_others_wrote_about_a_condition_is_left_out_with_its_place(name: str, value: object):
    site = Site()
    site.camera("gate", "failed")
    site.after(70)
    key, _, text = site.written[0].encode()
    body = json.loads(text)
    body["message"]["data"][name] = value
    with pytest.raises(RecordError, match=rf"deliveries\[0\]@7: expected {name} to be"):
        Delivery.decode(key, json.dumps(body).encode(), "deliveries[0]@7")


def test_the_next_person_is_told_of_a_condition_though_it_waits_for_longer_than_it_is_of_use():
    site = Site(debounce=1, use_by_minutes=2, unanswered_minutes=5)
    site.camera("gate", "failed")
    site.after(3)
    assert [(entry.state, entry.why) for entry in site.written] == [("held", "unanswered")]
    site.now += 300 * SECOND
    assert [entry.state for entry in site.write(site.plan.due(site.ledger, (), site.now))] == ["queued"]


def test_messages_of_one_channel_that_failed_take_no_place_of_those_of_another_one():
    site = Site(debounce=1)
    site.settings["guard"] = site.settings["ops"]
    site.restart()
    test = Delivery("t" * 24, "ops", "test", "queued", site.now, site.now + HOUR * SECOND, {"type": "t", "data": {}})
    site.write([test, test.then("failed", site.now, attempt=1, why="disabled")])
    for number in range(600):
        site.camera(f"gate-{number}", "failed")
    site.after(6)
    states = Counter((entry.channel, entry.state) for entry in site.written if entry.kind == "condition")
    assert states == {("ops", "failed"): 600, ("guard", "queued"): 60, ("guard", "held"): 540}
