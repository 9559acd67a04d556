"""Augment training clips with torchvision.transforms.v2, in the same way in all frames of a clip."""

from __future__ import annotations

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from models.training.recipe import Augmentation


class ClipTransform:
    """Turns clips (T, H, W, 3) uint8 into augmented clips (T, 3, size, size) uint8; draws from torch's generator."""

    def __init__(self, augmentation: Augmentation, size: int) -> None:
        steps: list[v2.Transform] = []
        if augmentation.crop < 1:
            steps.append(v2.RandomResizedCrop((size, size), scale=(augmentation.crop, 1), ratio=(0.85, 1.18)))
        if augmentation.flip:
            steps.append(v2.RandomHorizontalFlip())
        if augmentation.colour:
            amount = augmentation.colour
            steps.append(v2.ColorJitter(amount, amount, amount))
        if augmentation.rand_augment:
            steps.append(v2.RandAugment(magnitude=augmentation.rand_augment))
        if augmentation.erasing:
            steps.append(v2.RandomErasing(augmentation.erasing))
        self._steps = v2.Compose(steps) if steps else v2.Identity()

    def __call__(self, frames: np.ndarray) -> torch.Tensor:
        video = tv_tensors.Video(torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2))
        varied: torch.Tensor = self._steps(video).as_subclass(torch.Tensor)
        return varied


class BatchMix:
    """MixUp or CutMix over a batch, either with the same probability if both are wanted.

    Takes clips (B, 3, T, H, W) or features (B, T, F) and labels, (B,) or as scores (B, L); returns the mixed batch and
    targets (B, L).
    """

    def __init__(self, augmentation: Augmentation, classes: int) -> None:
        self._classes = classes
        self._mixes: list[v2.Transform] = []
        if augmentation.mixup:
            self._mixes.append(v2.MixUp(alpha=augmentation.mixup, num_classes=classes))
        if augmentation.cutmix:
            self._mixes.append(v2.CutMix(alpha=augmentation.cutmix, num_classes=classes))

    def __call__(self, batch: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self._mixes or len(batch) < 2:
            return batch, labels if labels.ndim > 1 else torch.nn.functional.one_hot(labels, self._classes).float()
        mix = self._mixes[int(torch.randint(len(self._mixes), ()))]
        # torchvision mixes pictures, so features are passed as pictures of one channel.
        shaped = batch if batch.ndim == 5 else batch[:, None]
        mixed, targets = mix(tv_tensors.Video(shaped) if batch.ndim == 5 else tv_tensors.Image(shaped), labels)
        plain: torch.Tensor = mixed.as_subclass(torch.Tensor)
        return plain.reshape(batch.shape), targets


def random_window(length: int, frames: int, step: float, speed: float, generator: np.random.Generator) -> np.ndarray:
    """Frame indices (T,) of a window at a random place and speed; a video that is too short repeats its last frame.

    Args:
        length: frames of the video.
        frames: T.
        step: frames of the video from one frame of the window to the next, at the recorded speed.
        speed: the window is played up to this factor faster or slower.
        generator: the source of randomness.
    """
    step *= float(np.exp(generator.uniform(-np.log(speed), np.log(speed))))
    begin = generator.uniform(0, max(0.0, length - 1 - step * (frames - 1)))
    indices: np.ndarray = np.minimum(np.floor(begin + step * np.arange(frames)).astype(int), length - 1)
    return indices
