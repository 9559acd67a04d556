"""Variation of training clips by torchvision.transforms.v2, alike in all frames of a clip."""

from __future__ import annotations

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from .recipe import Augmentation


class ClipTransform:
    """Clips (T, H, W, 3) uint8 to varied clips (T, 3, size, size) uint8; draws from torch's generator."""

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
    """MixUp or CutMix over a batch, one or the other at even chances where both are wanted.

    Takes (B, T, 3, H, W) or features (B, T, F) and labels (B,); returns the mixed batch and targets (B, L).
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
            return batch, torch.nn.functional.one_hot(labels, self._classes).float()
        mix = self._mixes[int(torch.randint(len(self._mixes), ()))]
        # torchvision mixes pictures: features are given as pictures of one channel.
        shaped = batch if batch.ndim == 5 else batch[:, None]
        mixed, targets = mix(tv_tensors.Video(shaped) if batch.ndim == 5 else tv_tensors.Image(shaped), labels)
        plain: torch.Tensor = mixed.as_subclass(torch.Tensor)
        return plain.reshape(batch.shape), targets


def random_window(length: int, frames: int, step: float, speed: float, generator: np.random.Generator) -> np.ndarray:
    """Places (T,) of a window at a random place and speed in a video of `length` frames; a short one holds its last.

    Args:
        length: frames of the video.
        frames: T.
        step: frames of the video from one of the window to the next, at the speed it was recorded.
        speed: the window is played up to this much faster or slower.
        generator: where chance comes from.
    """
    step *= float(np.exp(generator.uniform(-np.log(speed), np.log(speed))))
    begin = generator.uniform(0, max(0.0, length - 1 - step * (frames - 1)))
    places: np.ndarray = np.minimum(np.floor(begin + step * np.arange(frames)).astype(int), length - 1)
    return places
