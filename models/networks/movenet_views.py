"""The model to begin with: what a pose network sees change in a whole picture, and close up where most moves.

    clip        x0 … xT-1     (B, 3, T, 2S, 2S)
    views       of each picture the whole, and the close view at the window's place (models/windows/views.py)
    pose net    f0 … fT-1     maps of four depths of both views; to what follows, the second view is more places
    change      mean over time of |ft+1 - 2 ft + ft-1| at every place, then the maximum over places
    appearance  maximum over places of one depth, mean over time
    head        standardised, then one linear layer, as in movenet.py

Second differences tell how erratic a place is: who walks past changes a place steadily, who fights does not. The head
learns from what the whole picture shows alone, too, and where it is sure of that, no close view is taken (`judge`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.windows.views import SETTLING_ODDS, Cells, Picture, cells_of, close_at, place_of, settled, whole_of

from .movenet import PICTURES_AT_ONCE, MoveNetMotion

Maps = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a window: of both views the maps of each depth (F, h w)."""

    picture: Picture
    cells: Cells
    whole: Maps
    closes: dict[int, Maps] = field(default_factory=dict)


class MoveNetViews(MoveNetMotion):
    """Normalised clips (B, 3, T, 2S, 2S) to logits (B, L); pictures are encoded a view (S, S) at a time.

    Features of a picture are those of its whole, then those of its close view.
    """

    views: ClassVar = 2
    #: At the whole alone, and at both views.
    LOOKS: ClassVar = 2

    def __init__(self, classes: int, *, size: int = 384, pretrained: bool = False) -> None:
        super().__init__(classes, size=size // self.views, pretrained=pretrained)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        whole, close = features.chunk(self.views, dim=2)
        maps = [torch.cat(pair, dim=3) for pair in zip(self._maps(whole), self._maps(close), strict=True)]
        logits: torch.Tensor = self.head(self._pooled(maps))
        return logits

    @staticmethod
    def judge(head: nn.Module, looks: torch.Tensor, *, may_settle: bool = True) -> torch.Tensor:
        both: torch.Tensor = head(looks[:, 1])
        return unless_settled(head(looks[:, 0]), both) if may_settle else both

    def describe(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._looks_at(clip)[:, -1] for clip in clips])

    def describe_windows(self, pictures: Iterable[torch.Tensor], places: torch.Tensor) -> torch.Tensor:
        rows: list[torch.Tensor] = []
        kept: dict[int, Seen] = {}
        begins, ends, seen = places.amin(1).tolist(), places.amax(1).tolist(), 0
        for part in pictures:
            kept |= {seen + k: picture for k, picture in enumerate(self._look(part))}
            seen += len(part)
            while len(rows) < len(places) and ends[len(rows)] < seen:
                row = self._row([kept[place] for place in places[len(rows)].tolist()], part)
                rows.append(row.to(self.STORED))
            needed = begins[len(rows)] if len(rows) < len(places) else seen
            kept = {place: picture for place, picture in kept.items() if place >= needed}
        if len(rows) < len(places):
            raise ValueError(f"{seen} pictures: window {len(rows)} needs {ends[len(rows)] + 1}")
        return torch.cat(rows)

    def _looks_at(self, clip: torch.Tensor) -> torch.Tensor:
        """What describes a clip (3, T, 2S, 2S), (1, LOOKS, F)."""
        return self._row(self._look(clip.transpose(0, 1)), clip)

    def _look(self, part: torch.Tensor) -> list[Seen]:
        """Pictures (n, 3, 2S, 2S) with the maps of their whole."""
        # As they were before they were normalised: views are made as they are when the model serves, to the last bit.
        levels = ((part + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        wholes = [whole_of(picture) for picture in levels]
        maps = self._encoded(wholes, part)
        return [Seen(p, cells_of(w), m) for p, w, m in zip(levels, wholes, maps, strict=True)]

    def _row(self, window: Sequence[Seen], like: torch.Tensor) -> torch.Tensor:
        """The descriptors of a window, (1, LOOKS, F)."""
        whole, close = self._views_of(window, like)
        both = [
            tuple(torch.cat(depths, dim=1) for depths in zip(*two, strict=True))
            for two in zip(whole, close, strict=True)
        ]
        pooled = (
            self._pooled([torch.stack(depth)[None] for depth in zip(*look, strict=True)]) for look in (whole, both)
        )
        return torch.stack(list(pooled), dim=1)

    def _views_of(self, window: Sequence[Seen], like: torch.Tensor) -> tuple[list[Maps], list[Maps]]:
        """The maps of a window's pictures, whole and close up."""
        place = place_of([seen.cells for seen in window])
        new = {id(seen): seen for seen in window if place not in seen.closes}
        maps = self._encoded([close_at(seen.picture, place) for seen in new.values()], like)
        for seen, found in zip(new.values(), maps, strict=True):
            seen.closes[place] = found
        return [seen.whole for seen in window], [seen.closes[place] for seen in window]

    def _encoded(self, views: Sequence[Picture], like: torch.Tensor) -> list[Maps]:
        """Maps of each depth (F, h w) of views (S, S, 3), where and in what precision `like` is."""
        found: list[Maps] = []
        for begin in range(0, len(views), PICTURES_AT_ONCE):
            part = torch.from_numpy(np.stack(views[begin : begin + PICTURES_AT_ONCE])).to(like.device)
            images = part.permute(0, 3, 1, 2).to(like.dtype) / 127.5 - 1
            depths = self.backbone(images.contiguous(memory_format=torch.channels_last))
            found += zip(*(m.flatten(2).contiguous() for m in depths), strict=True)
        return found

    def _change(self, maps: torch.Tensor) -> torch.Tensor:
        return (maps[:, 2:] - 2 * maps[:, 1:-1] + maps[:, :-2]).abs()


def unless_settled(whole: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    """Logits (W, L) of windows: from the whole alone where these settle it, else from both views."""
    is_settled = settled(functional.softmax(whole.double(), dim=1).cpu().numpy(), SETTLING_ODDS)
    return torch.where(torch.from_numpy(is_settled).to(whole.device)[:, None], whole, both)
