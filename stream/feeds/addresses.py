"""Addresses of cameras: which they are, and how they may be shown."""

from __future__ import annotations

import re
from typing import Final

_SECRET_PARAMETER: Final = re.compile(
    r"((?:[?&/;_]|^)(?:user|username|pass|passwd|password|pwd|auth|token|key)=)[^&]*", re.IGNORECASE
)


def is_live(uri: str) -> bool:
    return uri.startswith(("rtsp://", "rtsps://"))


def display_name(uri: str) -> str:
    """`uri` without the user and password that a camera's address may carry, before the host or as parameters."""
    # Up to the last '@', wherever it is: nobody escapes the slash in a password.
    return _SECRET_PARAMETER.sub(r"\1…", re.sub(r"(?<=:/)/*.*@", "/", uri, flags=re.DOTALL))
