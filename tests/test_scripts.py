"""Scripts beside the packages find what they import: type checks do not reach them, and few of them run in tests."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path for room in ("benchmarks", "docs", "examples", "tools") for path in (ROOT / room).rglob("*.py"))


def imported(script: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours, and the names that a script takes from them."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"consumers", "models", "stream"}:
            yield from ((node.module or "", alias.name) for alias in node.names)


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 40
    assert any(name for script in SCRIPTS for name in imported(script))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_script_imports_is_there(script: Path) -> None:
    for module, name in imported(script):
        found = importlib.import_module(module)
        assert hasattr(found, name) or find_spec(f"{module}.{name}"), f"{module} has no {name}"
