"""Pictures of runs stepped through once each: what is kept of them, and which come next.

    camera a   … a3  a4  a5        one step of every run that has a new picture at a time, until all are done:
    camera b   … b7  b8            round 1: a4, b8   round 2: a5   (a3 and b7 were stepped with windows before)

State is kept of the newest picture of each run only. What it holds follows from the pictures before, so that it can be
lost at any time: then the run is stepped through anew, from as far back as it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, MutableMapping, Sequence
from typing import Generic, TypeAlias, TypeVar

from models.engines.engine import Features, Picture, State

Key = TypeVar("Key")
#: Pictures and the states before them, None where a run begins; to their features and the states after them.
Step: TypeAlias = Callable[[Sequence[Picture], Sequence[State | None]], Sequence[tuple[Features, State]]]


class Stepped(Generic[Key]):
    """Features of pictures that stand for themselves by `Key`.

    Args:
        step: `Classifier.step`.
        features: of which pictures they are kept is the owner's affair, who may take them out, or hold keys weakly.
        states: likewise.
    """

    def __init__(self, step: Step, features: MutableMapping[Key, Features], states: MutableMapping[Key, State]) -> None:
        self._step, self.features, self._states = step, features, states

    def extend(self, runs: Sequence[Sequence[Key]], picture: Callable[[Key], Picture]) -> None:
        """Step through what is new of runs.

        Args:
            runs: the keys of a window's pictures with those before that count; those of one camera in their order.
            picture: gives a picture by its key.
        """
        rounds: list[list[tuple[Key, Key | None]]] = []
        planned: dict[Key, int] = {}
        for run in runs:
            known = next((i for i in reversed(range(len(run))) if run[i] in planned or run[i] in self._states), -1)
            for place in range(known + 1, len(run)):
                before = run[place - 1] if place else None
                turn = 0 if before is None else planned.get(before, -1) + 1
                planned[run[place]] = turn
                if turn == len(rounds):
                    rounds.append([])
                rounds[turn].append((run[place], before))
        for steps in rounds:
            states = [None if before is None else self._states.pop(before) for _, before in steps]
            found = self._step([picture(key) for key, _ in steps], states)
            for (key, _), (features, state) in zip(steps, found, strict=True):
                self.features[key], self._states[key] = features, state

    def keep(self, keys: Container[Key]) -> None:
        """Forget all other pictures."""
        for known in (self.features, self._states):
            for key in [key for key in known if key not in keys]:
                del known[key]
