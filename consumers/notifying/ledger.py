"""What the ledger of deliveries says by now: the sum of its entries, the same for whoever reads them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.records.delivery import OVER, Delivery
from consumers.times import parse_time_us

from .open_conditions import OpenConditions

#: Ids of messages that are over are remembered, so many, so that a report that comes twice is one message; and so many
#: events that somebody has seen.
_REMEMBERED: Final = 100_000
#: Messages of which summaries that are not over are made; of the oldest summaries it is not remembered any more.
_COVERED: Final = 20_000
#: Cameras of a channel whose labels are remembered, and labels of one camera.
MAX_CAMERAS: Final = 4096
MAX_LABELS: Final = 64
_HOUR_US: Final = 3_600_000_000
#: Clocks of two machines differ by less.
_AHEAD_US: Final = 60_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """The newest event of a label that a camera told through a channel; microseconds since the Unix epoch."""

    #: Wall clock at which it was queued.
    time_us: int
    #: Event time at which it began.
    start_us: int
    #: The group of cameras that saw it, by the rules.
    group: str | None


class Ledger:
    """Messages that are not over, by channel, and what is to be known of those that are. Not for several threads."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Delivery]] = {}
        #: Ids of messages that are over.
        self._past: dict[str, None] = {}
        #: Events of which somebody has said that he saw them.
        self._seen: dict[str, None] = {}
        self._disabled: dict[str, Delivery] = {}
        #: When messages that were not held back were queued within the last hour, by channel.
        self._queued: dict[str, deque[int]] = {}
        self._paused: dict[str, Delivery] = {}
        #: Tries in a row that did not reach a channel.
        self._missed: Counter[str] = Counter()
        self._labels: dict[str, dict[str, dict[str, None]]] = {}
        #: By channel, then by label and camera; the one that was told longest ago first.
        self._told: dict[str, dict[tuple[str, str], Told]] = {}
        #: The newest of those that the hourly limit holds back, by channel.
        self._over_limit: dict[str, Delivery] = {}
        #: Conditions that channels were told of and that are not over.
        self.conditions = OpenConditions()
        #: What summaries that are not over are made of, by their ids.
        self._covered: dict[str, tuple[Delivery, ...]] = {}
        #: How many messages of a channel got to each of the states after which nothing is to be done.
        self.over: dict[str, Counter[str]] = {}

    def apply(self, entry: Delivery) -> None:
        """Take the next entry. One that comes again changes nothing."""
        if entry.kind == "test" and entry.state == "sent":
            self._disabled.pop(entry.channel, None)
            self._reached(entry.channel)
        if entry.state == "acknowledged" and entry.event is not None:
            _remember(self._seen, entry.event)
        if self.knows(entry.id):
            self._go_on(entry)
        elif entry.attempt == 0:  # else it began before what is kept
            self._begin(entry)

    def _begin(self, entry: Delivery) -> None:
        self._note_label(entry)
        self.conditions.begin(entry)
        if entry.state in OVER:  # at once, as what comes too late
            self._end(entry)
            return
        here = self._open.setdefault(entry.channel, {})
        here[entry.id] = entry
        if entry.covers:
            self._sum_up(entry, here)
        self._count(entry)

    def _sum_up(self, entry: Delivery, here: dict[str, Delivery]) -> None:
        """Take a summary, in place of what it covers."""
        covered = [held for id_ in entry.covers if (held := here.pop(id_, None)) is not None]
        for held in covered:
            _remember(self._past, held.id)
        self._covered[entry.id] = tuple(covered)
        while sum(map(len, self._covered.values())) > _COVERED:
            del self._covered[next(iter(self._covered))]

    def _count(self, entry: Delivery) -> None:
        """Count a message that is let in, or held back, by the hourly limit."""
        if entry.state == "held" and entry.why == "rate":
            self._over_limit[entry.channel] = entry
        if entry.state == "queued" and entry.drill is None:  # a drill takes no alarm's place within the hour
            times = self._queued.setdefault(entry.channel, deque())
            while times and times[-1] > entry.time_us + _AHEAD_US:  # that clock was ahead
                times.pop()
            times.append(entry.time_us)
            if entry.kind == "event":
                self._note_told(entry, entry.message["data"])

    def _note_told(self, entry: Delivery, data: Mapping[str, Any]) -> None:
        told, key = self._told.setdefault(entry.channel, {}), (data["label"], data["camera"])
        told.pop(key, None)
        told[key] = Told(entry.time_us, parse_time_us(data["start"]), data.get("group"))
        if len(told) > MAX_CAMERAS:
            del told[next(iter(told))]

    def _go_on(self, entry: Delivery) -> None:
        channel, here = entry.channel, self._open.get(entry.channel, {})
        before = here.get(entry.id)
        if before is None:
            return
        if awaits_answer(before):  # nobody has answered, so it begins now
            self._count(entry)
        elif entry.state == "queued" or (entry.state == "held" == before.state):
            return
        if entry.attempt < before.attempt and entry.state not in OVER:  # told once more
            return
        here[entry.id] = entry
        if entry.state in OVER:
            del here[entry.id]
            self._end(entry)
        if entry.state == "retrying" and entry.pauses:
            # Those that were under way at once are one try.
            if entry.attempt > before.attempt and entry.time_us >= (self.paused_until_us(channel) or 0):
                self._missed[channel] += 1
            self._paused[channel] = entry
        elif entry.state == "sent":
            self._reached(channel)
        elif entry.state == "failed" and entry.why == "disabled":
            self._disabled[channel] = entry

    def _reached(self, channel: str) -> None:
        self._paused.pop(channel, None)
        self._missed.pop(channel, None)

    def _note_label(self, entry: Delivery) -> None:
        if entry.kind == "event" and entry.drill is None:
            cameras = self._labels.setdefault(entry.channel, {})
            camera, label = entry.message["data"]["camera"], entry.message["data"]["label"]
            if camera in cameras or len(cameras) < MAX_CAMERAS:
                labels = cameras.setdefault(camera, {})
                if len(labels) < MAX_LABELS:
                    labels[label] = None

    def _end(self, entry: Delivery) -> None:
        self._covered.pop(entry.id, None)
        self.conditions.end(entry)
        _remember(self._past, entry.id)
        self.over.setdefault(entry.channel, Counter())[entry.state] += 1

    def knows(self, id_: str) -> bool:
        """Whether there is a message with this id, or was one."""
        return id_ in self._past or any(id_ in here for here in self._open.values())

    def is_seen(self, event: str) -> bool:
        """Whether somebody has acknowledged a message about an event."""
        return event in self._seen

    def open(self, channel: str) -> Iterable[Delivery]:
        """Messages that are not over, oldest first."""
        return self._open.get(channel, {}).values()

    def ids(self, channel: str) -> KeysView[str]:
        """Ids of the messages that are not over."""
        return self._open.get(channel, {}).keys()

    def count_open(self, channel: str) -> int:
        return len(self._open.get(channel, ()))

    def channels(self) -> Iterator[str]:
        """Channels of which something is open."""
        return (channel for channel, here in self._open.items() if here)

    def covered(self, summary: str) -> tuple[Delivery, ...] | None:
        """What a summary that is not over is made of; None where that is not known any more."""
        return self._covered.get(summary)

    def latest(self, delivery: Delivery) -> Delivery | None:
        """The newest entry of a message; None where it is over."""
        return self._open.get(delivery.channel, {}).get(delivery.id)

    def paused_until_us(self, channel: str) -> int | None:
        """From when on a channel that could not be reached may be tried again; None where it was reached last."""
        entry = self._paused.get(channel)
        return None if entry is None else entry.due_us

    def over_limit_until_us(self, channel: str) -> int | None:
        """Until when messages are held back that the hourly limit holds back; None where there are none."""
        entry = self._over_limit.get(channel)
        return None if entry is None or entry.id not in self._open.get(channel, {}) else entry.due_us

    def missed(self, channel: str) -> int:
        """How many tries in a row did not reach a channel."""
        return self._missed[channel]

    def labels(self, channel: str) -> dict[str, list[str]]:
        """Labels of the messages about events that the ledger has seen, by camera."""
        return {camera: list(labels) for camera, labels in self._labels.get(channel, {}).items()}

    def told(self, channel: str, label: str) -> Iterator[tuple[str, Told]]:
        """Cameras of which an event of a label was told through a channel, and the newest of each."""
        return ((camera, told) for (of, camera), told in self._told.get(channel, {}).items() if of == label)

    def disabled(self, channel: str) -> Delivery | None:
        """The entry that says that the receiver wants nothing any more."""
        return self._disabled.get(channel)

    def queued_within_hour(self, channel: str, now_us: int) -> tuple[int, int | None]:
        """How many messages were queued within the last hour, and when the first of them was.

        What a clock that was ahead has written is left out.
        """
        times = self._queued.get(channel)
        while times and times[-1] > now_us:
            times.pop()
        while times and times[0] <= now_us - _HOUR_US:
            times.popleft()
        return (len(times), times[0]) if times else (0, None)


def awaits_answer(entry: Delivery) -> bool:
    """Whether a message is held back for as long as somebody else may still answer."""
    return entry.state == "held" and entry.why == "unanswered"


def _remember(ids: dict[str, None], id_: str) -> None:
    ids[id_] = None
    if len(ids) > _REMEMBERED:
        del ids[next(iter(ids))]
