"""Pictures of recorded footage at chosen times, for training, evaluation and reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stream.errors import SegmentError, SourceError
from stream.feeds.segmenter import Segmenter
from stream.feeds.source import Feed
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
    what it will be served.

    Raises:
        SourceError: the file cannot be read or decoded, or has no frame in the interval.
    """
    picture, spacing_us = Picture(height, width, fit), round(spacing_seconds * 1e6)
    start_us, end_us = round(start_seconds * 1e6), None if end_seconds is None else round(end_seconds * 1e6)
    runs: dict[int, list[Image]] = {}  # by epoch
    reader = SampleReader(picture)
    next_us = epoch_us = -1

    def keep(samples: Sequence[Sample]) -> None:
        for sample in samples:
            runs[max(epoch for epoch in runs if epoch <= sample.at_us)].append(sample.image)

    def take(segments: Sequence[Segment]) -> None:
        nonlocal next_us, epoch_us
        for segment in segments:
            if segment.is_end:
                continue
            if segment.epoch_us != epoch_us:
                epoch_us = segment.epoch_us
                next_us = max(start_us, epoch_us)
                runs[epoch_us] = []
            stop_us = segment.end_us if end_us is None else min(segment.end_us, end_us)
            times = list(range(next_us, stop_us, spacing_us)) if segment.frames else []
            next_us = times[-1] + spacing_us if times else next_us
            keep(reader.read(segment, times, str(path)))

    with Feed(str(path)) as feed:
        segmenter = Segmenter("file", feed.track)
        try:
            for packet in feed.packets():
                take(segmenter.push(packet))
                if end_us is not None and next_us >= end_us:
                    break
            take(segmenter.end())
            keep(reader.end())
        except SegmentError as error:
            raise SourceError(str(error)) from None
    found = [np.stack(images) for images in runs.values() if images]
    if not found:
        until = "its end" if end_seconds is None else f"{end_seconds:g} s"
        raise SourceError(f"{path}: no frame between {start_seconds:g} s and {until}")
    return found
