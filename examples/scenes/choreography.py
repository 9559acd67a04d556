"""What happens: short stories for training clips, and the two long ones that the demo's rendered cameras show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .actors import Actor
from .fighting import fight
from .poses import Motions

Label = Literal["normal", "fight", "fall"]

STORY_SECONDS = 6.0
#: Of twenty clips nine are normal, seven show a fight, four a fall; spread so that every prefix is balanced, too.
CYCLE: tuple[Label, ...] = (
    *("normal", "fight", "normal", "fall", "normal", "fight", "normal", "fight", "normal", "fall"),
    *("fight", "normal", "fight", "normal", "fall", "normal", "fight", "normal", "fall", "fight"),
)


@dataclass(frozen=True)
class Happening:
    """`label` holds from `start` to `end`, in seconds of a story."""

    label: Label
    start: float
    end: float


@dataclass(frozen=True)
class Story:
    actors: list[Actor]
    happenings: list[Happening]


@dataclass(frozen=True)
class Troupe:
    """Hands out actors, placed in metres from the middle of the scene: `x` to the right, `z` towards the camera."""

    motions: Motions
    rng: np.random.Generator
    x: float
    z: float

    def enter(self, x: float, z: float, facing: float = 0.0) -> Actor:
        return Actor(self.motions, self.rng, self.x + x, self.z + z, facing)

    def go(self, actor: Actor, x: float, z: float, speed: float = 1.25, gait: str = "walk") -> Actor:
        return actor.go(self.x + x, self.z + z, speed, gait)

    def some(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def side(self) -> int:
        return int(self.rng.choice([-1, 1]))


# ------------------------------------------------------------------------------------------------- nothing alarming


def _pass_by(t: Troupe) -> list[Actor]:
    """One to three people walk or run side by side."""
    side, gait = t.side(), str(t.rng.choice(["walk", "walk", "walk", "run"]))
    speed = t.some(0.9, 1.6) if gait == "walk" else t.some(2.2, 3.2)
    slope, gap, from_x = t.some(-0.5, 0.5), t.some(0.45, 0.8), t.some(1.2, 2.2) * (1 if gait == "walk" else 1.6)
    people = []
    for n in range(int(t.rng.choice([1, 2, 2, 3]))):
        actor = t.enter(-side * from_x + 0.2 * n * slope, gap * n - slope, 0 if side > 0 else math.pi)
        people.append(t.go(actor, side * 7, gap * n + 2 * slope, speed, gait))
    return people


def _cross(t: Troupe) -> list[Actor]:
    """Two people walk past each other, close."""
    speed, gap = t.some(1.0, 1.5), t.some(0.5, 1.0)
    return [
        t.go(t.enter(-side * t.some(1.2, 2.2), side * gap / 2, 0 if side > 0 else math.pi), side * 7, side * gap, speed)
        for side in (-1, 1)
    ]


def _talk(t: Troupe) -> list[Actor]:
    """Two or three people stand together and talk with their hands."""
    number, radius, turn = int(t.rng.choice([2, 2, 3])), t.some(0.35, 0.6), t.some(0, 2 * math.pi)
    people = []
    for n in range(number):
        angle = turn + 2 * math.pi * n / number
        actor = t.enter(radius * math.cos(angle), -radius * math.sin(angle), angle + math.pi)
        people.append(actor.idle(STORY_SECONDS, gesture=t.some(0.2, 1.0), facing=(t.x, t.z)))
    return people


def _greet(t: Troupe) -> list[Actor]:
    """Two people walk up to each other, hug or shake hands, and part."""
    hug = t.rng.random() < 0.6
    gap, lift, held = (0.17, 1.15, t.some(1.5, 2.5)) if hug else (0.36, 0.7, t.some(1.0, 1.6))
    people = [t.enter(side * t.some(1.3, 1.7), 0, math.pi if side > 0 else 0) for side in (-1, 1)]
    for side, actor in zip((-1, 1), people, strict=True):
        t.go(actor, side * (gap - 0.15), 0)  # a walk ends 0.15 m before its goal
    together = max(actor.seconds for actor in people)
    for side, actor in zip((-1, 1), people, strict=True):
        actor.pad(together).idle(0.3, facing=(t.x, t.z)).embrace(held, lift, hug=hug)
        t.go(actor, side * 6, 1.0)
    return people


def _busy_alone(t: Troupe) -> list[Actor]:
    """One person ties a shoe, dances, jumps or waves: quick limbs are no fight."""
    actor = t.enter(0, 0, t.some(0, 2 * math.pi))
    match t.rng.integers(4):
        case 0:
            actor.idle(t.some(0.2, 0.8)).crouch(t.some(2.5, 4.0), t.some(0, 1))
        case 1:
            actor.idle(STORY_SECONDS, gesture=1.0)
        case _:
            motion = str(t.rng.choice(["dance_a", "dance_b", "jump", "spin"]))
            while actor.seconds < STORY_SECONDS:
                actor.act(motion, t.some(0.8, 1.1)).idle(0.2)
    return [actor]


_NORMAL: tuple[Callable[[Troupe], list[Actor]], ...] = (
    *(_pass_by, _talk, _pass_by, _greet, _busy_alone),
    *(_talk, _cross, _pass_by, _greet),
)


# ---------------------------------------------------------------------------------------------------------- alarming


def _brawl(t: Troupe) -> list[Actor]:
    number, turn = int(t.rng.choice([2, 2, 2, 3])), t.some(0, 2 * math.pi)
    fighters = [
        t.enter(0.45 * math.cos(turn + a), -0.45 * math.sin(turn + a), turn + a + math.pi)
        for a in np.linspace(0, 2 * math.pi, number, endpoint=False)
    ]
    fight(fighters, STORY_SECONDS)
    return fighters


def _collapse(t: Troupe) -> tuple[list[Actor], float]:
    """Somebody walking or standing goes down; returns when, too."""
    side, first = t.side(), t.some(1.2, 2.2)
    speed = t.some(0.8, 1.5)
    actor = t.enter(-side * first * speed, t.some(-0.3, 0.3), 0 if side > 0 else math.pi)
    if t.rng.random() < 0.65:
        t.go(actor, 0, t.some(-0.3, 0.3), speed)
    else:
        actor = t.enter(0, 0, t.some(0, 2 * math.pi)).idle(first, gesture=t.some(0, 0.5))
    start = actor.seconds
    return [actor.fall(STORY_SECONDS + 1 - start)], start


def _onlooker(t: Troupe, *, moved: bool) -> Actor:
    side = t.side()
    actor = t.enter(side * t.some(1.4, 2.8), t.some(-1.5, 1.0), math.pi if side > 0 else 0)
    return t.go(actor, -side * 7, t.some(-2.5, -1.5)) if moved else actor.idle(STORY_SECONDS, gesture=t.some(0, 0.6))


def short_story(label: Label, t: Troupe) -> Story:
    """A story of about `STORY_SECONDS` whose only happening, where it is not normal, has that label."""
    start = 0.0
    match label:
        case "fight":
            actors = _brawl(t)
        case "fall":
            actors, start = _collapse(t)
        case "normal":
            actors = _NORMAL[int(t.rng.integers(len(_NORMAL)))](t)
    while t.rng.random() < 0.35:
        actors.append(_onlooker(t, moved=bool(t.rng.random() < 0.5)))
    return Story(actors, [Happening(label, start, STORY_SECONDS)])


# ------------------------------------------------------------------------------------------------------ demo cameras

DEMO_SECONDS = 36.0


def _walk_through(t: Troupe, at: float, side: int, z: float, gap: float = 0.0, people: int = 1) -> Iterator[Actor]:
    """People wait out of sight until `at`, then cross the picture."""
    for n in range(people):
        actor = t.enter(-side * 6, z + gap * n, 0 if side > 0 else math.pi).pad(at)
        yield t.go(actor, side * 6, z + gap * n, 1.3)


def at_the_gate(t: Troupe) -> Story:
    """Two men walk up to each other and fight; later two people stand and talk until a third attacks one of them."""
    left, right = t.enter(-2.9, 0.2, 0), t.enter(2.8, 0, math.pi)
    for actor, x in ((left, -0.4), (right, 0.4)):
        t.go(actor, x, 0.1, 1.35).pad(3.0)
    fight([left, right], 7.5)
    t.go(left.idle(0.6), -7, 0.8, 1.6)
    t.go(right.idle(1.0), 7, -0.4, 1.4)
    pair = list(_walk_through(t, 10.5, 1, -0.6, 0.6, people=2))
    talkers = [t.go(t.enter(side * 6, -0.3, 0).pad(13), side * 0.45, -0.3, 1.25) for side in (-1, 1)]
    for actor in talkers:
        actor.idle(24.0 - actor.seconds, gesture=0.8, facing=(t.x, t.z - 0.3))
    attacker = t.go(t.enter(6, 0.6, math.pi).pad(21.2), 0.9, 0.0, 2.6, "run").pad(24.0)
    fight([*talkers, attacker], 7.0)
    for actor, side in zip((*talkers, attacker), (-1, -1, 1), strict=True):
        t.go(actor, side * 7, 0.5, 1.5)
    actors = [left, right, *pair, *talkers, attacker]
    return Story(actors, [Happening("fight", 3.0, 10.5), Happening("fight", 24.0, 31.0)])


def in_the_lobby(t: Troupe) -> Story:
    """People come and go, two friends hug and talk; at last somebody walking alone collapses and stays down."""
    walkers = [*_walk_through(t, 0.0, 1, -1.0), *_walk_through(t, 3.5, -1, -1.2, 0.55, people=2)]
    friends = [t.enter(side * 2.6, 0.3, math.pi if side > 0 else 0).pad(1.0) for side in (-1, 1)]
    for side, actor in zip((-1, 1), friends, strict=True):
        t.go(actor, side * 0.02, 0.3).pad(4.0).idle(0.4, facing=(t.x, t.z + 0.3)).embrace(2.2, 1.15, hug=True)
        t.go(actor, side * 0.6, 0.3, 0.6).idle(9.0, gesture=0.8, facing=(t.x, t.z + 0.3))
    for actor in friends:
        t.go(actor, -7, 0.6 if actor is friends[0] else 0.0, 1.3)
    lonely = t.go(t.enter(6, 0.4, math.pi).pad(19.5), 0.5, 0.4, 1.2)
    start = lonely.seconds
    lonely.fall(DEMO_SECONDS - start + 1)
    return Story([*walkers, *friends, lonely], [Happening("fall", round(start, 1), DEMO_SECONDS)])
