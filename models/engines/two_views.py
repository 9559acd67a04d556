"""An engine for networks that see each picture twice: whole, and close up where most of a window moves.

    picture ─▶ whole ──────────────▶ encoder ─┬─▶ head, given the whole twice ─▶ scores: do they settle it?
       │                                      ├─▶ head ─▶ scores of the other windows
       └─▶ close, at the window's place ▶ encoder ─┘

More places of the same are nothing new to a network that takes the maximum over places. What an encoder found in a
close view is kept with the picture: windows that share it mostly look at one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.contract import Contract
from models.windows.views import Cells, cells_of, close_at, place_of, settled, whole_of

from .engine import Engine, Features, Graph, Picture, Scores


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture and what was found in it so far."""

    picture: Picture
    cells: Cells
    whole: Features
    #: By place.
    closes: dict[int, Features] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TwoViewEngine(Engine):
    """What `encode` gives are `Seen`, for `score` alone."""

    #: Where the whole picture's scores have such odds, they stand: see `settled`. 0: nowhere.
    settling_odds: float = 0.0

    def encode(self, pictures: Iterable[Picture]) -> list[Any]:
        given = list(pictures)
        wholes = [whole_of(picture) for picture in given]
        found = self.encoder.run(wholes)
        return [Seen(p, cells_of(w), f) for p, w, f in zip(given, wholes, found, strict=True)]

    def score(self, windows: Sequence[Sequence[Any]]) -> Scores:
        if not self.settling_odds:
            return self._looked_close(windows)
        scores = np.stack(self.head.run(_joined(window, [seen.whole for seen in window]) for window in windows))
        if open_ones := np.flatnonzero(~settled(scores, self.settling_odds)).tolist():
            scores[open_ones] = self._looked_close([windows[number] for number in open_ones])
        return scores

    def _looked_close(self, windows: Sequence[Sequence[Any]]) -> Scores:
        scores: Scores = np.stack(self.head.run(self.joined(windows)))
        return scores

    def joined(self, windows: Sequence[Sequence[Any]]) -> Iterable[np.ndarray]:
        """What the head is given for each window, (T, 2 F)."""
        places = [place_of([seen.cells for seen in window]) for window in windows]
        new: dict[tuple[int, int], Seen] = {
            (id(seen), place): seen
            for window, place in zip(windows, places, strict=True)
            for seen in window
            if place not in seen.closes
        }
        closes = self.encoder.run(close_at(seen.picture, place) for (_, place), seen in new.items())
        for ((_, place), seen), close in zip(new.items(), closes, strict=True):
            seen.closes[place] = close
        for window, place in zip(windows, places, strict=True):
            yield _joined(window, [seen.closes[place] for seen in window])


def _joined(window: Sequence[Seen], seconds: Sequence[Features]) -> np.ndarray:
    """What the head is given for a window, (T, 2 F)."""
    features = np.empty((len(window), 2, *window[0].whole.shape), window[0].whole.dtype)
    for row, seen, second in zip(features, window, seconds, strict=True):
        row[0], row[1] = seen.whole, second
    return features.reshape(len(window), -1)


def engine_of(contract: Contract, name: str, head: Graph, encoder: Graph | None = None) -> Engine:
    """The engine for a model, by the number of its views."""
    if encoder is None:
        return Engine(name, head)
    if contract.views == 2:
        # The head's scores are at the contract's temperature, which divides the logarithm of odds.
        return TwoViewEngine(name, head, encoder, settling_odds=contract.settling_odds ** (1 / contract.temperature))
    return Engine(name, head, encoder)
