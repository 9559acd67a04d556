"""Recorded files as one camera's feed: cut into segments and placed in event time.

`attach` and replay both use it, so the same files, camera and start give the same segments wherever they are read.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stream.errors import SourceError
from stream.segment import Segment

from .cutting.segmenter import Segmenter, SegmentLimits
from .packets import Packet
from .source import Feed, Reading
from .times.recorded import Recorded, recorded_order

log = logging.getLogger(__name__)


def open_in_order(files: Sequence[Path], reading: Reading | None = None) -> list[Path]:
    """`files` of one camera in the order in which they were recorded; each is opened for that."""
    if len(files) < 2:
        return list(files)
    known: list[tuple[Path, Recorded | None]] = []
    for path in files:
        try:
            with Feed(str(path), reading) as feed:
                known.append((path, feed.recorded))
        except SourceError:
            known.append((path, None))  # said by whoever reads it
    return [files[index] for index in recorded_order(known)]


@dataclass(frozen=True, slots=True)
class Beginning:
    """When footage began that is sent as if it were filmed from then on, whoever sends it."""

    #: Event time of its first frame, in microseconds.
    time_us: int
    #: Seconds of the monotonic clock then, which all processes of a machine share.
    clock: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.time_ns() // 1000, time.monotonic())

    def late_seconds(self, time_us: int) -> float:
        """How long ago what is shown at an event time was due; 0 where it is not due yet."""
        return max(0.0, time.monotonic() - self.clock - (time_us - self.time_us) / 1e6)


class Footage:
    """Files that follow one another. Each begins when it was recorded, or where the one before ended if later."""

    def __init__(
        self,
        files: Sequence[Path | str],
        camera: str,
        limits: SegmentLimits | None = None,
        *,
        start_us: int | None = None,
        strict: bool = False,
        reading: Reading | None = None,
    ) -> None:
        """Name the files; nothing is opened yet.

        Args:
            files: in their order; also the address of a film.
            camera: the id that segments carry.
            limits: how long and large segments may be.
            start_us: event time of the first frame; when it was recorded, if None.
            strict: a file that cannot be read is an error; else it is reported and left out.
            reading: what the user says about how files are read.
        """
        self._files, self._camera, self._limits, self._reading = files, camera, limits, reading
        self._recorded, self._strict = start_us is None, strict
        self._next_us = start_us or 0
        #: Event time at which the newest file begins.
        self.begin_us = self._next_us
        #: Files left out, with the reason.
        self.failures: list[str] = []
        #: Frames left out at the ends of files, which no segment could tell of.
        self.skipped: Counter[str] = Counter()
        #: Index of the file that the newest segment is of.
        self.number = 0

    def segments(
        self,
        packets: Callable[[Feed], Iterable[Packet]] = Feed.packets,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Segment]:
        """Yield the segments of all files; called again, of all files anew, with time going on.

        Args:
            packets: how a feed's packets are read, for whoever needs them paced or wants to stop amid a file.
            stop: asked after each file.

        Raises:
            SourceError: a file cannot be read to its end, and footage is `strict`.
        """
        for number, path in enumerate(self._files):
            self.number = number
            try:
                yield from self._of_file(path, packets)
            except SourceError as error:
                if self._strict:
                    raise
                log.warning("%s", error)
                if str(error) not in self.failures:
                    self.failures.append(str(error))
            if stop():
                return

    def _of_file(self, path: Path | str, packets: Callable[[Feed], Iterable[Packet]]) -> Iterator[Segment]:
        with Feed(str(path), self._reading) as feed:
            begin_us = (
                max(self._next_us, feed.recorded.begin_us if feed.recorded else 0) if self._recorded else self._next_us
            )
            self.begin_us = begin_us
            segmenter = Segmenter(self._camera, feed.track, self._limits, start_us=begin_us)
            failure: SourceError | None = None
            try:
                for packet in packets(feed):
                    yield from segmenter.push(packet)
            except SourceError as error:
                failure = error
            # Also where reading failed halfway: what was read is sent, and the next file begins behind it.
            yield from segmenter.end(+feed.left_out)
            self.skipped.update(segmenter.skipped)
            self._next_us = segmenter.last_end_us
            if failure is not None:
                raise failure
