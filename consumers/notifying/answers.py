"""What people said of events, and what they want to hear nothing more of for a while. Pure: verdicts and a time in."""

from __future__ import annotations

from typing import Final

from consumers.records.verdict import Verdict

#: Cameras and labels that are snoozed at once; beyond them, those that would end first are told again.
_MOST: Final = 10_000
#: Events that are remembered as answered; the oldest go.
_MOST_EVENTS: Final = 100_000
#: As long as `verdicts.snooze_hours` may be: what a record says beyond that is not heeded.
LONGEST_US: Final = 7 * 24 * 3_600_000_000


class Answers:
    """The sum of the verdicts, as far as messages depend on it."""

    def __init__(self) -> None:
        #: Until when nothing is told, by channel, camera and label.
        self._until: dict[tuple[str, str, str], int] = {}
        #: Those of which somebody has said something.
        self._events: dict[str, None] = {}

    def apply(self, verdict: Verdict, now_us: int) -> None:
        """Take the next verdict. One that comes again changes nothing."""
        self._events[verdict.event] = None
        if len(self._events) > _MOST_EVENTS:
            del self._events[next(iter(self._events))]
        if verdict.until_us is None or verdict.channel is None:
            return
        # Of a clock that is ahead only how long it is meant for is taken.
        until_us = min(verdict.until_us, verdict.time_us + LONGEST_US) - max(0, verdict.time_us - now_us)
        place = (verdict.channel, verdict.camera, verdict.label)
        if until_us > max(now_us, self._until.get(place, 0)):
            self._until[place] = until_us
        if len(self._until) > _MOST:
            self._until = {each: until for each, until in self._until.items() if until > now_us}
            while len(self._until) > _MOST:
                del self._until[min(self._until, key=lambda each: self._until[each])]

    def has_answer(self, event: str) -> bool:
        """Whether somebody has said something of an event."""
        return event in self._events

    def until_us(self, channel: str, camera: str, label: str, now_us: int) -> int | None:
        """When it is told again; None where it is now."""
        until_us = self._until.get((channel, camera, label))
        return until_us if until_us is not None and until_us > now_us else None
