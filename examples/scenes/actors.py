"""Figures that act: each verb of an actor appends poses to its track."""

from __future__ import annotations

import math
from typing import Self

import numpy as np

from .figures import Look
from .poses import (
    ANKLE,
    HIP,
    KNEE,
    NECK,
    ROOT,
    TICK,
    XYZ,
    Y_AXIS,
    Z_AXIS,
    Array,
    Motions,
    arms,
    blend,
    clearance,
    ease,
    grounded,
    lean,
    qmul,
    quat,
    rotate,
    stance,
    toward,
    wrap,
)


class Actor:
    """One figure: each verb appends poses to its track and leaves it where the verb ended."""

    def __init__(self, motions: Motions, rng: np.random.Generator, x: float, z: float, facing: float) -> None:
        self.motions, self.rng = motions, rng
        self.look = Look.random(rng)
        self.x, self.z, self.facing = x, z, facing
        self._track: list[Array] = []
        self._from: Array | None = None
        self._since = 0
        self.phase = float(rng.uniform(0, 1))
        self._speed = 0.0
        self._sway = rng.uniform(0.5, 1.5, 4)

    @property
    def seconds(self) -> float:
        return len(self._track) / TICK

    def track(self) -> Array:
        return grounded(np.array(self._track), self.look.height)

    def begin(self) -> None:
        """From here on another motion: its first quarter of a second blends out of the last pose."""
        self._from, self._since = (self._track[-1] if self._track else None), 0

    def emit(self, pose: Array) -> None:
        """Append a pose given in the figure's own frame (facing +x, above the origin)."""
        about_y = quat(Y_AXIS, self.facing)
        pose = pose.copy()
        pose[XYZ] = rotate(about_y, pose[XYZ]) + np.array((self.x, 0, self.z))
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
        self._speed, seed = 0.0, self.rng.uniform(0, 10)
        for i in range(round(seconds * TICK)):
            if facing:
                self.turn(toward(facing[0] - self.x, facing[1] - self.z), 2.5)
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

    def go(self, x: float, z: float, speed: float = 1.25, gait: str = "walk") -> Self:
        """Walk (or run) to a place, turning on the way; at most a minute."""
        self.begin()
        cycle = self.motions.in_place(gait)
        stride = {"walk": 1.24, "run": 2.85}[gait]
        self._speed = 0.3 * speed
        for _ in range(60 * TICK):
            left = math.hypot(x - self.x, z - self.z)
            if left < 0.15:
                break
            self.turn(toward(x - self.x, z - self.z), 3.0)
            self._speed += (min(speed, 0.3 + 2 * left) - self._speed) * 0.12
            self.x += math.cos(self.facing) * self._speed / TICK
            self.z -= math.sin(self.facing) * self._speed / TICK
            self.phase = (self.phase + self._speed / TICK / stride) % 1
            self.emit(cycle[int(self.phase * len(cycle))])
        return self

    def act(self, name: str, speed: float = 1.0) -> Self:
        """Play a mocap clip on the spot."""
        self.begin()
        poses = self.motions.in_place(name)
        for at in np.arange(0, len(poses), speed):
            self.emit(poses[int(at)])
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

    def embrace(self, seconds: float, lift: float, *, hug: bool) -> Self:
        """Hold the arms out to somebody: both to hug, the right one to shake hands."""
        self.begin()
        for i in range(round(seconds * TICK)):
            shake = 0.0 if hug else 0.1 * math.sin(9 * i / TICK)
            pose = arms(stance(), lift=(lift + shake, lift if hug else 0.05), bend=(0.5, 0.5 if hug else 0.25))
            self.emit(lean(pose, 0.08))
        return self

    def fall(self, seconds: float) -> Self:
        """Topple to a random side with knees that give in, and lie until the track has grown by `seconds`.

        The body turns about the feet like a pole that is let go of, and stays in touch with the ground.
        """
        self.begin()
        way = float(self.rng.choice([0.0, 0.0, math.pi, math.pi / 2, -math.pi / 2]))  # ahead, back, left, right
        dx, dz = math.cos(way), -math.sin(way)
        sideways, face_down = abs(dz) > 0.5, dx > 0.5
        duration, crumple = self.rng.uniform(0.7, 1.15), self.rng.uniform(0.2, 1.0)
        flail = arms(stance(), lift=tuple(self.rng.uniform(0.3, 1.6, 2)), bend=(0.5, 0.4), spread=0.5)
        # Lying, no limb may point down: it would prop the body up.
        if sideways:
            lying = arms(stance(), lift=tuple(self.rng.uniform(0.2, 1.1, 2)), bend=(0.9, 0.6), spread=0.0)
        else:
            lying = arms(stance(), lift=(0.0, 0.0), bend=(0.1, 0.1), spread=float(self.rng.uniform(0.3, 2.4)))
        for side in "rl":
            bend = crumple * self.rng.uniform(0.6, 1.2)
            flail[HIP[side]], flail[KNEE[side]] = quat(Z_AXIS, bend), -1.5 * bend
            rest = 0.0 if face_down else 0.6 * bend
            lying[HIP[side]], lying[KNEE[side]] = quat(Z_AXIS, rest), -1.7 * rest
            lying[ANKLE[side]] = quat(Z_AXIS, -1.2 if face_down else -0.3)
        ahead = self._speed * 0.4
        for i in range(round(seconds * TICK)):
            share = min(1.0, i / TICK / duration)
            angle = math.pi / 2 * share**2.2
            pose = blend(blend(stance(), flail, ease(2 * share)), lying, ease(2 * share - 1))
            pose[ROOT] = qmul(quat((dz, 0.0, -dx), angle), pose[ROOT])
            reach = 0.85 * math.sin(angle) * (1 - 0.5 * crumple)
            pose[0], pose[2] = dx * reach + ahead * ease(share), dz * reach
            pose[1] -= clearance(pose[None], 1.0)[0]
            self.emit(pose)
        return self

    def turn(self, goal: float, rate: float) -> None:
        self.facing = wrap(self.facing + float(np.clip(wrap(goal - self.facing), -rate / TICK, rate / TICK)))
