"""Stand-ins for a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class WholeClips(ABC):
    """A scorer that looks at whole clips, and finds nothing in a picture by itself."""

    def encode(self, pictures: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return pictures

    def score(self, windows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        return self.predict(np.array(windows))

    @abstractmethod
    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Clips (B, T, H, W, 3) uint8 to scores (B, L)."""
