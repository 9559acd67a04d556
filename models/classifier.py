"""The one thing that serving needs of a model: pictures in, scores of windows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from .checkpoint import find
from .contract import Contract
from .engines.choice import open_engine
from .engines.engine import Engine, Features, Picture, Scores, State
from .errors import CheckpointError, ClipError
from .windows.frames import Frames
from .windows.stepping import Stepped
from .windows.windowing import in_batches, with_context

#: So many windows of a video at once: engines compute them side by side.
_WINDOWS_AT_ONCE: Final = 32


class Classifier:
    """A checkpoint in an engine."""

    def __init__(self, contract: Contract, engine: Engine, model_id: str) -> None:
        self.contract = contract
        self.id = model_id
        self._engine = engine

    @classmethod
    def load(cls, model: str, engine: str = "auto", threads: int | None = None) -> Classifier:
        """Load a shipped model by name or a checkpoint by path.

        Args:
            model: "default", a shipped model's name, or the path of a checkpoint.
            engine: one of `models.ENGINES`.
            threads: processor threads for inference; all cores if None.

        Raises:
            UnknownModelError, CheckpointError, EngineError: with what was found and what was expected.
        """
        checkpoint = find(model)
        contract, opened = checkpoint.contract, open_engine(engine, checkpoint, threads)
        if (opened.steps is None) != (contract.context == 0):
            raise CheckpointError(
                f"{checkpoint.path}: a context of {contract.context} frames, and {contract.architecture} looks at "
                "whole clips here; expected none"
            )
        return cls(contract, opened, checkpoint.id)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.contract.labels

    @property
    def engine(self) -> str:
        return self._engine.name

    @property
    def _none(self) -> Scores:
        return np.empty((0, len(self.labels)), np.float32)

    def encode(self, pictures: Sequence[Picture]) -> list[Features]:
        """What the model finds in each picture (H, W, 3) uint8 by itself, for any window that the picture is in.

        A model that looks at whole clips only gives the pictures back.

        Raises:
            ClipError: a picture is not what the contract asks for, or the model is one that steps.
        """
        if self._engine.steps is not None:
            raise ClipError(f"{self.id} goes from picture to picture with state: expected `step`, not `encode`")
        self._check(pictures)
        return self._engine.encode(pictures)

    def step(self, pictures: Sequence[Picture], states: Sequence[State | None]) -> list[tuple[Features, State]]:
        """What a continual model finds in the next picture of each of N runs, say cameras, and the state after it.

        What it finds in one does not depend on the others, so that runs may come, go, and be of any rate.

        Args:
            pictures: of each run the next, (H, W, 3) uint8.
            states: of each run what this gave for the picture before; None where a run begins.

        Raises:
            ClipError: a picture is not what the contract asks for, or the model does not step.
        """
        if self._engine.steps is None:
            raise ClipError(f"{self.id} has no memory: expected a model whose contract has context")
        self._check(pictures)
        return self._engine.steps.run(zip(pictures, states, strict=True))

    def _check(self, pictures: Sequence[Picture]) -> None:
        expected = self.contract.clip_shape[1:]
        for picture in pictures:
            if picture.shape != expected or picture.dtype != np.uint8:
                raise ClipError(
                    f"picture of shape {picture.shape} and type {picture.dtype}: {self.id} expects "
                    f"({', '.join(map(str, expected))}) of uint8"
                )

    def score(self, windows: Sequence[Sequence[Features]]) -> Scores:
        """Scores (B, L) float32 of windows, each what `encode` gave for its T pictures.

        Those of a window do not depend on what shares the batch, nor on what was encoded together.

        Raises:
            ClipError: a window has too few or too many pictures.
        """
        for window in windows:
            if len(window) != self.contract.frames:
                raise ClipError(f"window of {len(window)} pictures: {self.id} expects {self.contract.frames}")
        return self._engine.score(windows) if windows else self._none

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Scores of clips (B, T, H, W, 3) uint8 as (B, L) float32, or of one clip (T, H, W, 3) as (L,).

        Raises:
            ClipError: the frames are not what the contract asks for.
        """
        single = frames.ndim == 4
        clips = frames[None] if single else frames
        if clips.shape[1:] != self.contract.clip_shape or clips.dtype != np.uint8:
            raise ClipError(
                f"clip of shape {frames.shape} and type {frames.dtype}: {self.id} expects "
                f"(B, {', '.join(map(str, self.contract.clip_shape))}) of uint8"
            )
        scores = self._engine.run(clips) if len(clips) else self._none  # (B, L)
        return scores[0] if single else scores

    def predict_windows(self, frames: Frames, windows: np.ndarray) -> np.ndarray:
        """Scores (W, L) float32 of windows, given by the places (W, T) of their pictures in a video; places ascend.

        Each picture is encoded once, and no more of a long video is in memory than some windows need. With a continual
        model the pictures before a window count, too, as they do live: at the window's own spacing, from the video's
        begin on.

        Raises:
            ClipError: the frames, or the number of places, are not what the contract asks for.
        """
        if self._engine.steps is not None:
            return self._predict_stepped(frames, windows)
        scores, known = [], dict[int, Features]()
        for batch in in_batches(windows, _WINDOWS_AT_ONCE):
            places = sorted({*batch.ravel().tolist()})
            known = {place: known[place] for place in places if place in known}
            new = [place for place in places if place not in known]
            known |= zip(new, self.encode([frames[place] for place in new]), strict=True)
            scores.append(self.score([[known[place] for place in window] for window in batch.tolist()]))
        return np.concatenate(scores)

    def _predict_stepped(self, frames: Frames, windows: np.ndarray) -> np.ndarray:
        scores = []
        stepped = Stepped[tuple[int, int]](self.step, {}, {})
        for batch in in_batches(windows, _WINDOWS_AT_ONCE):
            runs = [_numbered(with_context(window, self.contract.context)) for window in batch.tolist()]
            stepped.extend(runs, lambda key: frames[key[0]])
            scores.append(self.score([[stepped.features[key] for key in run[-batch.shape[1] :]] for run in runs]))
            stepped.keep({key for run in runs for key in run})
        return np.concatenate(scores)


def _numbered(run: Sequence[int]) -> list[tuple[int, int]]:
    """Places of a run, each with its number among those of one place: a short video repeats its last picture."""
    return [(place, run[:index].count(place)) for index, place in enumerate(run)]
