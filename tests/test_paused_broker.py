"""A broker that answered nothing, or took nothing, for a while is told from processes that died."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

pytest.importorskip("fastapi")

from consumers.outputs.states import ensure_state_topics
from consumers.records.states.camera_state import CameraState
from consumers.records.states.worker_state import WorkerState
from consumers.running import state_topics
from consumers.running.overview import DEAD_SECONDS, judged_at, overview
from consumers.running.state_topics import StatesFollower, read_settled_states
from consumers.settings import TopicSettings
from consumers.terminal.status_view import StatusView
from consumers.web.routes.watching.cameras import camera_body
from stream import KafkaTransport
from stream.services import EmbeddedBroker, Service
from tests.dashboards import Site, now_us, ready, served, settings_of
from tests.servers import server_of
from tests.test_status import NOW_US, WORKER, ago, camera, classified, problems, states, worker
from tests.waiting import eventually

_DIED = "died without a word"


def test_all_that_fell_silent_together_may_be_alive() -> None:
    now = overview(states(camera("gate", age=20), worker(age=17)), NOW_US)
    (problem,) = now.problems
    assert problem.startswith("nobody has been heard of for 17 s (hub-worker-1, hub-agent): they died together, or ")
    assert camera_body(now.cameras[0]).code == "unheard"
    out = io.StringIO()
    Console(file=out, width=120).print(StatusView(now))
    assert "died without" not in out.getvalue()
    assert "not heard of for 17 s" in out.getvalue()


@pytest.mark.parametrize(
    ("records", "dead"),
    [
        (
            [camera("gate", age=1, since_us=ago(5)), worker(age=17)],
            ["worker hub-worker-1 died without a word 17 s ago"],
        ),
        ([worker(age=17)], ["worker hub-worker-1 died without a word 17 s ago"]),
        (
            [worker(age=17), worker(age=90, worker=replace(WORKER, id="other"))],
            ["worker hub-worker-1 died without a word 17 s ago", "worker other died without a word 1 min 30 s ago"],
        ),
        (
            [worker(age=17), worker(age=17, worker=replace(WORKER, id="other"), status="ended")],
            ["worker hub-worker-1 died without a word 17 s ago"],
        ),
    ],
    ids=["another is heard", "alone", "at other times", "the other has ended"],
)
def test_who_fell_silent_while_others_spoke_or_at_another_time_has_died(
    records: list[CameraState | WorkerState], dead: list[str]
) -> None:
    assert problems(*records) == dead


def test_states_are_not_judged_by_the_time_in_which_nobody_could_be_heard() -> None:
    silent = states(camera("gate", age=1, since_us=ago(5)), worker(age=20))
    assert overview(silent, judged_at(NOW_US, 8.0)).problems == ()
    assert overview(silent, judged_at(NOW_US, 0.0)).problems == ("worker hub-worker-1 died without a word 20 s ago",)
    # Who had died long before that has died.
    long_dead = states(camera("gate", age=1, since_us=ago(5)), worker(age=60))
    assert _DIED in overview(long_dead, judged_at(NOW_US, 8.0)).problems[0]


class _Hall:
    """An agent and a worker that say how they are every second, and whose records wait while the broker does."""

    def __init__(self, address: str, topics: TopicSettings) -> None:
        self._transport, self._topics = KafkaTransport(address), topics
        ensure_state_topics(self._transport, topics)
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._tell, args=[n], daemon=True) for n in range(2)]

    def _tell(self, number: int) -> None:
        producer = self._transport.producer()
        while not self._done.wait(1.0):
            if number:
                producer.send(
                    self._topics.workers_state, *replace(worker(classified("gate")), time_us=now_us()).encode()
                )
            else:
                producer.send(self._topics.cameras_state, *replace(camera("gate"), time_us=now_us()).encode())
        producer.close()

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._done.set()


@pytest.fixture(name="hall")
def _hall(embedded_broker: Service, topics_prefix: str) -> Iterator[tuple[_Hall, KafkaTransport, TopicSettings]]:
    topics = TopicSettings(prefix=topics_prefix)
    hall = _Hall(embedded_broker.address, topics)
    producer = (transport := KafkaTransport(embedded_broker.address)).producer()
    for state in (camera("gate"), worker()):
        topic = topics.cameras_state if isinstance(state, CameraState) else topics.workers_state
        producer.send(topic, *replace(state, time_us=now_us() - 20_000_000).encode())
    producer.close()
    yield hall, transport, topics
    hall.end()


def test_after_a_pause_everybody_is_given_a_moment(hall: tuple[_Hall, KafkaTransport, TopicSettings]) -> None:
    processes, transport, topics = hall
    processes.begin()
    found = overview(read_settled_states(transport, topics), now_us())
    assert [line.dead for line in [*found.agents, *found.workers]] == [False, False]


def test_whoever_says_nothing_in_that_moment_is_said_to_be_silent(
    hall: tuple[_Hall, KafkaTransport, TopicSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_topics, "_SIGN_SECONDS", 1.0)
    began = time.monotonic()
    found = overview(read_settled_states(*hall[1:]), now_us())
    assert 1.0 <= time.monotonic() - began < 20
    assert found.silent_together is not None


@pytest.mark.slow
def test_nobody_is_said_to_have_died_while_the_broker_hangs_nor_when_it_goes_on(topics_prefix: str) -> None:
    with EmbeddedBroker(max_bytes=50_000_000) as broker:
        settings = settings_of(broker.address, topics_prefix)
        hall = _Hall(broker.address, settings.topics)
        Site(settings)
        hall.begin()
        server = server_of(broker)
        transport = KafkaTransport(broker.address, at_once=True)
        with (
            served(settings) as (client, desk),
            StatesFollower(transport, settings.topics, f"Kafka at {broker.address}") as follower,
        ):
            ready(desk)
            assert eventually(lambda: follower.poll(0.1) and follower.overview().workers, 10)
            said: set[str] = set()

            def look(seconds: float) -> None:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    follower.poll(0.2)
                    said.update(follower.overview().problems)
                    said.update(client.get("/fleet").json()["problems"])

            os.kill(server, signal.SIGSTOP)
            try:
                look(DEAD_SECONDS + 7)
            finally:
                os.kill(server, signal.SIGCONT)
            assert {each.split(" since ")[0] for each in said} == {f"waiting for Kafka at {broker.address}"}
            look(8)
            assert not any(_DIED in each or "nobody has been" in each for each in said), said
            assert follower.overview().problems == ()
            # Who dies then is missed in the end.
            hall.end()
            assert eventually(lambda: follower.poll(0.2) or follower.overview().silent_together, 60)
