"""Pictures of recorded footage at chosen times, for training, evaluation and reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import numpy as np

from stream.errors import SegmentError, SourceError
from stream.feeds.cutting.segmenter import Segmenter
from stream.feeds.source import Feed, Reading
from stream.segment import Segment

from .decoding import Decoder
from .pictures import Fit, Image, Picture
from .samples import Sample

Frames = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]
#: Start and end of a piece of a file, seconds; None for the end of the file.
Interval = tuple[float, float | None]
#: Pieces that overlap and are sampled in one pass: each has a decoder of its own.
_MAX_AT_ONCE: Final = 8


class TakesPictures(Protocol):
    """Takes the pictures of a run one by one."""

    def append(self, image: Image, /) -> None: ...

    def __len__(self) -> int: ...


Run = TypeVar("Run", bound=TakesPictures)


class SampleReader:
    """Decodes only what pictures at chosen times need, from segments in their order.

    In a long group of pictures the segments before the first wanted picture wait undecoded until one is wanted, so a
    group of which none is costs nothing. They hold no more bytes than that group.
    """

    def __init__(self, picture: Picture) -> None:
        self._decoder = Decoder(picture)
        self._behind: list[Segment] = []

    def read(self, segment: Segment, times_us: Sequence[int], where: str) -> list[Sample]:
        """Take the next segment; return samples in the order of their times, the last ones perhaps with a later call.

        There are none of a segment whose group of pictures does not begin with what was read.

        Args:
            segment: the next one.
            times_us: ascending, in the segment's interval.
            where: names it in errors.

        Raises:
            SegmentError: it cannot be decoded.
        """
        if not segment.continues:
            self._behind.clear()
        if not times_us:
            self._behind.append(segment)
            return []
        samples: list[Sample] = []
        for one, wanted in (*((s, ()) for s in self._behind), (segment, times_us)):
            decoded = self._decoder.decode(one, wanted, where)
            samples += decoded.late + decoded.samples
        self._behind.clear()
        return samples

    def end(self) -> list[Sample]:
        """Nothing follows: return what is still owed."""
        return self._decoder.end()


def sample_file(
    path: Path,
    *,
    spacing_seconds: float,
    height: int,
    width: int,
    fit: Fit = "stretch",
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> list[Frames]:
    """Return the pictures of a file, `spacing_seconds` apart, (N, height, width, 3) uint8 RGB: one array for each run.

    A run ends where the footage is interrupted: pictures on both sides are no neighbours, and no window that is served
    spans them. The first run begins at `start_seconds`, or with the first frame if that is later; the others begin
    where the footage goes on. The file is segmented and decoded exactly as a feed is, so that a model learns from
    what it will be served; what segments cannot carry is encoded once, as `--transcode` does.

    Raises:
        SourceError: the file cannot be read or decoded, or has no frame in the interval.
    """
    ((_, found),) = sample_pieces(
        path, [(start_seconds, end_seconds)], list[Image], Picture(height, width, fit), spacing_seconds
    )
    if isinstance(found, SourceError):
        raise found
    return [np.stack(images) for images in found]


def sample_pieces(
    path: Path, pieces: Sequence[Interval], new_run: Callable[[], Run], picture: Picture, spacing_seconds: float
) -> Iterator[tuple[int, list[Run] | SourceError]]:
    """Sample several pieces of a file, each as `sample_file` does, in one pass over it.

    A pass is repeated only for pieces of which more than a few overlap.

    Args:
        path: the file.
        pieces: start and end of each in seconds; None for the end of the file.
        new_run: makes what takes the pictures of a run one by one, such as a list.
        picture: how they are to look.
        spacing_seconds: from one to the next.

    Yields:
        The index of a piece with its runs as soon as they are whole, or with why there are none.
    """
    spacing_us = round(spacing_seconds * 1e6)
    waiting = [
        _Piece(index, round(start * 1e6), None if end is None else round(end * 1e6))
        for index, (start, end) in enumerate(pieces)
    ]
    waiting.sort(key=lambda piece: piece.start_us)
    while waiting:
        reading = _Pass(path, waiting, lambda piece: _Runs(picture, spacing_us, piece, new_run, str(path)))
        for piece, found in reading.results():
            yield piece.index, found or SourceError(f"{path}: no frame between {piece}")
        waiting = reading.left


@dataclass(frozen=True, slots=True)
class _Piece:
    index: int
    start_us: int
    end_us: int | None

    def __str__(self) -> str:
        return f"{self.start_us / 1e6:g} s and {'its end' if self.end_us is None else f'{self.end_us / 1e6:g} s'}"


class _Pass(Generic[Run]):
    """One reading of a file from its beginning, for pieces in the order of their starts."""

    def __init__(self, path: Path, pieces: Sequence[_Piece], begin: Callable[[_Piece], _Runs[Run]]) -> None:
        self._path, self._begin = path, begin
        self._ahead = deque(pieces)
        self._active: list[tuple[_Piece, _Runs[Run]]] = []
        #: Since the last one that decoding can begin with: what leads to a piece.
        self._group: list[Segment] = []
        #: Pieces that another pass has to read.
        self.left: list[_Piece] = []

    def results(self) -> Iterator[tuple[_Piece, list[Run] | SourceError]]:
        try:
            for segment in self._segments():
                yield from self._take(segment)
                if not self._ahead and not self._active:
                    return
        except (SegmentError, SourceError) as error:
            why = error if isinstance(error, SourceError) else SourceError(str(error))
            for piece in (*(piece for piece, _ in self._active), *self._ahead):
                yield piece, why
            return
        for piece, runs in self._active:
            yield piece, _ended(runs)
        for piece in self._ahead:
            yield piece, []

    def _segments(self) -> Iterator[Segment]:
        with Feed(str(self._path), Reading(transcode=True)) as feed:
            segmenter = Segmenter("file", feed.track)
            for packet in feed.packets():
                yield from segmenter.push(packet)
            yield from segmenter.end()

    def _take(self, segment: Segment) -> Iterator[tuple[_Piece, list[Run] | SourceError]]:
        if segment.is_end:
            return
        if not segment.continues:
            self._group.clear()
        self._group.append(segment)
        before, self._active = self._active, []
        for piece, runs in before:
            yield from self._sample(piece, runs, [segment])
        while self._ahead and self._ahead[0].start_us < segment.end_us:
            piece = self._ahead.popleft()
            if len(self._active) < _MAX_AT_ONCE:
                yield from self._sample(piece, self._begin(piece), self._group)
            else:
                self.left.append(piece)

    def _sample(
        self, piece: _Piece, runs: _Runs[Run], segments: Sequence[Segment]
    ) -> Iterator[tuple[_Piece, list[Run] | SourceError]]:
        try:
            runs.take(segments)
        except SegmentError as error:
            yield piece, SourceError(str(error))
            return
        if runs.is_over:
            yield piece, _ended(runs)
        else:
            self._active.append((piece, runs))


def _ended(runs: _Runs[Run]) -> list[Run] | SourceError:
    try:
        return runs.end()
    except SegmentError as error:
        return SourceError(str(error))


class _Runs(Generic[Run]):
    """The pictures of a piece of a file, on the grid of each epoch."""

    def __init__(
        self, picture: Picture, spacing_us: int, piece: _Piece, new_run: Callable[[], Run], where: str
    ) -> None:
        self._spacing_us, self._start_us, self._end_us, self._where = spacing_us, piece.start_us, piece.end_us, where
        self._reader = SampleReader(picture)
        self._new_run = new_run
        self._runs: dict[int, Run] = {}  # by epoch
        self._epoch_us = self._next_us = -1

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows is wanted."""
        return self._end_us is not None and self._next_us >= self._end_us

    def take(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.epoch_us != self._epoch_us:
                self._epoch_us, self._runs[segment.epoch_us] = segment.epoch_us, self._new_run()
                self._next_us = max(self._start_us, segment.epoch_us)
            stop_us = segment.end_us if self._end_us is None else min(segment.end_us, self._end_us)
            times = list(range(self._next_us, stop_us, self._spacing_us))
            self._next_us += len(times) * self._spacing_us
            self._keep(self._reader.read(segment, times, self._where))

    def end(self) -> list[Run]:
        self._keep(self._reader.end())
        return [run for run in self._runs.values() if len(run)]

    def _keep(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._runs[max(e for e in self._runs if e <= sample.at_us)].append(sample.image)
