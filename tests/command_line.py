"""The command line called in this process, as a user meets it: output, messages, exit code.

Starting Python costs half a second, and importing torch there three: only what has to be a process of its own is one.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finished:
    """As `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def clipline(*arguments: object) -> Finished:
    """Run `clipline` with these arguments; an exception that it does not expect is a traceback, as for a user."""
    from consumers.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Finished(code, out.getvalue(), err.getvalue())
