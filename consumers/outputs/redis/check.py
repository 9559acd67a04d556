"""Whether Redis shows what the topics hold."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.forgetting import read_forgotten
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction
from consumers.settings import RedisSettings, Settings
from stream import Record, Transport

from .connection import open_redis

#: So many differences are named.
_NAMED: Final = 100


@dataclass(slots=True)
class _Shown:
    """What is to be shown of one stream: records by what they name, each once, in the order of its topic."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    #: What each record names, repetitions included.
    names: list[str] = field(default_factory=list)

    def add(self, name: str, body: bytes) -> None:
        self.names.append(name)
        self.bodies.setdefault(name, body)

    def newest(self, limit: int) -> list[list[bytes]]:
        """What a stream may hold, at the longest and at the least: a rebuild begins amid the repetitions."""
        least = list(dict.fromkeys(self.names[-limit:]))
        return [list(self.bodies.values()), [self.bodies[name] for name in least]]


def redis_differences(transport: Transport, settings: Settings) -> list[str]:
    """How Redis differs from the topics, a line each; none where it shows what they hold.

    Compared are the newest window of each camera and model, the streams and the reports of events. What is sent while
    this runs may be told as a difference.

    Raises:
        BrokerError, SinkError, RedisError, OSError: one of them is away.
    """
    with open_redis(settings.redis) as client:
        return list(_Check(client, transport, settings).run())[:_NAMED]


class _Check:
    def __init__(self, client: Any, transport: Transport, settings: Settings) -> None:
        self._redis, self._transport = client, transport
        self._prefix, self._topics = settings.topics.prefix, settings.topics
        self._limits: RedisSettings = settings.redis_limits

    def run(self) -> Iterable[str]:
        cameras, newest, sent_us = self._predictions()
        kept_since_us = time.time_ns() // 1000 - round(self._limits.camera_hours * 3.6e9)
        for camera, shown in sorted(cameras.items()):
            if sent_us[camera] > kept_since_us:
                yield from self._stream(f"predictions:{{{camera}}}", "prediction", shown, self._limits.max_predictions)
        for (camera, model), (prediction, at_us) in sorted(newest.items()):
            if at_us > kept_since_us:
                yield from self._newest(camera, model, prediction)
        yield from self._foreign(cameras)
        yield from self._stream("events", "event", self._events(), self._limits.max_events)

    def _predictions(self) -> tuple[dict[str, _Shown], dict[tuple[str, str], tuple[Prediction, int]], dict[str, int]]:
        cameras: dict[str, _Shown] = defaultdict(_Shown)
        newest: dict[tuple[str, str], tuple[Prediction, int]] = {}
        sent_us: dict[str, int] = {}
        for record, prediction in self._records(self._topics.predictions, Prediction.decode):
            shown = cameras[prediction.camera]
            if prediction.id not in shown.bodies:
                newest[prediction.camera, prediction.model] = prediction, record.sent_us
            shown.add(prediction.id, record.value or b"")
            sent_us[prediction.camera] = record.sent_us
        return cameras, newest, sent_us

    def _events(self) -> _Shown:
        shown = _Shown()
        for record, event in self._records(self._topics.events, Event.decode):
            shown.add(f"{event.id}-{event.revision}", record.value or b"")
        return shown

    def _records(self, topic: str, decode: Callable[..., Any]) -> Iterable[tuple[Record, Any]]:
        if not self._transport.existing([topic]):
            return
        book = read_forgotten(self._transport, self._topics)
        for record in self._transport.read(self._transport.offsets(topic)):
            try:
                found = decode(record.key, record.headers, record.value, record.where)
            except RecordError:
                continue  # it is shown nowhere
            event = found.id if topic == self._topics.events else None
            if book.of(found.camera, found.start_us, found.end_us, event) is None:
                yield record, found

    def _stream(self, name: str, entry: str, wanted: _Shown, limit: int) -> Iterable[str]:
        found = [fields.get(entry.encode(), b"") for _, fields in self._redis.xrange(f"{self._prefix}:{name}")]
        if any(_is_end_of(found, whole) for whole in wanted.newest(limit)) and len(found) >= len(
            wanted.newest(limit)[1]
        ):
            return
        known = list(wanted.bodies.values())[-max(limit, len(found)) :]
        missing, doubled = set(known[-limit:]) - set(found), len(found) - len(set(found))
        foreign = set(found) - set(wanted.bodies.values())
        yield (
            f"{self._prefix}:{name}: {len(found)} entries where the topic has {len(wanted.bodies)}: {len(missing)} are "
            f"missing{_named(missing)}, {doubled} are there twice, {len(foreign)} are not on the topic{_named(foreign)}"
            + ("" if missing or doubled or foreign else ", the order differs")
        )

    def _newest(self, camera: str, model: str, wanted: Prediction) -> Iterable[str]:
        name = f"{self._prefix}:camera:{{{camera}}}:{model}"
        found = {key.decode(): value.decode() for key, value in self._redis.hgetall(name).items()}
        body = json.loads(wanted.encode()[2])
        expected = {
            "label": wanted.label,
            "score": str(wanted.scores[wanted.label]),
            "model": model,
            "window_start": body["start"],
            "window_end": body["end"],
        }
        wrong = {key: found.get(key) for key, value in expected.items() if found.get(key) != value}
        if wrong:
            yield f"{name}: {wrong} where the newest window of the topic says { ({k: expected[k] for k in wrong}) }"

    def _foreign(self, cameras: dict[str, _Shown]) -> Iterable[str]:
        for key in self._redis.scan_iter(match=f"{self._prefix}:predictions:*"):
            camera = key.decode().partition("{")[2].rstrip("}")
            if camera not in cameras:
                yield f"{key.decode()}: nothing of this camera is on the topic"


def _is_end_of(found: Sequence[bytes], whole: Sequence[bytes]) -> bool:
    return list(found) == list(whole[len(whole) - len(found) :]) if len(found) <= len(whole) else False


def _named(bodies: set[bytes]) -> str:
    return "" if not bodies else f" (as {min(bodies)[:80].decode(errors='replace')}…)"
