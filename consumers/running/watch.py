"""What the foreground of `clipline run` sees: states and events, as they come on the topics."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from consumers.outputs.states import ensure_state_topics
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.records.states.process import HEARTBEAT_SECONDS
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_deliveries, ensure_topics
from stream import BrokerError, Consumer, KafkaAddress, KafkaTransport

from .newest_states import States
from .overview import DEAD_SECONDS, Overview, overview

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
#: States come every few seconds, whatever happens.
_SILENT_SECONDS: Final = 2 * HEARTBEAT_SECONDS
#: How long it waits before it asks a broker again that did not answer.
_RETRY_SECONDS: Final = 5.0
#: Whoever is connected and did not look for longer stood still itself, and heard nobody: no more than this counts.
_LOOK_SECONDS: Final = 2.0


class Watch:
    """Reads states and events as they come. A broker that is away is waited for: the children tell of it."""

    def __init__(
        self,
        kafka: KafkaAddress,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare; `is_away` tells whether the broker is known not to answer."""
        self._kafka, self._topics, self._clock, self._is_away = kafka, settings.topics, clock, is_away
        self._notify = settings.notify if settings.notify.enabled and settings.channels else None
        self._states = States()
        #: What was said of it; None while all is heard.
        self._silent: str | None = None
        #: When something could be heard again, and after how many seconds.
        self._again: tuple[float, float] | None = None
        self._silent_since = 0.0
        self._heard_at: float | None = None
        #: Seconds of looking in which nothing was heard.
        self._quiet = 0.0
        self._looked, self._could_hear = clock(), False
        self._consumer: Consumer | None = None
        self._ask_at = 0.0

    def poll(self) -> Iterator[Mapping[str, object]]:
        """Take what came since the last call, waiting for it a moment; yield the events in it."""
        self._look()
        try:
            if self._consumer is None:
                self._open()
            records = self._consumer.poll(_POLL_SECONDS).records if self._consumer is not None else ()
        except BrokerError as error:
            log.debug("%s", error)
            self.close()
            self._ask_at = self._clock() + _RETRY_SECONDS
            records = ()
        if self._consumer is None:
            time.sleep(_POLL_SECONDS)
        self._look()
        for record in records:
            self._heard_at, self._quiet = self._clock(), 0.0
            if record.topic != self._topics.events:
                self._states.take(record, self._topics)
                continue
            try:
                yield Event.decode(record.key, record.headers, record.value, record.where).body()
            except OtherRecordError:
                continue
            except RecordError as error:
                log.warning("%s: left out", error)

    @property
    def is_silent(self) -> bool:
        """Whether something was heard, and is no more."""
        return self._silent is not None

    def news(self) -> str | None:
        """What to say where nothing is heard any more, it is known since why, or something is heard again."""
        before, self._silent = self._silent, self._silence()
        if self._silent == before:
            return None
        if self._silent is None and self._heard_at is not None:
            self._again = self._heard_at, self._heard_at - self._silent_since
        return self._silent or f"agents and workers are heard of again, over the broker at {self._kafka}"

    def overview(self) -> Overview | None:
        """How everything is; None before anything was heard."""
        if self._heard_at is None:
            return None
        now_us = time.time_ns() // 1000
        if self._silent is not None:
            # Old records are no sign of dead processes then, and are not to be shown as if they were new.
            return Overview(now_us, (), (), (), (self._silent,))
        # Nor are they before everybody had the time to say something again.
        return overview(self._states, now_us - round(self._missed() * 1e6))

    def _look(self) -> None:
        """Count the time since it was looked last; to connect may take some."""
        now = self._clock()
        passed, self._looked = now - self._looked, now
        if self._could_hear and passed > _LOOK_SECONDS:
            self._again = now, passed + self._missed()
            passed = _LOOK_SECONDS
        self._quiet += passed
        self._could_hear = self._consumer is not None

    def _missed(self) -> float:
        """Seconds in which nobody could be heard, as long as that matters."""
        if self._again is None or self._clock() - self._again[0] > DEAD_SECONDS:
            return 0.0
        return self._again[1]

    def _silence(self) -> str | None:
        """What to say where nothing is heard; None where something is, or never was."""
        if self._heard_at is None or self._quiet <= _SILENT_SECONDS:
            return None
        self._silent_since = self._heard_at
        what = (
            f"the broker at {self._kafka} does not answer"
            if self._is_away()
            else f"no agent or worker has said anything for {_SILENT_SECONDS:g} s"
        )
        return f"{what}: nobody knows how cameras are"

    def _open(self) -> None:
        if self._clock() < self._ask_at:
            return
        transport = KafkaTransport(self._kafka)
        ensure_topics(transport, self._topics)
        ensure_state_topics(transport, self._topics)
        # From now on: our children have said nothing yet, and others are for `clipline status`.
        topics = [self._topics.cameras_state, self._topics.workers_state, self._topics.events]
        if self._notify is not None:
            ensure_topic_of_deliveries(transport, self._topics, self._notify.keep_days * 24)
            topics.append(self._topics.deliveries)
        self._consumer = transport.consumer(topics, from_start=False)

    def close(self) -> None:
        if self._consumer is not None:
            with contextlib.suppress(BrokerError):
                self._consumer.close()
            self._consumer = None
