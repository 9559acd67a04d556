"""Pictures that travel with messages: read from Redis when a message is sent, so that the ledger has none of them.

What cannot be put in goes by reference, and the message says why: `not_inline` beside the picture's key.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook
from consumers.outputs.outages import Outage
from consumers.outputs.redis.connection import REDIS_ERRORS, Client, SinkError, is_passing, open_redis
from consumers.records.delivery import Delivery
from consumers.records.event_pictures import Kind
from consumers.settings import Settings
from consumers.settings.sections.notifying import ChannelSettings
from consumers.times import parse_time_us
from stream import display_name

from .desk import now_us
from .pictured import NO_PICTURES, Pictures, pictures_of, waits_until_us, with_pictures

log = logging.getLogger(__name__)

#: Of one picture. Many receivers take no body of more than some megabytes.
MAX_BYTES: Final = 1024 * 1024
#: A message that did not get there so often goes with references: it may be its size that the receiver cannot take.
_TRIES_WITH: Final = 2
_RETRY_SECONDS: Final = 0.25
#: After Redis did not answer, nobody asks it for so long.
_LEFT_ALONE_SECONDS: Final = 1.0
#: The strip shows the action, so it goes where only one picture does.
_IN_ORDER: Final[tuple[Kind, ...]] = ("strip", "peak")


class Attachments:
    """Reads the pictures that messages name, for channels whose settings say `inline`. For several threads."""

    def __init__(self, settings: Settings, forgotten: ForgottenBook = NOTHING_FORGOTTEN) -> None:
        """Prepare; the first picture connects. Of what is `forgotten` none is read."""
        self._channels, self._forgotten = settings.channels, forgotten
        self._pictures = _StoredPictures(settings.redis)

    def of(self, delivery: Delivery) -> tuple[Delivery, Pictures]:
        """The message, which says of each picture that it names and that is not there why, and the pictures.

        May wait for Redis, until the time of the message to wait for pictures is over.
        """
        channel, said = self._channels.get(delivery.channel), pictures_of(delivery)
        if channel is None or channel.pictures != "inline" or said is None:
            return delivery, NO_PICTURES
        found: dict[Kind, bytes] = {}
        left: dict[Kind, Mapping[str, Any]] = {}
        for kind, picture in _named(said):
            got = self._read(picture, delivery, channel)
            if isinstance(got, bytes):
                found[kind] = got
                if channel.kind != "webhook":
                    break
            else:
                left[kind] = {"not_inline": {"reason": got.reason, "detail": got.detail}}
        return with_pictures(delivery, left), found

    def _read(self, picture: Mapping[str, Any], delivery: Delivery, channel: ChannelSettings) -> bytes | _NoneError:
        if delivery.attempt >= _TRIES_WITH:
            return _NoneError("not_taken", f"{delivery.attempt} tries with it did not get there")
        try:
            data = self._pictures.read(picture["key"], waits_until_us(delivery, channel), channel.pictures_wait_seconds)
        except _NoneError as error:
            return error
        # A strip begins before its event does.
        return _NoneError("forgotten", "it shows what is forgotten") if self._is_forgotten(picture, delivery) else data

    def _is_forgotten(self, picture: Mapping[str, Any], delivery: Delivery) -> bool:
        times = [parse_time_us(time) for time in picture["frames"]]
        camera = delivery.message["data"]["camera"]
        return bool(times) and self._forgotten.of(camera, min(times), max(times), delivery.event) is not None


def _named(said: Mapping[str, Any]) -> Iterator[tuple[Kind, Mapping[str, Any]]]:
    for kind in _IN_ORDER:
        if (picture := said.get(kind)) is not None:
            yield kind, picture


class _NoneError(Exception):
    """A picture cannot be put in."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class _AwayError(_NoneError):
    """Redis does not answer."""

    def __init__(self, detail: str) -> None:
        super().__init__("redis", detail)


class _StoredPictures:
    """Pictures in Redis, over one connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._outage = Outage(f"Redis at {display_name(url)}", lambda line: log.warning("pictures: %s", line))
        #: Until when it is left alone, and why.
        self._closed: tuple[float, str] = 0.0, ""

    def read(self, key: str, until_us: int, longest_seconds: float) -> bytes:
        """The picture under a key.

        Args:
            key: as the record has it.
            until_us: how long to wait for a Redis that is away, wall clock.
            longest_seconds: one that has been away for longer is not waited for: it holds up no further message.

        Raises:
            _NoneError: it cannot be read.
        """
        while True:
            try:
                return _checked(self._tried(key))
            except _AwayError:
                if now_us() >= until_us or self._outage.seconds >= longest_seconds:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _tried(self, key: str) -> bytes:
        with self._lock:  # of many messages one finds out that it is away
            until, why = self._closed
            if time.monotonic() < until:
                raise _AwayError(why)
            try:
                if self._client is None:
                    self._client = open_redis(self._url)
                # Whatever lies there, no more of it is read than may be sent.
                found: bytes = self._client.getrange(key, 0, MAX_BYTES)  # type: ignore[assignment]
            except (*REDIS_ERRORS, SinkError) as error:
                if isinstance(error, redis.ResponseError) and not is_passing(error):
                    raise _NoneError("unreadable", str(error)[:200]) from None
                self._away(str(error) or type(error).__name__)
                raise _AwayError(self._closed[1]) from None
            self._outage.end()
            return found

    def _away(self, why: str) -> None:
        self._outage.begin(why)
        self._closed = time.monotonic() + _LEFT_ALONE_SECONDS, why[:200]
        if self._client is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                self._client.close()
            self._client = None


def _checked(data: bytes) -> bytes:
    """`data`, which a key of Redis holds: records name keys, and only what is a picture leaves the site."""
    if not data:
        raise _NoneError("expired", "Redis does not have it (any more)")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise _NoneError("unreadable", "what Redis has there is no WebP")
    if len(data) > MAX_BYTES:
        raise _NoneError("too_large", f"more than {MAX_BYTES // 1024} KiB")
    return data
