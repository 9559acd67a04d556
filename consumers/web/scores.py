"""The scores of one camera over a stretch of time, read from their topic when they are asked for.

They are too many to be kept in memory: a stretch is found by when its records were sent, and read on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from anyio import CapacityLimiter

from consumers.forgetting import ForgottenBook, read_forgotten
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction
from consumers.settings import TopicSettings
from stream import Lookup, Record, Transport

from .playlists.connection import Kept

log = logging.getLogger(__name__)

#: Records of other cameras lie between.
_MOST_RECORDS: Final = 50_000
#: Clocks of cameras may be ahead of the broker's by less.
_AHEAD_US: Final = 60_000_000
#: Those of a camera come in order; where two models classify it, one may be so far behind the other.
_BESIDE_US: Final = 60_000_000
#: Each costs connections to the broker.
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Scores:
    """What was found of a stretch."""

    predictions: tuple[Prediction, ...]
    #: Whether there may be more of it behind the last one: there was no more room, or too much lies between.
    is_cut: bool
    #: Records that are no predictions.
    left_out: int = 0
    #: Windows of the stretch that are left out as they are forgotten.
    forgotten: int = 0


class ScoreReader:
    """Reads them. For several threads."""

    def __init__(
        self, connect: Callable[[], Transport], topics: TopicSettings, book: ForgottenBook | None = None
    ) -> None:
        """Prepare; what is forgotten is read with the scores, unless a `book` says it."""
        self._connect, self._topics, self._topic, self._book = connect, topics, topics.predictions, book
        #: Connections that nobody reads with now: opening one costs more than most reads.
        self._idle = [Kept(lambda: connect().lookup([topics.predictions])) for _ in range(_AT_ONCE)]
        #: Whether there is a topic of predictions.
        self._is_there = False
        #: Whoever reads waits here, and in no thread.
        self.room = CapacityLimiter(_AT_ONCE)

    def read(self, camera: str, from_us: int, to_us: int, limit: int) -> Scores:
        """The scores of windows that begin within `[from_us, to_us)`, oldest first, `limit` at most.

        Raises:
            BrokerError: the broker is away.
        """
        kept = self._idle.pop()
        try:
            return kept.use(lambda lookup: self._looked_up(lookup, camera, (from_us, to_us), limit))
        finally:
            self._idle.append(kept)

    def _looked_up(self, lookup: Lookup, camera: str, stretch: tuple[int, int], limit: int) -> Scores:
        # Asked until there is one: each question is a way to the broker and back.
        self._is_there = self._is_there or bool(lookup.first_kept(self._topic))
        if not self._is_there:
            return Scores((), is_cut=False)
        partition = self._topic, lookup.partition_of(self._topic, camera.encode())
        begin = lookup.since(partition, max(0, stretch[0] - _AHEAD_US))
        book = read_forgotten(self._connect(), self._topics) if self._book is None else self._book
        return self._read(lookup.read(partition, begin), (camera, book), stretch, limit)

    def close(self) -> None:
        """Read no more."""
        for each in self._idle:
            each.close()

    def _read(
        self,
        records: Iterable[Record],
        wanted: tuple[str, ForgottenBook],
        stretch: tuple[int, int],
        limit: int,
    ) -> Scores:
        found: list[Prediction] = []
        left_out = forgotten = 0
        camera, book = wanted
        key = camera.encode()
        for number, record in enumerate(records):
            if number == _MOST_RECORDS:
                return Scores(tuple(found), is_cut=True, left_out=left_out, forgotten=forgotten)
            if record.key != key:
                continue
            try:
                prediction = Prediction.decode(record.key, record.headers, record.value, record.where, drills=True)
            except RecordError as error:
                left_out += 1
                log.debug("%s: left out", error)
                continue
            if prediction.start_us >= stretch[1] + _BESIDE_US:
                break
            if not stretch[0] <= prediction.start_us < stretch[1]:
                continue
            if book.of(camera, prediction.start_us, prediction.end_us) is not None:
                forgotten += 1
                continue
            if len(found) == limit:
                return Scores(tuple(found), is_cut=True, left_out=left_out, forgotten=forgotten)
            found.append(prediction)
        return Scores(tuple(found), is_cut=False, left_out=left_out, forgotten=forgotten)
