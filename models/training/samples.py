"""What strategies learn from: windows of videos as pixels, or as features that a frozen network computed once.

Pixels         (T, 3, H, W), augmented anew each time                    Steps
Features       (T, F) of a CNN-LSTM's frozen image network               FrozenFeatures
FixedWindows   (T, F), the same each time, such as SMOTE's               FrozenFeatures
Descriptors    (F,), motion features of a window                         FittedHead
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch.nn import functional

from models.networks.cnn_lstm import CnnLstm
from models.networks.movenet import PICTURES_AT_ONCE, MoveNetMotion
from models.networks.zoo import statistics
from models.windowing import sliding_windows

from .augmentation import ClipTransform, random_window
from .recipe import Recipe

#: Footage is sampled so many times more densely than the model's clips, so that phase and speed can vary in training.
OVERSAMPLE: Final = 2
#: So many pictures at a time: their early feature maps fit in a processor's cache.
_FEATURE_BATCH: Final = 8


class Pixels:
    """Windows of videos, augmented anew each time, (T, 3, H, W) uint8."""

    loads_beside: Final = True

    def __init__(self, videos: Sequence[np.ndarray], truth: np.ndarray, recipe: Recipe, device: torch.device) -> None:
        self._videos, self.truth, self._recipe = videos, truth, recipe
        self._transform = ClipTransform(recipe.augmentation, recipe.size)
        self._normalise = Normalise(recipe.architecture, device)

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        video, recipe = self._videos[index], self._recipe
        window = random_window(len(video), recipe.frames, OVERSAMPLE, recipe.augmentation.speed, generator)
        with torch.random.fork_rng(devices=[]):  # torchvision's transforms use only torch's global generator
            torch.manual_seed(int(generator.integers(2**63)))
            return self._transform(video[window])

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return self._normalise(batch.transpose(1, 2))  # (B, 3, T, H, W)


class Features:
    """Windows of the features of videos, (T, F), of an augmented view that is drawn each time."""

    loads_beside: Final = False  # on the device of the network that computed them

    def __init__(self, features: Sequence[torch.Tensor], truth: np.ndarray, recipe: Recipe) -> None:
        """`features` holds (V, N, F) for each video."""
        self._features, self.truth, self._recipe = features, truth, recipe

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        features, recipe = self._features[index], self._recipe
        window = random_window(features.shape[1], recipe.frames, OVERSAMPLE, recipe.augmentation.speed, generator)
        return features[generator.integers(len(features)), window]

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return batch

    def windows_of(self, index: int) -> torch.Tensor:
        """The windows (W, T, F) of the video as it is."""
        return self.views_of(index)[0]

    def views_of(self, index: int) -> torch.Tensor:
        """The windows (V, W, T, F) of the video as it is, and of its augmented views."""
        features = self._features[index]
        return features[:, sliding_windows(features.shape[1], self._recipe.frames, OVERSAMPLE)]


class Descriptors:
    """Motion features of the windows of videos, as they are and mirrored."""

    def __init__(
        self,
        network: MoveNetMotion,
        videos: Sequence[np.ndarray],
        recipe: Recipe,
        normalise: Normalise,
        progress: Callable[[int, int], None],
    ) -> None:
        self._rows: list[torch.Tensor] = []  # for each video (V, W, F)
        self._served_every = max(1, recipe.frames // 2)
        mirrored = (False, True) if recipe.augmentation.flip else (False,)
        with torch.inference_mode():
            for done, frames in enumerate(videos, start=1):
                # Speed is not varied here, so frames between those of the grid would only cost time.
                seen = frames[::OVERSAMPLE]  # (N, H, W, 3)
                # In training a window begins at every frame; windows share the backbone's maps of their frames.
                windows = torch.from_numpy(sliding_windows(len(seen), recipe.frames, denser=self._served_every))
                views = [network.describe_windows(_pictures(seen, normalise, flip=flip), windows) for flip in mirrored]
                self._rows.append(torch.stack(views))
                progress(done, len(videos))
        self._rows = [r.clone() for r in self._rows]  # outside: inference tensors cannot be learnt from

    def learnt(self, index: int) -> torch.Tensor:
        """All rows (M, F) of a video: of every window, and of mirrored ones."""
        return self._rows[index].flatten(0, 1)

    def served(self, index: int) -> torch.Tensor:
        """The rows (W, F) of a video as it is, of windows half a window apart."""
        return self._rows[index][0, :: self._served_every]


class FixedWindows:
    """Windows of features that never vary, such as synthetic ones."""

    loads_beside: Final = False

    def __init__(self, features: np.ndarray, truth: np.ndarray, device: torch.device) -> None:
        """Features (M, T, F), truth (M,)."""
        self._features, self.truth = torch.from_numpy(features).to(device), truth

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:  # noqa: ARG002  nothing varies
        return self._features[index]

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return batch


class Normalise:
    """Turns pixels (B, 3, T, H, W) of 0 to 255 into an architecture's input, on the device that it runs on."""

    def __init__(self, architecture: str, device: torch.device) -> None:
        mean, std = statistics(architecture)
        self._device = device
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1, 1)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.to(self._device).float() / 255 - self._mean) / self._std


def scores_of(logits: torch.Tensor) -> np.ndarray:
    """Scores (W, L) of logits (W, L), as float64 on the processor."""
    scores: np.ndarray = functional.softmax(logits.double(), dim=1).cpu().numpy()
    return scores


def video_features(
    network: CnnLstm,
    videos: Sequence[np.ndarray],
    recipe: Recipe,
    normalise: Normalise,
    progress: Callable[[int, int], None],
) -> list[torch.Tensor]:
    """For each video the features of its frames, as they are and in augmented views, (V, N, F)."""
    transform = ClipTransform(recipe.augmentation, recipe.size)
    features = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for done, frames in enumerate(videos, start=1):
            torch.manual_seed(recipe.seed + done)
            plain = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2)  # (N, 3, H, W)
            views = torch.stack([plain, *(transform(frames) for _ in range(recipe.augmentation.views - 1))])
            rows = [
                network.frame_features(
                    normalise(part.unsqueeze(2))[:, :, 0].contiguous(memory_format=torch.channels_last)
                )
                for part in torch.split(views.flatten(0, 1), _FEATURE_BATCH)
            ]
            features.append(torch.cat(rows).view(len(views), len(plain), -1))
            progress(done, len(videos))
    return [f.clone() for f in features]  # outside: inference tensors cannot be learnt from


def _pictures(frames: np.ndarray, normalise: Normalise, *, flip: bool) -> Iterator[torch.Tensor]:
    """Yield frames (N, H, W, 3) normalised, (n, 3, H, W) at a time: a video may be long."""
    for begin in range(0, len(frames), PICTURES_AT_ONCE):
        images = torch.from_numpy(np.array(frames[begin : begin + PICTURES_AT_ONCE])).permute(3, 0, 1, 2)[None]
        yield normalise(images.flip(4) if flip else images)[0].transpose(0, 1)
