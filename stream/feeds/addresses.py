"""Addresses of cameras: which they are."""

from __future__ import annotations

from stream.credentials import display_name as display_name  # noqa: PLC0414  for the files beside it


def is_live(uri: str) -> bool:
    return uri.startswith(("rtsp://", "rtsps://"))
