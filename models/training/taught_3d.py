"""Train the convolutions of `movenet_3d`: kernels over time and space, towards labels and a regression.

    maps of windows, all channels, float16 ─┬─▶ what the kernels find as they start ─▶ regression, the teacher
                                            │                              channels that it makes most of
                                            └─▶ maps of these channels, in memory ─▶ convolutions ─▶ loss

The choice of channels is of each fold's own training videos. Maps are large: 2.2 MB a window. They lie in the folder of
the unfinished run, and how many there may be is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import torch

from models.errors import TrainingError
from models.networks.movenet_3d import KEPT, MoveNet3d
from models.windowing import sliding_windows

from .samples import OVERSAMPLE, Descriptors
from .strategy import Part
from .taught_head import Lessons, TaughtHead

#: Maps of a video's windows, and of all, are at most so many bytes.
_OF_A_VIDEO: Final = 3 << 30
_OF_ALL: Final = 64 << 30
_AT_ONCE: Final = 16


class TaughtConvolutions(TaughtHead[MoveNet3d]):
    """Convolutions over the maps of both views of each picture."""

    ARCHITECTURE: ClassVar = "movenet_3d"

    def _begin(self, network: MoveNet3d, part: Part) -> Lessons:
        self._check_room(network)
        descriptors, videos = self._descriptors(network), part.learnt.tolist()
        found = self._data.once("what changes", lambda: self._found_at_first(network, descriptors))
        rows = torch.cat([found[video].flatten(0, 1) for video in videos])  # (M, C, kernels): each look at a window
        counts = [descriptors.count_learnt(video) for video in videos]
        teacher, said = self._taught(rows.flatten(1), counts, part)
        if part.recipe.begin_from is None:
            network.kept.copy_(chosen := _most_used(teacher.classify.weight, rows.shape[1]))
            network.head.start_as(self._fitted(rows[:, chosen.to(rows.device)].flatten(1), counts, part))
        return Lessons(_kept_maps(network, descriptors, videos), said, counts)

    def _served(self, network: MoveNet3d, index: int) -> torch.Tensor:
        return self._descriptors(network).served(index, network.kept.cpu().numpy()).float()

    def _found_at_first(self, network: MoveNet3d, descriptors: Descriptors) -> Sequence[torch.Tensor]:
        """Of each video what the kernels find at each look at its windows, (M, LOOKS, C, kernels)."""
        found = []
        for index in range(len(self._data.videos)):
            looks = descriptors.learnt_looks(index)
            parts = []
            for begin in range(0, len(looks), _AT_ONCE):
                maps = torch.from_numpy(np.array(looks[begin : begin + _AT_ONCE])).to(self._device).float()
                of_views = network.pooled(maps.flatten(0, 1))
                views = of_views.reshape(*maps.shape[:2], *of_views.shape[1:])
                parts.append(torch.stack([views[:, 0], views.amax(1)], dim=1).cpu())
            found.append(torch.cat(parts))
            self._progress("what changes", index + 1, len(self._data.videos))
        return found

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


def _most_used(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """Of so many channels the `KEPT` that a regression's weights (L, channels kernels) use most, in their order."""
    used = (weight - weight.mean(0)).square().sum(0).reshape(channels, -1).sum(1)
    return used.topk(KEPT).indices.sort().values


def _kept_maps(network: MoveNet3d, descriptors: Descriptors, videos: Sequence[int]) -> np.ndarray:
    """Maps of the kept channels at each look, (M, views, K, T, h, w) float16; at the first the whole is seen twice."""
    kept, counts = network.kept.cpu().numpy(), [descriptors.count_learnt(video) for video in videos]
    _, *rest = descriptors.row_shape
    maps, begin = np.empty((sum(counts), network.views, len(kept), *rest), np.float16), 0
    for video, count in zip(videos, counts, strict=True):
        looks = descriptors.learnt_looks(video)
        of_video = maps[begin : begin + count].reshape(-1, network.LOOKS, *maps.shape[1:])
        for window, found in zip(of_video, looks, strict=True):
            window[:, 0] = window[0, 1] = found[0, kept]
            window[1, 1] = found[1, kept]
        begin += count
    return maps
