"""Addresses of cameras: which they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stream.credentials import display_name as display_name  # noqa: PLC0414  for the files beside it
from stream.errors import SourceError

#: What libav can read from a network, of what cameras and media servers speak.
CAMERA_SCHEMES: Final = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "tcp", "udp", "rtp")


def is_live(uri: str) -> bool:
    """Whether `uri` is an address of one of `CAMERA_SCHEMES`, in whatever case."""
    return _scheme(uri) in CAMERA_SCHEMES


def may_be_film(uri: str) -> bool:
    """Whether only opening `uri` tells if it is a camera without end, or a film that somebody serves."""
    return _scheme(uri) in {"http", "https"}


def check_address(uri: str) -> None:
    """Raise SourceError if `uri` is an address that cannot be read; a path is none, whatever its letters."""
    if "://" in uri and not is_live(uri) and not Path(uri).exists():
        expected = f"expected a file, a folder or a camera's address ({', '.join(CAMERA_SCHEMES)})"
        raise SourceError(f"{display_name(uri)}: {expected}", cause=expected)


def what_is_there(path: Path, expected: str) -> str | None:
    """What a path is that is to be a file and is none, for errors; None if nothing is there."""
    if path.is_dir():
        return f"a folder; expected {expected}"
    return f"neither a file nor a folder (a pipe or a device?); expected {expected}" if path.exists() else None


def to_url(uri: str) -> str:
    """`uri` as libav wants it: it takes `08:00:00.mp4` for a protocol, and knows protocols in small letters only."""
    if not is_live(uri):
        return f"file:{uri}"
    scheme, _, rest = uri.partition("://")
    return f"{scheme.lower()}://{rest}"


def _scheme(uri: str) -> str | None:
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else None
