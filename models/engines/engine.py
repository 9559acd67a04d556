"""What an engine is: clips in, scores out."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

#: (B, T, H, W, 3)
Clips: TypeAlias = np.ndarray[tuple[int, int, int, int, int], np.dtype[np.uint8]]
#: (B, L)
Scores: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class Engine(Protocol):
    """A model that is loaded and ready. Normalising and softmax are part of it; scores of a clip sum to one."""

    #: What it computes with and how, for people: "openvino-bf16". Its first word names the engine.
    name: str

    def run(self, clips: Clips) -> Scores:
        """(B, T, H, W, 3) uint8 to (B, L)."""
