"""What strategies learn from: windows of videos as pixels, or as features that a frozen network computed once.

Pixels         (T, 3, H, W), augmented anew each time                    Steps
Features       (T, F) of a CNN-LSTM's frozen image network               FrozenFeatures
FixedWindows   (T, F), the same each time, such as SMOTE's               FrozenFeatures
Descriptors    (F,), motion features of one look at a window             FittedHead, TaughtHead
               with the maps of one view of the window                    TaughtHead
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.networks.cnn_lstm import CnnLstm
from models.networks.movenet import PICTURES_AT_ONCE, MoveNetMotion
from models.networks.zoo import statistics
from models.training.recipe import Recipe
from models.windows.frames import Frames
from models.windows.windowing import in_batches, sliding_windows

from .augmentation import ClipTransform, random_window
from .footage import TrainingSet

#: Footage is sampled so many times more densely than the model's clips, so that phase and speed can vary in training.
OVERSAMPLE: Final = 2
#: So many pictures at a time: their early feature maps fit in a processor's cache.
_FEATURE_BATCH: Final = 8
#: So many windows of features are scored at once.
_WINDOWS_AT_ONCE: Final = 1024


class Pixels:
    """Windows of videos, augmented anew each time, (T, 3, H, W) uint8."""

    loads_beside: Final = True

    def __init__(self, videos: Sequence[Frames], truth: np.ndarray, recipe: Recipe, device: torch.device) -> None:
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

    loads_beside: Final = False  # reading them takes no time

    def __init__(
        self, features: Callable[[int], np.ndarray], truth: np.ndarray, recipe: Recipe, device: torch.device
    ) -> None:
        """`features` gives (V, N, F) of a video, of which only what is used is read."""
        self._features, self.truth, self._recipe, self._device = features, truth, recipe, device

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        features, recipe = self._features(index), self._recipe
        window = random_window(features.shape[1], recipe.frames, OVERSAMPLE, recipe.augmentation.speed, generator)
        return torch.from_numpy(np.array(features[generator.integers(len(features)), window]))

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.to(self._device)

    def windows_of(self, index: int) -> Iterator[torch.Tensor]:
        """The windows (n, T, F) of the video as it is, some at a time: they overlap, and a video may be long."""
        features = self._features(index)
        for windows in in_batches(self._windows(features), _WINDOWS_AT_ONCE):
            yield self.inputs(torch.from_numpy(np.array(features[0, windows])))

    def views_of(self, index: int) -> np.ndarray:
        """The windows (V, W, T, F) of the video as it is, and of its augmented views."""
        features = self._features(index)
        return np.array(features[:, self._windows(features)])

    def _windows(self, features: np.ndarray) -> np.ndarray:
        return sliding_windows(features.shape[1], self._recipe.frames, OVERSAMPLE)


class Descriptors:
    """Motion features of the windows of videos, as they are and mirrored.

    In training a window begins at every frame. Of much footage only some windows are learnt from, spread evenly over
    each video: they overlap, so the others add next to nothing, and `LEARNT_ROWS` fit into memory.
    """

    #: Rows of `MoveNetMotion.FEATURES` numbers to learn from, of all videos together; fewer where they are longer.
    LEARNT_ROWS: Final = 20_000

    def __init__(
        self,
        network: MoveNetMotion,
        data: TrainingSet,
        recipe: Recipe,
        normalise: Normalise,
        progress: Callable[[int, int], None],
    ) -> None:
        self._network, self._data, self._recipe, self._normalise = network, data, recipe, normalise
        self._served_every = max(1, recipe.frames // 2)
        self._mirrors = recipe.augmentation.flip
        #: Of one row.
        self.row_shape = network.row_shape(recipe.frames)
        numbers = self.LEARNT_ROWS * network.FEATURES * network.STORED_TIMES
        rows = numbers // math.prod(self.row_shape) // network.LOOKS
        self._most = _windows_each(
            [len(self._windows(i)) for i in range(len(data.videos))], rows // (1 + self._mirrors)
        )
        self._rows = data.computed("motion descriptors by look", self._describe)
        self._rows.all(len(data.videos), progress, threads=torch.get_num_threads())

    def learnt(self, index: int) -> torch.Tensor:
        """The rows (M, F) of a video to learn from: of all looks at windows as they are, and at mirrored ones."""
        return torch.from_numpy(np.array(self._rows.part(index, "learnt")))

    def learnt_looks(self, index: int) -> np.ndarray:
        """The same by window and look (M, LOOKS, F); where they lie on disk, only what is used of them is read."""
        return self._rows.part(index, "learnt").reshape(-1, self._network.LOOKS, *self.row_shape)

    def count_learnt(self, index: int) -> int:
        """How many rows of a video are to be learnt from."""
        return len(self._rows.part(index, "learnt"))

    def served(self, index: int) -> torch.Tensor:
        """The rows (W, LOOKS, F) of a video as it is, of windows half a window apart, for the network to judge."""
        return torch.from_numpy(np.array(self._rows.part(index, "served")))

    def _windows(self, index: int) -> np.ndarray:
        # Speed is not varied here, so frames between those of the grid would only cost time.
        seen = -(-len(self._data.videos[index].frames) // OVERSAMPLE)
        return sliding_windows(seen, self._recipe.frames, denser=self._served_every)

    def _describe(self, index: int) -> dict[str, np.ndarray]:
        windows = self._windows(index)
        served = np.arange(0, len(windows), self._served_every)
        learnt = np.unique(np.linspace(0, len(windows) - 1, min(self._most, len(windows))).round().astype(int))
        wanted = np.union1d(served, learnt)
        plain = self._rows_of(index, windows[wanted], flip=False)
        views = [plain[np.searchsorted(wanted, learnt)]]
        if self._mirrors:
            views.append(self._rows_of(index, windows[learnt], flip=True))
        looks = np.concatenate(views)
        return {"learnt": looks.reshape(-1, *looks.shape[2:]), "served": plain[np.searchsorted(wanted, served)]}

    def _rows_of(self, index: int, windows: np.ndarray, *, flip: bool) -> np.ndarray:
        """Rows (W, LOOKS, F) of windows (W, T), which share the backbone's maps of their frames."""
        used = np.unique(windows)
        places = torch.from_numpy(np.searchsorted(used, windows))
        frames = self._data.videos[index].frames
        pictures = _pictures(frames, used * OVERSAMPLE, self._normalise, flip=flip)
        with torch.inference_mode():
            rows: np.ndarray = self._network.describe_windows(pictures, places).cpu().numpy()
        return rows


def _windows_each(counts: Sequence[int], total: int) -> int:
    """How many windows at most may be taken of each video, so that all together are at most `total`; at least one."""
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if sum(min(n, middle) for n in counts) <= total else (low, middle - 1)
    return low


class FixedWindows:
    """Windows of features that never vary, such as synthetic ones, or descriptors."""

    loads_beside: Final = False

    def __init__(self, features: np.ndarray, truth: np.ndarray, device: torch.device) -> None:
        """Features (M, T, F); truth (M,), or (M, L) as scores."""
        self._features, self.truth = torch.from_numpy(features).to(device), truth

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:  # noqa: ARG002  nothing varies
        return self._features[index]

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.float()


class Normalise:
    """Turns pixels (B, 3, T, H, W) of 0 to 255 into an architecture's input, on the device that it runs on."""

    def __init__(self, architecture: str, device: torch.device) -> None:
        mean, std = statistics(architecture)
        self._device = device
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1, 1)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels.to(self._device).float() / 255 - self._mean) / self._std


def judged(network: MoveNetMotion, head: nn.Module, looks: torch.Tensor, recipe: Recipe) -> np.ndarray:
    """Scores (W, L) of windows, as they will be served, by the network's `head` from descriptors (W, LOOKS, F).

    Where a clip may have several labels, one that the first look settles says nothing of the others: the last decides.
    """
    return scores_of(network.judge(head, looks, may_settle=not recipe.multi_label), recipe)


def scores_of(logits: torch.Tensor, recipe: Recipe) -> np.ndarray:
    """Scores (W, L) of logits (W, L), as float64 on the processor."""
    exact = logits.double()
    scores: np.ndarray = (exact.sigmoid() if recipe.multi_label else functional.softmax(exact, dim=1)).cpu().numpy()
    return scores


def video_features(
    network: CnnLstm, frames: Frames, recipe: Recipe, normalise: Normalise, *, seed: int
) -> torch.Tensor:
    """The features of a video's frames, as they are and in augmented views, (V, N, F)."""
    transform = ClipTransform(recipe.augmentation, recipe.size)
    views = []
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(recipe.augmentation.views):
            drawn = torch.get_rng_state()
            rows = []
            for begin in range(0, len(frames), _FEATURE_BATCH):  # a video may be long
                part = np.array(frames[begin : begin + _FEATURE_BATCH])
                torch.set_rng_state(drawn)  # every picture of a view is varied alike
                pixels = torch.from_numpy(part).permute(0, 3, 1, 2) if number == 0 else transform(part)
                images = normalise(pixels.unsqueeze(2))[:, :, 0].contiguous(memory_format=torch.channels_last)
                rows.append(network.encode(images))
            views.append(torch.cat(rows))
        return torch.stack(views)


def _pictures(frames: Frames, places: np.ndarray, normalise: Normalise, *, flip: bool) -> Iterator[torch.Tensor]:
    """Yield some of the frames (N, H, W, 3) normalised, (n, 3, H, W) at a time: a video may be long."""
    for begin in range(0, len(places), PICTURES_AT_ONCE):
        part = np.array(frames[places[begin : begin + PICTURES_AT_ONCE]])
        images = torch.from_numpy(part).permute(3, 0, 1, 2)[None]
        yield normalise(images.flip(4) if flip else images)[0].transpose(0, 1)
