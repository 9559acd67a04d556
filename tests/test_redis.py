"""Redis shows the topics, whatever happens to it: nothing twice, nothing missing, and the worker never waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from redis import Redis, ResponseError

from consumers.outputs.redis import connection as redis_connection
from consumers.outputs.redis import projection as projecting
from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.connection import SinkError, connect_redis, redis_hosts
from consumers.outputs.redis.projection import RedisProjection
from consumers.settings import Settings
from stream import MemoryTransport
from stream.services import EmbeddedRedis
from tests.redis_topics import EPOCH_US, SECOND, prediction, publish, report
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(projecting, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr("consumers.outputs.redis.pace.LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(redis_connection, "_LONGEST_PAUSE_SECONDS", 0.01)


def settings_of(url: str, prefix: str = "clipline", **limits: float) -> Settings:
    return Settings.model_validate(
        {"redis": url, "topics": {"prefix": prefix, "partitions": 2}, "redis_limits": limits}
    )


class Site:
    """A topic, a Redis, and what shows the one in the other."""

    def __init__(self, url: str, prefix: str = "clipline", **limits: float) -> None:
        self.settings = settings_of(url, prefix, **limits)
        self.prefix = prefix
        self.transport = MemoryTransport()
        self.redis = Redis.from_url(url, decode_responses=True)
        self.said: list[str] = []
        publish(self.transport, self.settings)

    def publish(self, *what: object) -> None:
        publish(self.transport, self.settings, *what)  # type: ignore[arg-type]

    @contextmanager
    def shown(self, **options: bool) -> Iterator[RedisProjection]:
        with RedisProjection(lambda: self.transport, self.settings, self.said.append, **options) as projection:
            yield projection

    def show(self) -> None:
        """Show all that is on the topics, with a projection that begins now and ends."""
        with self.shown() as projection:
            assert projection.catch_up(30), (self.said, projection.state)

    def differences(self) -> list[str]:
        return redis_differences(self.transport, self.settings)

    def stream(self, name: str, field: str) -> list[dict]:
        return [json.loads(entry[field]) for _, entry in self.redis.xrange(f"{self.prefix}:{name}")]

    def windows(self, camera: str = "lobby") -> list[int]:
        return [body["window"] for body in self.stream(f"predictions:{{{camera}}}", "prediction")]

    def state(self, camera: str = "lobby", model: str = "m-1") -> dict[str, str]:
        return self.redis.hgetall(f"{self.prefix}:camera:{{{camera}}}:{model}")


@pytest.fixture
def make_site(redis_url: str, topics_prefix: str) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**limits: float) -> Site:
        made.append(Site(redis_url, topics_prefix, **limits))
        return made[-1]

    yield make
    for site in made:
        site.redis.close()


def test_the_hash_of_a_camera_is_its_newest_window(make_site):
    site = make_site()
    site.publish(prediction(0), prediction(1, run=0.75), prediction(0, camera="yard"))
    site.show()
    state = site.state()
    assert (state["label"], state["score"], state["model"]) == ("run", "0.75", "m-1")
    assert json.loads(state["scores"]) == {"run": 0.75, "walk": 0.25}
    assert state["window_start"] == "2023-11-14T22:13:21.000000Z"
    assert site.state("yard")["label"] == "walk"
    assert site.differences() == []


def test_models_of_a_camera_do_not_hide_one_another(make_site):
    site = make_site()
    site.publish(prediction(5, run=0.75), prediction(3, model="m-2", run=0.125))
    site.show()
    assert site.state()["score"] == "0.75"
    assert site.state(model="m-2")["score"] == "0.875"
    assert len(site.windows()) == 2
    assert site.differences() == []


def test_streams_are_trimmed_and_equal_the_end_of_the_topic(make_site):
    site = make_site(max_predictions=200, max_events=200)
    with site.shown() as projection:
        for begin in range(0, 1000, 100):
            site.publish(*map(prediction, range(begin, begin + 100)), *map(report, range(begin, begin + 100)))
            assert projection.catch_up(30)
    assert 200 <= len(site.windows()) < 400
    assert 200 <= site.redis.xlen(f"{site.prefix}:events") < 400
    assert site.differences() == []


def test_a_repeated_or_older_record_changes_nothing_whatever_was_restarted(make_site):
    site = make_site()
    site.publish(*map(prediction, range(8)), report(0), report(0, 1))
    site.show()
    before = {key: site.redis.dump(key) for key in site.redis.keys(f"{site.prefix}:*") if ":projection:" not in key}
    # A position that was lost: everything is read again.
    (marker,) = site.redis.keys(f"{site.prefix}:projection:*")
    build = site.redis.hget(marker, "build")
    site.redis.delete(marker)
    site.redis.hset(marker, "build", build)
    site.show()
    assert {key: site.redis.dump(key) for key in before} == before
    assert site.differences() == []


def test_repetitions_on_the_topics_are_shown_once(make_site):
    """As a worker makes them where the broker has no transactions, also of the epoch before."""
    site = make_site()
    later_us = EPOCH_US + 100 * SECOND
    windows = [prediction(8), prediction(9), prediction(0, epoch_us=later_us), prediction(1, epoch_us=later_us)]
    site.publish(*windows, report(0), *windows, report(0), prediction(2, epoch_us=later_us, run=0.98))
    site.show()
    assert site.windows() == [8, 9, 0, 1, 2]
    assert site.state()["score"] == "0.98"
    assert site.redis.xlen(f"{site.prefix}:events") == 1
    assert site.differences() == []


def test_listeners_are_told_each_report_once(make_site):
    site = make_site()
    with site.redis.pubsub() as listener:
        listener.psubscribe(f"{site.prefix}:events:*")
        listener.get_message(timeout=5)

        def heard() -> list[str]:
            found = []
            while (message := listener.get_message(timeout=0.2)) is not None:
                found.append(json.loads(message["data"])["event"])
            return found

        with site.shown() as projection:
            assert projection.catch_up(30)
            site.publish(report(0), report(1, camera="yard"))
            assert projection.catch_up(30)
            assert sorted(heard()) == sorted([report(0).id, report(1, camera="yard").id])
        site.publish(report(2))  # while nobody shows it
        site.show()
        assert heard() == [report(2).id]
        keys = site.redis.keys(f"{site.prefix}:*")
        site.redis.delete(*keys)  # as after a restart without data
        site.publish(report(3))
        site.show()
        assert heard() == [report(3).id], "a rebuild repeats no alarm, and leaves none out"
    assert site.redis.xlen(f"{site.prefix}:events") == 4
    assert site.differences() == []


def test_streams_have_the_same_ids_when_they_are_built_again_also_of_one_millisecond(make_site, monkeypatch):
    monkeypatch.setattr("stream.broker.memory.log.time.time_ns", lambda: EPOCH_US * 1000)
    site = make_site(max_predictions=5, max_events=5)

    def ids() -> list[list[str]]:
        names = ("events", "predictions:{lobby}")
        return [[id_ for id_, _ in site.redis.xrange(f"{site.prefix}:{name}")][-5:] for name in names]

    site.publish(*map(prediction, range(30)), *map(report, range(30)))
    site.show()
    before = ids()
    site.redis.delete(*site.redis.keys(f"{site.prefix}:*"))
    site.show()
    assert ids() == before
    site.publish(report(30))
    site.show()
    assert ids()[0][:-1] == before[0][1:], "what comes is behind what was there"


def test_an_empty_redis_is_noticed_and_built_from_the_topics(make_site):
    site = make_site(max_predictions=20, max_events=5)
    with site.shown() as projection:
        site.publish(*(prediction(n, camera=c) for n in range(60) for c in ("a", "b")), *map(report, range(30)))
        site.publish(prediction(0, camera="rare"))
        assert projection.catch_up(30)
        ids = [id_ for id_, _ in site.redis.xrange(f"{site.prefix}:events")][-5:]
        site.redis.delete(*site.redis.keys(f"{site.prefix}:*"))
        assert eventually(lambda: len(site.windows("rare")) == 1)
        assert projection.catch_up(30)
        assert site.windows("a") == list(range(40, 60)), "the newest, and no more"
        assert [id_ for id_, _ in site.redis.xrange(f"{site.prefix}:events")] == ids, "readers go on where they were"
        assert site.differences() == []
    assert any("building it from the topics" in line for line in site.said)
    assert site.said[-1].endswith("shows the topics again")


def test_a_redis_that_went_back_in_time_gets_what_it_has_lost(make_site):
    """As a replica does that takes over without the last writes."""
    site = make_site()
    with site.shown() as projection:
        site.publish(*map(prediction, range(5)), report(0))
        assert projection.catch_up(30)
        keys = site.redis.keys(f"{site.prefix}:*")
        before = {key: site.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}
        site.publish(*map(prediction, range(5, 9)), report(1))
        assert projection.catch_up(30)
        for key, content in before.items():
            site.redis.restore(key, 0, content, replace=True)
        assert eventually(lambda: site.windows() == list(range(9)))
        assert projection.catch_up(30)
        assert site.differences() == []
    assert not any("building" in line for line in site.said[1:])


@pytest.mark.parametrize(
    "key", ["camera:{lobby}:m-1", "predictions:{lobby}", "events", "applied:{lobby}", "projection:{0}"]
)
def test_keys_of_another_type_are_replaced_by_what_the_topics_hold(make_site, key):
    site = make_site()
    with site.shown() as projection:
        site.publish(*map(prediction, range(5)), *map(report, range(3)), prediction(0, camera="yard"))
        assert projection.catch_up(30)
        site.redis.set(f"{site.prefix}:{key}", "somebody else's")
        site.publish(prediction(5), report(3), prediction(1, camera="yard"))

        def is_replaced() -> bool:
            with suppress(ResponseError):  # it cannot be compared yet
                return site.differences() == []
            return False

        assert eventually(is_replaced)


def test_a_record_that_is_none_is_left_out_and_those_after_it_are_shown(make_site, caplog):
    site = make_site()
    topics = site.settings.topics
    site.transport.append(topics.predictions, b"lobby", [], b"{")
    site.transport.append(topics.predictions, None, [], None)
    site.transport.append(topics.events, b"lobby", [], b"\xff" * 100)
    site.publish(prediction(0), report(0))
    with site.shown() as projection:
        assert projection.catch_up(30)
        assert projection.state.left_out == 3
    assert site.differences() == []
    assert caplog.text.count("not shown in Redis") == 3


def test_what_is_kept_of_a_camera_expires_after_its_last_window(make_site, monkeypatch):
    now = time.time_ns
    for hours, seconds in ((0, 7200), (1, 3600), (3, 0)):
        site = make_site(camera_hours=2)
        with monkeypatch.context() as earlier:
            earlier.setattr(time, "time_ns", lambda hours=hours: now() - hours * 3600 * 10**9)
            site.publish(prediction(0, camera=f"camera-{hours}"), report(0))
        site.show()
        keys = [f"{site.prefix}:{name}" for name in ("camera:{%s}:m-1", "predictions:{%s}", "applied:{%s}")]
        for key in (name % f"camera-{hours}" for name in keys):
            # It counts from when the record was sent: a rebuild does not prolong it.
            assert seconds - 10 < site.redis.ttl(key) <= seconds if seconds else not site.redis.exists(key)
        assert site.redis.ttl(f"{site.prefix}:events") == -1
        site.redis.delete(*site.redis.keys(f"{site.prefix}:*"))


@pytest.fixture
def server() -> Iterator[Site]:
    """A Redis of its own, which the test may put into any state."""
    with EmbeddedRedis() as running:
        site = Site(running.address)
        yield site
        site.redis.close()


def fill(client: Redis) -> None:
    client.config_set("maxmemory", 1)


def empty(client: Redis) -> None:
    client.config_set("maxmemory", 0)


def follow(client: Redis) -> None:
    client.replicaof("127.0.0.1", 1)


def lead(client: Redis) -> None:
    client.replicaof("no", "one")


def refuse(client: Redis) -> None:
    client.config_set("min-replicas-to-write", 1)


def accept(client: Redis) -> None:
    client.config_set("min-replicas-to-write", 0)


def hold(client: Redis) -> None:
    client.execute_command("CLIENT", "PAUSE", 3000, "ALL")


def wait(_: Redis) -> None:
    time.sleep(3.0)


@pytest.mark.parametrize(
    ("begin", "end"),
    [(fill, empty), (follow, lead), (refuse, accept), (hold, wait)],
    ids=["out of memory", "read only", "no replicas", "slow"],
)
def test_a_redis_that_takes_nothing_is_waited_for(server, monkeypatch, begin, end):
    monkeypatch.setattr("consumers.outputs.redis.connection.CONNECT_TIMEOUT_SECONDS", 0.4)
    with server.shown() as projection:
        server.publish(*map(prediction, range(5)), report(0))
        assert projection.catch_up(30)
        begin(server.redis)
        server.publish(*map(prediction, range(5, 9)), report(1), prediction(0, camera="yard"))
        assert eventually(lambda: projection.state.awaited is not None)
        end(server.redis)
        assert eventually(lambda: server.windows() == list(range(9)))
        assert projection.catch_up(30)
        assert server.differences() == []
        assert eventually(lambda: projection.state.awaited is None)
    assert sum(line.startswith("waiting for Redis at redis://127.0.0.1:") for line in server.said) == 1
    assert any(" is back, after " in line for line in server.said)


def test_a_redis_that_is_not_there_at_first_and_restarts_empty_shows_everything():
    with EmbeddedRedis() as running:
        address, port = running.address, int(running.address.rpartition(":")[2].partition("/")[0])
    site = Site(address)
    site.publish(*map(prediction, range(3)), report(0))
    with site.shown() as projection:
        assert eventually(lambda: projection.state.awaited is not None)
        assert projection.state.awaited.startswith(f"Redis at {address} since ")
        for last in (4, 6):
            site.publish(prediction(last - 1), report(last))
            with EmbeddedRedis(port=port) as running:
                assert running.address == address
                assert eventually(lambda: site.differences() == [])
                assert eventually(lambda: projection.state.awaited is None)
            site.redis.connection_pool.disconnect()
            assert eventually(lambda: projection.state.awaited is not None)
    assert sum("waiting for Redis" in line for line in site.said) == 3


def test_leaving_does_not_wait_for_a_redis_that_is_away(monkeypatch):
    monkeypatch.setattr("consumers.outputs.redis.projection._LAST_SECONDS", 30.0)
    site = Site("redis://127.0.0.1:1/0")
    with site.shown() as projection:
        site.publish(prediction(0))
        assert eventually(lambda: projection.state.awaited is not None)
        begin = time.monotonic()
    assert time.monotonic() - begin < 15


def test_a_topic_that_was_made_anew_is_shown_too(make_site):
    site = make_site()
    site.publish(*map(prediction, range(9)), report(0))
    site.show()
    again = make_site()

    class Other(MemoryTransport):
        def existing(self, topics):
            return {name: replace(each, id=f"{name}-2") for name, each in super().existing(topics).items()}

    again.transport = Other()
    again.publish(prediction(3, epoch_us=EPOCH_US + 100 * SECOND), report(7))
    again.show()
    assert again.windows() == [*range(9), 3]
    assert again.redis.xlen(f"{again.prefix}:events") == 2


def test_a_rebuild_that_is_asked_for_replaces_what_is_shown(make_site):
    site = make_site()
    site.publish(*map(prediction, range(9)), report(0), report(1))
    site.show()
    site.redis.xtrim(f"{site.prefix}:predictions:{{lobby}}", 2, approximate=False)
    site.redis.hset(f"{site.prefix}:camera:{{lobby}}:m-1", "label", "?")
    assert len(site.differences()) == 2
    with site.shown() as other, site.shown(keep=False) as projection:
        assert eventually(lambda: site.differences() == [])
        assert projection.catch_up(30) or other.catch_up(1)


def test_a_difference_is_told(make_site):
    site = make_site()
    site.publish(*map(prediction, range(5)), report(0), report(1))
    site.show()
    site.redis.xadd(f"{site.prefix}:events", {"event": report(9).encode()[2]})
    site.redis.delete(f"{site.prefix}:camera:{{lobby}}:m-1")
    site.redis.xadd(f"{site.prefix}:predictions:{{ghost}}", {"prediction": "{}"})
    found = site.differences()
    assert [line.split(": ")[0].removeprefix(f"{site.prefix}:") for line in found] == [
        "camera:{lobby}:m-1",
        "predictions:{ghost}",
        "events",
    ]
    assert "1 are not on the topic" in found[2]


def test_redis_that_is_not_there_is_one_error_that_says_what_to_do():
    with pytest.raises(SinkError, match=r"no Redis answers at redis://127\.0\.0\.1:1/0 .*clipline up.*CLIPLINE_REDIS"):
        connect_redis("redis://:hunter2@127.0.0.1:1/0")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:many/0",
        "http://127.0.0.1:1",
        "redis://:hunter2@127.0.0.1:99999/0",
        "redis://:hunter2/x",
        "redis://127.0.0.1:1/0?pasword=hunter2",
        "redis://127.0.0.1:1/0?password=hunter2",
        "unix:///no/socket?password=hunter2",
        "redis+sentinel://:hunter2@127.0.0.1:1",
        "redis+sentinel://:hunter2@127.0.0.1:1,127.0.0.1:2/primary/0",
    ],
)
def test_an_address_that_is_none_is_the_same_error(url):
    with pytest.raises(SinkError, match="no Redis answers") as caught:
        connect_redis(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://u:p@a:1,b:2/0", "a:1,b:2"),
        ("redis+sentinel://u:p/w@a:1,b/primary/0?socket_timeout=3", "a:1,b"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
    ],
)
def test_the_hosts_of_an_address(url, hosts):
    assert redis_hosts(url) == hosts


def test_of_several_hosts_the_first_that_answers_is_used(redis_url):
    place = redis_url.removeprefix("redis://")
    with connect_redis(f"redis://127.0.0.1:1,{place}") as client:
        assert client.ping()
