"""Names of cameras, and of drills that stand for one.

    gate                    a camera
    gate~drill-3f0c6a5e     a drill of it: no camera that a user names holds a tilde

A drill's clip travels under a name of its own, so whatever is made of it says that it is one: no part of the way can
lose the mark, and no state of the camera is touched.
"""

from __future__ import annotations

import re
from typing import Final

from .credentials import display_name

CAMERA_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DRILL_ID: Final = re.compile(rf"({CAMERA_ID.pattern})~drill-([0-9a-f]{{8}})")


def check_camera_id(camera: str) -> str:
    """Return `camera`, or raise ValueError: an id names Redis keys and file names, so it is kept plain."""
    if not CAMERA_ID.fullmatch(camera):
        raise ValueError(
            f"camera id '{display_name(camera)}': expected 1 to 64 letters, digits, '.', '_' or '-', beginning with "
            "a letter or digit"
        )
    return camera


def check_sent_id(camera: str) -> str:
    """As `check_camera_id`, for what may travel: drills may, too."""
    return camera if drilled(camera) is not None else check_camera_id(camera)


def drill_id(camera: str, number: str) -> str:
    """The name under which a drill of `camera` travels.

    Args:
        camera: the camera's own id.
        number: of the drill, eight hexadecimal digits.

    Raises:
        ValueError: one of them cannot be used.
    """
    name = f"{check_camera_id(camera)}~drill-{number}"
    if not _DRILL_ID.fullmatch(name):
        raise ValueError(f"drill {number!r}: expected eight hexadecimal digits")
    return name


def drilled(camera: str) -> str | None:
    """The camera that a drill stands for; None where `camera` is no drill."""
    found = _DRILL_ID.fullmatch(camera)
    return None if found is None else found[1]


def camera_behind(camera: str) -> str:
    """The camera whose rules and limits hold: a drill's are those of the camera that it stands for."""
    return drilled(camera) or camera
