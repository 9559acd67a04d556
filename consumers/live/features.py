"""What a model found in pictures, kept as long as a window may still need it.

    windows of a batch ─▶ pictures that are new ─▶ encode ─▶ features by sample ─▶ score ─▶ scores of the windows

The clipper holds a sample until no window to come needs it, a window that waits holds its own; features go with the
sample. So there is nothing to evict, and features are never those of another picture. So it is with the state of a
continual model: it goes with the newest sample of its camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np

from models import Step, Stepped
from stream import Clip, Image, Sample


class Scorer(Protocol):
    """The part of `models.Classifier` that is needed here."""

    @property
    def id(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]: ...

    def encode(self, pictures: Sequence[Image]) -> Sequence[Any]:
        """Features of each picture (H, W, 3) uint8; how they look is the model's affair."""

    def score(self, windows: Sequence[Sequence[Any]]) -> np.ndarray:
        """Scores (B, L) float32 of windows, each the features of T pictures."""


@runtime_checkable
class StepScorer(Scorer, Protocol):
    """The part of a `models.Classifier` with memory."""

    @property
    def step(self) -> Step:
        """Steps from picture to picture of cameras."""


class Features(Protocol):
    """Scores clips, and looks at each picture once."""

    def score(self, clips: Sequence[Clip]) -> np.ndarray:
        """Scores (B, L) float32."""


def features_for(scorer: Scorer, context: int) -> Features:
    """What looks at pictures for a scorer whose windows remember so many pictures before their first."""
    if not context:
        return FrameFeatures(scorer)
    if not isinstance(scorer, StepScorer):
        raise TypeError(f"{scorer.id} does not step, and its windows are to remember {context} pictures")
    return SteppedFeatures(scorer)


class SteppedFeatures:
    """Scores clips of any cameras with a continual model, which is given each picture once, in its order.

    Scores follow from a clip and its context alone. Where the state that a clip goes on from is not there (the first
    clip, behind a gap, after a hand-over), the pictures of its context are stepped through once more.
    """

    def __init__(self, scorer: StepScorer) -> None:
        self._scorer = scorer
        self._states: WeakKeyDictionary[Sample, Any] = WeakKeyDictionary()
        self._stepped = Stepped[Sample](scorer.step, WeakKeyDictionary(), self._states)

    def __len__(self) -> int:
        """Of how many cameras state is kept."""
        return len(self._states)

    def score(self, clips: Sequence[Clip]) -> np.ndarray:
        self._stepped.extend([(*clip.context, *clip.samples) for clip in clips], lambda sample: sample.image)
        known = self._stepped.features
        return self._scorer.score([[known[sample] for sample in clip.samples] for clip in clips])


class FrameFeatures:
    """Scores clips of any cameras, and gives each picture to the model's encoder once."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._known: WeakKeyDictionary[Sample, Any] = WeakKeyDictionary()

    def __len__(self) -> int:
        """Of how many samples features are kept."""
        return len(self._known)

    def score(self, clips: Sequence[Clip]) -> np.ndarray:
        """Scores (B, L) float32."""
        self._encode([sample for clip in clips for sample in clip.samples])
        return self._scorer.score([[self._known[sample] for sample in clip.samples] for clip in clips])

    def _encode(self, samples: Sequence[Sample]) -> None:
        # One picture may be shown at several times: by its identity, while the samples hold it.
        found: dict[int, Any] = {id(s.image): self._known[s] for s in samples if s in self._known}
        new = {id(s.image): s.image for s in samples if id(s.image) not in found}
        found |= zip(new, self._scorer.encode(list(new.values())), strict=True)
        for sample in samples:
            self._known[sample] = found[id(sample.image)]
