"""Clients that nobody here wrote: what docs/subscribing.md says of kcat and redis-cli is run as it stands there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.outputs.redis.projection import RedisProjection
from consumers.settings import Settings, TopicSettings
from consumers.subscribing.reader import stored_events
from stream import KafkaTransport, MemoryTransport, Topic, Transport
from stream.services import ApacheBroker, EmbeddedRedis
from tests.test_docs import blocks
from tests.test_subscribing import TOPIC, event, publish, stored
from tests.test_transactions import server_of
from tests.waiting import eventually

PAGE = Path(__file__).resolve().parents[1] / "docs" / "subscribing.md"
SCRIPTS = list(blocks(PAGE, "sh"))
LINES = [line for script in SCRIPTS if "while" not in script for line in script.splitlines()]
KCAT = [line for line in LINES if line.startswith("kcat ")]
REDIS_CLI = [line for line in LINES if line.startswith("redis-cli ")]
(REDIS_LOOP,) = (script for script in SCRIPTS if "while" in script and "redis-cli" in script)
KCAT_GROUP_LOOP, KCAT_LOOP = (script for script in SCRIPTS if "while" in script and "kcat" in script)
REQUIRE = "CLIPLINE_REQUIRE_RTSP"


def need(program: str) -> None:
    if shutil.which(program) is None:
        reason = f"needs {program}"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {reason}")
        pytest.skip(reason)


class Program:
    """A command line of a shell, as it runs; ended with all that it started."""

    def __init__(self, line: str, folder: Path) -> None:
        self.folder, self._out = folder, folder / "out"
        with self._out.open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=folder,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def printed(self) -> list[str]:
        return self._out.read_text("utf-8").splitlines()

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.printed() if line.startswith("{")]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Program]]:
    programs: list[Program] = []

    def start(line: str) -> Program:
        folder = tmp_path / str(len(programs))
        folder.mkdir()
        programs.append(Program(line, folder))
        return programs[-1]

    yield start
    for program in programs:
        program.close()


def finished(program: Program) -> list[str]:
    assert program.process.wait(timeout=60) == 0, program.printed()
    return program.printed()


def sent_until(transport: Transport, topic: str, shown: Callable[[], bool]) -> None:
    """Send events until one is shown: a client that begins now says to nobody when it has begun."""
    numbers = iter(range(100, 100_000))

    def send() -> bool:
        publish(transport, event(next(numbers)), topic=topic)
        time.sleep(0.2)
        return shown()

    assert eventually(send, 40)


def test_the_page_has_lines_of_each():
    assert len(KCAT) >= 8
    assert len(REDIS_CLI) >= 6


@pytest.mark.parametrize("line", KCAT)
def test_a_line_with_kcat_does_what_the_page_says(line, apache_broker, topics_prefix, start):
    need("kcat")
    topic = f"{topics_prefix}.events"
    transport = KafkaTransport(apache_broker.address)
    transport.ensure_topics([Topic(topic, 1)])
    old = [event(n, "gate" if n % 2 else "yard") for n in range(20)]
    publish(transport, *old, topic=topic)
    here = line.replace("127.0.0.1:9092", apache_broker.address).replace("clipline.events", topic)
    program = start(here.replace("-G alarms", f"-G {topics_prefix}"))
    ids = [each.id for each in old]
    if " -o end" in line:
        sent_until(transport, topic, lambda: bool(program.bodies()))
        assert program.bodies()[0]["event"] not in ids
    elif " -G " in line:
        assert eventually(lambda: len(program.bodies()) == len(old), 40)
    elif "grep" in line:
        assert [json.loads(each.removeprefix("gate "))["event"] for each in finished(program)] == ids[1::2]
    elif "jq" in line:
        assert finished(program) == [f"{each} started" for each in ids]
    elif " -J" in line:
        records = [json.loads(each) for each in finished(program)]
        assert [json.loads(record["payload"])["event"] for record in records] == ids
        assert all("ce_id" in record["headers"] for record in records)
    else:
        finished(program)
        assert [body["event"] for body in program.bodies()] == ids[18 if " -o 18" in line else 0 :]


@pytest.mark.slow  # starts Apache Kafka twice
def test_the_loops_with_kcat_miss_nothing_while_the_broker_is_killed_and_back(tmp_path, start):
    need("kcat")
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with ApacheBroker(tmp_path / "data") as broker:
        address, port = broker.address, int(broker.address.rpartition(":")[2])
        transport = KafkaTransport(address)
        transport.ensure_topics([Topic(TOPIC, 1)])
        publish(transport, event(0), event(1))
        group, exact = (start(loop.replace("127.0.0.1:9092", address)) for loop in (KCAT_GROUP_LOOP, KCAT_LOOP))
        assert eventually(lambda: len(group.bodies()) == 2, 60)
        sent_until(transport, TOPIC, lambda: bool(exact.bodies()))
        stored_ids = [each.id for each in stored_events(transport, TopicSettings())]
        os.kill(server_of(broker), signal.SIGKILL)
    time.sleep(1.0)
    with ApacheBroker(tmp_path / "data", port=port):
        publish(KafkaTransport(address), event(2), event(3))
        wanted = [*stored_ids, event(2).id, event(3).id]
        assert eventually(lambda: {body["event"] for body in group.bodies()} == set(wanted), 90)
        first = wanted.index(exact.bodies()[0]["event"])
        assert eventually(lambda: [body["event"] for body in exact.bodies()] == wanted[first:], 90)


@contextlib.contextmanager
def shown_in_redis(transport: MemoryTransport, address: str) -> Iterator[RedisProjection]:
    with RedisProjection(lambda: transport, Settings(redis=address), lambda _: None) as projection:
        assert projection.catch_up(20)
        yield projection


def on_port(script: str, address: str) -> str:
    port = re.search(r":(\d+)/", address)
    assert port is not None
    return re.sub(r"\bredis-cli\b", f"redis-cli -p {port[1]}", script)


@pytest.mark.parametrize("line", REDIS_CLI)
def test_a_line_with_redis_cli_does_what_the_page_says(line, start):
    need("redis-cli")
    transport = stored(1, *map(event, range(7)))
    with EmbeddedRedis() as server, shown_in_redis(transport, server.address):
        program = start(on_port(line, server.address))
        text = lambda: "\n".join(program.printed())  # noqa: E731
        if "SUBSCRIBE" in line or "BLOCK" in line:
            sent_until(transport, TOPIC, lambda: '"event"' in text() or '\\"event\\"' in text())
        else:
            finished(program)
            count = 5 if "COUNT 5" in line else 7
            found = [event(n).id for n in range(7) if event(n).id in text()]
            assert found == [event(n).id for n in range(7 - count, 7)]


def test_the_loop_of_the_page_misses_nothing_while_redis_is_killed_and_back_empty(start, tmp_path):
    need("redis-cli")
    transport = stored(1, *map(event, range(3)))
    with EmbeddedRedis() as server:
        address, port = server.address, int(server.address.rpartition(":")[2].partition("/")[0])
        with shown_in_redis(transport, address):
            program = start(on_port(REDIS_LOOP, address))
            assert eventually((program.folder / "entries").exists, 60), "it has not begun"
            publish(transport, event(10))
            assert eventually(lambda: [b["event"] for b in program.bodies()] == [event(10).id], 60)
    publish(transport, event(11))
    time.sleep(0.5)
    with EmbeddedRedis(port=port) as server, shown_in_redis(transport, server.address):
        assert eventually(lambda: len(program.bodies()) == 2, 60)
        publish(transport, event(12))
        assert eventually(lambda: len(program.bodies()) == 3, 60)
        assert [b["event"] for b in program.bodies()] == [event(n).id for n in (10, 11, 12)]
