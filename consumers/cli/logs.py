"""What the log shows: on a terminal short and coloured, in files and pipes one line a record, or JSON."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import IO, Final, cast

from consumers.printable import printable
from consumers.terminal.console import Output

_OWN: Final = frozenset({"stream", "models", "consumers"})


@contextlib.contextmanager
def logging_to(console: Output) -> Iterator[None]:
    """Log to `console`, and leave out what libraries say that a user can do nothing about."""
    handler: logging.Handler
    if console.is_terminal:
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        handler = RichHandler(
            console=console, show_path=False, log_time_format="%H:%M:%S", highlighter=NullHighlighter()
        )
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    with _handled_by(handler), warnings.catch_warnings():
        # `python -W …` asks to see them.
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield


class JsonLog:
    """Makes all that a command says JSON: its log, and what it prints for people to read."""

    def __init__(self) -> None:
        self.is_on = False

    def begin(self, role: str, process: str, *consoles: Output) -> None:
        """From now on, until the process ends.

        Args:
            role: of the process.
            process: its id.
            consoles: those that print for people.
        """
        from consumers.running.logs import JsonLine, LoggedText

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLine(role, process))
        handler.addFilter(_is_for_users)
        logging.root.handlers[:] = [handler]
        logging.root.setLevel(logging.INFO)
        for console in consoles:
            level = logging.WARNING if console.stderr else logging.INFO
            console.file = cast(IO[str], LoggedText(logging.getLogger(__name__), level))
        self.is_on = True


@contextlib.contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    handler.addFilter(_is_for_users)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _is_for_users(record: logging.LogRecord) -> bool:
    package = record.name.partition(".")[0]
    if package in _OWN:
        return True
    # kafka-python reports each failed attempt to connect as an error; what matters reaches the user as a BrokerError.
    return record.levelno >= (logging.CRITICAL if package == "kafka" else logging.ERROR)


class _OneLine(logging.Formatter):
    """ISO 8601 time in UTC, level and message; line breaks inside it are written as `\\n`."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802  logging's
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
