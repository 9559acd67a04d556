"""Redis: the newest state of each camera, trimmed streams, and events as they come.

    clipline:camera:{ID}:MODEL       hash        newest window of one model: label, score, scores, times; expires
    clipline:predictions:{ID}        stream      of all models; trimmed, expires
    clipline:events                  stream      trimmed
    clipline:events:ID               pub/sub     the event's JSON
    clipline:seen:{clipline:events}  sorted set  reports that were written, trimmed

The braces are part of the names: in a Redis Cluster they put the keys of one script into one slot ("hash tags").
Written so that doing it twice changes nothing: after a restart a worker may say again what it said before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from consumers.records.event import Event
from consumers.records.fields import to_json
from consumers.records.prediction import Prediction, rfc3339
from consumers.settings import RedisSettings
from stream import display_name, escape_address

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: How long a batch of results is tried again: a restart, a failover or a pulled cable ends no worker.
PATIENCE_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 1.0

# A window at or before the newest one of its epoch has been written already. Several epochs are remembered, because a
# worker that begins again may begin in the epoch before: "epoch:window" of each, the newest first.
_WRITE_PREDICTION: Final = """
local position, epochs = ARGV[1] .. ':' .. ARGV[2], 1
for epoch, window in string.gmatch(redis.call('HGET', KEYS[1], 'position') or '', '(%d+):(%d+)') do
  if epoch == ARGV[1] then
    if tonumber(window) >= tonumber(ARGV[2]) then return 0 end
  elseif epochs < 8 then
    position, epochs = position .. ' ' .. epoch .. ':' .. window, epochs + 1
  end
end
redis.call('HSET', KEYS[1], 'position', position, unpack(ARGV, 6))
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'prediction', ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""
# Reports are remembered by number, not for a time: a worker may come back to an event after hours.
_WRITE_EVENT: Final = """
local now = redis.call('TIME')
if redis.call('ZADD', KEYS[1], 'NX', now[1] .. string.format('%06d', now[2]), ARGV[1]) == 0 then return 0 end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'event', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[4])
return 1
"""

#: Errors of a Redis that restarts, loads its data, or has become a replica.
_PASSING: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.exceptions.ClusterError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
    OSError,
)


class SinkError(Exception):
    """Redis cannot be reached or refused."""


class Sink(Protocol):
    def write(
        self, predictions: Sequence[Prediction], events: Sequence[Event], stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Write a batch; return when it is stored. Where that takes a while, `stop` says whether to give up."""

    def close(self) -> None: ...


class RedisSink:
    """Writes to a real Redis or Valkey at `url`, or to a cluster of them that it is a node of."""

    def __init__(
        self, url: str, limits: RedisSettings, prefix: str = "clipline", patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Connect.

        Args:
            url: of the server.
            limits: how much it keeps.
            prefix: what the keys begin with.
            patience_seconds: how long `write` tries again.

        Raises:
            SinkError: nothing answers there.
        """
        self._url, self._limits, self._prefix = display_name(url), limits, prefix
        self._patience_seconds = patience_seconds
        self._redis: redis.Redis | RedisCluster = connect_redis(url)
        if _is_cluster(self._redis):
            self._redis.close()
            self._redis = _connect_cluster(url)
        # `write` tries again itself, and says so.
        self._redis.set_retry(Retry(NoBackoff(), 0))
        self._write_prediction = self._redis.register_script(_WRITE_PREDICTION)
        self._write_event = self._redis.register_script(_WRITE_EVENT)

    def write(
        self, predictions: Sequence[Prediction], events: Sequence[Event], stop: Callable[[], bool] = lambda: False
    ) -> None:
        if not predictions and not events:
            return
        began, failures = time.monotonic(), 0

        def failed(error: Exception) -> None:
            nonlocal failures
            failures += 1
            if failures == 1:
                log.warning(
                    "Redis at %s does not take results (%s): trying again for %g s",
                    self._url,
                    error,
                    self._patience_seconds,
                )
            if stop() or time.monotonic() - began > self._patience_seconds:
                raise SinkError(f"Redis at {self._url} does not take results ({error})") from None
            if isinstance(error, redis.ReadOnlyError) and isinstance(self._redis, redis.Redis):
                # After a failover the same address may lead to another server.
                self._redis.connection_pool.disconnect()

        # What was written of the batch before the error is not written again: see the scripts.
        retry = Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=0.1), -1, supported_errors=_PASSING)
        try:
            retry.call_with_retry(lambda: self._write(predictions, events), failed)
        except (redis.RedisError, OSError) as error:
            raise SinkError(f"Redis at {self._url} does not take results ({error})") from None
        if failures:
            log.warning("Redis at %s takes results again, after %.0f s", self._url, time.monotonic() - began)

    def _write(self, predictions: Sequence[Prediction], events: Sequence[Event]) -> None:
        try:
            if isinstance(self._redis, RedisCluster):
                # Its pipelines run no scripts, and the keys of a batch lie on many nodes.
                self._run_scripts(predictions, events, self._redis)
            else:
                with self._redis.pipeline(transaction=False) as pipe:
                    self._run_scripts(predictions, events, pipe)
                    pipe.execute()
        except redis.ResponseError as error:
            # Inside a script, servers before Redis 7 report it as an error of the script.
            if "READONLY" in str(error):
                raise redis.ReadOnlyError(str(error)) from None
            raise

    def _run_scripts(self, predictions: Sequence[Prediction], events: Sequence[Event], client: Any) -> None:
        prefix, limits = self._prefix, self._limits
        seconds = max(1, round(limits.camera_hours * 3600))
        for p in predictions:
            fields: list[Any] = [
                *("label", p.label, "score", p.scores[p.label], "scores", to_json(dict(p.scores))),
                *("window_start", rfc3339(p.start_us), "window_end", rfc3339(p.end_us), "model", p.model),
            ]
            self._write_prediction(
                keys=[f"{prefix}:camera:{{{p.camera}}}:{p.model}", f"{prefix}:predictions:{{{p.camera}}}"],
                args=[p.epoch_us, p.window, seconds, limits.max_predictions, p.encode()[2], *fields],
                client=client,
            )
        for e in events:
            self._write_event(
                keys=[f"{prefix}:seen:{{{prefix}:events}}", f"{prefix}:events"],
                args=[
                    f"{e.id}-{e.revision}",
                    limits.max_remembered_events,
                    limits.max_events,
                    e.encode()[2],
                    f"{prefix}:events:{e.camera}",
                ],
                client=client,
            )

    def close(self) -> None:
        self._redis.close()


def connect_redis(url: str) -> redis.Redis:
    """Return a client that has been answered.

    Raises:
        SinkError: nothing answers at `url`; the message says what to do.
    """
    try:
        client = redis.Redis.from_url(escape_address(url), **_connection())
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


def _is_cluster(client: Any) -> bool:
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except redis.ResponseError:
        return False  # a user that may not ask


def _connect_cluster(url: str) -> RedisCluster:
    """Return a client of the cluster that the server at `url` is a node of.

    Raises:
        SinkError: the cluster does not answer.
    """
    try:
        return RedisCluster.from_url(escape_address(url), **_connection())
    except (redis.RedisError, OSError, ValueError) as error:
        raise SinkError(f"the Redis Cluster at {display_name(url)} does not answer ({error})") from None


def _connection() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": CONNECT_TIMEOUT_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=0.1), retries=5),
    }
