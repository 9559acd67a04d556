"""X3D that looks at each picture once and remembers, instead of looking at every clip whole: a continual 3D-CNN.

    picture   x0     x1     x2     x3   …
    step      ├─ s0 ─┼─ s1 ─┼─ s2 ─┤         state: what each convolution over time has to add to what follows
    features  f0     f1     f2     f3   …
    window           [f1    f2     f3]       mean, then the classifier: logits

The weights are those of X3D (Feichtenhofer, CVPR 2020), by the same names. Four things differ from X3D on a clip:

- *Nothing comes from the future.* A kernel over time is applied as if each picture stood still until the next:
  `K0 x[t-1] + (K1 + K2) x[t]` for `K0 x[t-1] + K1 x[t] + K2 x[t+1]`. So no score waits for pictures behind its window.
- *No zeros at the ends.* Before its first picture, a run is taken as that picture standing still.
- *Squeeze-and-excitation* averages over a picture, not over a clip.
- *What was before a window counts*, up to `context` pictures: where X3D sees zeros, this sees what was there.

Of a scene that stands still, all windows score alike. Stepping with explicit state as here, and "boring" filling at
the beginning, are those of continual inference networks (Hedegaard and Iosifidis, "Continual 3D Convolutional Neural
Networks for Real-time Processing of Videos", ECCV 2022), whose kernels delay scores by half their reach instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from .factored import Continual
from .pytorchvideo import x3d

#: A convolution over time, and what goes into it (B, C, T, h, w); to what comes out.
_OverTime: TypeAlias = Callable[[nn.Conv3d, torch.Tensor], torch.Tensor]


class ContinualX3D(Continual):
    """X3D by steps. `forward` of a clip equals stepping through it from its first picture on."""

    def __init__(self, classes: int, size: int, depth_factor: float) -> None:
        super().__init__()
        # Its own pooling, which fixes the frames of a clip, is not used.
        network: Any = x3d(classes, 1, size, depth_factor)
        self.blocks: Any = network.blocks

    @property
    def context(self) -> int:
        return sum(_reach(conv) for conv in self._over_time())

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(clips))

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        return self._look(clips, _whole)

    def step(
        self, images: torch.Tensor, begins: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        memory = _Memory(begins, iter(state))
        features = self._look(images[:, :, None], memory.convolve)[:, 0]
        return features, tuple(memory.after)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        head = self.blocks[-1]
        pooled = features.mean(1)[..., None, None, None]  # (B, F, 1, 1, 1)
        found = head.pool.post_act(head.pool.post_conv(pooled)).flatten(1)
        logits: torch.Tensor = head.proj(head.dropout(found) if head.dropout is not None else found)
        return logits

    def _over_time(self) -> Iterator[nn.Conv3d]:
        return (m for m in self.modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] > 1)

    def _look(self, clips: torch.Tensor, over_time: _OverTime) -> torch.Tensor:
        """Features (B, T, F) of pictures (B, 3, T, H, W)."""
        stem, *stages, head = self.blocks
        # PyTorchVideo has the two names of its stem the wrong way round.
        x = stem.activation(stem.norm(over_time(stem.conv.conv_xy, stem.conv.conv_t(clips))))
        for block in (block for stage in stages for block in stage.res_blocks):
            x = _block(block, x, over_time)
        x = head.pool.pre_act(head.pool.pre_norm(head.pool.pre_conv(x)))
        features: torch.Tensor = x.mean((3, 4)).transpose(1, 2)
        return features


def _block(block: Any, x: torch.Tensor, over_time: _OverTime) -> torch.Tensor:
    inner = block.branch2
    past = x
    if block.branch1_conv is not None:
        past = block.branch1_conv(x)
        past = past if block.branch1_norm is None else block.branch1_norm(past)
    h = inner.act_a(inner.norm_a(inner.conv_a(x)))
    normalise, excite = inner.norm_b
    h = normalise(over_time(inner.conv_b, h))
    if not isinstance(excite, nn.Identity):
        h = h * excite.block(h.mean((3, 4), keepdim=True))
    h = inner.norm_c(inner.conv_c(inner.act_b(h)))
    found: torch.Tensor = block.activation(past + h)
    return found


def _reach(conv: nn.Conv3d) -> int:
    """How many pictures back a convolution over time looks."""
    return int(conv.kernel_size[0]) // 2


def _now(conv: nn.Conv3d) -> torch.Tensor:
    """What a kernel does with the newest picture, which stands for those to come."""
    return conv.weight[:, :, _reach(conv) :].sum(2, keepdim=True)


def _convolve(conv: nn.Conv3d, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    return functional.conv3d(x, kernel, None, conv.stride, (0, *conv.padding[1:]), 1, conv.groups)


def _whole(conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """A convolution over time, of a whole clip."""
    reach = _reach(conv)
    held = torch.cat([x[:, :, :1]] * reach + [x], 2)
    return _convolve(conv, held, torch.cat([conv.weight[:, :, :reach], _now(conv)], 2))


class _Memory:
    """Convolutions over time of one picture, each with what pictures before have left for it.

    State of a convolution that reaches `r` pictures back: what they add to this picture, to the next, … (r tensors).
    """

    def __init__(self, begins: torch.Tensor, before: Iterator[torch.Tensor]) -> None:
        self._begins = begins.view(-1, 1, 1, 1, 1) > 0
        self._before = before
        self.after: list[torch.Tensor] = []

    def convolve(self, conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        # What this picture adds to the one `reach` pictures on, …, to the next; each kernel meets it once.
        ahead = [_convolve(conv, x, conv.weight[:, :, k : k + 1]) for k in range(_reach(conv))]
        # As if it had stood still before: the sums that would have come of it.
        still = [sum(ahead[1 : len(ahead) - k], ahead[0]) for k in range(len(ahead))]
        owed = [torch.where(self._begins, held, next(self._before)) for held in still]
        for k, added in enumerate(reversed(ahead)):
            self.after.append(owed[k + 1] + added if k + 1 < len(owed) else added)
        return owed[0] + _convolve(conv, x, _now(conv))
