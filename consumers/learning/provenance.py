"""What a checkpoint keeps of how it was made: data and their digests, command, versions and processor.

Folders on somebody's disk are private: of a path only its name is kept.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from models import code_version

from .footage.leakage import footage_sample

#: What decodes, computes and fits: another version may give another file.
_PACKAGES: Final = (
    *("clipline", "torch", "torchvision", "pytorchvideo", "numpy", "av", "scikit-learn", "imbalanced-learn"),
    *("opencv-python-headless", "scikit-image"),
)


#: What decodes, trains and fits.
_CODE: Final = tuple(Path(__file__).parents[2] / name for name in ("models", "stream"))


def describe_footage(data: Sequence[Path], digests: Mapping[Path, str]) -> dict[str, Any]:
    """Names of the data and digests of their files."""
    folders = (d.parent if d.is_file() else d for d in (d.resolve() for d in data))
    return {"data": sorted({folder.name for folder in folders}), "footage": footage_sample(digests)}


def describe_run(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Command, versions and processor of this run; `arguments` are those of this process if None."""
    import torch  # noqa: PLC0415  slow, and whoever asks has it loaded

    given = sys.argv[1:] if arguments is None else arguments
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    return {
        "command": shlex.join(["clipline", *map(_without_folders, given)]),
        "versions": {"python": platform.python_version(), "code": code_version(*_CODE)} | _versions(),
        "processor": f"{platform.machine()} {device}, {torch.get_num_threads()} threads",
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that this run did without
    return found


def _without_folders(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + (PurePath(value).name if "/" in value else value)
