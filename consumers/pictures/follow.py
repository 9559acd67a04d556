"""Makes the pictures of events as they come: a consumer group of its own on the events' topic.

    events ──▶ pictures to Redis ──▶ record on the pictures' topic ──▶ the group's place is stored

Whoever is killed between two of these steps does them again: the keys and the record's id are the same.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from consumers.outputs.outages import Outage
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures, Kind, Missing, StoredPicture
from consumers.records.fields import OtherRecordError, RecordError
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_pictures
from stream import BrokerError, Consumer, Partition, Producer, Record, Transport

from .maker import MadePictures, PictureMaker
from .store import PictureStore
from .strip import Drawn

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
#: A member of a group that is not heard of for minutes is out.
_STAY_SECONDS: Final = 20.0
#: So often the broker may fail, or this process end, amid one report.
_ATTEMPTS: Final = 3
#: A worker that takes over may have sent its last reports again: so many are not made again.
_REMEMBERED: Final = 20_000
_ID: Final = re.compile(r"[0-9a-f]{24}")
#: An event begins and ends; what comes between is only news of its course.
_PICTURED: Final = frozenset({"started", "ended"})


class PictureFollower:
    """Makes pictures of each report that an event has begun, or ended, until it is told to stop."""

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        settings: Settings,
        stop: Callable[[], bool],
        hear: Callable[[EventPictures], None] | None = None,
        *,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            settings: topics, Redis, and how pictures are made.
            stop: asked several times a second.
            hear: told what was sent.
            turn: called as often as this turns: nothing that it does takes as long as `metrics.stuck_seconds`.
        """
        self._open_transport, self._settings, self._stop, self._hear = open_transport, settings, stop, hear
        self._turn = turn
        self._maker = PictureMaker(settings)
        #: Reports of which pictures were made, by event and state, oldest first.
        self._seen: dict[tuple[str, str], None] = {}
        #: Pictures by what became of them: `made`, or why one is missing.
        self.counts: Counter[str] = Counter()
        self._attempts: tuple[str, int] = "", 0

    def run(self) -> None:
        """Work until it is told to stop. A broker that is away is waited for; the log says so."""
        outage = Outage(f"Kafka at {self._settings.broker}", lambda line: log.warning("%s", line))
        with PictureStore(self._settings) as store:
            while not self._stop():
                try:
                    with contextlib.closing(_Connection(self._open_transport(), self._settings)) as connection:
                        outage.end()
                        self._follow(connection, store)
                except BrokerError as error:
                    outage.begin(str(error))
                    self._wait(_RETRY_SECONDS)
        log.info("pictures: %s", self.summary)

    @property
    def summary(self) -> str:
        """What became of all pictures so far, in words."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "none"

    def _follow(self, connection: _Connection, store: PictureStore) -> None:
        while not self._stop():
            self._turn()
            for record in connection.poll():
                self._turn()
                if connection.has(record):
                    self._take(record, connection, store)
                if self._stop():
                    return

    def _take(self, record: Record, connection: _Connection, store: PictureStore) -> None:
        event = _event_of(record)
        if event is not None and event.state in _PICTURED and (event.id, event.state) not in self._seen:
            pictures = self._pictured(record, event, connection, store)
            if pictures is None:
                return  # it is to end: the next one does this again
            connection.send(pictures)
            self._note(pictures)
        connection.done(record)

    def _pictured(
        self, record: Record, event: Event, connection: _Connection, store: PictureStore
    ) -> EventPictures | None:
        where, tried = self._attempts
        self._attempts = record.where, tried + 1 if where == record.where else 1
        made = self._made(event, connection.transport, store)

        def stored(kind: Kind, drawn: Drawn | Missing) -> StoredPicture | Missing:
            return drawn if isinstance(drawn, Missing) else store.put(kind, event, drawn, wait)

        def wait(seconds: float) -> bool:
            connection.stay()
            return self._wait(seconds)

        kept = stored("peak", made.peak), stored("strip", made.strip)
        if self._stop() and any(isinstance(p, Missing) and p.reason == "redis" for p in kept):
            return None
        return EventPictures.following(event, *kept, store.keep_seconds)

    def _made(self, event: Event, transport: Transport, store: PictureStore) -> MadePictures:
        if store.begin(event) >= _ATTEMPTS:
            missing = Missing("given_up", f"the process died amid it {_ATTEMPTS} times")
            return MadePictures(missing, missing)
        try:
            return self._maker.make(transport, event)
        except BrokerError as error:
            if self._attempts[1] < _ATTEMPTS:
                raise
            missing = Missing("broker", str(error)[:500])
            return MadePictures(missing, missing)
        except Exception as error:  # footage of strangers ends no process, whatever it does
            log.warning("event %s: its pictures cannot be made", event.id, exc_info=True)
            missing = Missing("given_up", f"unexpected: {type(error).__name__}")
            return MadePictures(missing, missing)
        finally:
            store.end(event)

    def _note(self, pictures: EventPictures) -> None:
        self._seen[pictures.event, pictures.state] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        for kind, picture in (("peak", pictures.peak), ("strip", pictures.strip)):
            self.counts["made" if isinstance(picture, StoredPicture) else picture.reason] += 1
            if isinstance(picture, Missing):
                log.warning(
                    "event %s (%s): no %s, %s: %s",
                    pictures.event,
                    pictures.camera,
                    kind,
                    picture.reason,
                    picture.detail,
                )

    def _wait(self, seconds: float) -> bool:
        """Wait; False as soon as it is to end."""
        until = time.monotonic() + seconds
        while not self._stop() and time.monotonic() < until:
            self._turn()
            time.sleep(0.05)
        return not self._stop()


class _Connection:
    """A member of the group, and what sends."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        topics = settings.topics
        ensure_topic_of_pictures(transport, topics)
        self.transport, self._topic = transport, topics.pictures
        self._consumer: Consumer = transport.consumer([topics.events], settings.pictures.group, from_start=False)
        self._producer: Producer = transport.producer()
        self._places: dict[Partition, int] = {}
        self._polled_at = time.monotonic()

    def poll(self) -> list[Record]:
        self._consumer.pause(())
        return self._poll(_POLL_SECONDS)

    def stay(self) -> None:
        """Remain a member while something takes long; call it often."""
        if time.monotonic() - self._polled_at > _STAY_SECONDS:
            self._consumer.pause(self._places)
            self._poll(0)

    def _poll(self, seconds: float) -> list[Record]:
        polled = self._consumer.poll(seconds)
        self._polled_at = time.monotonic()
        for partition in polled.revoked:
            self._places.pop(partition, None)
        if polled.assigned:
            self._begin(polled.assigned)
        return [r for r in polled.records if (r.topic, r.partition) not in polled.assigned]

    def _begin(self, assigned: frozenset[Partition]) -> None:
        """Of a new group: what comes from now on, also after a crash before the first report."""
        stored: Mapping[Partition, int] = self._consumer.committed()
        new: dict[Partition, int] = {}
        for partition in assigned:
            first, end = self.transport.offsets(partition[0])[partition]
            at = stored.get(partition)
            if at is None or at > end:  # nothing is stored, or the topic was made anew
                at = new[partition] = end if at is None else first
            self._places[partition] = max(first, at)
        if new:
            self._consumer.commit(new)
        self._consumer.seek({partition: self._places[partition] for partition in assigned})

    def has(self, record: Record) -> bool:
        """Whether the record is the next one of a partition that is still ours."""
        at = self._places.get((record.topic, record.partition))
        return at is not None and record.offset >= at

    def send(self, pictures: EventPictures) -> None:
        self._producer.send(self._topic, *pictures.encode())
        self._producer.flush()

    def done(self, record: Record) -> None:
        """Store that the group goes on behind the record."""
        partition = (record.topic, record.partition)
        if partition in self._places:
            self._places[partition] = record.offset + 1
            self._consumer.commit({partition: record.offset + 1})
        self.stay()

    def close(self) -> None:
        with contextlib.suppress(BrokerError):
            self._producer.close()
        with contextlib.suppress(BrokerError):
            self._consumer.close()


def _event_of(record: Record) -> Event | None:
    try:
        event = Event.decode(record.key, record.headers, record.value, record.where)
    except OtherRecordError:
        return None
    except RecordError as error:
        log.warning("%s: left out", error)
        return None
    if not _ID.fullmatch(event.id):  # it becomes a part of keys
        log.warning("%s: left out: expected 24 hexadecimal digits as event", record.where)
        return None
    return event
