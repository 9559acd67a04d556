"""Decode labelled footage as the worker decodes it, and keep the frames on disk for the next run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from models import Contract, TrainingError, cache_folder
from stream import Fit, SourceError, sample_file

from .datasets import Example, unusable_files
from .frame_cache import FrameCache

log = logging.getLogger(__name__)

#: Told a task's name, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
_Part = tuple[Path, float, float | None]


def load_frames(
    examples: Sequence[Example],
    *,
    spacing_seconds: float,
    height: int,
    width: int,
    fit: Fit,
    progress: Progress,
    cached: bool = True,
) -> list[np.ndarray]:
    """Decode each example to frames (N, H, W, 3) uint8, in order.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    cache = FrameCache(cache_folder() / "frames")

    def load(e: Example) -> np.ndarray | str:
        def decode() -> np.ndarray:
            runs = sample_file(
                e.path,
                spacing_seconds=spacing_seconds,
                height=height,
                width=width,
                fit=fit,
                start_seconds=e.start_seconds,
                end_seconds=e.end_seconds,
            )
            longest = max(runs, key=len)
            if len(runs) > 1:
                # Windows that are served never span an interruption, and a clip is one piece of footage.
                left_out = (sum(map(len, runs)) - len(longest)) * spacing_seconds
                log.warning(
                    "%s: the footage is interrupted; its longest piece of %d is used, %.1f s are left out",
                    e.path,
                    len(runs),
                    left_out,
                )
            return longest

        how = {
            "spacing": spacing_seconds,
            "h": height,
            "w": width,
            "fit": fit,
            "a": e.start_seconds,
            "b": e.end_seconds,
        }
        try:
            return cache.get(e.path, how, decode) if cached else decode()
        except (SourceError, OSError) as error:
            return str(error)

    # Footage that is listed twice is decoded once.
    distinct = {_part(e): e for e in examples}
    loaded: dict[_Part, np.ndarray] = {}
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:
        for done, (part, found) in enumerate(zip(distinct, pool.map(load, distinct.values()), strict=True), start=1):
            if isinstance(found, str):
                problems.append(found)
            else:
                loaded[part] = found
            progress("decoding", done, len(distinct))
    cache.trim()
    if problems:
        raise TrainingError(unusable_files(problems, len(distinct)))
    return [loaded[_part(e)] for e in examples]


def frames_for(contract: Contract, examples: Sequence[Example], progress: Progress) -> list[np.ndarray]:
    """Decode each example at the size and rate of a model's contract.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    return load_frames(
        examples,
        spacing_seconds=contract.spacing_seconds,
        height=contract.height,
        width=contract.width,
        fit=contract.fit,
        progress=progress,
    )


def _part(example: Example) -> _Part:
    return example.path, example.start_seconds, example.end_seconds
