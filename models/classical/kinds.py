"""The kinds of classical models, known without the packages that run them."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from typing import Final

from models.errors import EngineError, UnknownModelError

PREFIX: Final = "classical"
#: By kind: the parameters of scikit-learn's classifier that a checkpoint stores.
PARAMETERS: Final[Mapping[str, Mapping[str, float | int]]] = {
    "svm": {"C": 1.0},
    "forest": {"n_estimators": 300, "min_samples_leaf": 2},
    "knn": {"n_neighbors": 15},
}
CLASSICAL: Final = tuple(f"{PREFIX}:{kind}" for kind in PARAMETERS)


def is_classical(architecture: str) -> bool:
    return architecture.partition(":")[0] == PREFIX


def full_name(architecture: str) -> str:
    """The architecture's name with its kind.

    Raises:
        UnknownModelError: there is no such kind; the message lists near ones.
    """
    name = CLASSICAL[0] if architecture == PREFIX else architecture
    if name not in CLASSICAL:
        near = difflib.get_close_matches(name, CLASSICAL, n=2, cutoff=0.75) or CLASSICAL
        raise UnknownModelError(f"unknown architecture {architecture!r}; did you mean {' or '.join(near)}?")
    return name


def check_installed() -> None:
    """Check that the packages of classical models are installed.

    Raises:
        EngineError: OpenCV, scikit-image or scikit-learn is not installed.
    """
    needed = {"cv2": "opencv-python-headless", "skimage": "scikit-image", "sklearn": "scikit-learn"}
    if missing := [package for module, package in needed.items() if importlib.util.find_spec(module) is None]:
        raise EngineError(f"{PREFIX} models need {', '.join(missing)}: `pip install 'clipline[full]'`")
