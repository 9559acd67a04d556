"""Camera ids for footage, told from the names of files and folders.

gate.mp4                     gate
lobby/1.mp4 of a folder      lobby-1
Eingang Süd.mp4              Eingang-Sud-0f1a7c52       what had to be changed carries a digest of the name
入口.mp4                      RuKou-2d8b6e1f
a.mp4 and a.avi              a.mp4 and a.avi            what would be one camera
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

from anyascii import anyascii

from stream.camera_ids import CAMERA_ID

_MAX_LENGTH: Final = 64
_DIGEST_LENGTH: Final = 8


def camera_id(name: str) -> str:
    """The camera id that stands for `name`: itself if it can be one; other names give other ids."""
    if CAMERA_ID.fullmatch(name):
        return name
    return _with_digest(name, name)


def camera_of(path: Path) -> str:
    """The camera id of a single file or folder that is all footage of one camera."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  not `resolve`: a link is a name, too
    return camera_id(absolute.name if absolute.is_dir() else absolute.stem)


def cameras_of(files: Sequence[Path], root: Path) -> list[str]:
    """The camera ids of `files`, each a camera: told from their paths below the folder `root`, none twice."""
    base = root if root.is_dir() else root.parent
    paths = [PurePath(os.path.relpath(file, base)) for file in files]
    ids = [camera_id(_joined(path.with_suffix(""))) for path in paths]
    ids = _told_apart(ids, [camera_id(_joined(path)) for path in paths])
    return _told_apart(ids, [_with_digest(_joined(path.with_suffix("")), path.as_posix()) for path in paths])


def _told_apart(ids: Sequence[str], others: Sequence[str]) -> list[str]:
    counts = Counter(ids)
    return [other if counts[one] > 1 else one for one, other in zip(ids, others, strict=True)]


def _joined(path: PurePath) -> str:
    return path.as_posix().replace("/", "-")


def _with_digest(name: str, whole: str) -> str:
    # File systems differ in how they write an "ü".
    name, whole = (unicodedata.normalize("NFC", text) for text in (name, whole))
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", anyascii(name)).strip("-._")
    digest = hashlib.sha256(whole.encode(errors="surrogateescape")).hexdigest()[:_DIGEST_LENGTH]
    return f"{plain[: _MAX_LENGTH - _DIGEST_LENGTH - 1].rstrip('-._') or 'camera'}-{digest}"
