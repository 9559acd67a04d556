"""Train the convolutions of `movenet_3d`: kernels over time and space, towards labels and a regression.

    windows ─┬─▶ as movenet_views describes them ─▶ regression, the teacher: channels that it makes most of
             └─▶ maps of all channels, float16 on disk ─▶ maps of these channels, in memory ─▶ convolutions ─▶ loss

The choice of channels is of each fold's own training videos. Maps are large: 2.2 MB a window. They lie in the folder of
the unfinished run, and how many there may be is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

import numpy as np
import torch

from models.errors import TrainingError
from models.networks.movenet_3d import KEPT, MoveNet3d
from models.training.material.samples import OVERSAMPLE, Descriptors
from models.windows.windowing import sliding_windows

from .strategy import Part
from .taught_head import Lessons, TaughtHead

#: Maps of a video's windows, and of all, are at most so many bytes.
_OF_A_VIDEO: Final = 3 << 30
_OF_ALL: Final = 64 << 30


class TaughtConvolutions(TaughtHead[MoveNet3d]):
    """Convolutions over the maps of both views of each picture."""

    ARCHITECTURE: ClassVar = "movenet_3d"

    def _begin(self, network: MoveNet3d, part: Part) -> Lessons:
        self._check_room(network)
        descriptors, videos = self._descriptors(network), part.learnt.tolist()
        described = [torch.from_numpy(np.array(rows[..., : network.FEATURES])) for rows in _looks(descriptors, videos)]
        counts = [descriptors.count_learnt(video) for video in videos]
        teacher, said = self._taught(torch.cat(described).flatten(0, 1).float(), counts, part)
        if part.recipe.begin_from is None:
            used = teacher.classify.weight[:, -network.CHANNELS :]
            network.kept.copy_((used - used.mean(0)).square().sum(0).topk(KEPT).indices.sort().values)
            network.head.start_as(teacher, network.columns)
        inputs, begin = (
            np.empty((sum(counts), network.FEATURES + network.views * KEPT * math.prod(network.clip)), np.float16),
            0,
        )
        for rows, count in zip(_looks(descriptors, videos), counts, strict=True):
            inputs[begin : begin + count] = network.read(torch.from_numpy(np.array(rows))).flatten(0, 1).numpy()
            begin += count
        return Lessons(inputs, said, counts)

    def _served(self, network: MoveNet3d, index: int) -> torch.Tensor:
        return network.read(self._descriptors(network).served(index)).float()

    def _check_room(self, network: MoveNet3d) -> None:
        """Refuse footage whose maps would fill a disk, or of one video the memory.

        Raises:
            TrainingError: with how much it would take.
        """
        recipe, total = self._recipe, 0
        window = 2 * network.LOOKS * math.prod(network.row_shape(recipe.frames))
        for video in self._data.videos:
            count = len(sliding_windows(-(-len(video.frames) // OVERSAMPLE), recipe.frames))
            if (needed := count * window) > _OF_A_VIDEO:
                raise TrainingError(
                    f"{video.name}: {needed / 1e9:.1f} GB for the maps of its {count} windows, expected at most "
                    f"{_OF_A_VIDEO / 1e9:.1f}: {recipe.architecture} learns from clips; give start and end in the list"
                )
            total += needed
        if total > _OF_ALL:
            raise TrainingError(
                f"{total / 1e9:.0f} GB for the maps of all windows, expected at most {_OF_ALL / 1e9:.0f}: "
                f"{recipe.architecture} learns from a few thousand clips; give fewer, or take movenet_lstm"
            )


def _looks(descriptors: Descriptors, videos: Sequence[int]) -> Iterator[np.ndarray]:
    """Of each video the looks at its windows to learn from, (M, LOOKS, F + C T h w)."""
    return (descriptors.learnt_looks(video) for video in videos)
