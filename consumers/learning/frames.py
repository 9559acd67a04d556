"""Decode labelled footage as the worker decodes it, and keep the frames on disk for the next run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models import Contract, Frames, TrainingError, cache_folder
from stream import Fit, SourceError, sample_file

from .examples import Example, Say, unusable_files
from .frame_cache import FrameCache

log = logging.getLogger(__name__)

#: Told a task's name, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
_Part = tuple[Path, float, float | None]


@dataclass(frozen=True, slots=True)
class Sampling:
    """In what size and how often pictures of footage are taken."""

    spacing_seconds: float
    height: int
    width: int
    fit: Fit

    @classmethod
    def of(cls, contract: Contract) -> Sampling:
        """As a model is served."""
        return cls(contract.spacing_seconds, contract.height, contract.width, contract.fit)


def load_frames(
    examples: Sequence[Example], sampling: Sampling, progress: Progress, *, cached: bool = True
) -> list[Frames]:
    """Decode each example to frames (N, H, W, 3) uint8, in order.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    loaded, problems = _decode(examples, sampling, progress, cached=cached)
    if problems:
        raise TrainingError(
            f"{unusable_files(problems, len(loaded) + len(problems))}\n--skip-bad-rows goes on without them"
        )
    return [loaded[_part(e)] for e in examples]


def readable(examples: Sequence[Example], sampling: Sampling, progress: Progress, say: Say) -> list[Example]:
    """The examples that can be decoded; `say` is told how many cannot. What was decoded is kept for `load_frames`.

    Raises:
        TrainingError: none can.
    """
    loaded, problems = _decode(examples, sampling, progress, cached=True)
    if problems and not loaded:
        raise TrainingError(unusable_files(problems, len(problems)))
    if problems:
        total = len(loaded) + len(problems)
        say(f"{len(problems)} of {total} videos cannot be read and are left out; first: {problems[0]}")
    return [e for e in examples if _part(e) in loaded]


def decode_ahead(examples: Sequence[Example], sampling: Sampling, progress: Progress) -> None:
    """Decode examples for a later `load_frames`, which tells of those that cannot be."""
    _decode(examples, sampling, progress, cached=True)


def frames_for(contract: Contract, examples: Sequence[Example], progress: Progress) -> list[Frames]:
    """Decode each example at the size and rate of a model's contract.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    return load_frames(examples, Sampling.of(contract), progress)


def _decode(
    examples: Sequence[Example], sampling: Sampling, progress: Progress, *, cached: bool
) -> tuple[dict[_Part, Frames], list[str]]:
    """The frames of what can be decoded, and why the rest cannot."""
    cache = _cache()
    # Not after loading: the frames that are there now are about to be read.
    cache.trim()

    def load(e: Example) -> Frames | str:
        def decode() -> np.ndarray:
            return _longest_run(e, sampling)

        how = asdict(sampling) | {"start": e.start_seconds, "end": e.end_seconds}
        try:
            return cache.get(e.path, how, decode) if cached else decode()
        except (SourceError, OSError) as error:
            return str(error) if not e.where or str(e.path) == e.where else f"{e.where}: {error}"

    # Footage that is listed twice is decoded once.
    distinct = {_part(e): e for e in examples}
    loaded: dict[_Part, Frames] = {}
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:
        try:
            results = zip(distinct, pool.map(load, distinct.values()), strict=True)
            for done, (part, found) in enumerate(results, start=1):
                if isinstance(found, str):
                    problems.append(found)
                else:
                    loaded[part] = found
                progress("decoding", done, len(distinct))
        except BaseException:  # Ctrl-C, mostly: what waits in the pool would be decoded first
            pool.shutdown(cancel_futures=True)
            raise
    return loaded, problems


def _longest_run(example: Example, sampling: Sampling) -> np.ndarray:
    """Windows that are served never span an interruption, so a clip is one piece of footage."""
    start, end = example.start_seconds, example.end_seconds
    runs = sample_file(example.path, **asdict(sampling), start_seconds=start, end_seconds=end)
    longest = max(runs, key=len)
    if len(runs) > 1:
        left_out = (sum(map(len, runs)) - len(longest)) * sampling.spacing_seconds
        log.warning(
            "%s: the footage is interrupted; its longest piece of %d is used, %.1f s are left out",
            example.path,
            len(runs),
            left_out,
        )
    return longest


def trim_frames() -> None:
    """Let go of decoded frames beyond the bound of the cache; commands call it when they have read theirs."""
    _cache().trim()


def _cache() -> FrameCache:
    return FrameCache(cache_folder() / "frames")


def _part(example: Example) -> _Part:
    return example.path, example.start_seconds, example.end_seconds
