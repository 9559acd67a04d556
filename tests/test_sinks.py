"""Redis shows what is newest, keeps what it is told to keep, and says nothing twice."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from redis import Redis
from redis.backoff import NoBackoff

from consumers.outputs import redis as sinks
from consumers.outputs.redis import RedisSink, SinkError, connect_redis
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.settings import RedisSettings
from stream.services import EmbeddedRedis

EPOCH_US = 1_700_000_000_000_000
SECOND = 1_000_000


def prediction(
    window: int, *, epoch_us: int = EPOCH_US, camera: str = "lobby", model: str = "m-1", run: float = 0.25
) -> Prediction:
    start_us = epoch_us + window * SECOND
    return Prediction(camera, epoch_us, window, start_us, start_us + 2 * SECOND, model, {"run": run, "walk": 1 - run})


EVENT = Event("lobby", "m-1", "run", "started", 0, "an-id", EPOCH_US, EPOCH_US + 2 * SECOND, 0.9, EPOCH_US, 1)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def make(redis_url: str, topics_prefix: str) -> Iterator[Callable[..., RedisSink]]:
    made: list[RedisSink] = []

    def make(**limits: int) -> RedisSink:
        made.append(RedisSink(redis_url, RedisSettings(**limits), topics_prefix))
        return made[-1]

    yield make
    for sink in made:
        sink.close()


def stream(redis: Redis, key: str, field: str) -> list[dict]:
    return [json.loads(entry[field]) for _, entry in redis.xrange(key)]


def test_the_hash_of_a_camera_is_its_newest_window(redis, make, topics_prefix):
    sink = make()
    sink.write([prediction(0), prediction(1, run=0.75), prediction(0, camera="yard")], [])
    state = redis.hgetall(f"{topics_prefix}:camera:lobby")
    assert (state["label"], state["score"], state["model"]) == ("run", "0.75", "m-1")
    assert json.loads(state["scores"]) == {"run": 0.75, "walk": 0.25}
    assert (state["window_start"], state["window_end"]) == (
        "2023-11-14T22:13:21.000000Z",
        "2023-11-14T22:13:23.000000Z",
    )
    assert redis.hget(f"{topics_prefix}:camera:yard", "label") == "walk"


def test_the_stream_of_a_camera_is_what_was_published(redis, make, topics_prefix):
    predictions = [prediction(n) for n in range(5)]
    make().write(predictions, [])
    assert stream(redis, f"{topics_prefix}:predictions:lobby", "prediction") == [
        json.loads(p.encode()[2]) for p in predictions
    ]


def test_streams_are_trimmed(redis, make, topics_prefix):
    sink = make(max_predictions=200, max_events=200)
    for begin in range(0, 1000, 100):
        sink.write(
            [prediction(n) for n in range(begin, begin + 100)],
            [replace(EVENT, revision=n) for n in range(begin, begin + 100)],
        )
    for key, field in ((f"{topics_prefix}:predictions:lobby", "prediction"), (f"{topics_prefix}:events", "event")):
        assert 200 <= redis.xlen(key) < 400
        assert len(stream(redis, key, field)) == redis.xlen(key)
    assert stream(redis, f"{topics_prefix}:predictions:lobby", "prediction")[-1]["window"] == 999


def test_subscribers_of_a_camera_get_its_events_as_they_are_written(redis, make, topics_prefix):
    with redis.pubsub() as listener:
        listener.subscribe(f"{topics_prefix}:events:lobby")
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        ended = replace(EVENT, state="ended", revision=1, ending="gap")
        make().write([], [EVENT, replace(EVENT, camera="yard", id="another-id"), ended])
        heard = [listener.get_message(timeout=5) for _ in range(2)]
        assert [json.loads(m["data"]) for m in heard] == [EVENT.body(), ended.body()]
        assert listener.get_message(timeout=0.1) is None
    assert [e["camera"] for e in stream(redis, f"{topics_prefix}:events", "event")] == ["lobby", "yard", "lobby"]


def test_what_is_written_again_changes_nothing(redis, make, topics_prefix):
    first = [prediction(n, run=0.1 * n) for n in range(4)]
    events = [EVENT, replace(EVENT, state="ended", revision=1, ending="gap")]
    make().write(first, events)
    before = redis.hgetall(f"{topics_prefix}:camera:lobby")
    with redis.pubsub() as listener:
        listener.subscribe(f"{topics_prefix}:events:lobby")
        listener.get_message(timeout=5)
        make().write(first[1:3], [])  # a worker that begins again: older windows, another connection
        make().write(first, events)
        assert listener.get_message(timeout=0.1) is None
    assert redis.hgetall(f"{topics_prefix}:camera:lobby") == before
    assert [p["window"] for p in stream(redis, f"{topics_prefix}:predictions:lobby", "prediction")] == [0, 1, 2, 3]
    assert len(stream(redis, f"{topics_prefix}:events", "event")) == 2


def test_the_epoch_before_that_is_written_again_does_not_become_the_newest_state(redis, make, topics_prefix):
    later_us = EPOCH_US + 100 * SECOND
    written = [
        prediction(8),
        prediction(9),
        prediction(0, epoch_us=later_us),
        prediction(1, epoch_us=later_us, run=0.99),
    ]
    make().write(written, [])
    make().write(written, [])
    make().write([prediction(2, epoch_us=later_us, run=0.98)], [])
    assert redis.hget(f"{topics_prefix}:camera:lobby", "score") == "0.98"
    windows = [(p["epoch_us"], p["window"]) for p in stream(redis, f"{topics_prefix}:predictions:lobby", "prediction")]
    assert windows == [(EPOCH_US, 8), (EPOCH_US, 9), (later_us, 0), (later_us, 1), (later_us, 2)]


def test_older_footage_that_was_not_seen_before_is_written(redis, make, topics_prefix):
    make().write([prediction(0), prediction(0, epoch_us=EPOCH_US - 1000 * SECOND, run=0.9)], [])
    assert redis.hget(f"{topics_prefix}:camera:lobby", "score") == "0.9"
    assert redis.xlen(f"{topics_prefix}:predictions:lobby") == 2


def test_what_is_remembered_of_epochs_is_bounded(redis, make, topics_prefix):
    make().write([prediction(0, epoch_us=EPOCH_US + n * SECOND) for n in range(50)], [])
    assert redis.xlen(f"{topics_prefix}:predictions:lobby") == 50
    positions = redis.hget(f"{topics_prefix}:camera:lobby", "position:m-1").split()
    assert positions == [f"{EPOCH_US + n * SECOND}:0" for n in range(49, 41, -1)]


def test_models_of_a_camera_do_not_hide_one_another(redis, make, topics_prefix):
    make().write([prediction(5), prediction(3, model="m-2")], [])
    assert redis.xlen(f"{topics_prefix}:predictions:lobby") == 2


def test_nothing_to_write_asks_nothing_of_redis():
    with EmbeddedRedis() as server:
        sink = RedisSink(server.address, RedisSettings())
    begin = time.monotonic()
    sink.write([], [])
    assert time.monotonic() - begin < 0.1


def test_redis_that_went_away_is_one_error_in_bounded_time():
    with EmbeddedRedis() as server:
        address = server.address
        sink = RedisSink(address, RedisSettings())
        sink.write([prediction(0)], [EVENT])
    begin = time.monotonic()
    with pytest.raises(SinkError, match=f"^Redis at {address} does not take results"):
        sink.write([prediction(1)], [])
    assert time.monotonic() - begin < 8


def test_redis_that_is_not_there_is_one_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(sinks, "ExponentialBackoff", lambda **_: NoBackoff())
    begin = time.monotonic()
    with pytest.raises(SinkError, match=r"no Redis answers at redis://127\.0\.0\.1:1/0 .*clipline up.*CLIPLINE_REDIS"):
        connect_redis("redis://:hunter2@127.0.0.1:1/0")
    assert time.monotonic() - begin < 8


def test_redis_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(sinks, "CONNECT_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(sinks, "ExponentialBackoff", lambda **_: NoBackoff())
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        begin = time.monotonic()
        with pytest.raises(SinkError, match="no Redis answers"):
            connect_redis(f"redis://127.0.0.1:{mute.getsockname()[1]}/0")
        assert time.monotonic() - begin < 8


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
    ],
)
def test_an_address_that_is_none_is_the_same_error(url):
    with pytest.raises(SinkError, match="no Redis answers") as caught:
        connect_redis(url)
    assert "hunter2" not in str(caught.value)
