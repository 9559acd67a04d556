"""The command line: parses and calls."""

from __future__ import annotations

import logging
import sys
from typing import Any

import typer
from rich.logging import RichHandler

from consumers import __version__
from consumers.settings import SettingsError

from . import models, replay, services, stream
from .extras import what_to_install
from .options import (
    console,
    errors,
)

# `models` (torch) and `stream` (libav, kafka) are imported by the commands that need them: `--help` is quick.

app = typer.Typer(
    help="Cameras in, action events out: video classification on Kafka and Redis.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


#: Newer typer carries a click of its own, so that `click.UsageError` is another class than the one that is raised.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")


def main() -> None:
    """Run, and turn every expected error into one line on stderr and exit code 2."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=errors, show_path=False)]
    )
    # kafka-python reports each failed connection attempt; what matters reaches the user as a BrokerError.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except _UsageError as error:
        if not sys.argv[1:]:
            sys.stdout.write(f"{error.format_message()}\n")  # the help
            sys.exit(2)
        context = error.ctx
        _fail(error.format_message() + (f" (see `{context.command_path} --help`)" if context else ""))
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ModuleNotFoundError as error:
        message = what_to_install(error, f"clipline {sys.argv[1]}")
        if message is None:
            raise
        _fail(message)
    except Exception as error:
        if not _is_expected(error):
            raise
        _fail(str(error))


def _is_expected(error: Exception) -> bool:
    from consumers.outputs.redis import SinkError
    from consumers.replaying.errors import ReplayError
    from models.errors import ModelError
    from stream import StreamError

    return isinstance(error, StreamError | ModelError | SinkError | SettingsError | ReplayError)


def _fail(message: str) -> None:
    errors.print(f"clipline: {message}", style="red", soft_wrap=True, markup=False, highlight=False)
    sys.exit(2)


for commands in (services, stream, models, replay):
    commands.add_to(app)


@app.command()
def version() -> None:
    """Print the version.

    \b
    clipline version
    """
    console.print(f"clipline {__version__}", highlight=False)
