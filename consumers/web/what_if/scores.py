"""The scores of one label of a camera, read from their topic backwards: a request reads for a few seconds, the next on.

    topic   ────────────────[▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒]────▶
                            lo             hi         what is known; the next request reads what came since, and then
                 ◀──────────                          further back, until a week is read or there is no more room

Records of other cameras lie between: they are passed over.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.settings import TopicSettings
from consumers.web.playlists.connection import Kept
from stream import Lookup, Partition, Record, Transport

log = logging.getLogger(__name__)

#: A request reads for so long, about.
_BUDGET_SECONDS: Final = 4.0
#: Offsets that are read in one go.
_AT_ONCE: Final = 20_000
#: Windows of one camera and label that are kept, and of how many of these at once: 40 bytes a window.
_MOST_WINDOWS: Final = 400_000
_MOST_KEPT: Final = 4
#: What has come since the last request; of more, reading begins anew.
_MOST_NEW: Final = 100_000
#: Clocks of cameras may be ahead of the broker's by less.
_AHEAD_US: Final = 60_000_000

Numbers = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which scores."""

    camera: str
    label: str
    model: str


@dataclass(frozen=True, slots=True)
class PastScores:
    """Windows in the order in which they were published, each once."""

    asked: Asked
    #: Epoch, number, begin and end of each, (N, 4); times in microseconds since the Unix epoch.
    numbers: Numbers
    #: (N,)
    scores: Values
    #: Whether older ones have not been read (yet), or there was no room for them.
    is_cut: bool
    #: Whether asking again reads more.
    goes_on: bool
    #: Windows of other models, and records that are no predictions.
    others: int
    left_out: int

    def __len__(self) -> int:
        return len(self.scores)

    def within(self, from_us: int, to_us: int) -> PastScores:
        """Those that begin within `[from_us, to_us)`."""
        inside = (self.numbers[:, 2] >= from_us) & (self.numbers[:, 2] < to_us)
        return replace(self, numbers=self.numbers[inside], scores=self.scores[inside])

    def without(self, stretches: Iterable[Forgotten]) -> PastScores:
        """Those that are of no stretch that is forgotten."""
        kept = np.ones(len(self), bool)
        for each in stretches:
            kept &= (self.numbers[:, 2] >= each.to_us) | (self.numbers[:, 3] <= each.from_us)
        return replace(self, numbers=self.numbers[kept], scores=self.scores[kept])

    def newest(self, most: int, least: float) -> PastScores:
        """The newest, no more of which than `most` have a score that is no lower than `least`."""
        wanted = np.flatnonzero(self.scores >= least)
        if len(wanted) <= most:
            return self
        first = wanted[len(wanted) - most]
        return replace(self, numbers=self.numbers[first:], scores=self.scores[first:], is_cut=True)

    @property
    def identity(self) -> Hashable:
        """Says which they are: of other ones it is another, but for a chance of one in 2^64."""
        digest = hashlib.blake2b(self.numbers.tobytes(), digest_size=8)
        digest.update(self.scores.tobytes())
        return self.asked, digest.digest()

    def predictions(self, least: float) -> Iterator[Prediction]:
        """Those whose score is no lower."""
        camera, label, model = self.asked.camera, self.asked.label, self.asked.model
        wanted = self.scores >= least
        for numbers, score in zip(self.numbers[wanted].tolist(), self.scores[wanted].tolist(), strict=True):
            epoch_us, window, start_us, end_us = numbers
            yield Prediction(camera, epoch_us, window, start_us, end_us, model, {label: score})


@dataclass(slots=True)
class _Known:
    """What was read so far, of offsets `[lo, hi)`."""

    lo: int
    hi: int
    #: Oldest first.
    parts: deque[tuple[Numbers, Values]] = field(default_factory=deque)
    windows: int = 0
    #: When the oldest record of it was sent.
    sent_us: int | None = None
    others: int = 0
    left_out: int = 0
    #: Whether the oldest had to go.
    is_trimmed: bool = False


class PastScoreReader:
    """Reads and keeps them. For one thread at a time: see `Answers`."""

    def __init__(self, connect: Callable[[], Transport], topics: TopicSettings) -> None:
        """Prepare; nothing is read before it is asked for."""
        self._topic = topics.predictions
        #: Opening a connection costs more than what has come since the last request.
        self._lookup = Kept(lambda: connect().lookup([topics.predictions]))
        self._kept: OrderedDict[Asked, _Known] = OrderedDict()

    def read(self, asked: Asked, from_us: int) -> PastScores:
        """What is known of scores since an event time; each call reads on for some seconds.

        Raises:
            BrokerError: the broker is away.
        """
        until = time.monotonic() + _BUDGET_SECONDS
        return self._lookup.use(lambda lookup: self._read(lookup, asked, from_us, until))

    def close(self) -> None:
        """Read no more."""
        self._lookup.close()

    def _read(self, lookup: Lookup, asked: Asked, from_us: int, until: float) -> PastScores:
        first = end = 0
        partition: Partition = self._topic, 0
        if kept := lookup.first_kept(self._topic):
            partition = self._topic, lookup.partition_of(self._topic, asked.camera.encode())
            first, end = kept[partition], _end(lookup, partition)
        known = self._known(asked, first, end)
        if end > known.hi:
            self._put(known, self._part(lookup, partition, (known.hi, end), asked, known), newer=True)
            known.hi = end
        while not self._reaches(known, first, from_us) and known.windows < _MOST_WINDOWS:
            begin = max(first, known.lo - _AT_ONCE)
            self._put(known, self._part(lookup, partition, (begin, known.lo), asked, known), newer=False)
            known.lo = begin
            if time.monotonic() > until:
                break
        numbers, scores = _joined(known)
        goes_on = not self._reaches(known, first, from_us) and known.windows < _MOST_WINDOWS
        is_cut = known.is_trimmed or not self._reaches(known, first, from_us)
        return PastScores(asked, numbers, scores, is_cut, goes_on, known.others, known.left_out)

    def _known(self, asked: Asked, first: int, end: int) -> _Known:
        known = self._kept.get(asked)
        # A topic that was made anew is shorter; what came meanwhile may be too much for one request.
        if known is None or not first <= known.hi <= end or end - known.hi > _MOST_NEW:
            known = self._kept[asked] = _Known(end, end)
        self._kept.move_to_end(asked)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return known

    @staticmethod
    def _reaches(known: _Known, first: int, from_us: int) -> bool:
        return known.lo <= first or (known.sent_us is not None and known.sent_us < from_us - _AHEAD_US)

    def _part(
        self, lookup: Lookup, partition: Partition, offsets: tuple[int, int], asked: Asked, known: _Known
    ) -> tuple[Numbers, Values]:
        rows: list[tuple[int, int, int, int]] = []
        scores: list[float] = []
        key = asked.camera.encode()
        for number, record in enumerate(lookup.read(partition, *offsets)):
            if number == 0 and record.sent_us:
                known.sent_us = min(record.sent_us, known.sent_us or record.sent_us)
            if record.key != key or (found := self._decoded(record, known)) is None:
                continue
            if found.model != asked.model or asked.label not in found.scores:
                known.others += 1
                continue
            rows.append((found.epoch_us, found.window, found.start_us, found.end_us))
            scores.append(found.scores[asked.label])
        return np.array(rows, np.int64).reshape(-1, 4), np.array(scores, np.float64)

    @staticmethod
    def _decoded(record: Record, known: _Known) -> Prediction | None:
        try:
            return Prediction.decode(record.key, record.headers, record.value, record.where)
        except RecordError as error:
            known.left_out += 1
            log.debug("%s: left out", error)
            return None

    @staticmethod
    def _put(known: _Known, part: tuple[Numbers, Values], *, newer: bool) -> None:
        if len(part[1]):
            known.windows += len(part[1])
            if newer:
                known.parts.append(part)
            else:
                known.parts.appendleft(part)


def _end(lookup: Lookup, partition: Partition) -> int:
    """Where a partition ends now; some brokers only tell where its last batch begins."""
    end = lookup.end(partition)
    for record in lookup.read(partition, end):
        end = record.offset + 1
    return end


def _joined(known: _Known) -> tuple[Numbers, Values]:
    """All of it as one part: of windows that were published twice the first."""
    if not known.parts:
        return np.empty((0, 4), np.int64), np.empty(0, np.float64)
    numbers = np.concatenate([each for each, _ in known.parts])
    scores = np.concatenate([each for _, each in known.parts])
    _, places = np.unique(numbers[:, :2], axis=0, return_index=True)
    places.sort()
    # What goes is not read again before all of this is forgotten.
    known.is_trimmed = known.is_trimmed or len(places) > _MOST_WINDOWS
    places = places[-_MOST_WINDOWS:]
    known.parts = deque([(numbers[places], scores[places])])
    known.windows = len(places)
    return known.parts[0]
