"""Services that Clipline starts for itself: where they listen, what the broker keeps, what happens when one dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from consumers.settings import RunSettings, Settings
from consumers.setup import services as room
from consumers.setup.services import HUNG_SECONDS, Services, open_services
from stream import KafkaTransport, ServiceError, Topic
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, processes
from stream.services.groups import without_lost_leader
from tests.servers import free_port, keeper_of, needs_proc, server_of
from tests.waiting import eventually

MEGABYTE = 1_000_000
RECORD = 250_000


@pytest.fixture
def ports(monkeypatch, nobody_at_the_usual_places) -> tuple[int, int]:
    """The default ports of this test, which nobody else on this machine wants."""
    found = free_port(), free_port()
    monkeypatch.setattr(room, "KAFKA_PORT", found[0])
    monkeypatch.setattr(room, "REDIS_PORT", found[1])
    return found


def resident_megabytes(process: int | str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


# -- what the embedded broker keeps


def send(transport: KafkaTransport, topic: str, count: int, first: int = 0, size: int = RECORD) -> None:
    producer = transport.producer()
    for number in range(first, first + count):
        producer.send(topic, f"cam-{number % 3}".encode(), [("n", str(number).encode())], os.urandom(size))
    producer.flush()
    producer.close()


@pytest.mark.slow
@needs_proc
def test_the_embedded_broker_keeps_its_limit_while_much_more_passes_through():
    limit = 20 * MEGABYTE
    with EmbeddedBroker(max_bytes=limit) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("t.segments", 2), Topic("t.events", 1)])
        send(transport, "t.events", 10, size=100)
        before, ours_before = resident_megabytes(server_of(broker)), resident_megabytes("self")
        send(transport, "t.segments", 600)  # 150 MB
        kept = broker.kept()
        assert kept is not None
        assert 0.8 * limit < kept.bytes <= limit
        assert kept.evicted_bytes > 120 * MEGABYTE
        # The broker's memory does not grow; ours by what is kept and what was on its way (64 MiB at most).
        assert resident_megabytes(server_of(broker)) < before + 15
        assert resident_megabytes("self") < ours_before + 110
        # The oldest are gone, the newest are there, and the small topic is whole.
        bounds = transport.offsets("t.segments")
        assert all(first > 0 for first, end in bounds.values() if end)
        assert sum(end for _, end in bounds.values()) == 600
        records = list(transport.read(bounds))
        numbers = [int(dict(r.headers)["n"]) for r in records]
        assert max(numbers) == 599
        assert len(records) == 600 - kept.evicted_records
        assert transport.offsets("t.events") == {("t.events", 0): (0, 10)}
        transport.delete_topics(["t.segments"])
        assert broker.kept().bytes < 10_000


def test_a_reader_that_falls_behind_goes_on_at_the_oldest_and_what_it_missed_is_counted():
    with EmbeddedBroker(max_bytes=5 * MEGABYTE) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("segments", 1)])
        send(transport, "segments", 4)
        partition = ("segments", 0)
        reader = transport.consumer([partition[0]], "slow")
        offsets: list[int] = []
        deadline = time.monotonic() + 40

        def read_to(end: int) -> None:
            while (not offsets or offsets[-1] < end) and time.monotonic() < deadline:
                polled = reader.poll(0.2)
                offsets.extend(r.offset for r in getattr(polled, "records", polled))

        read_to(3)
        reader.commit({partition: 4})
        send(transport, "segments", 100, first=4)
        first, end = transport.offsets("segments")[partition]
        assert broker.kept().unread_records == {"slow": first - 4}
        read_to(end - 1)
        reader.close()
        assert set(broker.kept().unread_records) == {"slow"}
        assert offsets == [*range(4), *range(offsets[4], end)]
        # The client may have fetched a few before they went.
        assert 4 <= offsets[4] <= first


def test_a_group_that_has_joined_and_committed_nothing_yet_counts_as_a_reader():
    with EmbeddedBroker(max_bytes=MEGABYTE) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("segments", 1), Topic("other", 1)])
        readers = [transport.consumer([topic], f"of-{topic}") for topic in ("segments", "other")]
        deadline = time.monotonic() + 40
        send(transport, "segments", 1)
        while sum(readers[0].lag().values()) + len(readers[0].poll(0.1).records) == 0 and time.monotonic() < deadline:
            readers[1].poll(0.1)
        send(transport, "segments", 20)
        kept = broker.kept()
        assert kept.unread_records == {"of-segments": kept.evicted_records}
        assert kept.evicted_records >= 16
        for reader in readers:
            reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.2, 1.5], ids=["at once", "while the group forms"])
def test_a_member_that_leaves_while_its_group_forms_blocks_nobody(seconds):
    with EmbeddedBroker(max_bytes=MEGABYTE) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("segments", 4)])
        first = transport.consumer(["segments"], "workers")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert first.poll(0.1).assigned == frozenset()  # else the group is formed, and nothing is tested
        first.close()
        second = transport.consumer(["segments"], "workers")
        until = time.monotonic() + 20
        while not (assigned := second.poll(0.1).assigned) and time.monotonic() < until:
            pass
        assert len(assigned) == 4
        second.close()


def test_a_group_keeps_the_leader_that_it_has():
    def group(leader: str | None, *members: str) -> bytes:
        return json.dumps({"members": dict.fromkeys(members), "state": {"Forming": {"leader": leader}}}).encode()

    assert without_lost_leader(group("a", "a", "b")) is None
    assert without_lost_leader(group(None, "b")) is None
    assert json.loads(without_lost_leader(group("a", "b")))["state"]["Forming"]["leader"] is None
    assert without_lost_leader(b'{"members": {}, "state": {"Formed": {"leader": "a"}}}') is None


def test_losses_are_told_once_and_with_what_to_do(ports, monkeypatch):
    with open_services(Settings(run=RunSettings(broker_max_megabytes=64)), "embedded") as services:
        kept = services.kept()
        assert kept.max_bytes == 64 * MEGABYTE
        assert services.news() == []
        lost = type(kept)(kept.bytes, kept.max_bytes, 5, 2, {"clipline-classify": 2, "fine": 0})
        monkeypatch.setattr(Services, "kept", lambda _: lost)
        (line,) = services.news()
        assert "dropped 2 records that group clipline-classify had not read" in line
        assert "64 MB (run.broker_max_megabytes)" in line
        assert services.news() == []


@needs_proc
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_redis_that_ended_or_hangs_is_started_again_where_it_was_and_so_often_at_most(fault):
    with EmbeddedRedis() as redis:
        services = Services("127.0.0.1:1", redis.address, [], (redis,), _max_revivals=2)
        assert (services.news(), services.failure()) == ([], None)
        for again in (True, True, False):
            os.kill(server_of(redis), fault)
            if fault == signal.SIGKILL:
                assert eventually(lambda: redis.ended() is not None)
            if redis.name in services._revivals:
                times = services._revivals[redis.name]._times
                times.extend([times.popleft() - HUNG_SECONDS for _ in range(len(times))])
            lines = services.news(redis_silent=HUNG_SECONDS + 1 if fault == signal.SIGSTOP else 0.0)
            assert [line.count("ended by itself with status -9; ") + line.count(" hung: ") for line in lines] == [
                1
            ] * again
            assert (services.failure() is None) is again
            assert redis.address == services.redis
            if again:
                assert Redis.from_url(services.redis).ping()


@needs_proc
def test_a_broker_that_cannot_be_started_again_now_is_tried_again_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(room, "_TRY_SECONDS", (0.3, 0.3))
    monkeypatch.setattr(processes, "_FREE_SECONDS", 0.1)
    with EmbeddedBroker(max_bytes=64 * MEGABYTE) as broker:
        services = Services(broker.address, "", [], (broker,), _max_revivals=3)
        KafkaTransport(broker.address).ensure_topics([Topic("it", 1)])
        os.kill(server_of(broker), signal.SIGKILL)
        assert eventually(lambda: broker.ended() is not None)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", int(broker.address.partition(":")[2])))
            thief.listen()
            (line,) = services.news()
            assert line.endswith(f"{broker.address} is taken by now; trying again in 0.3 s")
            assert (services.news(), services.failure()) == ([], None)
        said: list[str] = []
        assert eventually(lambda: said.extend(services.news()) or bool(said))
        assert said[0].endswith("it was started again and nothing is lost")
        assert KafkaTransport(broker.address).existing(["it"])


@needs_proc
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_broker_that_ended_or_hangs_is_started_again_and_nothing_is_lost(fault):
    with EmbeddedBroker(max_bytes=64 * MEGABYTE) as broker:
        services = Services(broker.address, "", [], (broker,))
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("it", 1)])
        consumer = transport.consumer(["it"], "readers")
        heard: list[bytes] = []

        def hears(count: int) -> bool:
            for record in consumer.poll(0.5).records:
                heard.append(record.value)
                consumer.commit({(record.topic, record.partition): record.offset + 1})
            return len(heard) >= count

        producer = transport.producer()
        for number in range(3):
            producer.send("it", b"key", [], b"%d" % number)
            producer.flush()
            assert eventually(lambda number=number: hears(number + 1), 60)
            os.kill(server_of(broker), fault)
            if fault == signal.SIGKILL:
                assert eventually(lambda: broker.ended() is not None)
            services._revivals.clear()
            (line,) = services.news(kafka_silent=HUNG_SECONDS + 1 if fault == signal.SIGSTOP else 0.0)
            assert line.endswith("it was started again and nothing is lost")
            # It has not been asked again yet.
            assert services.news(kafka_silent=HUNG_SECONDS + 2) == []
            assert services.failure() is None
        assert heard == [b"0", b"1", b"2"]
        consumer.close()


@pytest.mark.slow
@needs_proc
def test_apache_kafka_with_a_folder_is_started_again_and_knows_what_it_did(tmp_path):
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with ApacheBroker(tmp_path / "data") as broker:
        services = Services(broker.address, "", [], (broker,))
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("it", 1)])
        producer = transport.producer()
        producer.send("it", b"key", [], b"before")
        producer.flush()
        os.kill(server_of(broker), signal.SIGKILL)
        assert eventually(lambda: broker.ended() is not None)
        (line,) = services.news()
        assert line.endswith("it was started again and nothing is lost")
        producer.send("it", b"key", [], b"after")
        producer.flush()
        producer.close()
        assert [each.value for each in transport.read({("it", 0): (0, 2)})] == [b"before", b"after"]


@needs_proc
def test_a_broker_that_hangs_and_would_have_lost_all_has_failed():
    with EmbeddedBroker() as broker:
        services = Services(broker.address, "", [], (broker,))
        assert services.news(kafka_silent=HUNG_SECONDS - 1) == []
        assert services.failure() is None
        assert services.news(kafka_silent=HUNG_SECONDS + 1) == []
        assert services.failure() == f"{broker.name} on {broker.address} hung: no answer for 30 s"


@needs_proc
def test_a_server_whose_keeper_was_killed_is_no_orphan_and_another_one_has_its_place():
    with EmbeddedRedis() as redis:
        services = Services("", redis.address, [], (redis,))
        server = server_of(redis)
        os.kill(keeper_of(redis), signal.SIGKILL)
        assert eventually(lambda: redis.ended() is not None)
        assert eventually(lambda: not Path(f"/proc/{server}").exists())
        (line,) = services.news()
        assert "its keeper's status -9" in line
        assert Redis.from_url(services.redis).ping()


# -- where they listen


def test_default_ports_are_kept_and_nothing_is_said(ports):
    with open_services(Settings(), "embedded") as services:
        assert services.kafka == f"127.0.0.1:{ports[0]}"
        assert services.redis == f"redis://127.0.0.1:{ports[1]}/0"
        assert services.notes == []
        assert services.failure() is None


@needs_proc
def test_a_taken_port_is_told_with_its_process_and_by_what_it_is_replaced(ports):
    with taken(ports[0]), open_services(Settings(), "embedded") as services:
        (note,) = services.notes
        assert note.startswith(f"port {ports[0]} is taken by ")
        assert f"(process {os.getpid()})" in note
        assert note.endswith(f"Kafka is at {services.kafka}")
        assert services.kafka != f"127.0.0.1:{ports[0]}"


@pytest.mark.parametrize("option", ["port", "redis_port"])
def test_a_port_that_was_asked_for_and_is_taken_is_an_error(ports, option):
    port = free_port()
    message = f"^--{option.replace('_', '-')} {port}: the port is taken"
    with (
        taken(port),
        pytest.raises(ServiceError, match=message),
        open_services(Settings(), "embedded", **{option: port}),
    ):
        pass


def test_own_services_that_answer_are_used_and_the_others_started(ports, embedded_broker, redis_url):
    with open_services(Settings(kafka=embedded_broker.address, redis=redis_url), "auto") as services:
        assert (services.kafka, services.redis) == (embedded_broker.address, redis_url)
        assert len(services.notes) == 2
        assert services.kept() is None
    with open_services(Settings(kafka=embedded_broker.address), "auto") as services:
        assert services.kafka == embedded_broker.address
        assert services.redis.endswith(f":{ports[1]}/0")


# -- when one dies


@needs_proc
def test_a_server_that_dies_is_noticed_with_its_reason():
    with EmbeddedRedis() as redis:
        assert redis.ended() is None
        os.kill(server_of(redis), signal.SIGKILL)
        deadline = time.monotonic() + 40
        while redis.ended() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        reason = redis.ended()
    assert "embedded Redis (Valkey) on redis://127.0.0.1:" in reason
    assert "ended by itself with status -9; its last words: " in reason


@pytest.mark.slow
@needs_proc
def test_up_prints_addresses_starts_a_broker_again_and_ends_with_code_1_where_it_dies_too_often(tmp_path):
    port, redis_port = free_port(), free_port()
    command = [sys.executable, "-u", "-m", "consumers.cli", "up", "--port", str(port), "--redis-port", str(redis_port)]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    environment["CLIPLINE_RUN__MAX_RESTARTS"] = "1"
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert f"export CLIPLINE_KAFKA=127.0.0.1:{port}\n" in lines
            assert f"export CLIPLINE_REDIS=redis://127.0.0.1:{redis_port}/0\n" in lines
            assert any("clipline run" in line for line in lines)
            first = _broker_in(tmp_path)
            os.kill(first, signal.SIGKILL)
            assert process.stderr is not None
            assert "it was started again and nothing is lost" in process.stderr.readline()
            os.kill(_broker_in(tmp_path), signal.SIGKILL)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "embedded broker (Tansu)" in errors
    assert "ended by itself with status -9" in errors
    assert "Traceback" not in output + errors


def _broker_in(folder: Path) -> int:
    (server,) = [
        int(each.name)
        for each in Path("/proc").glob("[0-9]*")
        if _works_in(each, folder) and b"tansu" in (each / "cmdline").read_bytes()
    ]
    return server


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink().is_relative_to(folder) and (process / "exe").readlink().name != "python3.11"
    except OSError:
        return False
