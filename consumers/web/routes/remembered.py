"""What of a camera's time is forgotten is shown to nobody."""

from __future__ import annotations

from consumers.web.desk import Desk
from consumers.web.problems import forgotten
from stream import BrokerError


def check_knows_forgotten(desk: Desk) -> None:
    """See that it is known what is forgotten.

    Raises:
        BrokerError: it is not known yet.
    """
    if not desk.view.knows_forgotten():
        raise BrokerError(desk.view.waiting("forgotten") or "what is forgotten is not read yet")


def check_remembered(desk: Desk, camera: str, start_us: int, end_us: int) -> None:
    """See that something of a camera is of no stretch that is forgotten.

    Raises:
        ProblemError: it is.
        BrokerError: what is forgotten is not known yet.
    """
    check_knows_forgotten(desk)
    if (stretch := desk.view.forgotten.of(camera, start_us, end_us)) is not None:
        raise forgotten(stretch.described())
