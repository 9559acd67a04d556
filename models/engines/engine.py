"""What an engine is: pictures in, features out; windows of features in, scores out.

    pictures ─▶ encoder ─▶ features ─▶ head ─▶ scores
    (H, W, 3)              (F,)         (T, F)  (L,)

Where a network does not look at each picture by itself first, its encoder hands pictures on as they are, and the head
is the whole network. Callers do the same for both. A continual network has steps instead of an encoder:

    picture ─▶ step ─▶ features
    state   ─▶      ─▶ state for the next picture of the same run
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

#: (H, W, 3)
Picture: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
#: (B, T, H, W, 3)
Clips: TypeAlias = np.ndarray[tuple[int, int, int, int, int], np.dtype[np.uint8]]
#: What an encoder gives for a picture: (F,) float32, or the picture itself. For two views `Seen`, a value of its own.
Features: TypeAlias = np.ndarray[Any, np.dtype[Any]]
#: What a continual network remembers of the pictures of one run: float32 arrays of fixed shapes, never changed in
#: place, so that whoever holds one can go on from it at any time.
State: TypeAlias = tuple[np.ndarray, ...]
#: (B, L)
Scores: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]

#: So many whole clips at once: the features of their pictures are in memory together.
_CLIPS_AT_ONCE: Final = 32


class Graph(Protocol):
    """A computation that is loaded and ready. What it gives for an item depends on that item alone."""

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        """One array for each item, in their order; all items have one shape."""


class Steps(Protocol):
    """A continual computation that is loaded and ready. What it gives for an item depends on that item alone."""

    def run(self, items: Iterable[tuple[Picture, State | None]]) -> list[tuple[Features, State]]:
        """Features of a picture, and the state after it, of each run; a state that is None begins one."""


class AsTheyAre:
    """Hands its items on."""

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        return list(items)


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that is loaded and ready. Normalising, and what makes scores of logits, are part of it."""

    #: What it computes with and how, for people: "openvino-bf16". Its first word names the engine.
    name: str
    head: Graph
    encoder: Graph = field(default_factory=AsTheyAre)
    #: Of continual networks.
    steps: Steps | None = None

    def encode(self, pictures: Iterable[Picture]) -> list[Features]:
        """The features of each picture."""
        return self.encoder.run(pictures)

    def score(self, windows: Sequence[Sequence[Features]]) -> Scores:
        """Scores (B, L) of windows, each the features of T pictures."""
        scores: Scores = np.stack(self.head.run(self.joined(windows)))
        return scores

    def joined(self, windows: Sequence[Sequence[Features]]) -> Iterable[np.ndarray]:
        """What the head is given for each window, (T, F)."""
        return (np.stack(window) for window in windows)

    def run(self, clips: Clips) -> Scores:
        """Scores (B, L) of whole clips."""
        length, parts = clips.shape[1], []
        for begin in range(0, len(clips), _CLIPS_AT_ONCE):
            part = clips[begin : begin + _CLIPS_AT_ONCE]
            if self.steps is not None:
                parts.append(self.score(_step_through(self.steps, part)))
                continue
            features = self.encode(picture for clip in part for picture in clip)
            parts.append(self.score([features[i : i + length] for i in range(0, len(features), length)]))
        return np.concatenate(parts)


def _step_through(steps: Steps, clips: Clips) -> list[list[Features]]:
    """The features of the pictures of each clip, in which nothing is known of what was before."""
    states: list[State | None] = [None] * len(clips)
    features: list[list[Features]] = [[] for _ in clips]
    for pictures in clips.swapaxes(0, 1):
        for number, (found, state) in enumerate(steps.run(zip(pictures, states, strict=True))):
            features[number].append(found)
            states[number] = state
    return features
