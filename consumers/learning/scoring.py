"""Labelled footage through a classifier, decoded and windowed as the worker does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from models import Classifier, Contract, TrainingError, cache_folder
from models.evaluation.figures import WindowScores
from models.windows import in_parts, windows
from stream import SourceError, sample_file
from stream.clips.decoding import Fit

from .datasets import Example, report
from .frame_cache import FrameCache

Progress = Callable[[str, int, int], None]
_Piece = tuple[Path, float, float | None]
#: So many are classified in one call: engines run them side by side.
_WINDOWS_AT_ONCE: Final = 128


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
    """Frames (N, H, W, 3) uint8 of each example, in order.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    cache = FrameCache(cache_folder() / "frames")

    def load(e: Example) -> np.ndarray | str:
        def decode() -> np.ndarray:
            return sample_file(
                e.path,
                spacing_seconds=spacing_seconds,
                height=height,
                width=width,
                fit=fit,
                start_seconds=e.start_seconds,
                end_seconds=e.end_seconds,
            )

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

    # A row that is there twice is decoded once.
    distinct = {_piece(e): e for e in examples}
    loaded: dict[_Piece, np.ndarray] = {}
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:
        for done, (piece, found) in enumerate(zip(distinct, pool.map(load, distinct.values()), strict=True), start=1):
            if isinstance(found, str):
                problems.append(found)
            else:
                loaded[piece] = found
            progress("decoding", done, len(distinct))
    cache.trim()
    if problems:
        raise TrainingError(report(problems, len(distinct)))
    return [loaded[_piece(e)] for e in examples]


def _piece(example: Example) -> _Piece:
    return example.path, example.start_seconds, example.end_seconds


def frames_for(contract: Contract, examples: Sequence[Example], progress: Progress) -> list[np.ndarray]:
    """Frames of each example as a model's contract wants them.

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


def check_labels(model_id: str, contract: Contract, examples: Sequence[Example]) -> None:
    """Refuse examples that a model has no label for, or none at all.

    Raises:
        TrainingError: with the labels that it knows.
    """
    if unknown := sorted({e.label for e in examples} - set(contract.labels)):
        raise TrainingError(
            f"labels {', '.join(unknown)}: {model_id} knows {', '.join(contract.labels)}; "
            "name them alike with --map old=new, or leave one out with --map old="
        )
    if not examples:
        raise TrainingError("no labelled footage is left: expected at least one example")


def judge(classifier: Classifier, examples: Sequence[Example], progress: Progress) -> WindowScores:
    """Score the windows of each example, half a window apart.

    Raises:
        TrainingError: a label that the model does not have, or footage that cannot be decoded.
    """
    check_labels(classifier.id, classifier.contract, examples)
    return judge_frames(classifier, examples, frames_for(classifier.contract, examples, progress), progress)


def judge_frames(
    classifier: Classifier, examples: Sequence[Example], videos: Sequence[np.ndarray], progress: Progress
) -> WindowScores:
    """Score the windows of each example by its frames, as `frames_for` gives them."""
    contract = classifier.contract
    rows = []
    for done, frames in enumerate(videos, start=1):
        places = windows(len(frames), contract.frames)  # (W, T)
        said = [classifier.predict(frames[part]) for part in in_parts(places, _WINDOWS_AT_ONCE)]
        rows.append(np.concatenate(said).astype(np.float64))
        progress("classifying", done, len(videos))
    return WindowScores(
        contract.labels,
        np.array([contract.labels.index(e.label) for e in examples]),
        tuple(rows),
        tuple(e.group for e in examples),
        tuple(_name(e) for e in examples),
    )


def _name(example: Example) -> str:
    if example.start_seconds == 0 and example.end_seconds is None:
        return str(example.path)
    end = "end" if example.end_seconds is None else f"{example.end_seconds:g} s"
    return f"{example.path} from {example.start_seconds:g} s to {end}"
