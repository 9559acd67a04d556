"""README and docs: what they tell a reader to type can be typed, what they link to is there, and their Python runs."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# A block in a list is indented.
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        if language in languages:
            yield text


def command_lines() -> dict[tuple[str, ...], str]:
    """Every distinct `clipline …` of the pages, as the arguments of the program, and the first page that has it.

    A line that ends in a backslash goes on in the next one; what a line is piped into is left out.
    """
    found: dict[tuple[str, ...], str] = {}
    for page in PAGES:
        # docs/commands.md has the examples of the commands' help in blocks of text.
        for block in blocks(page, "", "sh", "bash", "console", "text"):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if words.startswith("clipline "):
                    found.setdefault(_arguments(words), page.name)
    return found


def _arguments(line: str) -> tuple[str, ...]:
    words = shlex.split(line, comments=True)[1:]
    for end in ("|", ">", ">>", "&", "&&", "2>"):
        words = words[: words.index(end)] if end in words else words
    return tuple(words)


@pytest.mark.parametrize("words", command_lines(), ids=shlex.join)
def test_every_command_line_in_the_docs_is_understood(words: tuple[str, ...]):
    from consumers.cli.main import app

    group = typer.main.get_command(app)
    with group.make_context("clipline", list(words), resilient_parsing=True) as context:
        name, command, rest = group.resolve_command(context, list(words))
        command.make_context(name, rest, parent=context).close()


def test_figures_of_the_models_are_those_of_their_metadata_and_of_the_unseen_clips():
    written = runpy.run_path(str(REPOSITORY / "docs" / "figures.py"))["pages"]()
    assert {path.name for path in written} >= {
        "README.md",
        "accuracy.md",
        "cnn-3d.md",
        "cnn-lstm.md",
        "movenet-motion.md",
        "movenet-views.md",
        "x3d-xs.md",
    }
    for path, text in written.items():
        assert "nobody here has seen" in text
        assert path.read_text("utf-8") == text, "run `python docs/figures.py`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_in_the_docs_leads_somewhere(page: Path):
    missing = [
        link
        for link in _LINK.findall(page.read_text("utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_in_the_docs_exists(page: Path):
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|\()make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE))
    assert named - targets == set()
