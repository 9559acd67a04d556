"""Exported models as files: an OpenVINO IR (.xml and .bin), ONNX (.onnx) or a `torch.export` program (.pt2).

Each carries the contract of the checkpoint that it was made from, and a note on how it was made:

    .xml    in rt_info
    .onnx   in metadata_props
    .pt2    as extra files

Nothing here imports torch: what OpenVINO runs is served where torch is not installed.
"""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
import os
import re
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from models.contract import Contract
from models.errors import CheckpointError, EngineError

Form: TypeAlias = Literal["openvino", "onnx", "torch"]
Precision: TypeAlias = Literal["f32", "f16", "bf16", "int8"]

FORMS: Final[dict[str, Form]] = {".xml": "openvino", ".onnx": "onnx", ".pt2": "torch"}
FORM_NAMES: Final[dict[Form, str]] = {"openvino": "OpenVINO IR", "onnx": "ONNX", "torch": "torch.export"}
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
#: Of a file that holds encoder and head: what the outputs are called, by input.
FACTORED: Final = {"picture": "encoded", "features": "scores"}
#: Of one that holds steps and head: the input that says whether a picture is the first of its run.
BEGINS: Final = "begins"
#: What the inputs and outputs for state are called, each with its number.
STATE: Final = ("state", "next_state")
_NOTE_KEY: Final = "clipline_export"
_IR_NOTE: Final = re.compile(rf'<{_NOTE_KEY} value="([^"]*)"')
#: How OpenVINO calls the reader of each, and where that reader puts what the file says of itself.
_FRONTENDS: Final[dict[Form, tuple[str, list[str]]]] = {"openvino": ("ir", []), "onnx": ("onnx", ["framework"])}
_MAX_NOTE_BYTES: Final = 1024 * 1024
_MAX_CONFIG_BYTES: Final = 64 * 1024 * 1024
#: What `torch.export.save` writes of a program whose weights are plain tensors, below one folder.
_PT2_ENTRIES: Final = re.compile(
    r"data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|extra/\w+"
    r"|archive_format|archive_version|byteorder|\.data/\w+"
)


@dataclass(frozen=True, slots=True)
class Export:
    """How an exported file was made."""

    form: Form
    precision: Precision
    #: Id of the checkpoint it was made from.
    source: str

    def encode(self) -> dict[str, str]:
        return {_NOTE_KEY: json.dumps({"precision": self.precision, "source": self.source})}

    @classmethod
    def decode(cls, form: Form, metadata: dict[str, str], where: str) -> Export:
        """Read the note back; `where` names the file in errors.

        Raises:
            CheckpointError: there is none, or it is of a precision that this version does not know.
        """
        try:
            values = json.loads(metadata[_NOTE_KEY])
            precision, source = values["precision"], str(values["source"])
        except (KeyError, TypeError, ValueError, RecursionError):
            raise CheckpointError(
                f"{where}: does not say how it was exported; expected a file that Clipline made"
            ) from None
        if precision not in PRECISIONS:
            raise CheckpointError(f"{where}: precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
        return cls(form, precision, source)


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file of the exported model at `path`."""
    return (path, path.with_suffix(".bin")) if path.suffix == ".xml" else (path,)


def digest_of(path: Path) -> str:
    """SHA-256 of everything that belongs to the model, in hexadecimal.

    Raises:
        OSError: a part cannot be read.
    """
    digest = hashlib.sha256()
    for part in files_of(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def read_exported(path: Path) -> tuple[Contract, Export]:
    """The contract and the note of an exported model.

    Raises:
        CheckpointError: the file is damaged, or not one that Clipline made.
        EngineError: reading it needs OpenVINO, which is not installed.
    """
    form = FORMS[path.suffix]
    metadata = _archive_metadata(path) if form == "torch" else _openvino_metadata(path, form)
    return Contract.decode(metadata, str(path)), Export.decode(form, metadata, str(path))


def require_openvino() -> Any:
    """The package.

    Raises:
        EngineError: it is not installed.
    """
    if importlib.util.find_spec("openvino") is None:
        raise EngineError(
            "OpenVINO is not installed: `pip install 'clipline[edge]'`, or serve a checkpoint with --engine torch"
        )
    import openvino  # noqa: PLC0415

    return openvino


def read_openvino(path: Path, core: Any) -> Any:
    """The OpenVINO model (`openvino.Model`) in an .xml or .onnx file.

    Raises:
        CheckpointError: it is damaged, or something else.
    """
    from openvino.frontend import FrontEndManager  # noqa: PLC0415

    form = FORMS[path.suffix]
    try:
        # Asked by name, since OpenVINO would offer the file to every reader it has, and each complains on stderr.
        if not FrontEndManager().load_by_framework(_FRONTENDS[form][0]).supported(str(path)):
            raise CheckpointError(f"{path}: not an {FORM_NAMES[form]} file")
        return core.read_model(path)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: damaged ({reason_of(error)})") from None


def has_steps(model: Any) -> bool:
    """Whether an OpenVINO model is a continual one."""
    return any(BEGINS in given.names for given in model.inputs)


def parts_of(model: Any) -> tuple[Any, ...]:
    """An OpenVINO model as head and encoder, each from one input to one output; a whole network as it is.

    Of a continual one it is head and steps; the latter go from picture, what begins and state to features and state.

    Raises:
        CheckpointError: it has other inputs and outputs.
    """
    if len(model.inputs) == len(model.outputs) == 1:
        return (model,)
    ov = require_openvino()
    try:
        ends = {name: (model.input(given), model.output(name)) for given, name in FACTORED.items()}
        if has_steps(model):
            numbers = range(len(model.outputs) - len(FACTORED))
            before, after = ([f"{end}_{n}" for n in numbers] for end in STATE)
            return (
                ov.Model([ends["scores"][1].get_node()], [ends["scores"][0].get_node()], "head"),
                ov.Model(
                    [model.output(name).get_node() for name in ("encoded", *after)],
                    [model.input(name).get_node() for name in ("picture", BEGINS, *before)],
                    "steps",
                ),
            )
    except RuntimeError as error:
        raise CheckpointError(
            f"a model of {len(model.inputs)} inputs and {len(model.outputs)} outputs: expected those of one that "
            f"Clipline made ({reason_of(error)})"
        ) from None
    encoder, head = (ov.Model([to.get_node()], [given.get_node()], name) for name, (given, to) in ends.items())
    return head, encoder


def reason_of(error: Exception) -> str:
    """What OpenVINO means: the last line, after those on where in its source it was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def check_archive(path: Path) -> None:
    """Refuse a .pt2 that holds more than a program and plain tensors: torch would unpickle the rest, which runs code.

    Raises:
        CheckpointError: it does, or it is no such archive.
    """
    with _opened(path) as archive:
        names = [info.filename.partition("/")[2] for info in archive.infolist()]
        strange = [name for name in names if not _PT2_ENTRIES.fullmatch(name)]
        strange += [name for name, count in Counter(names).items() if count > 1]
        root = archive.infolist()[0].filename.partition("/")[0]
        for config in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
            entries = _json(archive, f"{root}/{config}", path).get("config", {})
            strange += [name for name, entry in entries.items() if entry.get("use_pickle") is not False]
        inputs = f"{root}/data/sample_inputs/model.pt"
        if inputs in archive.namelist() and archive.getinfo(inputs).file_size:
            strange.append("data/sample_inputs/model.pt")
    if strange:
        raise CheckpointError(
            f"{path}: holds {strange[0]!r}, which Clipline did not put there and torch would unpickle: refused"
        )


def note_of(path: Path) -> Export:
    """How the OpenVINO IR at `path` was made, without loading its weights.

    Raises:
        CheckpointError: it does not say so.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from None
    found = _IR_NOTE.search(text)
    return Export.decode("openvino", {_NOTE_KEY: html.unescape(found[1])} if found else {}, str(path))


def save_openvino(model: Any, path: Path, *, compress: bool = False) -> None:
    """Write an IR to `path` and the .bin beside it, all weights as float16 if `compress`.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        require_openvino().save_model(model, unfinished, compress_to_fp16=compress)
        # The weights first: a reader that sees the .xml finds them.
        unfinished.with_suffix(".bin").replace(path.with_suffix(".bin"))
        unfinished.replace(path)
    except RuntimeError as error:
        raise OSError(reason_of(error)) from None
    finally:
        unfinished.with_suffix(".bin").unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)


def _openvino_metadata(path: Path, form: Form) -> dict[str, str]:
    model = read_openvino(path, require_openvino().Core())
    place = _FRONTENDS[form][1]
    return {
        key: str(model.get_rt_info([*place, key]).astype(str))
        for key in ("clipline", _NOTE_KEY)
        if model.has_rt_info([*place, key])
    }


def _archive_metadata(path: Path) -> dict[str, str]:
    with _opened(path) as archive:
        metadata = {}
        for info in archive.infolist():
            folder, _, name = info.filename.rpartition("/")
            if folder.endswith("/extra") and name in {"clipline", _NOTE_KEY} and info.file_size <= _MAX_NOTE_BYTES:
                metadata[name] = archive.read(info).decode("utf-8", errors="replace")
        return metadata


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise CheckpointError(f"{path}: not a {FORM_NAMES['torch']} file") from None
    if not archive.infolist():
        raise CheckpointError(f"{path}: not a {FORM_NAMES['torch']} file (an empty archive)")
    return archive


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    try:
        if archive.getinfo(name).file_size > _MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path}: {name} is larger than {_MAX_CONFIG_BYTES >> 20} MiB")
        return dict(json.loads(archive.read(name)))
    except (KeyError, ValueError, zipfile.BadZipFile):
        raise CheckpointError(f"{path}: not a {FORM_NAMES['torch']} file ({name} is absent or damaged)") from None
