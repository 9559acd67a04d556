"""Standard output and standard error that nobody waits for: where a terminal is paused, the work goes on."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from .console import PIPE_CLOSED
from .lasting_run import discard_output
from .unhurried import UnhurriedOutput
from .wording import count

log = logging.getLogger(__name__)


class _Stream(io.TextIOBase):
    """In place of `stream`: what is written goes there by another thread."""

    def __init__(self, stream: TextIO, output: UnhurriedOutput) -> None:
        super().__init__()
        self._stream, self._output = stream, output
        #: Why something could not be written.
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        if self.failure is not None:
            raise self.failure
        self._output.do(lambda: self._write(text))
        return len(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.failure = error

    def flush(self) -> None:
        """Nothing: it is written as soon as it can be."""

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # of a stream that is open
        return self._stream.encoding


@contextlib.contextmanager
def unhurried_streams(is_to_end: Callable[[], bool], code: int = 0) -> Iterator[None]:
    """While the body runs, what is printed and logged is written by threads of their own.

    At the end all that is left is written, unless nobody takes it and the process is to end, and not for an error: it
    does so then.

    Args:
        is_to_end: whether somebody has asked the process to end.
        code: its exit code where nobody takes what is left.

    Raises:
        OSError: something could not be written; whoever prints next after that is told so, too.
    """
    out, err = sys.stdout, sys.stderr
    outputs = [UnhurriedOutput(_missing("standard output"))]
    if not _are_one(out, err):
        outputs.append(UnhurriedOutput(_missing("standard error")))
    streams = _Stream(out, outputs[0]), _Stream(err, outputs[-1])
    with (
        contextlib.redirect_stdout(cast(TextIO, streams[0])),
        contextlib.redirect_stderr(cast(TextIO, streams[1])),
        _logged({id(out): streams[0], id(err): streams[1]}),
    ):
        is_done = False
        try:
            yield
            is_done = True
        finally:
            for output in outputs:
                if output.finish():
                    continue
                if is_done and is_to_end():
                    # The interpreter would wait until somebody takes it.
                    os._exit(code)
                output.wait()
    for stream in streams:
        if isinstance(stream.failure, BrokenPipeError):
            discard_output()
            raise SystemExit(PIPE_CLOSED)
        if stream.failure is not None:
            raise stream.failure


def _missing(name: str) -> Callable[[int], None]:
    return lambda number: log.warning("%s missing on %s: nobody took them", count(number, "line"), name)


def _are_one(one: TextIO, other: TextIO) -> bool:
    """Whether two streams lead to the same terminal or file, where order counts."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _logged(streams: dict[int, _Stream]) -> Iterator[None]:
    """While the body runs, what handlers of the log write to streams goes to others in their place, by their ids."""
    changed: list[tuple[logging.StreamHandler[Any], Any]] = [
        (handler, handler.stream)
        for handler in logging.root.handlers
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in streams
    ]
    for handler, stream in changed:
        handler.setStream(streams[id(stream)])
    try:
        yield
    finally:
        for handler, stream in changed:
            handler.setStream(stream)
