"""Hand-made features say what their formulas say: where, which way and how fast something moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models import TrainingError
from models.classical.descriptors import PARTS, check_clip, describe_clip

SIZE = 96


def textured(seed: int = 0, size: int = 3 * SIZE) -> np.ndarray:
    """Soft noise (size, size) that optical flow can hold on to."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 40 * soft / soft.std(), 0, 255).astype(np.uint8)


def panned(dx: int, dy: int, frames: int = 4) -> np.ndarray:
    """A texture that moves by (dx, dy) pixels from each frame to the next, (T, H, W, 3)."""
    texture = textured()
    tops = [(SIZE - t * dy, SIZE - t * dx) for t in range(frames)]
    grey = np.stack([texture[y : y + SIZE, x : x + SIZE] for y, x in tops])
    return np.repeat(grey[..., None], 3, axis=3)


def part(clip: np.ndarray, name: str) -> np.ndarray:
    ends = np.cumsum(list(PARTS.values()))
    return dict(zip(PARTS, np.split(describe_clip(clip), ends[:-1]), strict=True))[name]


@pytest.mark.parametrize("size", [32, 45, 160])
def test_description_has_the_same_length_at_every_size(size):
    clip = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    found = describe_clip(clip)
    assert found.shape == (sum(PARTS.values()),)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("dx", "dy", "direction"), [(3, 0, 0), (2, 2, 1), (0, 3, 2), (-3, 0, 4), (0, -3, 6)])
def test_flow_says_which_way_everything_moves(dx, dy, direction):
    """Direction 0 is to the right and 2 is down, since pictures are counted downwards."""
    mean, most = part(panned(dx, dy), "flow").reshape(2, 9, 8)
    assert (mean.argmax(1) == direction).all()
    assert (most >= mean - 1e-6).all()
    # The middle cell sees nothing of the border: its speed is that of the pan, in hundredths of the height.
    assert mean[4, direction] ** 2 == pytest.approx(100 * np.hypot(dx, dy) / SIZE, rel=0.15)


def test_flow_says_where_something_moves():
    clip = np.repeat(panned(0, 0)[:1], 4, axis=0)
    moving = panned(3, 0)
    clip[:, :32, 64:] = moving[:, :32, 64:]
    strength = part(clip, "flow").reshape(2, 9, 8)[0].sum(1)
    assert strength.argmax() == 2
    assert strength[[3, 6, 7]].max() < 0.2 * strength[2]


def test_speed_grows_with_the_motion_and_says_how_uneven_it_is():
    slow, fast = part(panned(1, 0), "speed"), part(panned(4, 0), "speed")
    assert fast[0] > 1.5 * slow[0]
    jerky = np.concatenate([panned(4, 0, 3), panned(4, 0, 3)[2:].repeat(3, axis=0)])
    assert part(jerky, "speed")[6] > 3 * part(panned(4, 0, 6), "speed")[6]


def test_still_clip_has_an_appearance_and_no_motion():
    still = panned(0, 0)
    assert part(still, "appearance").any()
    for name in ("energy", "flow", "speed"):
        assert not part(still, name).any(), name
    often = part(still, "change").reshape(9, 5)
    np.testing.assert_allclose(often, np.tile([1, 0, 0, 0, 0], (9, 1)))


def test_change_counts_how_often_a_place_changes_its_speed():
    """One corner moves in every second step, so there the speed changes at each: its share falls into the last bin."""
    still, moved = panned(0, 0)[0], panned(5, 0)[1]
    clip = np.stack([still] * 6)
    for t, which in enumerate((still, moved, moved, still, still, moved)):
        clip[t, :32, :32] = which[:32, :32]
    often = part(clip, "change").reshape(9, 5)
    assert often[0, -1] > 0.5
    assert often[8, 0] == pytest.approx(1)


def test_appearance_is_that_of_the_mean_picture_whatever_the_order():
    clip = panned(3, 1)
    np.testing.assert_allclose(part(clip, "appearance"), part(clip[::-1], "appearance"), atol=1e-5)
    assert not np.allclose(part(clip, "flow"), part(clip[::-1], "flow"), atol=0.1)


def test_description_does_not_depend_on_the_number_of_threads():
    clip, before = panned(2, 1), cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = describe_clip(clip)
        cv2.setNumThreads(4)
        np.testing.assert_array_equal(alone, describe_clip(clip))
    finally:
        cv2.setNumThreads(before)


def test_clips_too_short_or_too_small_to_describe_are_refused():
    check_clip(3, 32)
    for frames, size in ((2, 160), (8, 31)):
        with pytest.raises(TrainingError, match="at least 3 frames of 32x32"):
            check_clip(frames, size)
