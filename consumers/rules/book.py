"""Which rules hold when: versions over event time.

    event time      ──────────────┬───────────────────┬──────────▶
    since           (the first)   10:00               18:00
    holds           version A     version B           version C

A window goes by the version of the moment at which it begins. That is event time, so it is the same live, in replay and
after a restart.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from .rule import Rule


class Rules(Protocol):
    """One version: the rules of all cameras."""

    @property
    def base(self) -> Mapping[str, Rule]:
        """Those that come from the model and [tracker], beneath what is said of single cameras."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of which cameras something is said; each pattern is a name that it matches."""

    def of(self, camera: str) -> Mapping[str, Rule]:
        """The rule of each label that makes events on a camera."""


@dataclass(frozen=True, slots=True)
class SameRules:
    """The same for all cameras."""

    base: Mapping[str, Rule]

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of no camera."""
        return ()

    def of(self, camera: str) -> Mapping[str, Rule]:  # noqa: ARG002  the same for each
        return self.base


class RuleBook:
    """The rules of all cameras over event time. May be asked by other threads while a version is added."""

    def __init__(self, first: Rules | Mapping[str, Rule]) -> None:
        """Begin with the rules that hold until the first version that is added."""
        rules = SameRules(first) if isinstance(first, Mapping) else first
        #: When each version begins, ascending, and the versions: the first begins before all times.
        self._versions: tuple[tuple[int, ...], tuple[Rules, ...]] = (), (rules,)

    @property
    def base(self) -> Mapping[str, Rule]:
        """By which it is decided what is computed, whatever versions come: see `StillRule`."""
        return self._versions[1][0].base

    def set(self, versions: Mapping[int, Rules]) -> None:
        """Have these versions hold, each from an event time (microseconds since the Unix epoch) on."""
        times = sorted(versions)
        _, (first, *_) = self._versions
        self._versions = tuple(times), (first, *(versions[time_us] for time_us in times))

    def at(self, camera: str, time_us: int) -> Mapping[str, Rule]:
        """The rules of a camera for a window that begins at an event time."""
        times, rules = self._versions
        return rules[bisect.bisect_right(times, time_us)].of(camera)

    def newest(self, camera: str) -> Mapping[str, Rule]:
        """The rules of a camera in the newest version."""
        return self._versions[1][-1].of(camera)

    def any_of(self, cameras: Iterable[str]) -> dict[str, Rule]:
        """By label that makes events at some time, on one of these cameras or on others: one of its rules, a newest."""
        named = ("", *cameras)
        return {k: rule for rules in self._versions[1] for name in named for k, rule in rules.of(name).items()}

    def alarms(self, cameras: Iterable[str]) -> dict[str, float]:
        """By label that makes events now: the lowest score from which one may start, of these cameras and others."""
        alarms: dict[str, float] = {}
        for camera in ("", *self._versions[1][-1].patterns, *cameras):
            for label, rule in self.newest(camera).items():
                alarms[label] = min(rule.start, alarms.get(label, 1.0))
        return alarms

    def labels(self, camera: str) -> tuple[str, ...]:
        """Those that make events on a camera in some version."""
        return tuple(dict.fromkeys(label for rules in self._versions[1] for label in rules.of(camera)))

    def of(self, camera: str) -> CameraRules:
        return CameraRules(self, camera)


@dataclass(frozen=True, slots=True)
class CameraRules:
    """Those of one camera."""

    book: RuleBook
    camera: str

    def at(self, time_us: int) -> Mapping[str, Rule]:
        """The rules for a window that begins at an event time."""
        return self.book.at(self.camera, time_us)

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that make events in some version."""
        return self.book.labels(self.camera)


def as_book(rules: RuleBook | Mapping[str, Rule]) -> RuleBook:
    """Rules that are the same for all cameras, at any time, as a book; a book as it is."""
    return RuleBook(rules) if isinstance(rules, Mapping) else rules
