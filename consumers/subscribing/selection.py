"""Which events a subscriber wants."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from consumers.records.event import Event

#: What a camera's id is made of, and what stands for parts of one.
_PATTERN: Final = re.compile(r"[A-Za-z0-9._\-*?\[\]!]{1,128}")
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """Labels and cameras; none of either means all of them."""

    labels: tuple[str, ...] = ()
    #: Ids, or patterns as a shell has them: `gate*` is all cameras that begin so, `dock-[12]` two of them.
    cameras: tuple[str, ...] = ()
    #: Drills as well; of the cameras that they stand for.
    drills: bool = False
    #: Ids or patterns of the cameras that there are for who asks, whatever that one asks for; None: all.
    within: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        labels: Iterable[str] | str | None,
        cameras: Iterable[str] | str | None,
        *,
        drills: bool = False,
        within: tuple[str, ...] | None = None,
    ) -> Self:
        """Check what somebody asks for.

        Raises:
            ValueError: it can be no label, or no camera; the message begins with what is wrong.
        """
        found = cls(_several(labels), _several(cameras), drills, within)
        for label in found.labels:
            if not isinstance(label, str) or not label.strip() or len(label) > 256:
                raise ValueError(f"labels: expected names of labels, found {label!r}")
        for camera in found.cameras:
            if not isinstance(camera, str) or not _PATTERN.fullmatch(camera):
                raise ValueError(
                    f"cameras: expected an id such as 'gate-1', or a pattern such as 'gate*', found {camera!r}"
                )
        if max(len(found.labels), len(found.cameras)) > _MOST:
            raise ValueError(f"expected {_MOST} labels and cameras at most")
        return found

    def holds(self, event: Event) -> bool:
        """Whether the event is wanted."""
        if event.drill is not None and not self.drills:
            return False
        seen = event.drill or event.camera
        if self.within is not None and not _is_one_of(seen, self.within):
            return False
        return (not self.labels or event.label in self.labels) and (not self.cameras or _is_one_of(seen, self.cameras))


def _is_one_of(camera: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(camera, pattern) for pattern in patterns)


def _several(names: Iterable[str] | str | None) -> tuple[str, ...]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)
