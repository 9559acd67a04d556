"""A subscription: an iterator over events as they come, for plain and for asynchronous code."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook, read_forgotten
from consumers.outputs.follower import (
    Begin,
    Follow,
    Place,
    TopicFollower,
    follow_alone,
    from_earliest,
    from_now,
    from_time,
)
from consumers.outputs.names import Names
from consumers.records.event import Event
from consumers.settings import Settings, load_settings
from consumers.settings.section import check_group
from consumers.times import parse_since_us, past_us
from stream import BrokerError, KafkaTransport, Record, Transport, display_name

from .group import GroupFollower
from .position import parse_place, place_id
from .reader import EventReader, sent_since
from .selection import Selection

log = logging.getLogger(__name__)

Since = str | dt.datetime | dt.timedelta

_POLL_SECONDS: Final = 0.25
#: So many records before the place where somebody goes on are read again: a repetition of one of them is told as such.
_LOOK_BACK: Final = 1_000


def subscribe(
    *,
    labels: Iterable[str] | str | None = None,
    cameras: Iterable[str] | str | None = None,
    since: Since | None = None,
    group: str | None = None,
    after: str | None = None,
    settings: Settings | None = None,
    waiting_for: Callable[[str], None] | None = None,
    give_up_seconds: float | None = None,
    drills: bool = False,
) -> Subscription:
    """Iterate over events as they come, with `for event in` what is returned, or `async for event in` it.

    Connects when it is first asked for an event. Waits for a broker that is away, and for a topic that does not exist
    (yet), and goes on after the last event that it has handed over; what happened meanwhile is not lost. Each report
    of an event comes once: what the topic holds again is dropped by its id. Only what is committed is read.

        group None      the subscription's own place: from `since` or `after` on, remembered while it lives
        group NAME      a Kafka consumer group keeps the place; `since` says where a new one begins. The place is
                        committed once an event was handed over and the next one is asked for (once a second, and by
                        `close`): whoever dies before that gets it again, at least once. Members of a group share the
                        partitions; the topic has one, so one member reads and the others stand by.

    Args:
        labels: which labels; all, if None.
        cameras: which cameras, ids or patterns such as "gate*"; all, if None.
        since: "90s", "15m", "1h", "2d" ago or a `timedelta`; a time, ISO 8601 or a `datetime` (UTC where it has no
            zone); "earliest": all that is kept. By when the event was reported. From now on, if None.
        group: name of a consumer group.
        after: `position` of an earlier subscription, to go on behind it.
        settings: say where the broker is; clipline.toml and the environment, if None.
        waiting_for: told what is waited for in one line, and when it is over; the log, if None.
        give_up_seconds: wait for a broker that is away for so long only.
        drills: whether drills are wanted, too; events whose `drill` is the camera that they stand for.

    Raises:
        ValueError: an argument is none of these; the message begins with its name.
        SettingsError: the settings cannot be used.
    """
    return open_subscription(
        load_settings() if settings is None else settings,
        Selection.of(labels, cameras, drills=drills),
        since_us=parse_since(since),
        group=group,
        after=after,
        say=waiting_for,
        give_up_seconds=give_up_seconds,
    )


def open_subscription(
    settings: Settings,
    selection: Selection,
    *,
    since_us: int | None = None,
    group: str | None = None,
    after: str | None = None,
    say: Callable[[str], None] | None = None,
    give_up_seconds: float | None = None,
    stop: threading.Event | None = None,
    connect: Callable[[], Transport] | None = None,
    follow: Follow = follow_alone,
    forgotten: ForgottenBook | None = None,
) -> Subscription:
    """Subscribe on the broker of the settings; see `subscribe` and `Subscription`.

    Raises:
        ValueError: the group or the place cannot be one; the message begins with which of them.
        SettingsError: a file of a secret cannot be used.
    """
    if group is not None:
        _check_group(group, settings)
    broker = settings.broker
    return Subscription(
        connect or (lambda: KafkaTransport(broker, at_once=True)),
        settings,
        selection,
        since_us=since_us,
        group=group,
        after=after,
        say=say,
        give_up_seconds=give_up_seconds,
        stop=stop,
        follow=follow,
        forgotten=forgotten,
    )


def parse_since(since: Since | None) -> int | None:
    """A time in microseconds since the Unix epoch; 0 is the earliest, None is now.

    Raises:
        ValueError: it is none that is over.
    """
    if since is None:
        return None
    now_us = time.time_ns() // 1000
    try:
        if isinstance(since, str):
            return parse_since_us(since, now_us)
        if isinstance(since, dt.timedelta):
            return past_us(now_us - round(since.total_seconds() * 1e6), now_us)
        moment = since if since.tzinfo else since.replace(tzinfo=dt.UTC)
        return past_us(round(moment.timestamp() * 1e6), now_us)
    except ValueError as error:
        raise ValueError(f"since: {error}: {since!r}" if isinstance(since, str) else f"since: {error}") from None


def _check_group(group: str, settings: Settings) -> None:
    if not group:
        raise ValueError("group: expected the name of a consumer group")
    try:
        check_group(group)
    except ValueError as error:
        raise ValueError(f"group: {error}") from None
    if group in {settings.worker.group, settings.pictures.group, settings.notify.group}:
        raise ValueError(f"group: {group!r} does Clipline's own work, of which a subscriber would take a share away")


class Subscription:
    """Events as they come; see `subscribe`. For one thread, or for one task of one event loop, but for `close`.

    Use it as a context manager, or call `close`, where the program goes on after it: iterating ends then.
    """

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        selection: Selection | None = None,
        *,
        since_us: int | None = None,
        group: str | None = None,
        after: str | None = None,
        say: Callable[[str], None] | None = None,
        give_up_seconds: float | None = None,
        stop: threading.Event | None = None,
        follow: Follow = follow_alone,
        forgotten: ForgottenBook | None = None,
    ) -> None:
        """Prepare; see `subscribe`.

        Args:
            connect: connects to the broker, or raises BrokerError.
            settings: name the broker and the topics.
            selection: which events are wanted; all, if None.
            since_us: where to begin, microseconds since the Unix epoch; 0 is the earliest, None is now.
            group: see `subscribe`.
            after: see `subscribe`.
            say: told what is waited for; the log, if None.
            give_up_seconds: see `subscribe`.
            stop: set from elsewhere, it ends the iteration as `close` does.
            follow: reads on from offsets, where there is no group.
            forgotten: what is not handed over; if None, it is read whenever it connects.

        Raises:
            ValueError: `after` is no place, or is given together with a group or a time.
        """
        self._topics, self._topic = settings.topics, settings.topics.events
        self._selection, self._since_us = selection or Selection(), since_us or 0
        self._give_up_seconds = give_up_seconds
        self._stop = stop or threading.Event()
        self._say = say or (lambda line: log.warning("%s", line))
        self._names, self._is_asked, self._forgotten = Names(settings), False, forgotten
        self._connect_plainly = connect
        self._broker = f"Kafka at {display_name(settings.kafka)}"
        book = NOTHING_FORGOTTEN if forgotten is None else forgotten  # one that is empty may not stay so
        self._reader = EventReader(self._topics, drills=self._selection.drills, book=book)
        self._follower = self._opened_follower(since_us, group, after, follow)
        #: Records that were read and not looked at, and whether each was handed over by an earlier subscription.
        self._records: deque[tuple[Record, bool]] = deque()
        #: Behind the last event that was handed over.
        self._place = Place()
        self._first_place = after
        #: Held by whoever uses the follower.
        self._busy = threading.Lock()
        self._is_over = False
        self._executor: ThreadPoolExecutor | None = None
        self._pending: asyncio.Future[Event | None] | None = None

    def _opened_follower(
        self, since_us: int | None, group: str | None, after: str | None, follow: Follow
    ) -> TopicFollower:
        begin: Begin = from_now if since_us is None else from_time(since_us) if since_us else from_earliest
        if group is not None:
            if after is not None:
                raise ValueError("after: a group keeps its place itself")
            return GroupFollower(
                self._connect, self._broker, self._topic, group, self._say, begin=begin, look_back=_LOOK_BACK
            )
        if after is not None and since_us is not None:
            raise ValueError("after: it says where to go on, and so does since")
        try:
            place = None if after is None else parse_place(after, self._topic)
        except ValueError as error:
            raise ValueError(f"after: {error}") from None
        return TopicFollower(
            *(self._connect, self._broker, [self._topic], self._say),
            begin=begin,
            place=place,
            look_back=_LOOK_BACK,
            follow=follow,
        )

    def _connect(self) -> Transport:
        transport = self._connect_plainly()
        if self._forgotten is None:  # what comes later is of later
            self._reader.book = read_forgotten(transport, self._topics)
        # Who may not know of all cameras is not told which there are.
        if not self._is_asked and self._selection.within is None:
            self._is_asked = True
            # Who may read events need not be allowed to read what names come from.
            with contextlib.suppress(BrokerError):
                for unknown in self._names.unknown(transport, self._selection.cameras, self._selection.labels):
                    self._say(f"{unknown}; waiting for it")
        return transport

    @property
    def awaited(self) -> str | None:
        """What is waited for and since when, in words; None where nothing but events is."""
        return self._follower.awaited

    @property
    def position(self) -> str | None:
        """Behind the last event that was handed over, for `after` of another subscription.

        What was passed over since counts as well. None where the broker has not answered yet.
        """
        return place_id(self._place, self._topic) or self._first_place

    def stop(self) -> None:
        """Let it end: who waits for an event is told within a moment. Any thread may, and nothing is waited for."""
        self._stop.set()

    def close(self) -> None:
        """End it, and commit the place of a group. Any thread may: who waits for an event is told within a moment."""
        self._stop.set()
        if self._busy.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._busy.release()

    # --- plain code ---------------------------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._is_over:
            if (event := self._step()) is not None:
                self._place = self._behind()
                return event
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- asynchronous code --------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Cancelled while it waits, as by a timeout, it loses none: the next call goes on."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="subscription")
        while not self._is_over or self._pending is not None:
            if self._pending is None and (event := self._at_hand()) is not None:
                self._place = self._behind()
                return event
            if self._pending is None:
                self._pending = asyncio.get_running_loop().run_in_executor(self._executor, self._step)
            # Whoever is cancelled here leaves it to the next call.
            await asyncio.wait([self._pending])
            pending, self._pending = self._pending, None
            if (event := pending.result()) is not None:
                self._place = self._behind()
                return event
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """What `close` does, without holding up the event loop."""
        self._stop.set()
        if self._executor is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._executor, self.close))
            self._executor.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- reading ------------------------------------------------------------------------------------------------------

    def _step(self) -> Event | None:
        """The next event that is wanted, if there is one within a moment. `_place` never passes one that it returns.

        Raises:
            BrokerError: the broker has been away for `give_up_seconds`.
        """
        with self._busy:
            if self._stop.is_set():
                self._end()
            if self._is_over:
                return None
            # All before was handed over, and more is asked for.
            self._follower.settle(self._place)
            if (event := self._take()) is not None:
                return event
            self._place = self._behind()
            self._follower.settle(self._place)
            self._records.extend((r, self._follower.is_old(r)) for r in self._follower.poll(_POLL_SECONDS))
            if self._give_up_seconds is not None and self._follower.away_seconds >= self._give_up_seconds:
                self._end()
                raise BrokerError(f"{self._broker} has not answered for {self._give_up_seconds:g} s")
            return None

    def _at_hand(self) -> Event | None:
        """The next event that is wanted if it can be had without waiting: a thread for each would cost more than it."""
        if isinstance(self._follower, GroupFollower) or self._stop.is_set():
            return None  # whose place may have to be committed first
        with self._busy:
            return self._take()

    def _take(self) -> Event | None:
        while self._records:
            if (event := self._wanted(*self._records.popleft())) is not None:
                return event
        return None

    def _wanted(self, record: Record, is_old: bool) -> Event | None:  # noqa: FBT001  as they lie in the queue
        event = self._reader.new_event(record)
        if event is None or is_old or not sent_since(record, self._since_us):
            return None
        return event if self._selection.holds(event) else None

    def _behind(self) -> Place:
        """Behind the record that was taken last."""
        place = self._follower.place
        ahead = {(r.topic, r.partition): r.offset for r, is_old in reversed(self._records) if not is_old}
        return Place({**place.offsets, **ahead}, place.marks)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._follower.close()
            self._reader.sum_up()
