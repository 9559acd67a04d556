"""Go on with partitions where another worker, or this one, stopped."""

from __future__ import annotations

from collections.abc import Callable

from consumers.live.intake import Intake
from consumers.settings import WorkerSettings
from stream import Consumer, Partition

from .commit_pace import CommitPace
from .in_hand import InHandNotes
from .starting import GroupStart, goes_on
from .state_topic import StateTopic


class TakingOver:
    """Of one worker: what is known of partitions that come goes to its intake, and its consumer to where that ends."""

    def __init__(
        self,
        intake: Intake,
        consumer: Consumer,
        state: StateTopic,
        start: GroupStart,
        pace: CommitPace,
        settings: WorkerSettings,
        say_where: Callable[[str], None],
        in_hand: InHandNotes,
    ) -> None:
        """`say_where` is told once where the group goes on, if it began before."""
        self._intake, self._consumer, self._state, self._start = intake, consumer, state, start
        self._pace, self._settings, self._say_where = pace, settings, say_where
        self._in_hand, self._has_said_where = in_hand, False

    def restore(self, partitions: frozenset[Partition]) -> frozenset[Partition]:
        """Go on with partitions where another worker, or this one, stopped.

        Returns:
            those that are not read from where the group stopped: nobody has read them yet, or the topic was made anew.
        """
        if not partitions:
            return frozenset()
        progress, first_kept = self._state.read(partitions)
        self._intake.restore(self._state.segments, progress)
        self._in_hand.restore(partitions, self._state.in_hand)
        lost = {p: self._state.lost[p[1]] for p in partitions if p[1] in self._state.lost}
        for partition, first in lost.items():
            self._intake.taken.lose_tail(partition, first)
        for partition in partitions:
            self._intake.taken.deleted(partition, first_kept.get(partition, 0))
        if self._intake.has_changed:
            self._pace.note_taken()
        # The group's offsets are of the topic that is no more, too.
        begun = {p: first_kept.get(p, 0) for p in partitions if p[1] in self._state.anew}
        if lost:
            committed = self._consumer.committed()
            begun |= {p: min(first, committed.get(p, first)) for p, first in lost.items()}
        self._consumer.seek(begun)
        unread = {p for p in partitions if self._intake.taken.is_new(p) and p not in begun}
        self._tell_where(partitions - unread)
        if not (unread and (unread := unread - self._consumer.committed().keys())):
            return frozenset(begun)
        starts = self._start.offsets()
        named = {partition: starts[partition[1]] for partition in unread if partition[1] in starts}
        self._consumer.seek(named)
        for partition, offset in named.items():
            self._intake.taken.begin(partition, offset)
        return frozenset(begun | named)

    def _tell_where(self, partitions: frozenset[Partition]) -> None:
        """Say once where the group goes on that has taken something of these partitions before."""
        if partitions and not self._has_said_where:
            self._has_said_where = True
            taken = {number: self._intake.taken.next_offset((topic, number)) for topic, number in partitions}
            self._say_where(goes_on(self._settings.group, self._settings.start, self._state.segments, taken))
