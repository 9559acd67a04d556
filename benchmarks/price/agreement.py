"""Whether two paths saw the same windows through the same network."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

#: By how much scores of the same windows differ at most on average: decoders, scalers and engines round differently,
#: and Clipline leaves out deblocking. Windows that are one apart are reported beside it.
DIFFERENCE: Final = 0.1
#: From so many windows on it must be less than between windows that are one apart.
ENOUGH: Final = 8
#: Of 255: by how much the pictures of a window differ at most on average, from those that Clipline makes of it.
PICTURE_DIFFERENCE: Final = 4.0
#: By how much the scores that a path has for its own pictures may differ from those that Clipline has for the same.
NETWORK_DIFFERENCE: Final = 0.05

PICTURES: Final = "picture_difference"
NETWORK: Final = "network_difference"


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The mean difference of scores (W, L)."""
    return round(float(np.abs(ours - theirs).mean()), 4)


def judge(ours: np.ndarray, theirs: np.ndarray) -> tuple[dict[str, Any], str | None]:
    """What is to be told of how the scores of two paths agree, and what is wrong where they do not."""
    if theirs.shape != ours.shape:
        return {}, f"scores of shape {theirs.shape}, expected {ours.shape}"
    found = apart(ours, theirs)
    shifted = min(apart(ours[1:], theirs[:-1]), apart(ours[:-1], theirs[1:])) if len(ours) > 1 else None
    details = {
        "mean_score_difference": found,
        "max_score_difference": round(float(np.abs(ours - theirs).max()), 3),
        "mean_score_difference_one_window_apart": shifted,
    }
    if found > DIFFERENCE:
        return details, f"its scores differ from Clipline's by {found} on average, expected {DIFFERENCE} at most"
    if shifted is not None and len(ours) >= ENOUGH and found > shifted:
        return details, (
            f"its scores differ from Clipline's by {found} on average, and from those of windows one apart by {shifted}"
        )
    return details, None


def judge_pictures(found: dict[str, float]) -> tuple[dict[str, Any], str | None]:
    """The same of what a peer found when it compared its pictures, and what the network makes of them."""
    details = {name: round(found[name], 3) for name in (PICTURES, NETWORK) if name in found}
    for name, most in ((PICTURES, PICTURE_DIFFERENCE), (NETWORK, NETWORK_DIFFERENCE)):
        if details.get(name, 0.0) > most:
            return details, f"{name.replace('_', ' ')} of {details[name]} from Clipline, expected {most} at most"
    return details, None
