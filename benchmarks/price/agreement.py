"""Whether two paths saw the same windows through the same network."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

#: By how much scores of the same windows differ at most on average. Of Clipline's own paths: as precisions round. Of
#: peers: decoders and scalers differ, too, and Clipline leaves out deblocking; their pictures are held to more.
OWN_DIFFERENCE: Final = 0.03
PEER_DIFFERENCE: Final = 0.15
#: Of 255: by how much the pictures of windows differ at most on average, from those that Clipline makes of them. It is
#: less than half of how much they differ from those of windows that are one apart, in any case.
PICTURE_DIFFERENCE: Final = 5.0
#: By how much the scores that a path has for its own pictures may differ from those that Clipline has for the same.
NETWORK_DIFFERENCE: Final = 0.05

PICTURES: Final = "picture_difference"
APART: Final = "picture_difference_one_window_apart"
NETWORK: Final = "network_difference"


def judge(ours: np.ndarray, theirs: np.ndarray, most: float) -> tuple[dict[str, Any], str | None]:
    """What is to be told of how the scores (W, L) of two paths agree, and what is wrong where they do not.

    Args:
        ours: Clipline's.
        theirs: another path's.
        most: by how much they may differ on average.
    """
    if theirs.shape != ours.shape:
        return {}, f"scores of shape {theirs.shape}, expected {ours.shape}"
    difference = np.abs(ours - theirs)
    mean = round(float(difference.mean()), 4)
    details = {"mean_score_difference": mean, "max_score_difference": round(float(difference.max()), 3)}
    if mean > most:
        return details, f"its scores differ from Clipline's by {mean} on average, expected {most} at most"
    return details, None


def judge_pictures(found: dict[str, float]) -> tuple[dict[str, Any], str | None]:
    """The same of what a peer found when it compared its pictures, and what the network makes of them."""
    details = {name: round(found[name], 3) for name in (PICTURES, APART, NETWORK)}
    if details[PICTURES] > min(PICTURE_DIFFERENCE, details[APART] / 2):
        return details, (
            f"its pictures differ from Clipline's by {details[PICTURES]} of 255, and from those of windows one apart "
            f"by {details[APART]}: expected less than half of that, and {PICTURE_DIFFERENCE} at most"
        )
    if details[NETWORK] > NETWORK_DIFFERENCE:
        return details, (
            f"its network gives other scores for the same pictures, by {details[NETWORK]}: expected "
            f"{NETWORK_DIFFERENCE} at most"
        )
    return details, None


def pictures_apart(ours: list[np.ndarray], theirs: list[np.ndarray], stride: int) -> dict[str, float]:
    """By how much pictures of the same times differ, and those `stride` samples apart; of 255, on average."""
    own = [picture.astype(np.int16) for picture in ours]

    def apart(behind: int) -> float:
        pairs = zip(own[behind:], theirs, strict=False)
        return float(np.mean([np.abs(one - other).mean() for one, other in pairs]))

    return {PICTURES: apart(0), APART: apart(stride)}
