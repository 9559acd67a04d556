"""One safetensors file a model: weights, and the contract in its metadata. Nothing pickled.

What was exported from one (exported.py) is found and served by the same names.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .contract import Contract
from .engines.files import FORM_NAMES, FORMS, Export, digest_of, read_exported
from .errors import CheckpointError, UnknownModelError

SHIPPED_FOLDER: Final = Path(__file__).parent / "checkpoints"
DEFAULT_MODEL: Final = "movenet-motion"
#: PyTorchVideo's own checkpoints: architecture, T, frame spacing at 30 frames/s, size; and where they lie.
_HUB: Final = {
    "X3D_XS": ("x3d_xs", 4, 12 / 30, 160),
    "X3D_S": ("x3d_s", 13, 6 / 30, 160),
    "X3D_M": ("x3d_m", 16, 5 / 30, 224),
}
_HUB_ADDRESS: Final = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
_HUB_TIMEOUT_SECONDS: Final = 10.0
_MAX_HEADER_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file that was found and whose contract was read; its weights are read when asked for."""

    path: Path
    contract: Contract
    #: Name and content: the same bytes have the same id everywhere.
    id: str
    #: How it was exported; None for what holds weights.
    export: Export | None = None

    def state(self) -> dict[str, Any]:
        """Return the weights as float32 torch tensors, by parameter name.

        Raises:
            CheckpointError: the file is damaged, or was exported: it holds a graph.
        """
        if self.export is not None:
            raise CheckpointError(
                f"{self.path}: exported as {FORM_NAMES[self.export.form]}, which holds a graph, no weights by name; "
                f"expected the checkpoint that it was made from, {self.export.source}"
            )
        if self.path.suffix in {".pyth", ".pt", ".pth"}:
            return _hub_state(self.path)
        from safetensors import SafetensorError  # noqa: PLC0415
        from safetensors.torch import load_file  # noqa: PLC0415

        try:
            return {name: t.float() if t.is_floating_point() else t for name, t in load_file(self.path).items()}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: damaged ({error})") from None


def check_writable(path: Path) -> None:
    """Make the folder of a checkpoint that is to be written after long work.

    Raises:
        CheckpointError: `path` is a folder, or nothing can be written beside it.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None


def save(path: Path, state: dict[str, Any], contract: Contract) -> None:
    """Write weights (as float16) and contract to `path`, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    import torch  # noqa: PLC0415
    from safetensors.torch import save as serialise  # noqa: PLC0415

    half = {n: (t.to(torch.float16) if t.is_floating_point() else t).contiguous() for n, t in state.items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by safetensors' own `save_file`, whose files only their owner can read.
        unfinished.write_bytes(serialise(half, metadata=contract.encode()))
        unfinished.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never written
            unfinished.unlink()


def shipped() -> dict[str, Path]:
    """The checkpoints that come with Clipline, by name."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.safetensors"))}


def name_of(checkpoint: Checkpoint) -> str:
    """What `find` finds a model by: a shipped one's name, else the path."""
    return checkpoint.path.stem if checkpoint.path in shipped().values() else str(checkpoint.path)


def find(model: str) -> Checkpoint:
    """Find a shipped model by name, a checkpoint or an exported model by path, or one of PyTorchVideo's by either.

    Raises:
        UnknownModelError: there is neither such a name nor such a file.
        CheckpointError: the file is neither a checkpoint nor an exported model.
        EngineError: it can only be read with a package that is not installed.
    """
    names = shipped()
    name = DEFAULT_MODEL if model == "default" else model
    if name in names:
        return _read(names[name])
    path = Path(model)
    if path.is_file():
        return _read(path)
    if model.upper() in _HUB:
        return _read(_download(model.upper()))
    known = ", ".join([*names, *(n.lower() for n in _HUB)])
    raise UnknownModelError(f"unknown model {model!r}: neither a file nor one of {known}")


def _read(path: Path) -> Checkpoint:
    export = None
    try:
        digest = (digest_of(path) if path.suffix in FORMS else hashlib.sha256(path.read_bytes()).hexdigest())[:8]
        if path.suffix in FORMS:
            contract, export = read_exported(path)
        elif path.suffix in {".pyth", ".pt", ".pth"}:
            contract = _hub_contract(path)
        else:
            contract = Contract.decode(_metadata(path), str(path))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    return Checkpoint(path, contract, f"{path.stem}-{digest}", export)


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON. Read without torch."""
    with path.open("rb") as file:
        head = file.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= size <= _MAX_HEADER_BYTES:
            raise CheckpointError(f"{path}: not a safetensors file")
        try:
            header = json.loads(file.read(size))
            return dict(header.get("__metadata__", {}))
        except (ValueError, AttributeError):
            raise CheckpointError(f"{path}: not a safetensors file") from None


def _hub_contract(path: Path) -> Contract:
    if path.stem not in _HUB:
        raise CheckpointError(f"{path}: not a PyTorchVideo checkpoint that is known by name ({', '.join(_HUB)})")
    from torchvision.models.video import MViT_V2_S_Weights  # noqa: PLC0415

    architecture, frames, spacing, size = _HUB[path.stem]
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


def _hub_state(path: Path) -> dict[str, Any]:
    import pickle  # noqa: PLC0415  for the name of its error only

    import torch  # noqa: PLC0415

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content["model_state"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a PyTorchVideo checkpoint ({str(error).splitlines()[0]})") from None


def _download(name: str) -> Path:
    import urllib.request  # noqa: PLC0415

    folder = cache_folder() / "hub"
    path = folder / f"{name}.pyth"
    if path.is_file():
        return path
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(f"{_HUB_ADDRESS}{name}.pyth", timeout=_HUB_TIMEOUT_SECONDS) as answer:  # noqa: S310
            unfinished.write_bytes(answer.read(512 * 1024 * 1024))
        unfinished.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{name}.pyth cannot be fetched from PyTorchVideo's model zoo ({error}): give the path of a copy instead"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
    return path


def cache_folder() -> Path:
    """Where converted and fetched models are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipline"
