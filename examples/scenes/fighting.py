"""A fight: each fighter closes in, strikes, shoves or grapples, and reels from what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .actors import Actor
from .poses import (
    HIP,
    KNEE,
    LEGS,
    NECK,
    TICK,
    Z_AXIS,
    Array,
    Motions,
    arms,
    blend,
    ease,
    lean,
    mirrored,
    qmul,
    quat,
    stance,
    toward,
)


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
            actor.turn(toward(*ahead), 6.0)
            closing = float(np.clip(2.5 * (distance - move.reach), -1.2, 1.6)) * 0.6
            step = ahead * closing + np.array([-ahead[1], ahead[0]]) * orbit + push[i]
            actor.x, actor.z = actor.x + step[0] / TICK, actor.z + step[1] / TICK
            pose = move.poses[at[i]].copy()
            speed = float(np.hypot(*step))
            if move.legs:
                along = 1 if float(step @ ahead) >= 0 else -1
                actor.phase = (actor.phase + along * speed / TICK / 1.0) % 1
                stepping = blend(pose, walk[int(actor.phase * len(walk))], min(1.0, speed / 0.7))
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
