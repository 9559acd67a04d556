"""Pictures of a video, wherever they lie: in memory, or in a file of which only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np


class Frames(Protocol):
    """(N, H, W, 3) uint8, indexed like an array; arrays are `Frames`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any:
        """What an array gives; of a file, a copy in memory."""

    def __iter__(self) -> Iterator[Any]: ...
