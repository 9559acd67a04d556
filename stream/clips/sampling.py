"""Pictures of a recorded file on a grid of time, for training and evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stream.errors import SegmentError, SourceError
from stream.feeds.segmenter import Segmenter
from stream.feeds.source import Feed
from stream.segment import Segment

from .decoding import Fit, Image, Picture, decode


def sample_file(
    path: Path,
    *,
    spacing_seconds: float,
    height: int,
    width: int,
    fit: Fit = "stretch",
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
    """Return the pictures of a file at `start_seconds + n * spacing_seconds`, (N, height, width, 3) uint8 RGB.

    The file is segmented and decoded exactly as a feed is, so that a model learns from what it will be served.

    Raises:
        SourceError: the file cannot be read or decoded, or has no frame in the interval.
    """
    picture, spacing_us = Picture(height, width, fit), round(spacing_seconds * 1e6)
    start_us, end_us = round(start_seconds * 1e6), None if end_seconds is None else round(end_seconds * 1e6)
    images: list[Image] = []
    next_us = start_us
    with Feed(str(path)) as feed:
        segmenter = Segmenter("file", feed.track)

        def take(segments: list[Segment]) -> None:
            nonlocal next_us
            for segment in segments:
                stop_us = segment.end_us if end_us is None else min(segment.end_us, end_us)
                # A discontinuity leaves a hole in time: the grid goes on behind it.
                while next_us < segment.start_us:
                    next_us += spacing_us
                times = list(range(next_us, stop_us, spacing_us))
                if segment.frames and times:
                    next_us = times[-1] + spacing_us
                    images.extend(image for _, image in decode(segment, times, picture, str(path)).samples)

        try:
            for packet in feed.packets():
                take(segmenter.push(packet))
                if end_us is not None and next_us >= end_us:
                    break
            take(segmenter.end())
        except SegmentError as error:
            raise SourceError(str(error)) from None
    if not images:
        until = "its end" if end_seconds is None else f"{end_seconds:g} s"
        raise SourceError(f"{path}: no frame between {start_seconds:g} s and {until}")
    return np.stack(images)
