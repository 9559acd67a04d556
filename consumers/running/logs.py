"""How processes log: one line a record, for people or as JSON; and the log files of what `clipline run` starts."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import logging
import os
import re
from pathlib import Path
from typing import Any, Final

from consumers.printable import printable, without_credentials

#: A file that has grown beyond this is put aside as FILE.1; the one that was put aside before is deleted.
MAX_BYTES: Final = 5 * 1024 * 1024
#: Loggers that speak to operators, by the first part of their names; a process of its own module is `__main__`.
_OWN: Final = frozenset({"stream", "models", "consumers", "__main__", "root"})


class BoundedLog:
    """A file of lines, and the one that was full before it: never more than twice `max_bytes`, and a line."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Go on behind what `path` holds.

        Raises:
            OSError: it cannot be written.
        """
        self.path, self._max_bytes = path, max_bytes
        self._file = path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append a line, in a file of that name: in a new one where somebody has taken the old one away.

        Raises:
            OSError: it cannot be written now. May be called again.
        """
        if not self._is_there():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._reopen()
        elif self._file.tell() >= self._max_bytes:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._reopen()
        self._file.write(line.rstrip(b"\r\n") + b"\n")

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        before, self._file = self._file, self.path.open("ab", buffering=0)
        before.close()

    def close(self) -> None:
        self._file.close()


def _moment(record: logging.LogRecord) -> str:
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
    return f"{moment.removesuffix('+00:00')}Z"


class OneLine(logging.Formatter):
    """`2026-11-28T08:15:02.123Z WARNING camera dock-1: …`, with a traceback's lines joined by ` | `."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        lines = " | ".join(printable(line.strip()) for line in text.splitlines())
        return f"{_moment(record)} {record.levelname} {lines}"


#: Messages name a camera and a record in one way each, so that their fields are found there.
_CAMERA: Final = re.compile(r"camera ([A-Za-z0-9._-]{1,64}): ")
_WHERE: Final = re.compile(r"\b([A-Za-z0-9._-]{1,249})\[(\d+)\]@(\d+)\b")


class JsonLine(logging.Formatter):
    """A JSON object a line: time, level, logger, role and id of the process, message, and what the message is about."""

    def __init__(self, role: str, process: str) -> None:
        super().__init__()
        self._who = {"role": role, "id": process}

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        body: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._who,
        }
        named = getattr(record, "camera", None)
        if named is not None:
            body["camera"] = named
        elif camera := _CAMERA.match(message):
            body["camera"] = camera[1]
        if where := _WHERE.search(message):
            body |= {"topic": where[1], "partition": int(where[2]), "offset": int(where[3])}
        body["message"] = without_credentials(message)
        if record.exc_info:
            body["exception"] = without_credentials(self.formatException(record.exc_info))
        return json.dumps(body)


class LoggedText(io.TextIOBase):
    """A text file of which each line becomes a record of the log."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        super().__init__()
        self._logger, self._level, self._rest = logger, level, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.log(self._level, "%s", line.strip())
        return len(text)


def message_of(line: str) -> str:
    """What a line of `OneLine` or `JsonLine` says, without time and level."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError, KeyError):
            return printable(str(json.loads(line)["message"]))
    return line.partition(" ")[2].partition(" ")[2]


def formatter(style: str, role: str, process: str) -> logging.Formatter:
    """What makes lines of the style that `log.format` of the settings names."""
    return JsonLine(role, process) if style == "json" else OneLine()


def log_to_stderr(style: str = "text", role: str = "", process: str = "") -> None:
    """Let this process log to its standard error output, which its supervisor writes to a file."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(style, role, process))
    # What libraries tell in passing helps no operator, and some of it holds addresses with secrets.
    handler.addFilter(lambda record: record.name.partition(".")[0] in _OWN or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # The vendor reports each failed connection attempt; what matters arrives as a BrokerError.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
