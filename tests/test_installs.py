"""What an install must have, what it may lack, and what each package offers to the others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import models
from consumers.cli.extras import EXTRA_OF, what_to_install

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("stream", "models", "consumers")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def imported() -> set[str]:
    """Every package of others that ours import anywhere, by its name in imports."""
    found = set()
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(PACKAGES)


def _plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return name.lower().replace("_", "-")


def distributions_of(extra: str | None) -> set[str]:
    """Distributions that an extra names, those of the extras that it includes, too; of every install if None."""
    wanted = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found = set()
    for requirement in wanted:
        if included := re.fullmatch(r"clipline\[(.*)\]", requirement):
            found |= set().union(*(distributions_of(name) for name in included[1].split(",")))
        else:
            found.add(_plain(re.split(r"[<>=\[]", requirement)[0]))
    return found


def test_every_import_is_of_every_install_or_of_an_extra_that_users_are_told_of() -> None:
    known = packages_distributions()
    always = distributions_of(None)
    optional = {name for name in imported() if not {_plain(d) for d in known.get(name, ())} & always}
    assert optional <= set(EXTRA_OF)


def test_each_optional_package_is_in_the_extra_that_users_are_told_of() -> None:
    known = packages_distributions()
    wrong = {
        name: extra
        for name, extra in EXTRA_OF.items()
        if not {_plain(d) for d in known.get(name, ())} & distributions_of(extra)
    }
    assert not wrong


def test_the_smallest_extra_is_named() -> None:
    smaller = {"replay": ("edge",), "full": ("edge", "services", "replay"), "timm": ("full",)}
    known = packages_distributions()
    for name, extra in EXTRA_OF.items():
        for other in smaller.get(extra, ()):
            assert not {_plain(d) for d in known.get(name, ())} & distributions_of(other), (name, extra, other)


def test_missing_module_of_our_own_is_no_matter_of_installing() -> None:
    assert what_to_install(ModuleNotFoundError(name="consumers.nothing"), "clipline work") is None
    told = what_to_install(ModuleNotFoundError(name="sklearn.metrics"), "clipline replay")
    assert told == (
        "`clipline replay` needs sklearn, which is not installed: pip install 'clipline[replay]' "
        "(in a clone: make install)"
    )
    # All of it at once, not one package after the other.
    assert "clipline[full]" in str(what_to_install(ModuleNotFoundError(name="sklearn"), "clipline train"))
    assert "in a clone: make demo" in str(what_to_install(ModuleNotFoundError(name="openvino"), "clipline work"))


def test_importing_models_imports_no_framework() -> None:
    heavy = "torch torchvision pytorchvideo sklearn skimage scipy cv2 openvino onnx matplotlib"
    program = f"import sys, models; print([m for m in {heavy.split()!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_serving_a_shipped_model_imports_no_torch() -> None:
    program = (
        "import sys, numpy as np; from models import Classifier; model = Classifier.load('default', 'openvino');"
        "model.predict(np.zeros(model.contract.clip_shape, np.uint8)); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_what_models_offers_to_other_packages() -> None:
    assert models.__all__ == [
        "DEFAULT_MODEL",
        "ENGINES",
        "SEPARATOR",
        "UNKNOWN",
        "Checkpoint",
        "CheckpointError",
        "Classifier",
        "ClipError",
        "Contract",
        "EngineError",
        "ExportError",
        "Frames",
        "ModelError",
        "Platt",
        "Step",
        "Stepped",
        "Threshold",
        "TrainingError",
        "Unknown",
        "UnknownModelError",
        "cache_folder",
        "check_writable",
        "choose_engine",
        "code_version",
        "engine_version",
        "find",
        "labels_in",
        "library_versions",
        "name_of",
        "normal_label",
        "same_but_for_case",
        "save",
        "several_labels",
        "shipped",
        "views_of",
    ]
    assert all(hasattr(models, name) for name in models.__all__)


def test_other_packages_import_from_models_or_from_one_of_its_rooms() -> None:
    """What serves is taken from `models`; rooms are for training, evaluating, exporting and the zoo."""
    rooms = {"networks", "engines", "training", "evaluation", "classical", "windows", "windowing", "files"}
    inside = {"models.engines.choice", "models.engines.engine"}
    wrong = []
    for path in (REPOSITORY / "consumers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or node.level or not (node.module or "").startswith("models."):
                continue
            room = (node.module or "").split(".")[1]
            if room not in rooms or node.module in inside:
                wrong.append(f"{path.relative_to(REPOSITORY)}: {node.module}")
    assert not wrong
