"""Render scripted scenes with known truth: people who walk, fight or fall before a real CCTV backdrop.

Motion-capture figures of pybullet (zlib licence) are posed, rendered off-screen with its TinyRenderer and composited over
``vtest.avi`` of Debian's opencv-doc package: a real courtyard whose real pedestrians keep walking behind, and in front of,
the scripted figures. The virtual camera stands where the real one stood, so figures have the size and the perspective of
the pedestrians beside them. Every scene follows from its seed alone.

    python examples/render_scenes.py clips /tmp/scenes --count 150 --seed 1    # labelled three-second clips and labels.csv
    python examples/render_scenes.py demo consumers/footage                    # cameras, truth.csv of ``make demo``

How a scene becomes frames:

    choreography ──poses (T, 43) per figure──▶ grounding ──▶ TinyRenderer ──colour, mask──▶ over backdrop ──▶ sensor ──▶ H.264

World: metres, y up, the camera above the origin looking along -z. A pose is a row of the mocap files without its duration:
root position, root rotation, then one quaternion (w, x, y, z) per ball joint and one angle per hinge.
"""

from __future__ import annotations

import json
import math
import tempfile
import xml.etree.ElementTree as ET
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import av
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Image = NDArray[np.uint8]

Label = Literal["normal", "fight", "fall"]

VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
VTEST_FPS = 10
# The demo shows the first 36 s of the backdrop, training clips only what follows: no pedestrian is in both.
DEMO_FRAMES = range(360)
CLIP_FRAMES = range(360, 795)
DEMO_SEED = 20_090_625

TICK = 30  # poses a second, whatever the frame rate of the video
CLIP_SECONDS = 3.0
FAMILY = ("normal", "fight", "normal", "fall", "normal", "fight", "background", "normal", "fall", "fight")


# --------------------------------------------------------------------------------------------------------------------
# Poses
# --------------------------------------------------------------------------------------------------------------------

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
    for r, l in ((HIP, HIP), (KNEE, KNEE), (ANKLE, ANKLE), (SHOULDER, SHOULDER), (ELBOW, ELBOW)):
        out[..., r["r"]], out[..., l["l"]] = poses[..., l["l"]], poses[..., r["r"]]
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


def grounded(poses: Array, scale: float) -> Array:
    """Poses shifted so that the body touches the ground; a jump stays in the air between two contacts."""
    poses = poses.copy()
    poses[:, 1] *= scale
    lowest = (joints(poses, scale)[..., 1] - _FLESH * scale).min(axis=1)
    floor = ndimage.minimum_filter1d(lowest, size=2 * (TICK // 4) + 1, mode="nearest")
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
            self._cache[name] = _turned(blend(poses[left], poses[left + 1], share), -float(heading(poses[0, ROOT])))
        return self._cache[name]

    def in_place(self, name: str) -> Array:
        """Clip `name` without its net displacement and net turn, for use where something else steers."""
        poses = self(name).copy()
        share = np.linspace(0, 1, len(poses))
        drift = wrap(float(heading(poses[-1, ROOT])))
        poses[:, ROOT] = qmul(quat(Y_AXIS, -drift * share), poses[:, ROOT])
        poses[:, [0, 2]] -= poses[0, [0, 2]] + share[:, None] * (poses[-1, [0, 2]] - poses[0, [0, 2]])
        return poses


def _turned(poses: Array, angle: float) -> Array:
    """Poses moved to start above the origin and turned about y."""
    poses, about_y = poses.copy(), quat(Y_AXIS, angle)
    poses[:, [0, 2]] -= poses[0, [0, 2]]
    poses[:, XYZ] = rotate(about_y, poses[:, XYZ])
    poses[:, ROOT] = qmul(about_y, poses[:, ROOT])
    return poses


# --------------------------------------------------------------------------------------------------------------------
# Choreography
# --------------------------------------------------------------------------------------------------------------------


class Actor:
    """One figure: each verb appends poses to its track and leaves it where the verb ended."""

    def __init__(self, motions: Motions, rng: np.random.Generator, x: float, z: float, facing: float) -> None:
        self.motions, self.rng = motions, rng
        self.look = Look.random(rng)
        self.x, self.z, self.facing = x, z, facing
        self._track: list[Array] = []
        self._from: Array | None = None
        self._since = 0
        self._phase = float(rng.uniform(0, 1))
        self._speed = 0.0
        self._sway = rng.uniform(0.5, 1.5, 4)

    @property
    def seconds(self) -> float:
        return len(self._track) / TICK

    def track(self) -> Array:
        return grounded(np.array(self._track), self.look.height)

    def begin(self) -> None:
        """From here on another motion: its first fifth of a second blends out of the last pose."""
        self._from, self._since = (self._track[-1] if self._track else None), 0

    def emit(self, pose: Array) -> None:
        """Append a pose given in the figure's own frame (facing +x, above the origin)."""
        about_y = quat(Y_AXIS, self.facing)
        pose = pose.copy()
        pose[XYZ] = rotate(about_y, pose[XYZ]) + (self.x, 0, self.z)
        pose[ROOT] = qmul(about_y, pose[ROOT])
        self._since += 1
        if self._from is not None and self._since <= TICK // 4:
            origin = self._from.copy()
            origin[[0, 2]] = pose[[0, 2]]
            pose = blend(origin, pose, ease(self._since / (TICK // 4)))
        self._track.append(pose)

    def pad(self, seconds: float) -> Self:
        """Stand still until the track is `seconds` long."""
        missing = seconds - self.seconds
        return self.idle(missing) if missing > 0 else self

    def idle(self, seconds: float, gesture: float = 0.0, facing: tuple[float, float] | None = None) -> Self:
        """Stand, swaying a little; `gesture` 0..1 is how much the arms talk."""
        self.begin()
        seed = self.rng.uniform(0, 10)
        for i in range(round(seconds * TICK)):
            if facing:
                self._turn(toward(facing[0] - self.x, facing[1] - self.z), 2.5)
            t = seed + i / TICK
            s = self._sway
            talk = gesture * (0.5 + 0.5 * math.sin(1.3 * s[0] * t))
            pose = arms(
                stance(),
                lift=(
                    0.05 + talk * (0.5 + 0.3 * math.sin(4 * s[1] * t)),
                    0.05 + talk * (0.3 + 0.3 * math.sin(3 * s[2] * t)),
                ),
                bend=(0.25 + 1.2 * talk, 0.25 + talk * (0.9 + 0.3 * math.sin(5 * s[3] * t))),
                spread=0.13,
            )
            pose = lean(pose, 0.03 * math.sin(0.9 * s[1] * t), 0.08 * math.sin(0.7 * s[2] * t))
            pose[NECK] = quat(Y_AXIS, 0.35 * math.sin(0.6 * s[3] * t))
            pose[0], pose[2] = 0.02 * math.sin(0.8 * s[0] * t), 0.02 * math.sin(0.5 * s[1] * t)
            self.emit(pose)
        return self

    def go(
        self, x: float, z: float, speed: float = 1.25, gait: str = "walk", limit: float = 60.0, near: float = 0.15
    ) -> Self:
        """Walk (or run) to a place, turning on the way."""
        self.begin()
        cycle = self.motions.in_place(gait)
        stride = {"walk": 1.24, "run": 2.85}[gait]
        self._speed = 0.3 * speed
        for _ in range(round(limit * TICK)):
            left = math.hypot(x - self.x, z - self.z)
            if left < near:
                break
            self._turn(toward(x - self.x, z - self.z), 3.0)
            self._speed += (min(speed, 0.3 + 2 * left) - self._speed) * 0.12
            self.x += math.cos(self.facing) * self._speed / TICK
            self.z -= math.sin(self.facing) * self._speed / TICK
            self._phase = (self._phase + self._speed / TICK / stride) % 1
            self.emit(cycle[int(self._phase * len(cycle))])
        return self

    def act(self, name: str, speed: float = 1.0, limit: float = 60.0, *, mirror: bool = False) -> Self:
        """Play a mocap clip with its own displacement."""
        self.begin()
        poses = mirrored(self.motions(name)) if mirror else self.motions(name)
        poses = _turned(poses, -float(heading(poses[0, ROOT])))
        x, z, facing = self.x, self.z, self.facing
        for at in np.arange(0, min(len(poses), limit * TICK), speed):
            pose = poses[int(at)].copy()
            move = rotate(quat(Y_AXIS, facing), np.array([pose[0], 0, pose[2]]))
            self.x, self.z = x + move[0], z + move[2]
            pose[[0, 2]] = 0
            self.emit(pose)
        self.facing = wrap(facing + float(heading(poses[min(len(poses), int(limit * TICK)) - 1, ROOT])))
        # The turn now lives in `facing`; the next motion blends out of the same world pose.
        return self

    def crouch(self, seconds: float, depth: float = 1.0) -> Self:
        """Squat or bend to pick something up or tie a shoe, and stand up again; depth 0 bends, 1 squats."""
        self.begin()
        low = lean(arms(stance(), lift=(0.9, 0.8), bend=(0.3, 0.4)), 0.9 - 0.3 * depth)
        low[ROOT] = quat(Z_AXIS, -0.5)
        for side, ahead in (("r", 0.15), ("l", -0.15)):
            low[HIP[side]] = quat(Z_AXIS, 0.5 + depth * (1.25 + ahead))
            low[KNEE[side]] = -depth * (2.0 + ahead)
            low[ANKLE[side]] = quat(Z_AXIS, 0.3 * depth)
        low[1] = 0.89 - 0.4 * depth
        ticks, ramp = round(seconds * TICK), min(0.9, seconds / 2.5) * TICK
        for i in range(ticks):
            self.emit(blend(stance(), low, ease(min(i, ticks - i) / ramp)))
        return self

    def embrace(self, seconds: float, lift: float = 1.1, bend: float = 0.5) -> Self:
        """Hold the arms out to somebody: a hug, or with one arm a handshake."""
        self.begin()
        one = self.rng.random() < 0.5
        for i in range(round(seconds * TICK)):
            shake = 0.1 * math.sin(9 * i / TICK)
            pose = arms(
                stance(), lift=(lift + (shake if one else 0), 0.05 if one else lift), bend=(bend, 0.25 if one else bend)
            )
            self.emit(lean(pose, 0.08))
        return self

    def fall(self, seconds: float, how: str, physics: Callable[..., Array]) -> Self:
        """Go down and stay down until the track has grown by `seconds`."""
        self.begin()
        end = len(self._track) + round(seconds * TICK)
        if how == "limp":
            start = self._track[-1].copy() if self._track else stance()
            for pose in physics(start, self.facing, self._speed, self.look.height, self.rng, round(seconds * TICK)):
                self._track.append(pose)
        else:
            poses = self.motions({"back": "getup_faceup", "front": "getup_facedown"}[how])[::-1]
            poses = _turned(poses, -float(heading(poses[0, ROOT])))
            about_y = quat(Y_AXIS, self.facing)
            at, speed = 0.0, float(self.rng.uniform(1.7, 2.4))
            while len(self._track) < end:
                pose = poses[min(int(at), len(poses) - 1)].copy()
                pose[ROOT] = pose[ROOT]
                move = rotate(about_y, np.array([pose[0], 0.0, pose[2]]))
                self.emit(np.concatenate([[0.0, pose[1], 0.0], pose[3:]]))
                self._track[-1][[0, 2]] += move[[0, 2]]
                # A fall accelerates, and the last of the reversed clip is the slow gathering of somebody who lies.
                at += speed * (0.5 + 0.9 * min(1.0, 2 * at / len(poses)))
        last = self._track[-1]
        self.x, self.z, self.facing = float(last[0]), float(last[2]), float(heading(last[ROOT]))
        return self

    def _turn(self, goal: float, rate: float) -> None:
        self.facing = wrap(self.facing + float(np.clip(wrap(goal - self.facing), -rate / TICK, rate / TICK)))


@dataclass
class _Move:
    """A blow, a shove, a guard: poses in the fighter's own frame, and what it does to the other."""

    poses: Array
    hits: tuple[int, ...] = ()
    force: float = 0.0
    reach: float = 0.8
    legs: bool = True  # legs may be replaced by steps


def _fight_move(motions: Motions, rng: np.random.Generator) -> _Move:
    guard = lean(arms(stance(), lift=(0.7, 0.6), bend=(1.9, 1.8)), 0.18)
    for side, ahead in (("r", -0.25), ("l", 0.3)):
        guard[HIP[side]], guard[KNEE[side]] = quat(Z_AXIS, ahead + 0.15), -0.3
    kind = rng.choice(
        ["jabs", "push", "grapple", "punch", "kick", "spinkick", "guard"], p=[0.3, 0.15, 0.2, 0.13, 0.1, 0.05, 0.07]
    )
    if kind in ("punch", "kick", "spinkick"):
        poses = motions.in_place(str(kind))
        poses = mirrored(poses) if rng.random() < 0.5 else poses
        poses = poses[(np.arange(0, len(poses), rng.uniform(0.95, 1.4))).astype(int)]
        poses[:, [0, 2]] *= 0.6
        return _Move(
            poses,
            (round(len(poses) * 0.45),),
            1.4,
            {"punch": 0.75, "kick": 1.0, "spinkick": 1.0}[str(kind)],
            legs=False,
        )
    if kind == "push":
        out = lean(arms(stance(), lift=(1.45, 1.4), bend=(0.1, 0.1)), 0.4)
        pull = lean(arms(stance(), lift=(0.5, 0.5), bend=(1.9, 1.9)), 0.1)
        shape = np.concatenate([ease(np.linspace(0, 1, 5)), np.ones(5), ease(np.linspace(1, 0, 10))])
        return _Move(
            blend(np.tile(pull, (20, 1)), np.tile(out, (20, 1)), shape), (4,), float(rng.uniform(1.8, 3.2)), 0.62
        )
    if kind == "grapple":
        t = np.arange(rng.integers(25, 60)) / TICK
        a, b = rng.uniform(5, 11, 2)
        poses = np.array(
            [
                lean(
                    arms(
                        stance(),
                        lift=(1.2 + 0.4 * math.sin(a * s), 1.1 + 0.4 * math.sin(b * s)),
                        bend=(0.7, 0.6 + 0.3 * math.sin(b * s)),
                    ),
                    0.35 + 0.2 * math.sin(a * s),
                    0.4 * math.sin(b * s),
                )
                for s in t
            ]
        )
        return _Move(poses, tuple(range(8, len(t), 12)), 0.7, 0.5)
    count = int(rng.integers(2, 5)) if kind == "jabs" else 0
    rows, hits = [guard] * int(rng.integers(2, 7)), []
    for _ in range(count):
        right, twist = rng.random() < 0.5, rng.uniform(0.3, 0.6)
        high = rng.uniform(1.2, 1.6)
        out = arms(guard, lift=(high, 0.6) if right else (0.7, high), bend=(0.1, 1.8) if right else (1.9, 0.1))
        out = lean(out, 0.2, twist if right else -twist)
        hits.append(len(rows) + 3)
        rows += [blend(guard, out, s) for s in (0.3, 0.7, 1.0, 1.0, 0.8, 0.45, 0.15)] + [guard] * int(
            rng.integers(0, 5)
        )
    rows += [guard] * (15 if kind == "guard" else 2)
    return _Move(np.array(rows), tuple(hits), 1.0, 0.68)


def fight(actors: Sequence[Actor], seconds: float) -> None:
    """Let the first two fight each other and any further one attack the first."""
    rng = actors[0].rng
    motions = actors[0].motions
    walk = motions.in_place("walk")
    targets = [1, 0, 0][: len(actors)]
    moves = [_fight_move(motions, rng) for _ in actors]
    at = [0] * len(actors)
    push = np.zeros((len(actors), 2))
    recoil = np.zeros(len(actors))
    orbit = float(rng.uniform(-0.5, 0.5))
    for actor in actors:
        actor.begin()
    for _ in range(round(seconds * TICK)):
        for i, actor in enumerate(actors):
            other, move = actors[targets[i]], moves[i]
            if at[i] >= len(move.poses):
                moves[i], at[i] = _fight_move(motions, rng), 0
                move = moves[i]
                actor.begin()
            gap = np.array([other.x - actor.x, other.z - actor.z])
            distance = float(np.hypot(*gap)) + 1e-6
            ahead = gap / distance
            actor._turn(toward(*ahead), 6.0)  # noqa: SLF001 - the fight steers its fighters
            closing = float(np.clip(2.5 * (distance - move.reach), -1.2, 1.6)) * 0.6
            step = ahead * closing + np.array([-ahead[1], ahead[0]]) * orbit + push[i]
            actor.x, actor.z = actor.x + step[0] / TICK, actor.z + step[1] / TICK
            pose = move.poses[at[i]].copy()
            speed = float(np.hypot(*step))
            if move.legs:
                along = 1 if float(step @ ahead) >= 0 else -1
                actor._phase = (actor._phase + along * speed / TICK / 1.0) % 1  # noqa: SLF001
                stepping = blend(pose, walk[int(actor._phase * len(walk))], min(1.0, speed / 0.7))  # noqa: SLF001
                pose[list(LEGS)] = stepping[list(LEGS)]
            pose = lean(pose, -0.7 * recoil[i], 0.5 * recoil[i])
            pose[NECK] = qmul(pose[NECK], quat(Z_AXIS, 0.5 * recoil[i]))
            actor.emit(pose)
            if at[i] in move.hits and distance < move.reach + 0.35:
                push[targets[i]] += ahead * move.force * rng.uniform(0.5, 1.1)
                recoil[targets[i]] = min(1.0, recoil[targets[i]] + 0.45 * move.force * rng.uniform(0.4, 1.0))
            at[i] += 1
        push *= 0.86
        recoil *= 0.88
        if rng.random() < 0.02:
            orbit = float(rng.uniform(-0.6, 0.6))


# --------------------------------------------------------------------------------------------------------------------
# Bodies
# --------------------------------------------------------------------------------------------------------------------

Ring = tuple[float, float, float, float]  # height, half depth, half width, offset forward; units of the URDF

_SKIN = ((0.87, 0.69, 0.58), (0.76, 0.57, 0.45), (0.55, 0.38, 0.28), (0.36, 0.24, 0.18))
_HAIR = ((0.07, 0.06, 0.05), (0.18, 0.12, 0.08), (0.35, 0.25, 0.15), (0.6, 0.5, 0.35), (0.5, 0.5, 0.5))
_TROUSERS = ((0.06, 0.06, 0.07), (0.16, 0.2, 0.32), (0.25, 0.32, 0.48), (0.3, 0.27, 0.22), (0.42, 0.4, 0.38))
_SHIRT = (
    ((0.06, 0.06, 0.07), (0.1, 0.12, 0.2), (0.3, 0.08, 0.1), (0.45, 0.1, 0.12), (0.2, 0.26, 0.2), (0.3, 0.24, 0.18))
    + ((0.35, 0.36, 0.38), (0.7, 0.7, 0.68), (0.2, 0.3, 0.5), (0.5, 0.45, 0.3), (0.12, 0.28, 0.25), (0.6, 0.35, 0.15))
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a figure wears; colours are RGB in 0..1, `height` multiplies a person of 1.65 m."""

    height: float
    girth: float
    skin: tuple[float, ...]
    hair: tuple[float, ...]
    shirt: tuple[float, ...]
    trousers: tuple[float, ...]
    shoes: tuple[float, ...]
    short_sleeves: bool
    coat: bool
    bag: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        def pick(palette: Sequence[tuple[float, ...]], jitter: float = 0.06) -> tuple[float, ...]:
            base = np.array(palette[int(rng.integers(len(palette)))])
            return tuple(float(c) for c in np.clip(base * rng.uniform(0.8, 1.2) + rng.normal(0, jitter, 3), 0.02, 0.92))

        return cls(
            height=float(rng.uniform(0.97, 1.12)),
            girth=float(rng.uniform(0.9, 1.18)),
            skin=pick(_SKIN, 0.01),
            hair=pick(_HAIR, 0.01),
            shirt=pick(_SHIRT),
            trousers=pick(_TROUSERS, 0.02),
            shoes=pick(((0.05, 0.05, 0.05), (0.2, 0.14, 0.1), (0.7, 0.7, 0.7)), 0.02),
            short_sleeves=bool(rng.random() < 0.25),
            coat=bool(rng.random() < 0.35),
            bag=bool(rng.random() < 0.15),
        )

    def parts(self) -> Iterator[tuple[str, list[Ring], tuple[float, ...]]]:
        """Link of the humanoid, outline and colour of every visible part."""
        g = self.girth
        yield (
            "root",
            _rings(g, (-0.42, 0.2, 0.3), (-0.2, 0.42, 0.6), (0.2, 0.46, 0.64), (0.45, 0.42, 0.56)),
            self.trousers,
        )
        hem = ((-1.0, 0.5, 0.68), (-0.3, 0.52, 0.7)) if self.coat else ((-0.05, 0.49, 0.67),)
        yield "root", _rings(g, *hem, (0.4, 0.47, 0.62), (0.8, 0.45, 0.56), (1.1, 0.44, 0.56)), self.shirt
        chest = (
            (-0.2, 0.42, 0.54),
            (0.3, 0.5, 0.66),
            (0.65, 0.5, 0.78),
            (0.92, 0.4, 0.78),
            (1.06, 0.26, 0.5),
            (1.14, 0.16, 0.2),
        )
        yield "chest", _rings(g, *chest), self.shirt
        if self.bag:
            yield (
                "chest",
                [(-0.3, 0.2, 0.4, -0.55), (0.0, 0.3, 0.5, -0.6), (0.7, 0.28, 0.5, -0.6), (0.95, 0.1, 0.3, -0.5)],
                self.shoes,
            )
        yield "neck", _rings(1, (-0.1, 0.22, 0.24), (0.2, 0.19, 0.19), (0.5, 0.19, 0.18)), self.skin
        yield "neck", _egg(0.72, 0.47, 0.37, 0.3, 0.05), self.skin
        yield "neck", _egg(0.86, 0.4, 0.37, 0.34, -0.06), self.hair
        for side in ("right", "left"):
            thigh = (
                (0.2, 0.15, 0.15),
                (0.0, 0.33, 0.3),
                (-0.5, 0.34, 0.3),
                (-1.2, 0.27, 0.24),
                (-1.7, 0.22, 0.2),
                (-1.8, 0.1, 0.1),
            )
            yield f"{side}_hip", _rings(g, *thigh), self.trousers
            shin = (
                (0.15, 0.1, 0.1),
                (0.0, 0.21, 0.2),
                (-0.4, 0.25, 0.22),
                (-1.0, 0.21, 0.19),
                (-1.55, 0.2, 0.17),
                (-1.6, 0.1, 0.1),
            )
            yield f"{side}_knee", _rings(g, *shin), self.trousers
            yield (
                f"{side}_ankle",
                [(-0.2, 0.4, 0.17, 0.2), (-0.1, 0.42, 0.19, 0.2), (0.0, 0.28, 0.17, 0.1), (0.12, 0.15, 0.14, 0)],
                self.shoes,
            )
            upper = (
                (0.16, 0.1, 0.1),
                (0.06, 0.22, 0.21),
                (-0.3, 0.23, 0.22),
                (-0.8, 0.19, 0.18),
                (-1.1, 0.17, 0.16),
                (-1.2, 0.08, 0.08),
            )
            yield f"{side}_shoulder", _rings(g, *upper), self.shirt
            fore = ((0.12, 0.08, 0.08), (0.0, 0.17, 0.17), (-0.4, 0.17, 0.16), (-0.9, 0.13, 0.12), (-1.05, 0.1, 0.09))
            yield f"{side}_elbow", _rings(g, *fore), self.skin if self.short_sleeves else self.shirt
            yield (
                f"{side}_wrist",
                _rings(1, (0.08, 0.08, 0.05), (-0.1, 0.16, 0.08), (-0.3, 0.15, 0.07), (-0.44, 0.06, 0.04)),
                self.skin,
            )


def _rings(girth: float, *profile: tuple[float, float, float]) -> list[Ring]:
    return [(y, depth * girth, width * girth, 0.0) for y, depth, width in sorted(profile)]


def _egg(centre: float, tall: float, deep: float, wide: float, forward: float) -> list[Ring]:
    angles = np.linspace(-1.45, 1.45, 9)
    return [(centre + tall * math.sin(a), deep * math.cos(a), wide * math.cos(a), forward) for a in angles]


def _mesh(rings: Sequence[Ring], around: int = 14) -> str:
    """Wavefront text of the closed surface through elliptic rings, with smooth normals."""
    rows = sorted(rings)
    rows = [(rows[0][0] - 0.02, 0.01, 0.01, rows[0][3]), *rows, (rows[-1][0] + 0.02, 0.01, 0.01, rows[-1][3])]
    lines, normals, faces = [], [], []
    for k, (y, deep, wide, forward) in enumerate(rows):
        below, above = rows[max(k - 1, 0)], rows[min(k + 1, len(rows) - 1)]
        slope = -((above[1] + above[2]) - (below[1] + below[2])) / 2 / (above[0] - below[0] + 1e-6)
        for a in np.linspace(0, 2 * math.pi, around, endpoint=False):
            lines.append(f"v {forward + deep * math.cos(a):.4f} {y:.4f} {wide * math.sin(a):.4f}")
            normal = np.array([math.cos(a) * wide, slope * max(deep, wide), math.sin(a) * deep])
            normal /= np.linalg.norm(normal) + 1e-9
            normals.append("vn {:.4f} {:.4f} {:.4f}".format(*normal))
            if k:
                p, q = (k - 1) * around, k * around
                i = len(lines) - 1 - q
                a0, a1, b0, b1 = p + i + 1, p + (i + 1) % around + 1, q + i + 1, q + (i + 1) % around + 1
                faces += [f"f {a0}//{a0} {b0}//{b0} {b1}//{b1}", f"f {a0}//{a0} {b1}//{b1} {a1}//{a1}"]
    return "\n".join([*lines, "vt 0 0", *normals, *faces, ""])


def _dressed(urdf: str, look: Look, folder: Path, name: str) -> Path:
    """The humanoid of pybullet_data with the parts of `look` as what one sees of it."""
    tree = ET.fromstring(urdf)  # noqa: S314 - a file of the installed wheel
    links = {link.get("name"): link for link in tree.iter("link")}
    for number, (link, rings, colour) in enumerate(look.parts()):
        (folder / f"{name}_{number}.obj").write_text(_mesh(rings))
        visual = ET.SubElement(links[link], "visual")
        ET.SubElement(ET.SubElement(visual, "geometry"), "mesh", filename=f"{name}_{number}.obj")
        material = ET.SubElement(visual, "material", name=f"{name}_{number}")
        ET.SubElement(material, "color", rgba=" ".join(f"{c:.3f}" for c in (*colour, 1.0)))
    path = folder / f"{name}.urdf"
    path.write_text(ET.tostring(tree, encoding="unicode"))
    return path


# --------------------------------------------------------------------------------------------------------------------
# Camera and stage
# --------------------------------------------------------------------------------------------------------------------

SOURCE_SIZE = (768, 576)


@dataclass(frozen=True)
class Camera:
    """A pinhole above the origin, looking down by `pitch`; `window` is the part of the source image that is shown.

    The defaults were fitted to the heights of pedestrians in vtest.avi (a man is 52 px tall where his feet are in row 153,
    105 px in row 410, 150 px in row 590).
    """

    window: tuple[float, float, float, float]  # x, y, width, height in source pixels
    size: tuple[int, int]  # width, height of the output
    height: float = 8.0
    pitch: float = 0.392
    focal: float = 900.0

    @property
    def _axes(self) -> Array:
        s, c = math.sin(self.pitch), math.cos(self.pitch)
        return np.array([[1, 0, 0], [0, c, -s], [0, -s, -c]])  # right, up, forward

    def project(self, points: Array) -> Array:
        """Output pixels (..., 2) of world points (..., 3)."""
        right, up, forward = np.moveaxis((points - (0, self.height, 0)) @ self._axes.T, -1, 0)
        x = SOURCE_SIZE[0] / 2 + self.focal * right / forward
        y = SOURCE_SIZE[1] / 2 - self.focal * up / forward
        x0, y0, w, h = self.window
        return np.stack([(x - x0) * self.size[0] / w, (y - y0) * self.size[1] / h], axis=-1)

    def ground(self, x: float, y: float) -> tuple[float, float]:
        """World (x, z) of the ground seen at a source pixel."""
        ray = np.array([(x - SOURCE_SIZE[0] / 2) / self.focal, (SOURCE_SIZE[1] / 2 - y) / self.focal, 1.0]) @ self._axes
        if ray[1] >= 0:
            raise ValueError(f"source row {y} lies above the horizon")
        return float(-ray[0] * self.height / ray[1]), float(-ray[2] * self.height / ray[1])

    def source_row(self, points: Array) -> Array:
        return self.project(points)[..., 1] * self.window[3] / self.size[1] + self.window[1]


class Stage:
    """A pybullet world that renders figures and lets one of them fall."""

    def __init__(self) -> None:
        import pybullet  # noqa: PLC0415
        import pybullet_data  # noqa: PLC0415
        from pybullet_utils.bullet_client import BulletClient  # noqa: PLC0415

        self._new_world: Callable[[], Any] = lambda: BulletClient(connection_mode=pybullet.DIRECT)
        self._p = self._new_world()
        self._urdf = Path(pybullet_data.getDataPath()) / "humanoid" / "humanoid.urdf"
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._p.disconnect()
        self._stack.close()

    def cast(self, looks: Sequence[Look]) -> list[int]:
        """Bring figures on an empty stage; returns their body ids."""
        self._p.resetSimulation()
        bodies = []
        for number, look in enumerate(looks):
            path = _dressed(self._urdf.read_text(), look, self._folder, f"figure{number}")
            flags = self._p.URDF_MAINTAIN_LINK_ORDER | self._p.URDF_USE_MATERIAL_COLORS_FROM_MTL * 0
            bodies.append(
                self._p.loadURDF(str(path), globalScaling=URDF_SCALE * look.height, useFixedBase=True, flags=flags)
            )
        return bodies

    def pose(self, body: int, pose: Array) -> None:
        _set_pose(self._p, body, pose)

    def render(
        self, camera: Camera, box: tuple[int, int, int, int], light: Light, oversample: int = 2
    ) -> tuple[Array, NDArray[np.int32]]:
        """Colour (H, W, 3) in 0..255 and body ids (H, W; -1 for none) of output pixels `box` (x0, y0, x1, y1), oversampled."""
        x0, y0, w, h = camera.window
        sx, sy = w / camera.size[0], h / camera.size[1]
        near, far = 0.5, 200.0
        left, right = ((x0 + x * sx - SOURCE_SIZE[0] / 2) * near / camera.focal for x in (box[0], box[2]))
        top, bottom = ((SOURCE_SIZE[1] / 2 - y0 - y * sy) * near / camera.focal for y in (box[1], box[3]))
        eye = np.array([0, camera.height, 0])
        _, up, forward = camera._axes  # noqa: SLF001 - the stage draws what the camera sees
        width, height = (box[2] - box[0]) * oversample, (box[3] - box[1]) * oversample
        _, _, colour, _, mask = self._p.getCameraImage(
            width,
            height,
            self._p.computeViewMatrix(eye.tolist(), (eye + forward).tolist(), up.tolist()),
            self._p.computeProjectionMatrix(left, right, bottom, top, near, far),
            lightDirection=list(light.direction),
            lightColor=list(light.colour),
            lightDistance=60,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=0.02,
            shadow=0,
            renderer=self._p.ER_TINY_RENDERER,
        )
        return np.reshape(colour, (height, width, 4))[..., :3].astype(float), np.reshape(mask, (height, width))

    def limp(
        self, start: Array, facing: float, speed: float, scale: float, rng: np.random.Generator, ticks: int
    ) -> Array:
        """Poses (ticks, 43) of somebody who loses consciousness in world pose `start` while walking at `speed` m/s."""
        world = self._new_world()
        try:
            world.setGravity(0, -9.81, 0)
            plane = world.createMultiBody(0, world.createCollisionShape(world.GEOM_PLANE, planeNormal=[0, 1, 0]))
            world.changeDynamics(plane, -1, lateralFriction=1.0)
            flags = (
                world.URDF_MAINTAIN_LINK_ORDER
                | world.URDF_USE_SELF_COLLISION
                | world.URDF_USE_SELF_COLLISION_EXCLUDE_ALL_PARENTS
            )
            body = world.loadURDF(str(self._urdf), globalScaling=URDF_SCALE * scale, flags=flags)
            start = grounded(start[None], scale)[0]
            start[1] += 0.02
            _set_pose(world, body, start)
            away = facing + float(rng.choice([0.0, math.pi, math.pi / 2, -math.pi / 2])) + float(rng.normal(0, 0.4))
            push = float(rng.uniform(0.5, 1.3))
            velocity = (
                np.array([math.cos(facing), 0, -math.sin(facing)]) * speed
                + np.array([math.cos(away), 0, -math.sin(away)]) * push
            )
            spin = np.cross([0, 1, 0], velocity) * float(rng.uniform(0.6, 1.2))
            world.resetBaseVelocity(body, velocity.tolist(), spin.tolist())
            # What tone is left pulls towards a slightly bent body: it keeps limbs from turning the wrong way.
            tone = arms(
                stance(), lift=tuple(rng.uniform(0.2, 1.2, 2)), bend=tuple(rng.uniform(0.3, 1.2, 2)), spread=0.4
            )
            tone = lean(tone, float(rng.uniform(0.0, 0.5)), float(rng.normal(0, 0.2)))
            for side in "rl":
                tone[HIP[side]] = quat(Z_AXIS, float(rng.uniform(0.1, 0.9)))
                tone[KNEE[side]] = -float(rng.uniform(0.3, 1.5))
            for joint in (*BALL_JOINTS, *HINGE_JOINTS):
                world.changeDynamics(
                    body, joint, lateralFriction=1.0, linearDamping=0.1, angularDamping=0.4, jointDamping=0.4
                )
            poses = []
            for _ in range(ticks):
                for _ in range(8):
                    _relax(world, body, tone)
                    world.stepSimulation()
                poses.append(_get_pose(world, body, scale))
            return np.array(poses)
        finally:
            world.disconnect()


def _xyzw(q: Array) -> list[float]:
    return [float(q[1]), float(q[2]), float(q[3]), float(q[0])]


def _set_pose(world: Any, body: int, pose: Array) -> None:
    world.resetBasePositionAndOrientation(body, pose[XYZ].tolist(), _xyzw(pose[ROOT]))
    for joint, s in BALL_JOINTS.items():
        world.resetJointStateMultiDof(body, joint, _xyzw(pose[s]), [0, 0, 0])
    for joint, index in HINGE_JOINTS.items():
        world.resetJointState(body, joint, float(pose[index]), 0)


def _relax(world: Any, body: int, tone: Array) -> None:
    for joint, s in BALL_JOINTS.items():
        force = {1: 40, 2: 12, 3: 20, 9: 20}.get(joint, 8)
        world.setJointMotorControlMultiDof(
            body,
            joint,
            world.POSITION_CONTROL,
            targetPosition=_xyzw(tone[s]),
            positionGain=0.08,
            velocityGain=0.6,
            force=[force] * 3,
        )
    for joint, index in HINGE_JOINTS.items():
        world.setJointMotorControl2(
            body,
            joint,
            world.POSITION_CONTROL,
            targetPosition=float(tone[index]),
            positionGain=0.08,
            velocityGain=0.6,
            force=12,
        )


def _get_pose(world: Any, body: int, scale: float) -> Array:
    pose = np.zeros(43)
    place, q = world.getBasePositionAndOrientation(body)
    pose[XYZ], pose[ROOT] = place, np.roll(q, 1)
    pose[1] /= scale  # a track holds heights of a person of 1.65 m; `grounded` multiplies
    for joint, s in BALL_JOINTS.items():
        pose[s] = np.roll(world.getJointStateMultiDof(body, joint)[0], 1)
    for joint, index in HINGE_JOINTS.items():
        pose[index] = world.getJointState(body, joint)[0]
    return pose


# --------------------------------------------------------------------------------------------------------------------
# Backdrop and compositing
# --------------------------------------------------------------------------------------------------------------------


class Backdrop:
    """vtest.avi: frames on demand, the empty courtyard, and what stands in front of what."""

    # The lamp post with its sign, and the tripod: (x0, y0, x1, y1, row of the foot) in source pixels.
    _POSTS = ((412, 202, 446, 244, 390), (425, 60, 433, 390, 390), (501, 335, 512, 470, 478))

    def __init__(self, path: Path) -> None:
        self._path = path

    def frames(self, first: int, count: int) -> Iterator[Image]:
        """RGB frames (576, 768, 3) from number `first` on."""
        with av.open(str(self._path)) as container:
            stream = container.streams.video[0]
            if first:
                container.seek(int(first / VTEST_FPS / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                number = round(float(frame.pts * stream.time_base) * VTEST_FPS)
                if number >= first + count:
                    return
                if number >= first:
                    yield frame.to_ndarray(format="rgb24")

    @cached_property
    def empty(self) -> Image:
        """The courtyard without people: the median over the whole recording."""
        sample = [frame for number, frame in enumerate(self.frames(0, 795)) if number % 24 == 0]
        return np.median(np.stack(sample), axis=0).astype(np.uint8)

    def feet(self, frame: Image, window: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """For each pixel of `window` the source row where whatever stands there touches the ground; 0 for the ground."""
        x, y, w, h = window
        out = np.zeros((h, w), np.float32)
        strange = np.abs(frame[y : y + h, x : x + w].astype(np.int16) - self.empty[y : y + h, x : x + w]).max(-1) > 38
        blobs, count = ndimage.label(ndimage.binary_closing(ndimage.binary_opening(strange), iterations=3))
        for number, where in enumerate(ndimage.find_objects(blobs), 1):
            inside = blobs[where] == number
            if count and inside.sum() > 60:
                out[where][inside] = y + where[0].stop
        for x0, y0, x1, y1, foot in self._POSTS:
            out[max(y0 - y, 0) : max(y1 - y, 0), max(x0 - x, 0) : max(x1 - x, 0)] = foot
        return out


@dataclass(frozen=True)
class Light:
    direction: tuple[float, float, float] = (8.0, 30.0, 10.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.02)
    ambient: float = 0.55
    diffuse: float = 0.55


@dataclass(frozen=True)
class Sensor:
    """What the camera adds: exposure, colour, blur, noise, compression, and perhaps a mirrored view."""

    gain: float = 1.0
    gamma: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grey: bool = False
    blur: float = 0.0
    noise: float = 1.5
    crf: int = 25
    mirror: bool = False

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        return cls(
            gain=float(rng.uniform(0.65, 1.2)),
            gamma=float(rng.uniform(0.8, 1.35)),
            tint=tuple(float(t) for t in rng.uniform(0.92, 1.08, 3)),
            grey=bool(rng.random() < 0.12),
            blur=float(rng.choice([0.0, rng.uniform(0.3, 0.9)])),
            noise=float(rng.uniform(0.5, 6.0)),
            crf=int(rng.integers(21, 31)),
            mirror=bool(rng.random() < 0.5),
        )

    def __call__(self, image: Array, rng: np.random.Generator) -> Image:
        if self.blur:
            image = ndimage.gaussian_filter(image, (self.blur, self.blur, 0))
        if self.grey:
            image = np.repeat((image @ (0.299, 0.587, 0.114))[..., None], 3, axis=-1)
        image = 255 * np.clip(image / 255 * self.gain * self.tint, 0, 1) ** self.gamma
        image = image + self.noise * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.clip(image, 0, 255).astype(np.uint8)
        return image[:, ::-1] if self.mirror else image


@dataclass(frozen=True)
class Scene:
    """Figures and their tracks before a backdrop, seen by a camera."""

    camera: Camera
    tracks: list[Array]  # (T, 43) each, grounded, at TICK
    looks: list[Look]
    first: int  # frame of the backdrop
    live: bool  # whether its pedestrians walk, or the courtyard lies empty
    sensor: Sensor
    light: Light = field(default_factory=Light)
    pace: float = 1.0  # backdrop seconds per second of the scene


def frames_of(
    scene: Scene, stage: Stage, backdrop: Backdrop, start: float, seconds: float, fps: Fraction, seed: Sequence[int]
) -> Iterator[Image]:
    """RGB frames (H, W, 3) of `seconds` of a scene from second `start` of its tracks."""
    rng = np.random.default_rng(seed)
    bodies = stage.cast(scene.looks)
    skeletons = [joints(track, look.height) for track, look in zip(scene.tracks, scene.looks, strict=True)]
    x, y, w, h = (round(v) for v in scene.camera.window)
    count = round(seconds * fps)
    wanted = [int(n / fps * VTEST_FPS * scene.pace) for n in range(count)]
    source = backdrop.frames(scene.first, wanted[-1] + 1) if scene.live else iter(())
    plate, at, cover = backdrop.empty, -1, None
    for n in range(count):
        while scene.live and at < wanted[n]:
            plate, at, cover = next(source), at + 1, None
        if cover is None:
            cover = backdrop.feet(plate, (x, y, w, h))
            picture = _resized(plate[y : y + h, x : x + w], scene.camera.size)
            cover = _nearest(cover, scene.camera.size)
        tick = (start + float(n / fps)) * TICK
        poses = [track[min(round(tick), len(track) - 1)] for track in scene.tracks]
        points = [skeleton[min(round(tick), len(skeleton) - 1)] for skeleton in skeletons]
        for body, pose in zip(bodies, poses, strict=True):
            stage.pose(body, pose)
        yield scene.sensor(_composite(scene, stage, bodies, points, picture.copy(), cover), rng)


def _composite(
    scene: Scene, stage: Stage, bodies: list[int], points: list[Array], image: Array, cover: NDArray[np.float32]
) -> Array:
    if not bodies:
        return image
    camera = scene.camera
    width, height = camera.size
    on_image = camera.project(np.concatenate(points))
    margin = 0.06 * np.ptp(camera.project(np.array([[0, 0, points[0][0, 2]], [0, 1.7, points[0][0, 2]]]))[:, 1]) * 2 + 4
    low, high = on_image.min(0) - margin, on_image.max(0) + margin
    box = (max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0]) + 1), min(height, int(high[1]) + 1))
    if box[2] - box[0] < 4 or box[3] - box[1] < 4:
        return image
    for figure in points:
        _shade(image, camera, figure)
    colour, mask = stage.render(camera, box, scene.light)
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    shown = np.zeros(mask.shape, bool)
    for body, figure in zip(bodies, points, strict=True):
        row = float(camera.source_row(figure * (1, 0, 1)).max())
        hidden = np.repeat(np.repeat(cover[part] > row + 4, 2, 0), 2, 1)
        shown |= (mask == body) & ~hidden
    alpha = _halved(shown[..., None].astype(float))
    ink = _halved(colour * shown[..., None])
    soft = max(0.35, 0.55 * camera.size[0] / camera.window[2])  # as soft as the backdrop after scaling
    alpha, ink = (ndimage.gaussian_filter(a, (soft, soft, 0)) for a in (alpha, ink))
    image[part] = image[part] * (1 - alpha) + ink
    return image


def _shade(image: Array, camera: Camera, figure: Array) -> None:
    """Darken the ground below a figure: the overcast sky is hidden there, most where the body is near."""
    height, width = image.shape[:2]
    centres = camera.project(figure * (1, 0, 1))
    metre = np.abs(camera.project(figure * (1, 0, 1) + (1, 0, 0))[:, 0] - centres[:, 0])
    flat = math.sin(camera.pitch + 0.05)
    light = np.ones((height, width))
    for (cx, cy), scale, up in zip(centres, metre, figure[:, 1], strict=True):
        sx = scale * (0.09 + 0.16 * min(up, 1.2))
        sy = max(0.8, sx * flat)
        x0, x1, y0, y1 = int(cx - 3 * sx), int(cx + 3 * sx) + 1, int(cy - 3 * sy), int(cy + 3 * sy) + 1
        x0, x1, y0, y1 = max(x0, 0), min(x1, width), max(y0, 0), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            continue
        gx = np.exp(-0.5 * ((np.arange(x0, x1) - cx) / sx) ** 2)
        gy = np.exp(-0.5 * ((np.arange(y0, y1) - cy) / sy) ** 2)
        light[y0:y1, x0:x1] *= 1 - 0.3 * math.exp(-max(up, 0) / 0.7) * gy[:, None] * gx[None]
    image *= np.maximum(light, 0.45)[..., None]


def _halved(a: Array) -> Array:
    h, w, c = a.shape
    return a.reshape(h // 2, 2, w // 2, 2, c).mean(axis=(1, 3))


def _resized(image: Image, size: tuple[int, int]) -> Array:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(width=size[0], height=size[1], interpolation="BICUBIC").to_ndarray().astype(float)


def _nearest(a: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    rows = (np.arange(size[1]) + 0.5) * a.shape[0] / size[1]
    columns = (np.arange(size[0]) + 0.5) * a.shape[1] / size[0]
    return a[rows.astype(int)[:, None], columns.astype(int)[None]]
