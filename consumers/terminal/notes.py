"""Warnings of a command: printed at once, and kept for its report."""

from __future__ import annotations

from rich.console import Console


class Notes:
    """Where a command warns; `warnings` holds what it warned of, in order."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.say(text)

    def say(self, text: str, style: str = "yellow") -> None:
        """Print a line that belongs into no report."""
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
