"""Poses of the humanoid of pybullet_data, their algebra, and its motion capture.

A pose is a row of the mocap files without its duration: 43 numbers, root position, root rotation, then one quaternion
(w, x, y, z) per ball joint and one angle per hinge. Metres, y up; a figure faces +x.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

TICK = 30  # poses a second, whatever the frame rate of the video

XYZ = slice(0, 3)
ROOT, CHEST, NECK = slice(3, 7), slice(7, 11), slice(11, 15)
HIP, KNEE, ANKLE = (
    {"r": slice(15, 19), "l": slice(29, 33)},
    {"r": 19, "l": 33},
    {"r": slice(20, 24), "l": slice(34, 38)},
)
SHOULDER, ELBOW = {"r": slice(24, 28), "l": slice(38, 42)}, {"r": 28, "l": 42}
BALLS = (ROOT, CHEST, NECK, HIP["r"], ANKLE["r"], SHOULDER["r"], HIP["l"], ANKLE["l"], SHOULDER["l"])
LEGS = (*range(15, 24), *range(29, 38))
# Joint numbers of pybullet_data/humanoid/humanoid.urdf.
BALL_JOINTS = {
    1: CHEST,
    2: NECK,
    3: HIP["r"],
    5: ANKLE["r"],
    6: SHOULDER["r"],
    9: HIP["l"],
    11: ANKLE["l"],
    12: SHOULDER["l"],
}
HINGE_JOINTS = {4: KNEE["r"], 7: ELBOW["r"], 10: KNEE["l"], 13: ELBOW["l"]}
URDF_SCALE = 0.25  # metres per unit of the URDF: a person of 1.65 m
X_AXIS, Y_AXIS, Z_AXIS = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def quat(axis: Sequence[float], angle: float | Array) -> Array:
    half = np.asarray(angle, float)[..., None] / 2
    return np.concatenate([np.cos(half), np.sin(half) * np.asarray(axis, float)], axis=-1)


def qmul(a: Array, b: Array) -> Array:
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def rotate(q: Array, v: Array) -> Array:
    w, u = q[..., :1], q[..., 1:]
    t = 2 * np.cross(u, v)
    return v + w * t + np.cross(u, t)


def heading(root: Array) -> Array:
    """Angle about y of the direction in which a root rotation (..., 4) faces; 0 faces +x."""
    forward = rotate(root, np.broadcast_to(X_AXIS, (*root.shape[:-1], 3)))
    return np.arctan2(-forward[..., 2], forward[..., 0])


def toward(dx: float, dz: float) -> float:
    return math.atan2(-dz, dx)


def wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def blend(a: Array, b: Array, share: float | Array) -> Array:
    """Between poses `a` (share 0) and `b` (share 1), quaternions along the shorter way."""
    share = np.asarray(share, float)[..., None]
    out = (1 - share) * a + share * b
    for s in BALLS:
        sign = np.where((a[..., s] * b[..., s]).sum(-1, keepdims=True) < 0, -1.0, 1.0)
        mixed = (1 - share) * a[..., s] + share * sign * b[..., s]
        out[..., s] = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    return out


def ease(share: float | Array) -> Any:
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3 - 2 * share)


def mirrored(poses: Array) -> Array:
    """The same motion with left and right exchanged."""
    out = poses.copy()
    for joint in (HIP, KNEE, ANKLE, SHOULDER, ELBOW):
        out[..., joint["r"]], out[..., joint["l"]] = poses[..., joint["l"]], poses[..., joint["r"]]
    out[..., 2] *= -1
    for s in BALLS:
        out[..., s] *= (1, -1, -1, 1)
    return out


def stance() -> Array:
    """Standing upright, arms hanging a little away from the body."""
    pose = np.zeros(43)
    pose[1] = 0.89
    for s in BALLS:
        pose[s] = (1, 0, 0, 0)
    for side, sign in (("r", -1), ("l", 1)):
        pose[SHOULDER[side]] = quat(X_AXIS, sign * 0.13)
        pose[ELBOW[side]] = 0.25
        pose[HIP[side]] = quat(X_AXIS, sign * 0.06)
    return pose


def arms(pose: Array, *, lift: tuple[float, float], bend: tuple[float, float], spread: float = 0.1) -> Array:
    """`pose` with both upper arms lifted forward by `lift` and elbows bent by `bend`, radians, (right, left)."""
    pose = pose.copy()
    for side, sign, up, elbow in (("r", -1, lift[0], bend[0]), ("l", 1, lift[1], bend[1])):
        pose[SHOULDER[side]] = qmul(quat(Z_AXIS, up), quat(X_AXIS, sign * spread))
        pose[ELBOW[side]] = elbow
    return pose


def lean(pose: Array, forward: float, twist: float = 0.0) -> Array:
    pose = pose.copy()
    pose[CHEST] = qmul(pose[CHEST], qmul(quat(Z_AXIS, -forward), quat(Y_AXIS, twist)))
    return pose


_SKELETON: tuple[tuple[str, str | None, tuple[float, float, float], slice | int | None], ...] = (
    ("root", None, (0, 0, 0), ROOT),
    ("chest", "root", (0, 0.944604, 0), CHEST),
    ("neck", "chest", (0, 0.895576, 0), NECK),
    ("hip_r", "root", (0, 0, 0.339548), HIP["r"]),
    ("knee_r", "hip_r", (0, -1.686184, 0), KNEE["r"]),
    ("ankle_r", "knee_r", (0, -1.63948, 0), ANKLE["r"]),
    ("shoulder_r", "chest", (-0.0962, 0.974, 0.73244), SHOULDER["r"]),
    ("elbow_r", "shoulder_r", (0, -1.099152, 0), ELBOW["r"]),
    ("hand_r", "elbow_r", (0, -1.035788, 0), None),
    ("hip_l", "root", (0, 0, -0.339548), HIP["l"]),
    ("knee_l", "hip_l", (0, -1.686184, 0), KNEE["l"]),
    ("ankle_l", "knee_l", (0, -1.63948, 0), ANKLE["l"]),
    ("shoulder_l", "chest", (-0.0962, 0.974, -0.73244), SHOULDER["l"]),
    ("elbow_l", "shoulder_l", (0, -1.099152, 0), ELBOW["l"]),
    ("hand_l", "elbow_l", (0, -1.035788, 0), None),
    ("toe_r", "ankle_r", (0.5, -0.13, 0), None),
    ("toe_l", "ankle_l", (0.5, -0.13, 0), None),
    ("heel_r", "ankle_r", (-0.15, -0.13, 0), None),
    ("heel_l", "ankle_l", (-0.15, -0.13, 0), None),
    ("head", "neck", (0, 0.75, 0), None),
    ("crown", "neck", (0, 1.2, 0), None),
)
# How far below a joint the body still reaches, metres.
_FLESH = np.array([0.13, 0.13, 0.08] + [0.08, 0.06, 0.05, 0.06, 0.04, 0.04] * 2 + [0.02] * 4 + [0.09, 0.0])


def joints(poses: Array, scale: float) -> Array:
    """Positions (T, 21, 3) of the skeleton of poses (T, 43), by forward kinematics."""
    place: dict[str, Array] = {}
    turn: dict[str, Array] = {}
    for name, parent, offset, dof in _SKELETON:
        if isinstance(dof, int):
            own = quat(Z_AXIS, poses[:, dof])
        elif dof is None:
            own = np.broadcast_to((1.0, 0, 0, 0), (len(poses), 4))
        else:
            own = poses[:, dof]
        if parent is None:
            place[name], turn[name] = poses[:, XYZ], own
        else:
            arm = np.broadcast_to(np.asarray(offset) * URDF_SCALE * scale, (len(poses), 3))
            place[name] = place[parent] + rotate(turn[parent], arm)
            turn[name] = qmul(turn[parent], own)
    return np.stack([place[name] for name, *_ in _SKELETON], axis=1)


def clearance(poses: Array, scale: float) -> Array:
    """How far the lowest part of the body is above the ground, (T,) metres."""
    lowest: Array = (joints(poses, scale)[..., 1] - _FLESH * scale).min(axis=1)
    return lowest


def grounded(poses: Array, scale: float) -> Array:
    """Poses shifted so that the body touches the ground; a jump stays in the air between two contacts."""
    poses = poses.copy()
    poses[:, 1] *= scale
    floor = ndimage.minimum_filter1d(clearance(poses, scale), size=2 * (TICK // 4) + 1, mode="nearest")
    poses[:, 1] -= ndimage.uniform_filter1d(floor, size=2 * (TICK // 6) + 1, mode="nearest")
    return poses


class Motions:
    """The mocap clips of pybullet_data, resampled at `TICK`."""

    def __init__(self) -> None:
        import pybullet_data  # noqa: PLC0415 - an optional dependency, wanted only to render

        self._folder = Path(pybullet_data.getDataPath()) / "data" / "motions"
        self._cache: dict[str, Array] = {}

    def __call__(self, name: str) -> Array:
        """Clip `name`, (T, 43), starting above the origin and facing +x."""
        if name not in self._cache:
            rows = np.array(json.loads((self._folder / f"humanoid3d_{name}.txt").read_text())["Frames"], float)
            times, poses = np.concatenate([[0.0], rows[:-1, 0].cumsum()]), rows[:, 1:]
            at = np.arange(0, times[-1], 1 / TICK)
            left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
            share = (at - times[left]) / (times[left + 1] - times[left])
            self._cache[name] = turned(blend(poses[left], poses[left + 1], share), -float(heading(poses[0, ROOT])))
        return self._cache[name]

    def in_place(self, name: str) -> Array:
        """Clip `name` without its net displacement and net turn, for use where something else steers."""
        poses = self(name).copy()
        share = np.linspace(0, 1, len(poses))
        drift = wrap(float(heading(poses[-1, ROOT])))
        poses[:, ROOT] = qmul(quat(Y_AXIS, -drift * share), poses[:, ROOT])
        poses[:, [0, 2]] -= poses[0, [0, 2]] + share[:, None] * (poses[-1, [0, 2]] - poses[0, [0, 2]])
        return poses


def turned(poses: Array, angle: float) -> Array:
    """Poses (T, 43) moved to start above the origin and turned about y."""
    poses, about_y = poses.copy(), quat(Y_AXIS, angle)
    poses[:, [0, 2]] -= poses[0, [0, 2]]
    poses[:, XYZ] = rotate(about_y, poses[:, XYZ])
    poses[:, ROOT] = qmul(about_y, poses[:, ROOT])
    return poses
