"""Warnings of a command: printed at once, and kept for its report."""

from __future__ import annotations

from consumers.terminal.console import Output, print_lines


class Notes:
    """Where a command warns; `warnings` holds what it warned of, in order."""

    def __init__(self, console: Output) -> None:
        self.console = console
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.say(text)

    def say(self, text: str, style: str = "yellow") -> None:
        """Print a line that belongs into no report."""
        print_lines(self.console, text, style)
