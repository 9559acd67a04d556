"""Find videos that look alike: copies in another encoding or size, parts of one recording, the same scene again.

    picture ─▶ 8 rows of 9 grey cells ─▶ is each cell brighter than the one before? ─▶ 64 bits

Pictures look alike if few of these bits differ (the difference hash of N. Krawetz, 2013), videos if most pictures of
the shorter one look like one of the other's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models import Frames

_ROWS: Final = 8
_CELLS: Final = 9
#: Pictures of a video that are looked at, spread over it.
_PICTURES: Final = 8
#: Of 64 bits. Half of them differ between pictures of different scenes.
_DIFFERING_BITS: Final = 6
#: Share of the pictures of the shorter video.
_ALIKE: Final = 0.5
#: Grey levels. The bits of a picture that varies less (black, covered, out of focus) are noise.
_LEAST_SPREAD: Final = 6.0
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Alike:
    """Two videos, by index, and the share of the pictures of the shorter one that look like one of the other's."""

    first: int
    second: int
    share: float


def hashes_of(frames: Frames) -> Hashes:
    """Hashes (P,) of a few pictures of a video (N, H, W, 3) uint8, without those that show next to nothing."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, _PICTURES).round().astype(int))
    found = [_hash(np.asarray(frames[i])) for i in chosen]
    return np.unique(np.array([h for h in found if h is not None], np.uint64))


def find_alike(hashes: Sequence[Hashes], groups: Sequence[str]) -> list[Alike]:
    """Pairs of videos of different groups that look alike, the most alike first."""
    found = []
    owners = np.repeat(np.arange(len(hashes)), [len(h) for h in hashes])
    everything: np.ndarray[Any, Any] = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    names = np.array(groups)
    for first, own in enumerate(hashes):
        begin = int(np.searchsorted(owners, first, side="right"))
        others, of = everything[begin:], owners[begin:]
        if not len(own) or not len(others):
            continue
        near = np.bitwise_count(own[:, None] ^ others[None]) <= _DIFFERING_BITS  # (P, all pictures of later videos)
        for second in np.unique(of[near.any(0)]):
            if names[first] == names[second]:
                continue
            both = near[:, of == second]
            share = max(both.any(axis).mean() for axis in (0, 1) if both.shape[1 - axis] == min(both.shape))
            if share >= _ALIKE:
                found.append(Alike(first, int(second), float(share)))
    return sorted(found, key=lambda pair: -pair.share)


def joined(groups: Sequence[str], pairs: Sequence[Alike]) -> list[str]:
    """The groups with those of each pair made one, under the name of the first."""
    parents = {group: group for group in groups}

    def root(group: str) -> str:
        while parents[group] != group:
            group = parents[group]
        return group

    for pair in pairs:
        first, second = sorted((root(groups[pair.first]), root(groups[pair.second])))
        parents[second] = first
    return [root(group) for group in groups]


def _hash(picture: np.ndarray) -> np.uint64 | None:
    grey = picture.astype(np.float32) @ _GREY  # (H, W)
    cells = np.stack([part.mean(0) for part in _parts(grey, _ROWS)])
    cells = np.stack([part.mean(0) for part in _parts(cells.T, _CELLS)]).T  # (8, 9)
    if cells.std() < _LEAST_SPREAD:
        return None
    bits = (cells[:, 1:] > cells[:, :-1]).ravel()
    packed: np.uint64 = np.packbits(bits).view(np.uint64)[0]
    return packed


def _parts(rows: np.ndarray, count: int) -> Iterator[np.ndarray]:
    yield from np.array_split(rows, count)
