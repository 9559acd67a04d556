"""What a user writes for footage: a camera's address, a file or a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stream.credentials import display_name as display_name  # noqa: PLC0414  for the files beside it
from stream.errors import SourceError

from .recorded import name_order

VIDEO_SUFFIXES: Final = frozenset(
    {
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".ts",
        ".m2ts",
        ".mts",
        ".mpg",
        ".mpeg",
        ".flv",
        ".wmv",
        ".3gp",
        ".ogv",
    }
)
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


def to_url(uri: str) -> str:
    """`uri` as libav wants it: it takes `08:00:00.mp4` for a protocol, and knows protocols in small letters only."""
    if not is_live(uri):
        return f"file:{uri}"
    scheme, _, rest = uri.partition("://")
    return f"{scheme.lower()}://{rest}"


def _scheme(uri: str) -> str | None:
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else None


def find_files(path: Path) -> list[Path]:
    """The video files that `path` stands for: itself, or those in a folder, in the order of their names.

    Raises:
        SourceError: there is no such path, or the folder holds no video file.
    """
    if path.is_dir():
        files = sorted(
            (p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()), key=name_order
        )
        if not files:
            raise SourceError(
                f"{path}: the folder holds no video file ({', '.join(sorted(VIDEO_SUFFIXES))})",
                cause="the folder holds no video file",
            )
        return files
    if not path.is_file():
        raise SourceError(f"{display_name(str(path))}: no such file or folder", cause="no such file or folder")
    return [path]
