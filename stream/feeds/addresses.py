"""What a user writes for footage: a camera's address, a file or a folder of files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stream.credentials import display_name as display_name  # noqa: PLC0414  for the files beside it
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


def is_live(uri: str) -> bool:
    return uri.startswith(("rtsp://", "rtsps://"))


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
