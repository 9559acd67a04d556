"""The command line called in this process, as a user meets it: output, messages, exit code.

Starting Python costs half a second, and importing torch there three: only what has to be a process of its own is one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
from dataclasses import dataclass
from unittest import mock

import typer

#: The commands are made once: that takes longer than most of them.
_command = functools.cache(typer.main.get_command)


@dataclass(frozen=True, slots=True)
class Finished:
    """As `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def clipline(*arguments: object, **environment: str) -> Finished:
    """Run `clipline` with these arguments and environment variables."""
    from consumers.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    code: object = None
    variables = mock.patch.dict(os.environ, {"COLUMNS": "200"} | environment)
    commands = mock.patch("typer.main.get_command", _command)
    with variables, commands, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Finished(code, out.getvalue(), err.getvalue())
