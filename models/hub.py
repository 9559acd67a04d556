"""PyTorchVideo's model zoo: its checkpoints as they are, by name or path, with the contracts that it documents."""

from __future__ import annotations

import logging
import os
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .contract import Contract
from .errors import CheckpointError
from .fetching import Progress, fetch

log = logging.getLogger(__name__)

#: By name: architecture, T, seconds from one frame to the next (at 30 frames/s), height and width.
ZOO: Final = {
    "X3D_XS": ("x3d_xs", 4, 12 / 30, 160),
    "X3D_S": ("x3d_s", 13, 6 / 30, 160),
    "X3D_M": ("x3d_m", 16, 5 / 30, 224),
}
SUFFIXES: Final = frozenset({".pyth", ".pt", ".pth"})
_ADDRESS: Final = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
#: The variable that names a folder on another server with the same files.
MIRROR: Final = "CLIPLINE_MODEL_MIRROR"
#: What a name of the zoo may begin with, so that it is taken for no file.
PREFIX: Final = "kinetics/"


def zoo_name(model: str) -> str | None:
    """The name in `ZOO` that `kinetics/x3d_s`, `x3d_s` or `X3D_S` stands for; None for what stands for none."""
    name = model.lower().removeprefix(PREFIX).upper()
    return name if name in ZOO else None


def zoo_names() -> list[str]:
    """What users call the models in `ZOO`."""
    return [f"{PREFIX}{name.lower()}" for name in ZOO]


def zoo_contract(path: Path) -> Contract:
    """Return the contract of one of PyTorchVideo's files, known by its name: the file itself holds weights only.

    Raises:
        CheckpointError: the name is not one of `ZOO`.
    """
    if path.stem not in ZOO:
        raise CheckpointError(f"{path}: not a PyTorchVideo checkpoint that is known by name ({', '.join(ZOO)})")
    # Torchvision knows the names of Kinetics-400's labels; importing it takes longer than all else here.
    from torchvision.models.video import MViT_V2_S_Weights  # noqa: PLC0415

    architecture, frames, spacing, size = ZOO[path.stem]
    return Contract(
        architecture=architecture,
        # Kinetics-400 in alphabetical order, as PyTorchVideo numbers it.
        labels=tuple(MViT_V2_S_Weights.KINETICS400_V1.meta["categories"]),
        frames=frames,
        spacing_seconds=round(spacing, 6),
        height=size,
        width=size,
        fit="crop",
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        training={"data": "Kinetics-400", "source": "PyTorchVideo model zoo"},
    )


def download(name: str, folder: Path, progress: Progress | None = None) -> Path:
    """Return the file of a model in `ZOO` in `folder`: fetched from the mirror or the zoo, unless it is there.

    Raises:
        CheckpointError: it cannot be fetched or written, or is not the file that its checksum says.
    """
    path = folder / f"{name}.pyth"
    is_there = path.is_file()
    address = f"{_ADDRESS if is_there else _mirror()}{name}.pyth"
    if not is_there:
        log.info("fetching %s", address)
    try:
        fetch(address, path, progress)
    except (OSError, HTTPException) as error:
        # Of other errors of urllib, the one beneath says more.
        beneath = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
        reason = " ".join(str(beneath).split())
        if is_there:
            raise CheckpointError(f"{path}: cannot be read ({reason})") from None
        raise CheckpointError(
            f"{name}.pyth cannot be fetched ({reason}): download {address} by hand and put it at {path}, or give the "
            f"path of a copy instead; {MIRROR} names a mirror, HTTPS_PROXY a proxy"
        ) from None
    return path


def _mirror() -> str:
    """The folder on a server that the files lie in, with a slash at its end."""
    given = os.environ.get(MIRROR, "").strip() or _ADDRESS
    try:
        parts = urlsplit(given)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or not given.isprintable() or " " in given:
        # Not quoted: it may hold a password.
        raise CheckpointError(
            f"{MIRROR}: expected an address like https://mirror.example/kinetics/, without a password"
        )
    return f"{given.rstrip('/')}/"
