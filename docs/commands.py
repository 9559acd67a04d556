"""Write docs/commands.md, the reference of all commands, from the application itself.

python docs/commands.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

from consumers.cli.help import GROUPS, grouped, summary
from consumers.cli.main import app

PAGE: Final = Path(__file__).with_suffix(".md")
_WIDTH: Final = 80
_HEAD: Final = """# Commands

Written by `python docs/commands.py` from the application: change the help in `consumers/cli/`, not this page.
Each command prints its part with `--help`. What exit codes mean: [exit-codes.md](exit-codes.md).
"""


def page() -> str:
    """The whole page as Markdown."""
    application: Any = typer.main.get_command(app)
    groups = grouped(list(application.commands))
    assert list(groups) == list(GROUPS), "each command stands in a group of consumers/cli/help.py"
    parts = [_HEAD]
    for group, names in groups.items():
        rows = [f"| [`{name}`](#clipline-{name}) | {summary(application.commands[name])} |" for name in names]
        parts.append("\n".join([f"**{group}**\n", "| command | what it does |", "|---|---|", *rows, ""]))
    parts.append(_block("clipline", _help("clipline", application)))
    for names in groups.values():
        parts += [_block(f"clipline {name}", _help(f"clipline {name}", application.commands[name])) for name in names]
    return "\n".join(parts)


def _help(path: str, command: Any) -> str:
    with command.make_context(path, [], resilient_parsing=True, terminal_width=_WIDTH - 2) as context:
        return str(context.get_help())


def _block(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text.rstrip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
