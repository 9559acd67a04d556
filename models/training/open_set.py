"""Fit what tells the known from the unknown, to windows that are known and were not learnt from.

So that few of these are said to be unknown; nothing is known of strangers, of which there may be any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.contract import Unknown

#: The distance is from the nearest row but so many: one alone may be a stray.
NEIGHBOURS: Final = 5
#: So large a share of the known windows, each clip counting alike, is beyond the threshold.
UNKNOWN_RATE: Final = 0.05
#: In units of softness, by how much a usual known window is within the threshold: its score of `unknown` is 0.0025.
_MARGIN: Final = 6.0


def fit_unknown(held_out: Sequence[np.ndarray], rows: int) -> Unknown:
    """Choose threshold and softness.

    Args:
        held_out: of each clip the distances (W,) of its windows from what others showed.
        rows: how many known ones the model will compare with.
    """
    every = np.concatenate(held_out)
    weights = np.concatenate([np.full(len(of), 1 / len(of)) for of in held_out])
    usual, threshold = np.quantile(every, [0.5, 1 - UNKNOWN_RATE], weights=weights, method="inverted_cdf")
    softness = max(float(threshold - usual) / _MARGIN, 1e-4)
    return Unknown(rows, min(NEIGHBOURS, rows), round(float(threshold), 5), round(softness, 5))
