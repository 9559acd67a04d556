"""Pictures in Redis, for a while. A server that is away is waited for, for so long.

clipline:peak:EVENT-REVISION      string, WebP; expires
clipline:strip:EVENT-REVISION     likewise
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Final, Self

from consumers.outputs.outages import Outage
from consumers.outputs.redis.connection import REDIS_ERRORS, Client, SinkError, open_redis
from consumers.records.event import Event
from consumers.records.event_pictures import Kind, Missing, StoredPicture
from consumers.settings import Settings
from stream import display_name

from .strip import Drawn

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 1.0
_TRIES_SECONDS: Final = 3600


def picture_key(prefix: str, kind: Kind, event: Event) -> str:
    """Under which key a picture of this report lies. Records name it: readers need not know how it is made."""
    return f"{prefix}:{kind}:{event.id}-{event.revision}"


class PictureStore:
    """Writes pictures to Redis. Use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; the first write connects."""
        self._url, self._prefix = settings.redis, settings.topics.prefix
        self._max_wait_seconds = settings.pictures.max_wait_seconds
        self.keep_seconds = max(1, round(settings.pictures.keep_hours * 3600))
        self._outage = Outage(f"Redis at {display_name(self._url)}", lambda line: log.warning("%s", line))
        self._client: Client | None = None

    def put(self, kind: Kind, event: Event, drawn: Drawn, wait: Callable[[float], bool]) -> StoredPicture | Missing:
        """Store one picture; the same one again changes nothing but when it expires.

        Args:
            kind: which of the two.
            event: the report that it is of.
            drawn: the picture.
            wait: waits for so many seconds; False where there is no more waiting.
        """
        key = picture_key(self._prefix, kind, event)
        while True:
            try:
                if self._client is None:
                    self._client = open_redis(self._url)
                self._client.set(key, drawn.data, ex=self.keep_seconds)
            except (*REDIS_ERRORS, SinkError) as error:
                why = str(error) or type(error).__name__
                self.close()
                self._outage.begin(why)
                if self._outage.seconds >= self._max_wait_seconds or not wait(_RETRY_SECONDS):
                    return Missing("redis", why[:500])
            else:
                self._outage.end()
                return StoredPicture(key, drawn.width, drawn.height, len(drawn.data), drawn.frames_us, drawn.region)

    def begin(self, event: Event) -> int:
        """Note that the pictures of a report are begun; how often a process has died amid that.

        0 where Redis is away.
        """
        return self._tried(event, 1) - 1

    def end(self, event: Event) -> None:
        """Note that the process is alive behind it."""
        self._tried(event, -1)

    def _tried(self, event: Event, change: int) -> int:
        key = f"{self._prefix}:tries:{event.id}-{event.revision}"
        try:
            if self._client is None:
                self._client = open_redis(self._url)
            tries = int(self._client.incrby(key, change))
            self._client.expire(key, _TRIES_SECONDS if tries > 0 else 1)
        except (*REDIS_ERRORS, SinkError, ValueError) as error:
            log.debug("%s", error)
            self.close()
            return 1
        return tries

    def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PictureReader:
    """Reads pictures from Redis. For several threads."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; the first read connects."""
        self._url, self._prefix = settings.redis, settings.topics.prefix
        self._lock = threading.Lock()
        self._client: Client | None = None

    def get(self, kind: Kind, key: str) -> bytes | None:
        """The picture under a key that a record names; None where it has expired, or the key is none of a picture.

        Raises:
            RedisError, RedisClusterException, OSError, SinkError: Redis is away.
        """
        if not key.startswith(f"{self._prefix}:{kind}:"):
            return None
        with self._lock:
            if self._client is None:
                self._client = open_redis(self._url)
            client = self._client
        try:
            found = client.get(key)
        except REDIS_ERRORS:
            self.close()
            raise
        return found if isinstance(found, bytes) else None

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                client.close()
