"""A checkpoint's network as OpenVINO reads it: from the files that ship beside it, from the cache, or converted now.

All three give the same scores to the last bit, so predictions keep the checkpoint's id whichever is used.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from models.checkpoint import SHIPPED_FOLDER, Checkpoint, cache_folder
from models.errors import CheckpointError
from models.versions import code_version, library_versions

from .files import files_of, note_of, read_openvino, require_openvino, save_openvino

#: What remakes the files that ship beside checkpoints, after a checkpoint was trained anew.
REMAKE: Final = "make shipped"
_MAX_CACHED: Final = 16
#: What a converted graph depends on beside OpenVINO and the checkpoint.
_CONVERTERS: Final = ("torch", "torchvision", "pytorchvideo", "timm")


def needs_conversion(checkpoint: Checkpoint) -> bool:
    """Whether the network must be converted before OpenVINO can run it, which takes torch and seconds.

    Raises:
        EngineError: OpenVINO is not installed.
    """
    return not _is_there(_cached_path(checkpoint)) and why_not_shipped(checkpoint) is not None


def shipped_path(checkpoint: Checkpoint) -> Path:
    """Where the export of a shipped checkpoint lies."""
    return checkpoint.path.with_suffix(".xml")


def why_not_shipped(checkpoint: Checkpoint) -> str | None:
    """Why no export beside a checkpoint can stand for it; None where one can.

    Only shipped checkpoints have one: what a user exported has a name, an id and a precision of its own.
    """
    path = shipped_path(checkpoint)
    if checkpoint.path.parent != SHIPPED_FOLDER:
        return f"{checkpoint.path}: not a shipped checkpoint"
    if not _is_there(path):
        return f"{path}: absent, or its .bin is; `{REMAKE}` makes both"
    try:
        note = note_of(path)
    except CheckpointError as error:
        return f"{error}; `{REMAKE}` makes it anew"
    if (note.source, note.precision) != (checkpoint.id, "f32"):
        return (
            f"{path}: made of {note.source} in {note.precision}, expected {checkpoint.id} in f32; "
            f"`{REMAKE}` makes it anew"
        )
    return None


def converted(core: Any, checkpoint: Checkpoint) -> Any:
    """The network of a checkpoint as an `openvino.Model`; a conversion is kept on disk.

    Raises:
        CheckpointError: the weights cannot be read.
    """
    if why_not_shipped(checkpoint) is None:
        return read_openvino(shipped_path(checkpoint), core)
    path = _cached_path(checkpoint)
    if _is_there(path):
        try:
            return core.read_model(path)
        except RuntimeError:
            path.unlink(missing_ok=True)  # cut short by a full disk: made anew below
    from .conversion import convert  # noqa: PLC0415  imports torch

    model = convert(checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_openvino(model, path)
        for old in sorted(path.parent.glob("*.xml"), key=lambda p: p.stat().st_mtime)[:-_MAX_CACHED]:
            old.with_suffix(".bin").unlink(missing_ok=True)
            old.unlink(missing_ok=True)
    except OSError:
        return model  # a read-only home costs the conversion each time, nothing else
    return core.read_model(path)


def _cached_path(checkpoint: Checkpoint) -> Path:
    """Where the conversion is kept; another version of what converts has another path."""
    versions = [require_openvino().__version__, *library_versions(*_CONVERTERS).values()]
    story = " ".join([*versions, code_version(Path(__file__).parents[1])])
    return cache_folder() / "openvino" / f"{checkpoint.id}-{hashlib.sha256(story.encode()).hexdigest()[:8]}.xml"


def _is_there(path: Path) -> bool:
    return all(part.is_file() for part in files_of(path))
