"""Checkpoints: one safetensors file a model, with weights, and the contract in its metadata. Nothing is pickled.

`find` takes what was exported from a checkpoint (engines/files.py) like the checkpoint itself. Nothing here needs torch
but `Checkpoint.state`.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import json
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import save as serialise

from . import hub
from .contract import Contract
from .engines.files import FORM_NAMES, FORMS, Export, digest_of, read_exported
from .errors import CheckpointError, UnknownModelError
from .fetching import Progress
from .files import replacing

#: By which a checkpoint is told from what was exported of one.
SUFFIX: Final = ".safetensors"
SHIPPED_FOLDER: Final = Path(__file__).parent / "checkpoints"
DEFAULT_MODEL: Final = "movenet-views"
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
        from .weights import read_weights, read_zoo_weights  # noqa: PLC0415  imports torch

        return read_zoo_weights(self.path) if self.path.suffix in hub.SUFFIXES else read_weights(self.path)


def check_writable(path: Path) -> None:
    """Check the name of a checkpoint that is to be written after long work, and make its folder.

    Raises:
        CheckpointError: `path` is a folder, has the suffix of something else, or nothing can be written there.
    """
    if path.suffix.lower() not in {SUFFIX, ""} and not path.is_dir():
        hint = f"; `clipline export` makes a {path.suffix} of it" if path.suffix in FORMS else ""
        raise CheckpointError(f"{path}: expected a name that ends in {SUFFIX}{hint}")
    try:
        if path.exists() and not path.is_dir() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be written")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; expected the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None


def save(path: Path, state: dict[str, Any], contract: Contract) -> None:
    """Write weights (as float16) and contract to `path`, whole or not at all.

    Args:
        path: of the checkpoint; its folder is made.
        state: torch tensors or numpy arrays by parameter name.
        contract: what the model demands and promises.

    Raises:
        CheckpointError: it cannot be written.
    """
    half = {name: _as_stored(values) for name, values in state.items()}
    try:
        with replacing(path) as unfinished:
            # Not by safetensors' own `save_file`, whose files only their owner can read.
            unfinished.write_bytes(serialise(half, metadata=contract.encode()))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None


def _as_stored(values: Any) -> np.ndarray:
    """A tensor as a checkpoint holds it: floating-point numbers as float16."""
    if hasattr(values, "detach"):  # torch's, perhaps on a GPU, perhaps in a precision that numpy does not know
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    array = np.asarray(values, order="C")
    with np.errstate(over="ignore"):  # too large for float16 becomes infinite, and the scores show it
        return array.astype(np.float16) if np.issubdtype(array.dtype, np.floating) else array


def shipped() -> dict[str, Path]:
    """The checkpoints that come with Clipline, by name."""
    return {path.stem: path for path in sorted(SHIPPED_FOLDER.glob("*.safetensors"))}


def name_of(checkpoint: Checkpoint) -> str:
    """What `find` finds a model by: a shipped one's name, else the path."""
    return checkpoint.path.stem if checkpoint.path in shipped().values() else str(checkpoint.path)


def find(model: str, progress: Progress | None = None) -> Checkpoint:
    """Find a shipped model by name, a checkpoint or an exported model by path, or one of PyTorchVideo's by either.

    One of PyTorchVideo's that is named and not here yet is fetched; `progress` is told how far that is.

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
    if zoo_name := hub.zoo_name(model):
        return _read(hub.download(zoo_name, cache_folder() / "hub", progress))
    near = difflib.get_close_matches(model.lower(), [*names, *hub.zoo_names()], n=1)
    why = "a folder, expected a file or a name" if path.is_dir() else "no such file"
    raise UnknownModelError(
        f"unknown model {model!r}: {why}{f'; did you mean {near[0]!r}?' if near else '.'} "
        f"Shipped models: {', '.join(names)}; architectures with PyTorchVideo's weights for Kinetics, which are "
        f"downloaded: {', '.join(hub.zoo_names())}"
    )


def _read(path: Path) -> Checkpoint:
    export = None
    try:
        digest = (digest_of(path) if path.suffix in FORMS else hashlib.sha256(path.read_bytes()).hexdigest())[:8]
        if path.suffix in FORMS:
            contract, export = read_exported(path)
        elif path.suffix in hub.SUFFIXES:
            contract = hub.zoo_contract(path)
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
        except (ValueError, AttributeError, RecursionError):
            raise CheckpointError(f"{path}: not a safetensors file") from None


def cache_folder() -> Path:
    """Where converted and fetched models are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipline"
