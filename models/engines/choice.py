"""Which engine runs a model: torch on CPU or CUDA, or OpenVINO; scikit-learn runs what is no network.

    classifier.py ──▶ choice.py ──▶ openvino.py ──▶ converted.py ──▶ conversion.py (needs torch)
                          └───────▶ torch.py (needs torch), classical/engine.py (needs scikit-learn)

What is below a name that needs something is imported only when it is used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Final

from models.checkpoint import Checkpoint, name_of
from models.classical.kinds import PREFIX, check_installed, is_classical
from models.errors import EngineError

from .converted import needs_conversion
from .engine import Engine
from .files import FORM_NAMES
from .openvino import open_openvino

ENGINES: Final = ("auto", "openvino", "openvino-f32", "torch")
#: Nobody asks for it by name: what scikit-learn runs is run by nothing else.
CLASSICAL_ENGINE: Final = PREFIX
#: What drivers of GPUs that torch uses show on Linux: NVIDIA's, NVIDIA's or AMD's under WSL, AMD's (ROCm).
_GPU_DEVICES: Final = tuple(Path(name) for name in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))
#: How networks are cut into graphs. To be changed with anything that rounds scores in another way.
_GRAPHS: Final = "encoder+head"
#: By the first word of an engine's name.
_PACKAGES: Final = {
    "openvino": ("openvino",),
    "torch": ("torch",),
    CLASSICAL_ENGINE: ("scikit-learn", "opencv-python-headless"),
}


def engine_version(engine: str) -> str:
    """The versions of what an engine that was opened computes with: another may round scores in another way."""
    versions = (importlib.metadata.version(package) for package in _PACKAGES.get(engine.partition("-")[0], ()))
    return " ".join([*versions, _GRAPHS])


def open_engine(name: str, checkpoint: Checkpoint, threads: int | None) -> Engine:
    """Load a model into the engine that `name` stands for.

    Raises:
        EngineError: no such engine, it is not installed, or it does not run such files.
        CheckpointError: the file is damaged.
    """
    name = choose_engine(name, checkpoint)
    # Each engine is imported only where it runs: torch and scikit-learn take seconds.
    if name == CLASSICAL_ENGINE:
        check_installed()
        from models.classical.engine import open_classical  # noqa: PLC0415

        return open_classical(checkpoint, threads)
    if name == "torch":
        from .torch import open_torch  # noqa: PLC0415

        return open_torch(checkpoint, threads)
    return open_openvino(checkpoint, threads, exact=name == "openvino-f32")


def choose_engine(name: str, checkpoint: Checkpoint) -> str:
    """The engine that `name` stands for with this model; "auto" is CUDA where torch finds it, else OpenVINO.

    An exported model has one engine that can run it, a classical one its own. Answers without loading anything.

    Raises:
        EngineError: no such engine, it is not installed, or it does not run such files.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}: expected one of {', '.join(ENGINES)}")
    if is_classical(architecture := checkpoint.contract.architecture):
        if name != "auto":
            raise EngineError(
                f"engine {name} runs networks, and {checkpoint.id} is {architecture}, which scikit-learn runs: "
                "leave the engine at auto"
            )
        return CLASSICAL_ENGINE
    export = checkpoint.export
    if export is None:
        chosen = ("torch" if _has_cuda() else "openvino") if name == "auto" else name
    else:
        own = "torch" if export.form == "torch" else "openvino"
        chosen = own if name == "auto" else name
        if chosen.partition("-")[0] != own:
            raise EngineError(
                f"{checkpoint.path}: {FORM_NAMES[export.form]} runs in engine {own}, not {chosen}; "
                f"export {export.source} to another format for that"
            )
    if importlib.util.find_spec("torch") is None and _needs_torch(chosen, checkpoint):
        lacks = (
            f"{checkpoint.id} needs torch in engine {chosen}, and it is not installed: `pip install 'clipline[full]'`"
        )
        if _has_openvino() and export is None and not needs_conversion(checkpoint):
            raise EngineError(f"{lacks}, or leave the engine at auto: OpenVINO runs this model without torch")
        raise EngineError(
            f"{lacks}; or run `clipline export {name_of(checkpoint)} -o {checkpoint.path.stem}.xml` where that is "
            "installed, bring both files, and name the .xml with --model"
        )
    return chosen


def _needs_torch(engine: str, checkpoint: Checkpoint) -> bool:
    if engine == "torch":
        return True
    return checkpoint.export is None and needs_conversion(checkpoint)


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _has_cuda() -> bool:
    # Asking torch costs a second of import; without any driver's device file the answer is known.
    if importlib.util.find_spec("torch") is None or (os.name == "posix" and not any(d.exists() for d in _GPU_DEVICES)):
        return False
    from .torch import has_cuda  # noqa: PLC0415

    return has_cuda()
