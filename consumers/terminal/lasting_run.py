"""What `clipline run` shows, where its output may go away: a pipe that nobody reads, a full disk, a closed terminal.

Or where it takes nothing for a while, as a terminal that is paused: nothing waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol, Self

from consumers.running.overview import Overview
from consumers.running.run import Foreground, Plan

from .unhurried import UnhurriedOutput
from .wording import count

log = logging.getLogger(__name__)


#: The very last words have so long to be shown.
_LAST_SECONDS: Final = 1.0


class View(Foreground, Protocol):
    """Shows what happens, and may have something to put away."""

    def close(self) -> None:
        """Show nothing any more."""


class LastingRun:
    """Shows what `view` shows, and goes on where that cannot: cameras are watched whether or not somebody looks.

    Use as a context manager, which writes the log beside it.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._is_told = False
        self._output = UnhurriedOutput(
            lambda number: self._try(lambda: self._view.say(f"{count(number, 'line')} missing here: nobody took them"))
        )
        self._logged = self._output.logged()
        self._is_shown = False

    def begin(self, plan: Plan) -> None:
        self._output.do(lambda: self._try(lambda: self._view.begin(plan)))

    def say(self, line: str) -> None:
        self._output.do(lambda: self._try(lambda: self._view.say(line)))

    def show(self, now: Overview) -> None:
        self._output.show(lambda: self._try(lambda: self._view.show(now)))

    def event(self, body: Mapping[str, Any]) -> None:
        self._output.do(lambda: self._try(lambda: self._view.event(body)))

    def __enter__(self) -> Self:
        self._logged.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._logged.__exit__(None, None, None)
        self._output.do(lambda: self._try(self._view.close))
        self._is_shown = self._output.finish()

    def end(self, last: Callable[[], None], code: int) -> None:
        """Show `last`, behind all else; where nobody takes what is shown, this process ends with `code`."""
        words = threading.Thread(target=last_words, args=(last,), daemon=True)
        words.start()
        words.join(_LAST_SECONDS)
        if not self._is_shown or words.is_alive():
            # The interpreter would wait until somebody does.
            os._exit(code)

    def _try(self, show: Callable[[], None]) -> None:
        try:
            with _lasting_output():
                show()
        except OSError as error:
            # A disk may have room again, so that the next line is tried, too.
            if not self._is_told:
                self._is_told = True
                log.warning(
                    "the output cannot be written (%s): lines are lost, and cameras are watched as before; `clipline "
                    "status` shows them",
                    error.strerror,
                )


@contextlib.contextmanager
def _lasting_output() -> Iterator[None]:
    """What is printed goes nowhere once whoever read it has closed the pipe.

    Raises:
        OSError: it cannot be written: once for a pipe, each time for a disk that is full or a terminal that is gone.
    """
    try:
        yield
    except BrokenPipeError:
        # What is still in its buffer would fail again at the end of the process.
        discard_output()
        raise
    except SystemExit as error:  # Rich's answer, which discards what is printed from now on
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error


def last_words(show: Callable[[], None]) -> None:
    """Show the last that there is to be said, or nothing where that cannot be."""
    try:
        with _lasting_output():
            show()
            sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Standard output goes nowhere from now on."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
