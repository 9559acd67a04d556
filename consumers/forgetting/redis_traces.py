"""What Redis holds of forgotten stretches: windows, events and pictures; found, and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from consumers.outputs.redis.connection import open_redis
from consumers.times import parse_time_us

from .book import ForgottenBook
from .search import Held

#: Entries of a stream that are taken from it at once.
_AT_ONCE: Final = 500


class RedisTraces:
    """Those in one Redis, or cluster. Every method raises RedisError, OSError or SinkError where it is away."""

    def __init__(
        self, url: str, prefix: str, book: ForgottenBook, events: Iterable[str], pictured: Iterable[str] = ()
    ) -> None:
        """Connect.

        Args:
            url: of the server.
            prefix: what the keys begin with.
            book: the stretches.
            events: ids of events that are known to be of them.
            pictured: ids of further events, of which only pictures are.
        """
        # The vendor types its replies for all of its clients, protocols and encodings at once.
        self._redis: Any = open_redis(url)
        self._prefix, self._book = prefix, book
        #: By id; those that only Redis knows of join them.
        self.events = set(events)
        #: Those of them that also reach beyond their stretch, as far as Redis tells.
        self.reaching: set[str] = set()
        self._pictured = frozenset(pictured)

    def find(self) -> list[Held]:
        """Count them."""
        return [self._work(name, what, of, delete=False) for name, what, of in self._kinds()]

    def delete(self) -> None:
        """Delete them."""
        for name, what, of in self._kinds():
            self._work(name, what, of, delete=True)

    def close(self) -> None:
        self._redis.close()

    def _kinds(self) -> Iterator[tuple[str, str, Callable[[bool], Iterator[int]]]]:
        prefix = self._prefix
        yield f"{prefix}:events", "report of an event", self._of_events
        yield f"{prefix}:predictions:…", "window with its scores", self._of_predictions
        yield f"{prefix}:camera:…", "newest window", self._of_cameras
        yield f"{prefix}:peak:…, {prefix}:strip:…", "picture", self._of_pictures

    def _work(self, name: str, what: str, of: Callable[[bool], Iterator[int]], *, delete: bool) -> Held:
        held = Held(f"Redis {name}", what)
        for size in of(delete):
            held.count += 1
            held.bytes += size
        return held

    def _cameras(self) -> list[str]:
        return sorted({each.camera for each in self._book.stretches()})

    def _of_events(self, delete: bool) -> Iterator[int]:  # noqa: FBT001  all of a kind
        def is_of(body: dict[str, Any]) -> bool:
            times = parse_time_us(body["start"]), parse_time_us(body["end"])
            stretch = self._book.of(str(body["camera"]), *times)
            if stretch is None:
                return False
            self.events.add(str(body["event"]))
            if stretch.is_left_by(*times):
                self.reaching.add(str(body["event"]))
            return True

        key = f"{self._prefix}:events"
        for _ in self._of_stream(key, b"event", is_of, delete=False):
            pass  # the last report of an event may be the one that is of a stretch
        yield from self._of_stream(key, b"event", lambda body: str(body["event"]) in self.events, delete=delete)

    def _of_predictions(self, delete: bool) -> Iterator[int]:  # noqa: FBT001
        for camera in self._cameras():
            yield from self._of_stream(
                f"{self._prefix}:predictions:{{{camera}}}",
                b"prediction",
                lambda body, camera=camera: self._is_of(camera, body["start"], body["end"]),  # type: ignore[misc]
                delete=delete,
            )

    def _of_stream(
        self, key: str, name: bytes, is_of: Callable[[dict[str, Any]], bool], *, delete: bool
    ) -> Iterator[int]:
        gone: list[bytes] = []
        for id_, fields in self._redis.xrange(key):
            value = fields.get(name, b"")
            try:
                found = is_of(json.loads(value))
            except (ValueError, KeyError, TypeError):
                continue  # none of ours
            if found:
                gone.append(id_)
                yield len(value)
        if delete:
            # An empty stream stays: one that is missing would be built anew.
            for begin in range(0, len(gone), _AT_ONCE):
                self._redis.xdel(key, *gone[begin : begin + _AT_ONCE])

    def _of_cameras(self, delete: bool) -> Iterator[int]:  # noqa: FBT001
        for camera in self._cameras():
            for key in list(self._redis.scan_iter(match=f"{self._prefix}:camera:{{{camera}}}:*")):
                start, end = self._redis.hmget(key, "window_start", "window_end")
                if start is None or end is None or not self._is_of(camera, start.decode(), end.decode()):
                    continue
                if delete:
                    self._redis.delete(key)
                yield 0

    def _of_pictures(self, delete: bool) -> Iterator[int]:  # noqa: FBT001
        for kind in ("peak", "strip"):
            begin = f"{self._prefix}:{kind}:"
            for key in list(self._redis.scan_iter(match=f"{begin}*", count=1000)):
                event = key.decode(errors="replace").removeprefix(begin).rpartition("-")[0]
                if event not in self.events and event not in self._pictured:
                    continue
                size = int(self._redis.strlen(key))
                if delete:
                    self._redis.delete(key)
                yield size

    def _is_of(self, camera: str, start: str, end: str) -> bool:
        return self._book.of(camera, parse_time_us(start), parse_time_us(end)) is not None
