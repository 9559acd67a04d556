"""PyTorchVideo's model zoo: its checkpoints as they are, by name or path, with the contracts that it documents."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Final

from .contract import Contract
from .errors import CheckpointError
from .files import replacing

#: By name: architecture, T, seconds from one frame to the next (at 30 frames/s), height and width.
ZOO: Final = {
    "X3D_XS": ("x3d_xs", 4, 12 / 30, 160),
    "X3D_S": ("x3d_s", 13, 6 / 30, 160),
    "X3D_M": ("x3d_m", 16, 5 / 30, 224),
}
SUFFIXES: Final = frozenset({".pyth", ".pt", ".pth"})
_ADDRESS: Final = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
_TIMEOUT_SECONDS: Final = 10.0
_MAX_BYTES: Final = 512 * 1024 * 1024


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


def download(name: str, folder: Path) -> Path:
    """Fetch the file of a model in `ZOO` into `folder`, unless it is there.

    Raises:
        CheckpointError: it cannot be fetched or written.
    """
    path = folder / f"{name}.pyth"
    if path.is_file():
        return path
    try:
        with (
            urllib.request.urlopen(f"{_ADDRESS}{name}.pyth", timeout=_TIMEOUT_SECONDS) as answer,  # noqa: S310
            replacing(path) as unfinished,
        ):
            unfinished.write_bytes(answer.read(_MAX_BYTES))
    except OSError as error:
        raise CheckpointError(
            f"{name}.pyth cannot be fetched from PyTorchVideo's model zoo ({error}): give the path of a copy instead"
        ) from None
    return path
