"""What `clipline run` shows, where its output may go away: a pipe that nobody reads, a full disk, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from consumers.running.overview import Overview
from consumers.running.run import Foreground, Plan

log = logging.getLogger(__name__)


class LastingRun:
    """Shows what `view` shows, and goes on where that cannot: cameras are watched whether or not somebody looks."""

    def __init__(self, view: Foreground) -> None:
        self._view = view
        self._is_told = False

    def begin(self, plan: Plan) -> None:
        self._try(lambda: self._view.begin(plan))

    def say(self, line: str) -> None:
        self._try(lambda: self._view.say(line))

    def show(self, now: Overview) -> None:
        self._try(lambda: self._view.show(now))

    def event(self, body: Mapping[str, Any]) -> None:
        self._try(lambda: self._view.event(body))

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
        _discard_output()
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
        _discard_output()


def _discard_output() -> None:
    """Standard output goes nowhere from now on."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
