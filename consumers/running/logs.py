"""Log files of the processes that `clipline run` starts: one line a record, bounded."""

from __future__ import annotations

import datetime as dt
import logging
from pathlib import Path
from typing import Final

from consumers.printable import printable

#: A file that has grown beyond this is put aside as FILE.1; the one that was put aside before is deleted.
MAX_BYTES: Final = 5 * 1024 * 1024


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
        if self._file.tell() >= self._max_bytes:
            self._file.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
            self._file = self.path.open("ab", buffering=0)
        self._file.write(line.rstrip(b"\r\n") + b"\n")

    def close(self) -> None:
        self._file.close()


class OneLine(logging.Formatter):
    """`2026-11-28T08:15:02.123Z WARNING camera dock-1: …`, with a traceback's lines joined by ` | `."""

    def format(self, record: logging.LogRecord) -> str:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        lines = " | ".join(printable(line.strip()) for line in text.splitlines())
        return f"{moment.removesuffix('+00:00')}Z {record.levelname} {lines}"


def log_to_stderr() -> None:
    """Let this process log to its standard error output, which its supervisor writes to a file."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # The vendor reports each failed connection attempt; what matters arrives as a BrokerError.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
