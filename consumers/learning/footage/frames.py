"""Decode labelled footage as the worker decodes it, and keep the frames on disk for the next run."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from consumers.cores import usable_cores
from models import Contract, Frames, TrainingError, cache_folder
from stream import Fit, Picture, SourceError, sample_pieces

from .examples import Example, Say, unusable_files
from .frame_cache import FrameCache, Reel

log = logging.getLogger(__name__)

#: Told a task's name, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
_Part = tuple[Path, float, float | None]
#: Of one file at a time. Only decoding runs beside other passes; reading to where a piece begins does not.
_MAX_PASSES: Final = 4


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


def load_frames(examples: Sequence[Example], sampling: Sampling, progress: Progress) -> list[Frames]:
    """Decode each example to frames (N, H, W, 3) uint8, in order.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    loaded, problems = _decode(examples, sampling, progress)
    if problems:
        raise TrainingError(
            f"{unusable_files(problems, len(loaded) + len(problems))}\n--skip-bad-rows goes on without them"
        )
    return [loaded[_part(e)] for e in examples]


def try_frames(example: Example, sampling: Sampling) -> Frames | str:
    """The frames (N, H, W, 3) uint8 of one example, or why there are none."""
    loaded, problems = _decode([example], sampling, lambda *_: None)
    return loaded[_part(example)] if loaded else problems[0]


def readable(examples: Sequence[Example], sampling: Sampling, progress: Progress, say: Say) -> list[Example]:
    """The examples that can be decoded; `say` is told how many cannot. What was decoded is kept for `load_frames`.

    Raises:
        TrainingError: none can.
    """
    loaded, problems = _decode(examples, sampling, progress)
    if problems and not loaded:
        raise TrainingError(unusable_files(problems, len(problems)))
    if problems:
        total = len(loaded) + len(problems)
        say(f"{len(problems)} of {total} videos cannot be read and are left out; first: {problems[0]}")
    return [e for e in examples if _part(e) in loaded]


def decode_ahead(examples: Sequence[Example], sampling: Sampling, progress: Progress) -> None:
    """Decode examples for a later `load_frames`, which tells of those that cannot be."""
    _decode(examples, sampling, progress)


def frames_for(contract: Contract, examples: Sequence[Example], progress: Progress) -> list[Frames]:
    """Decode each example at the size and rate of a model's contract.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    return load_frames(examples, Sampling.of(contract), progress)


def _decode(
    examples: Sequence[Example], sampling: Sampling, progress: Progress
) -> tuple[dict[_Part, Frames], list[str]]:
    """The frames of what can be decoded, and why the rest cannot."""
    cache = _cache()
    # Not after loading: the frames that are there now are about to be read.
    cache.trim()
    # Footage that is listed twice is decoded once.
    distinct = {_part(e): e for e in examples}
    found: dict[_Part, Frames | str] = {}

    def tell(part: _Part, result: Frames | str) -> None:
        found[part] = result
        progress("decoding", len(found), len(distinct))

    missing: dict[Path, list[Example]] = defaultdict(list)
    for part, e in distinct.items():
        try:
            kept = cache.find(e.path, _how(e, sampling), _again(e, sampling, cache))
        except OSError as error:
            tell(part, _told(error, e))
            continue
        if kept is None:
            missing[e.path].append(e)
        else:
            tell(part, kept)
    for e, result in _in_threads(list(missing.values()), sampling, cache):
        tell(_part(e), result)
    in_order = [(part, found[part]) for part in distinct]
    return (
        {part: frames for part, frames in in_order if not isinstance(frames, str)},
        [why for _, why in in_order if isinstance(why, str)],
    )


def _in_threads(
    files: Sequence[list[Example]], sampling: Sampling, cache: FrameCache
) -> Iterator[tuple[Example, Frames | str]]:
    """Examples by file, each as soon as it is decoded and kept, or with why it cannot be."""
    results: SimpleQueue[tuple[Example, Frames | str] | Future[None]] = SimpleQueue()

    def work(some: Sequence[Example]) -> None:
        for e, runs in _sampled(some, sampling, cache):
            results.put((e, _kept(e, runs, sampling, cache)))

    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            shares = list(_shared_out(files))
            for some in shares:
                pool.submit(work, some).add_done_callback(results.put)
            under_way = len(shares)
            while under_way:
                result = results.get()
                if isinstance(result, Future):
                    result.result()  # raises what went wrong there
                    under_way -= 1
                else:
                    yield result
        except BaseException:  # Ctrl-C, mostly: what waits in the pool would be decoded first
            pool.shutdown(cancel_futures=True)
            raise


def _shared_out(files: Sequence[list[Example]]) -> Iterator[Sequence[Example]]:
    """Pieces of one file that are sampled in one pass: all of them, unless there are fewer files than cores."""
    shares = min(max(usable_cores() // max(len(files), 1), 1), _MAX_PASSES)
    for pieces in files:
        pieces.sort(key=lambda e: e.start_seconds)
        size = -(-len(pieces) // shares)
        yield from (pieces[begin : begin + size] for begin in range(0, len(pieces), size))


def _sampled(
    examples: Sequence[Example], sampling: Sampling, cache: FrameCache
) -> Iterator[tuple[Example, list[Reel] | SourceError]]:
    """The runs of examples of one file, or why there are none."""
    picture = Picture(sampling.height, sampling.width, sampling.fit)
    pieces = [(e.start_seconds, e.end_seconds) for e in examples]
    for index, runs in sample_pieces(examples[0].path, pieces, cache.reel, picture, sampling.spacing_seconds):
        yield examples[index], runs


def _kept(example: Example, runs: Sequence[Reel] | SourceError, sampling: Sampling, cache: FrameCache) -> Frames | str:
    """The frames of an example, or why there are none."""
    if isinstance(runs, SourceError):
        return _told(runs, example)
    longest = _longest(example, runs, sampling)
    try:
        return cache.put(example.path, _how(example, sampling), longest, _again(example, sampling, cache))
    except OSError as error:
        return _told(error, example)


def _again(example: Example, sampling: Sampling, cache: FrameCache) -> Callable[[], Reel]:
    """Decodes an example anew, of which the cache let go.

    Raises:
        SourceError: it can no longer be decoded.
    """

    def decode() -> Reel:
        ((_, runs),) = _sampled([example], sampling, cache)
        if isinstance(runs, SourceError):
            raise runs
        return _longest(example, runs, sampling)

    return decode


def _longest(example: Example, runs: Sequence[Reel], sampling: Sampling) -> Reel:
    """Windows that are served never span an interruption, so a clip is one piece of footage."""
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


def _how(example: Example, sampling: Sampling) -> dict[str, float | str | None]:
    return asdict(sampling) | {"start": example.start_seconds, "end": example.end_seconds}


def _told(error: Exception, example: Example) -> str:
    return str(error) if not example.where or str(example.path) == example.where else f"{example.where}: {error}"


def trim_frames() -> None:
    """Let go of decoded frames beyond the bound of the cache; commands call it when they have read theirs."""
    _cache().trim()


def _cache() -> FrameCache:
    return FrameCache(cache_folder() / "frames")


def _part(example: Example) -> _Part:
    return example.path, example.start_seconds, example.end_seconds
