"""What a pose network sees change, in one view: where a few hundred clips are all there is, and cores are dear.

    clip        x0 … xT-1     (B, 3, T, H, W)
    pose net    f0 … fT-1     maps of four depths of MoveNet MultiPose's backbone (MobileNetV2, width 1.5), frozen
    change      mean over time of |ft - ft-1| at every place, then the maximum over places: what matters goes on at one
                place for the whole clip, is small in a surveillance picture, and everything else stands still
    appearance  maximum over places of one depth, mean over time
    head        standardised, then one linear layer: multinomial logistic regression

A network that was taught to find people and their limbs has learnt what the video networks of a larger world would have
to learn from clips that are not there. Only the linear layer is fitted, by L-BFGS, in seconds and the same each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

import torch
from torch import nn
from torch.nn import functional

from models.checkpoint import find

from .factored import Factored

#: Inverse strength of the logistic regression's L2 penalty, per video, on features of mean square 1 / F.
_INVERSE_PENALTY: Final = 30.0
_MAX_STEPS: Final = 500
#: The features of all rows are squared in so many parts.
_PARTS: Final = 16
#: So many pictures at once: their early maps stay in a processor's cache. Four times faster than 32.
PICTURES_AT_ONCE: Final = 4
#: The checkpoint that holds the pose network's weights.
_SHIPPED: Final = "movenet-motion"


class _Conv(nn.Module):
    """Convolution with folded batch normalisation, padded as TensorFlow's SAME pads: n pixels give ceil(n / stride)."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, bounded: bool = True
    ) -> None:
        super().__init__()
        self._kernel, self._stride = kernel, stride
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups)
        self._bounded = bounded

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._stride > 1:
            # As numbers: a traced graph is of one size, and would compute them for each clip.
            height, width = int(x.shape[2]), int(x.shape[3])
            x = functional.pad(x, (*self._padding(width), *self._padding(height)))
        x = self.conv(x)
        return functional.relu6(x) if self._bounded else x

    def _padding(self, length: int) -> tuple[int, int]:
        """Zeros before and after so many pixels: what is odd comes after them."""
        total = max(0, (-(-length // self._stride) - 1) * self._stride + self._kernel - length)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual of MobileNetV2 (Sandler et al., CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = inputs * widen
        self.expand = _Conv(inputs, wide) if widen > 1 else nn.Identity()
        self.depthwise = _Conv(wide, wide, 3, stride, wide)
        self.project = _Conv(wide, outputs, bounded=False)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self._residual else y


class PoseBackbone(nn.Module):
    """The backbone of MoveNet MultiPose: pictures (N, 3, H, W) in [-1, 1] to feature maps of four depths."""

    #: Channels and stride of each inverted residual.
    BLOCKS: Final = (
        *((24, 1), (40, 2), (40, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1), (96, 1)),
        *((144, 1), (144, 1), (144, 1), (240, 2), (240, 1), (240, 1), (480, 1)),
    )
    #: Blocks whose output is used, beside that of the last convolution.
    TAPS: Final = (9, 12, 15)
    CHANNELS: Final = (96, 144, 240, 1280)
    #: How many pixels of a picture, in each direction, are one place of a map.
    STRIDES: Final = (16, 16, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Conv(3, 48, 3, 2)
        inputs, blocks = 48, []
        for number, (outputs, stride) in enumerate(self.BLOCKS):
            blocks.append(_Block(inputs, outputs, stride, 6 if number else 1))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = _Conv(inputs, self.CHANNELS[-1])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, taps = self.stem(x), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.TAPS:
                taps.append(x)
        return *taps, self.last(x)


def pose_backbone(*, pretrained: bool) -> PoseBackbone:
    """The backbone, with its weights if `pretrained`: they lie in a checkpoint that ships."""
    backbone = PoseBackbone().to(memory_format=torch.channels_last)  # depthwise convolutions are twice as fast
    if pretrained:
        known = find(_SHIPPED).state()
        backbone.load_state_dict({name: known[f"backbone.{name}"] for name in backbone.state_dict()})
    return backbone


class LinearHead(nn.Module):
    """Descriptors (B, F), standardised, to logits (B, L)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.classify = nn.Linear(features, classes)

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classify((descriptors - self.shift) * self.scale)
        return logits

    def fit(
        self,
        rows: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        positive: torch.Tensor | None = None,
    ) -> None:
        """Fit to descriptors (M, F) with labels, each counting `weight` (M,), by penalised maximum likelihood.

        The weights add up to the number of independent examples, against which the penalty is set. Labels are (M,), or
        (M, L) where a row may have several: then each of them is a binary regression of its own, in which rows that
        have the label count `positive` (L,) times their weight.
        """
        x, w = rows.to(torch.double, copy=True), weight.double()
        mean = w @ x / w.sum()
        x -= mean  # in place, and squared in parts: rows are many, and a copy of them takes as much memory again
        std = (torch.cat([w @ part.square() for part in x.chunk(_PARTS, 1)]) / w.sum()).sqrt() + 1e-6
        scale = 1 / (std * math.sqrt(x.shape[1]))
        x *= scale
        labels = self.classify.out_features
        matrix = torch.zeros(labels, x.shape[1], dtype=torch.double, device=x.device, requires_grad=True)
        bias = torch.zeros(labels, dtype=torch.double, device=x.device, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [matrix, bias], max_iter=_MAX_STEPS, history_size=20, line_search_fn="strong_wolfe"
        )

        def loss() -> float:
            optimiser.zero_grad()
            logits, penalty = x @ matrix.T + bias, matrix.square().sum() / 2
            if truth.ndim == 2:
                losses = functional.binary_cross_entropy_with_logits(
                    logits, truth.double(), pos_weight=positive, reduction="none"
                ).sum(1)
            else:
                losses = functional.cross_entropy(logits, truth, reduction="none")
                # The rows of a softmax share what the one row of a binary regression carries: hence the factor.
                penalty = penalty * (labels / (labels - 1))
            total = _INVERSE_PENALTY * (w * losses).sum() + penalty
            total.backward()  # type: ignore[no-untyped-call]
            return float(total.detach())

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.shift.copy_(mean)
            self.scale.copy_(scale)
            self.classify.weight.copy_(matrix)
            self.classify.bias.copy_(bias)


class MoveNetMotion(Factored):
    """Normalised clips (B, 3, T, H, W) to logits (B, L).

    Features of a picture are its maps, one after another; `classify` takes those of pictures of `size` pixels.
    """

    #: Which depth's appearance is used.
    _APPEARANCE: Final = 2
    FEATURES: Final = sum(PoseBackbone.CHANNELS) + PoseBackbone.CHANNELS[_APPEARANCE]
    #: How often it may look at a window: descriptors of each look, the one that sees all last, are a row each.
    LOOKS: ClassVar = 1
    #: How training stores descriptors, and how many times as many numbers of them as those that lie in memory.
    STORED: ClassVar = torch.float32
    STORED_TIMES: ClassVar = 1

    def __init__(self, classes: int, *, size: int = 192, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone = pose_backbone(pretrained=pretrained)
        self.head = LinearHead(self.FEATURES, classes)
        self._places = [math.ceil(size / stride) ** 2 for stride in PoseBackbone.STRIDES]

    def row_shape(self, frames: int) -> tuple[int, ...]:  # noqa: ARG002  other networks' depend on it
        """What the descriptors of one look at a window of so many frames are."""
        return (self.FEATURES,)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([m.flatten(1) for m in self.backbone(images)], dim=1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self._pooled(self._maps(features)))
        return logits

    @staticmethod
    def judge(head: nn.Module, looks: torch.Tensor, *, may_settle: bool = True) -> torch.Tensor:  # noqa: ARG004
        """Descriptors (W, `LOOKS`, F) of windows to logits (W, L), as the model serves.

        Where an earlier look `may_settle` it, it does so for windows of which it is sure; else all looks are used.
        """
        logits: torch.Tensor = head(looks[:, 0])
        return logits

    def describe(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (B, 3, T, H, W) to descriptors (B, F) of all that there is to see."""
        batch, channels, frames, height, width = clips.shape
        images = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
        return self._pooled([m.reshape(batch, frames, m.shape[1], -1) for m in self.backbone(images)])

    def describe_windows(self, pictures: Iterable[torch.Tensor], places: torch.Tensor) -> torch.Tensor:
        """Pictures in parts (n, 3, H, W) and the places (W, T) of windows among them to descriptors (W, `LOOKS`, F).

        Windows share their frames, so each frame goes through the backbone once. Its maps are kept until the last
        window that needs them; windows therefore come in the order in which they begin. Parts of `PICTURES_AT_ONCE` are
        quickest.

        Raises:
            ValueError: there are fewer pictures than the windows need.
        """
        rows, done = torch.empty(0), 0
        kept: dict[int, tuple[torch.Tensor, ...]] = {}  # by place: of each depth (F, h w)
        begins, ends, seen = places.amin(1).tolist(), places.amax(1).tolist(), 0
        for part in pictures:
            depths = self.backbone(part.contiguous(memory_format=torch.channels_last))
            depths = [m.flatten(2).contiguous() for m in depths]  # (n, F, h w); many windows will read each
            kept |= {seen + k: maps for k, maps in enumerate(zip(*depths, strict=True))}
            seen += len(part)
            while done < len(places) and ends[done] < seen:
                window = [kept[place] for place in places[done].tolist()]
                row = self._pooled([torch.stack(m)[None] for m in zip(*window, strict=True)])
                if not done:  # where and in what precision the backbone computes
                    rows = row.new_empty(len(places), self.LOOKS, row.shape[1])
                rows[done] = row
                done += 1
            needed = begins[done] if done < len(places) else seen
            kept = {place: maps for place, maps in kept.items() if place >= needed}
        if done < len(places):
            raise ValueError(f"{seen} pictures: window {done} needs {ends[done] + 1}")
        return rows

    def _maps(self, features: torch.Tensor) -> list[torch.Tensor]:
        """Features (B, T, F) as maps (B, T, C, h w) of each depth."""
        shapes = list(zip(PoseBackbone.CHANNELS, self._places, strict=True))
        maps = torch.split(features, [channels * places for channels, places in shapes], dim=2)
        return [m.reshape(*m.shape[:2], *shape) for m, shape in zip(maps, shapes, strict=True)]

    def _pooled(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        found = []
        for depth, m in enumerate(maps):  # (B, T, F, h w)
            if depth == self._APPEARANCE:
                found.append(m.amax(3).mean(1))
            found.append(self._change(m).mean(1).amax(2))
        return torch.cat(found, dim=1)

    def _change(self, maps: torch.Tensor) -> torch.Tensor:
        """How much each place of maps (B, T, C, h w) changes, time after time."""
        return (maps[:, 1:] - maps[:, :-1]).abs()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.describe(clips))
        return logits
