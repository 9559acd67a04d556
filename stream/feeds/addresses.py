"""What a user writes for footage: a camera's address, a file or a folder of files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from stream.errors import SourceError

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
_SECRET_PARAMETER: Final = re.compile(
    r"((?:[?&/;_]|^)(?:user|username|pass|passwd|password|pwd|auth|token|key)=)[^&]*", re.IGNORECASE
)


def is_live(uri: str) -> bool:
    return uri.startswith(("rtsp://", "rtsps://"))


def display_name(uri: str) -> str:
    """`uri` without the user and password that a camera's address may carry, before the host or as parameters."""
    # Up to the last '@', wherever it is: nobody escapes the slash in a password.
    return _SECRET_PARAMETER.sub(r"\1…", re.sub(r"(?<=:/)/*.*@", "/", uri, flags=re.DOTALL))


def find_files(path: Path) -> list[Path]:
    """The video files that `path` stands for: itself, or those in a folder, in the order of their names.

    Raises:
        SourceError: there is no such path, or the folder holds no video file.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
        if not files:
            raise SourceError(
                f"{path}: the folder holds no video file ({', '.join(sorted(VIDEO_SUFFIXES))})",
                cause="the folder holds no video file",
            )
        return files
    if not path.is_file():
        raise SourceError(f"{display_name(str(path))}: no such file or folder", cause="no such file or folder")
    return [path]
