"""The console that every command prints to. No text of a user is ever markup, and none can move the cursor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.status import Status
from rich.text import Span, Text

from consumers.printable import UNSAFE, printable, replacement

#: Exit code of a process that SIGPIPE ended, as a shell reports it (docs/exit-codes.md).
PIPE_CLOSED: Final = 141


class Output(Console):
    r"""A console on which text is what it says: never markup, an emoji code or a control sequence.

    A string, or a `Text`, is one line: a line break in it is shown as "\n", but for `print_lines`.
    """

    def __init__(self, **options: Any) -> None:
        """Take what `rich.console.Console` takes, but for what would make text mean something else."""
        super().__init__(**options, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        # Tables measure their cells by this, so that what is escaped has room.
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return super().render(_escaped(renderable) if isinstance(renderable, Text) else renderable, options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        return _Status(_plain(status), console=self, **options)

    def on_broken_pipe(self) -> None:
        # Rich's own code is 1, which here answers a question.
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise SystemExit(PIPE_CLOSED) from None


def print_lines(console: Console, text: str, style: str | None = None) -> None:
    """Print a message whose line breaks are our own: all lines but the first are set in, so that none poses as one."""
    for number, line in enumerate(text.split("\n")):
        console.print(f"  {line.lstrip()}" if number else line, style=style, markup=False, emoji=False, soft_wrap=True)


def print_json(console: Console, value: object, indent: int | None = None) -> None:
    """Print `value` as JSON, which escapes by itself and is never wrapped."""
    print_verbatim(console, json.dumps(value, indent=indent, allow_nan=False))


def print_verbatim(console: Console, text: str) -> None:
    """Print text that is safe as it is, without wrapping or padding it."""
    console.print(_Verbatim(text), soft_wrap=True)


class _Status(Status):
    """A line with a spinner, in which a string is no markup either."""

    def update(self, status: RenderableType | None = None, **options: Any) -> None:
        super().update(None if status is None else _plain(status), **options)


def _plain(status: RenderableType) -> RenderableType:
    return Text(printable(status)) if isinstance(status, str) else status


@dataclass(frozen=True, slots=True)
class _Verbatim:
    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self.text)
        yield Segment.line()


def _escaped(text: Text) -> Text:
    """`text` with what is unsafe in it replaced, and its styles where they were."""
    matches = list(UNSAFE.finditer(text.plain))
    if not matches:
        return text
    safe = text.blank_copy()
    places = sorted({place for match in matches for place in match.span()})
    shown = {match.start(): replacement(match) for match in matches}
    at = 0
    for part in text.divide(places):
        length = len(part)
        if at in shown and length:
            part.plain = shown[at]
            part.spans = [Span(0, len(part.plain), span.style) for span in part.spans]
        safe.append_text(part)
        at += length
    return safe
