"""Redis: the newest state of each camera, trimmed streams, and events as they come.

    clipline:camera:{id}        hash     newest window, label, score, scores, model
    clipline:predictions:{id}   stream   trimmed
    clipline:events             stream   trimmed
    clipline:events:{id}        pub/sub  the event's JSON

Written so that doing it twice changes nothing: after a restart a worker may say again what it said before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from consumers.records.event import Event
from consumers.records.prediction import Prediction, rfc3339
from consumers.settings import RedisSettings
from stream import display_name, escape_address

CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: How long an event's report is remembered, to leave out its repetition.
_SEEN_SECONDS: Final = 3600

# A window at or before the newest one of its epoch and model has been written already. Several epochs are remembered,
# because a worker that begins again may begin in the epoch before: "epoch:window" of each, the newest first.
_WRITE_PREDICTION: Final = """
local position, epochs = ARGV[2] .. ':' .. ARGV[3], 1
for epoch, window in string.gmatch(redis.call('HGET', KEYS[1], ARGV[1]) or '', '(%d+):(%d+)') do
  if epoch == ARGV[2] then
    if tonumber(window) >= tonumber(ARGV[3]) then return 0 end
  elseif epochs < 8 then
    position, epochs = position .. ' ' .. epoch .. ':' .. window, epochs + 1
  end
end
redis.call('HSET', KEYS[1], ARGV[1], position, unpack(ARGV, 6))
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'prediction', ARGV[5])
return 1
"""
_WRITE_EVENT: Final = """
if not redis.call('SET', KEYS[1], 1, 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[3])
redis.call('PUBLISH', KEYS[3], ARGV[3])
return 1
"""


class SinkError(Exception):
    """Redis cannot be reached or refused."""


class Sink(Protocol):
    def write(self, predictions: Sequence[Prediction], events: Sequence[Event]) -> None:
        """Write a batch; return when it is stored."""

    def close(self) -> None: ...


class RedisSink:
    """Writes to a real Redis or Valkey at `url`, with a few retries of a second in all."""

    def __init__(self, url: str, limits: RedisSettings, prefix: str = "clipline") -> None:
        """Connect.

        Raises:
            SinkError: nothing answers there.
        """
        self._url, self._limits, self._prefix = display_name(url), limits, prefix
        self._redis = connect_redis(url)
        self._write_prediction = self._redis.register_script(_WRITE_PREDICTION)
        self._write_event = self._redis.register_script(_WRITE_EVENT)

    def write(self, predictions: Sequence[Prediction], events: Sequence[Event]) -> None:
        if not predictions and not events:
            return
        prefix, limits = self._prefix, self._limits
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for p in predictions:
                    fields: list[Any] = [
                        *("label", p.label, "score", p.scores[p.label], "scores", json.dumps(dict(p.scores))),
                        *("window_start", rfc3339(p.start_us), "window_end", rfc3339(p.end_us), "model", p.model),
                    ]
                    self._write_prediction(
                        keys=[f"{prefix}:camera:{p.camera}", f"{prefix}:predictions:{p.camera}"],
                        args=[
                            f"position:{p.model}",
                            p.epoch_us,
                            p.window,
                            limits.max_predictions,
                            p.encode()[2],
                            *fields,
                        ],
                        client=pipe,
                    )
                for e in events:
                    self._write_event(
                        keys=[
                            f"{prefix}:seen:{e.id}-{e.revision}",
                            f"{prefix}:events",
                            f"{prefix}:events:{e.camera}",
                        ],
                        args=[_SEEN_SECONDS, limits.max_events, e.encode()[2]],
                        client=pipe,
                    )
                pipe.execute()
        except (redis.RedisError, OSError) as error:
            raise SinkError(f"Redis at {self._url} does not take results ({error})") from None

    def close(self) -> None:
        self._redis.close()


def connect_redis(url: str) -> redis.Redis:
    """Return a client that has been answered.

    Raises:
        SinkError: nothing answers at `url`; the message says what to do.
    """
    try:
        client = redis.Redis.from_url(
            escape_address(url),
            socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
            socket_timeout=CONNECT_TIMEOUT_SECONDS,
            retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), retries=5),
        )
        client.ping()
    except (redis.RedisError, OSError, ValueError, TypeError) as error:
        # What is not understood of an address may be its password, which the vendor's words quote.
        why = (
            error
            if isinstance(error, redis.RedisError | OSError)
            else "its host, port or parameters are not understood"
        )
        raise SinkError(
            f"no Redis answers at {display_name(url)} ({why}): "
            "start one with `clipline up`, or set CLIPLINE_REDIS=redis://host:port/0"
        ) from None
    return client
