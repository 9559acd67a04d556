"""Pictures of recorded footage at chosen times, for training, evaluation and reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream.errors import SegmentError, SourceError
from stream.feeds.cutting.segmenter import Segmenter
from stream.feeds.source import Feed, Reading
from stream.segment import Segment

from .decoding import Decoder, Sample
from .pictures import Fit, Image, Picture

Frames = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]


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
    start_us, end_us = round(start_seconds * 1e6), None if end_seconds is None else round(end_seconds * 1e6)
    runs = _Runs(Picture(height, width, fit), round(spacing_seconds * 1e6), start_us, end_us, str(path))
    with Feed(str(path), Reading(transcode=True)) as feed:
        segmenter = Segmenter("file", feed.track)
        try:
            for packet in feed.packets():
                runs.take(segmenter.push(packet))
                if runs.is_over:
                    break
            runs.take(segmenter.end())
            found = runs.end()
        except SegmentError as error:
            raise SourceError(str(error)) from None
    if not found:
        until = "its end" if end_seconds is None else f"{end_seconds:g} s"
        raise SourceError(f"{path}: no frame between {start_seconds:g} s and {until}")
    return found


class _Runs:
    """The pictures of a file's epochs, on the grid of each."""

    def __init__(self, picture: Picture, spacing_us: int, start_us: int, end_us: int | None, where: str) -> None:
        self._spacing_us, self._start_us, self._end_us, self._where = spacing_us, start_us, end_us, where
        self._reader = SampleReader(picture)
        self._images: dict[int, list[Image]] = {}  # by epoch
        self._epoch_us = self._next_us = -1

    @property
    def is_over(self) -> bool:
        """Whether nothing that follows is wanted."""
        return self._end_us is not None and self._next_us >= self._end_us

    def take(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.is_end:
                continue
            if segment.epoch_us != self._epoch_us:
                self._epoch_us, self._images[segment.epoch_us] = segment.epoch_us, []
                self._next_us = max(self._start_us, segment.epoch_us)
            stop_us = segment.end_us if self._end_us is None else min(segment.end_us, self._end_us)
            times = list(range(self._next_us, stop_us, self._spacing_us))
            self._next_us += len(times) * self._spacing_us
            self._keep(self._reader.read(segment, times, self._where))

    def end(self) -> list[Frames]:
        self._keep(self._reader.end())
        return [np.stack(images) for images in self._images.values() if images]

    def _keep(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._images[max(e for e in self._images if e <= sample.at_us)].append(sample.image)
