"""What cameras left behind: of those that have gone, too, and nothing of what is forgotten."""

from __future__ import annotations

from typing import Protocol

from consumers.web.desk import Desk
from consumers.web.problems import forgotten, not_found
from stream import BrokerError


class _Sees(Protocol):
    def sees(self, camera: str) -> bool: ...


async def check_known(desk: Desk, viewer: _Sees, camera: str) -> None:
    """See that a camera is or was there, for who asks: what it recorded stays longer than how it is.

    Raises:
        ProblemError: nobody has heard of it.
        BrokerError: only the index may know it, and the broker is away.
    """
    if viewer.sees(camera):
        if desk.view.has_heard_of(camera):
            return
        if await desk.footage.knows(camera):
            desk.view.note_camera(camera)
            return
    raise not_found(f"no camera {camera!r} is known")


def check_knows_forgotten(desk: Desk) -> None:
    """See that it is known what is forgotten.

    Raises:
        BrokerError: it is not known yet.
    """
    if not desk.view.knows_forgotten():
        raise BrokerError(desk.view.waiting("forgotten") or "what is forgotten is not read yet")


def check_remembered(desk: Desk, camera: str, start_us: int, end_us: int, event: str | None = None) -> None:
    """See that something of a camera, or about an event of it, is of no stretch that is forgotten.

    Raises:
        ProblemError: it is.
        BrokerError: what is forgotten is not known yet.
    """
    check_knows_forgotten(desk)
    if (stretch := desk.view.forgotten.of(camera, start_us, end_us, event)) is not None:
        raise forgotten(stretch.explained(), stretch)
