"""Which services do not answer, and since when: said at once, wherever somebody waits for them.

Clients of Kafka and Redis try again in silence for as long as a minute. Who asks beside them knows within seconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Self

from consumers.records.states.away import Away
from stream import BrokerError, EntryError, KafkaAddress, KafkaTransport, UnansweredError, display_name

from .redis.connection import REDIS_ERRORS, SinkError, ping_redis

log = logging.getLogger(__name__)

#: A service is asked this often.
ASK_SECONDS: Final = 2.0
_AWAY: Final = (BrokerError, SinkError, *REDIS_ERRORS)


class Refusals:
    """Tells what somebody has to set before the broker lets us in or does what we ask: each reason once.

    For whoever goes on trying: that a broker is away, others say.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def note(self, error: BrokerError) -> None:
        if isinstance(error, EntryError) and str(error) not in self._told:
            self._told.add(str(error))
            log.warning("%s", error)
        else:
            log.debug("%s", error)


class Outage:
    """Since when something has been away: says when that begins, and when it is over."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        """Prepare; `name`: of the service and where it is, `Kafka at broker:9092`."""
        self._name, self._say = name, say
        self._began: tuple[float, Away] | None = None
        #: When the last one was over, and how long it was.
        self._last: tuple[float, float] | None = None

    def begin(self, why: str) -> None:
        """It does not answer; said once."""
        if self._began is None:
            service, _, address = self._name.partition(" at ")
            self._began = time.monotonic(), Away(service, address, time.time_ns() // 1000)
            self._say(f"waiting for {self.awaited} ({why})")

    def end(self) -> None:
        """It answers."""
        if self._began is not None:
            seconds, self._began = self.seconds, None
            self._last = time.monotonic(), seconds
            self._say(f"{self._name} is back, after {seconds:.0f} s")

    @property
    def seconds(self) -> float:
        """How long it has been away; 0 where it is there."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began[0]

    def lately(self, seconds: float) -> float:
        """How long the outage was that was over less than `seconds` ago; 0 where there was none."""
        last = self._last
        return 0.0 if last is None or time.monotonic() - last[0] >= seconds else last[1]

    @property
    def awaited(self) -> str | None:
        """What is waited for, since when, in words; None where it is there."""
        return None if (away := self.away) is None else str(away)

    @property
    def away(self) -> Away | None:
        """What `awaited` is made of; None where it is there."""
        began = self._began
        return None if began is None else began[1]


class ServiceWatch:
    """Asks a service every two seconds whether it answers, in a thread of its own. Use as a context manager."""

    def __init__(self, name: str, ask: Callable[[], object], say: Callable[[str], None] | None = None) -> None:
        """Prepare.

        Args:
            name: of the service and its place, without passwords.
            ask: returns if it answers, and raises BrokerError, RedisError or OSError if not.
            say: told what to say; the log, if None.
        """
        self._ask = ask
        self._outage = Outage(name, say or (lambda line: log.warning("%s", line)))
        self._done = threading.Event()
        # A daemon: an answer may take seconds, and nobody has to wait for it at the end.
        self._thread = threading.Thread(target=self._run, name=f"watch {name}", daemon=True)

    @property
    def awaited(self) -> str | None:
        """See `Outage.awaited`."""
        return self._outage.awaited

    @property
    def away(self) -> Away | None:
        """See `Outage.away`."""
        return self._outage.away

    @property
    def seconds(self) -> float:
        """See `Outage.seconds`."""
        return self._outage.seconds

    def _run(self) -> None:
        while not self._done.wait(ASK_SECONDS):
            try:
                self._ask()
            except _AWAY as error:
                if not self._done.is_set():
                    self._outage.begin(str(error) or type(error).__name__)
            else:
                self._outage.end()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()


def watch_kafka(
    address: KafkaAddress, say: Callable[[str], None] | None = None, *, advises: bool = True
) -> ServiceWatch:
    """A watch on the broker at `address`; `advises`: also says how to start one, where it is not known who does."""

    def ask() -> None:
        try:
            KafkaTransport(address, at_once=True)
        except UnansweredError as error:
            if advises:
                raise
            raise BrokerError(error.why) from None

    return ServiceWatch(f"Kafka at {address}", ask, say)


def watch_redis(url: str, say: Callable[[str], None] | None = None) -> ServiceWatch:
    """A watch on the Redis at `url`."""
    return ServiceWatch(f"Redis at {display_name(url)}", lambda: ping_redis(url), say)


@contextlib.contextmanager
def watching(*watches: ServiceWatch) -> Iterator[Callable[[], tuple[Away, ...]]]:
    """Watch while the body runs; what it yields tells what is waited for."""
    with contextlib.ExitStack() as stack:
        for watch in watches:
            stack.enter_context(watch)
        yield lambda: tuple(away for watch in watches if (away := watch.away) is not None)
