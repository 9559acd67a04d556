"""The command line: parses and calls."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any, Final, NoReturn

import typer

from consumers import __version__
from consumers.printable import printable
from consumers.terminal.console import print_lines

from .extras import what_to_install
from .help import Command, Group
from .judging import replay, tune
from .learning import models
from .logs import logging_to
from .looking import dashboard, deadletter, events, evidence, footage, forget, notify, pictures, redis, share, verdicts
from .options import INTERRUPTED, console, errors, json_log
from .running import demo, drill, rules, run, services, setup, stream

# `models` (torch), `stream` (libav, kafka) and the settings are imported by the commands that need them: `--help` is
# quick, and so is completion, which asks the program at each press of Tab.

log = logging.getLogger(__name__)

app = typer.Typer(
    cls=Group,
    help="Cameras in, action events out: video classification on Kafka and Redis.",
    epilog="`clipline COMMAND --help` shows what a command takes, with examples.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

#: Wrong input, or a service that is not there; and what nobody foresaw (docs/exit-codes.md).
_CANNOT: Final = 2
_FAILED: Final = 70

#: Newer typer carries a click of its own, so that `click.UsageError` is another class than the one that is raised.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run, and turn every expected error into one line on stderr and exit code 2; `arguments` are the process's own."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks is shown escaped, as Python does on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    with logging_to(errors):
        sys.exit(_run(arguments))


def _run(arguments: Sequence[str]) -> int:
    try:
        return app(list(arguments), standalone_mode=False, prog_name="clipline") or 0
    except _UsageError as error:
        return _cannot(_explain(error), arguments)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ModuleNotFoundError as error:
        message = what_to_install(error, f"clipline {arguments[0]}")
        return _failed(arguments) if message is None else _cannot(message, arguments)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        # Whoever opens a file names it better; this is for those that forgot.
        return (
            _failed(arguments) if error.filename is None else _cannot(f"{error.filename}: {error.strerror}", arguments)
        )
    except Exception as error:  # noqa: BLE001  above there is only the user
        return _cannot(str(error), arguments) if _is_expected(error) else _failed(arguments)


def _explain(error: Any) -> str:
    """A usage error in one line, with near names, and where to read on."""
    if (wrong := getattr(error.__cause__, "errors", None)) is not None:
        # Of pydantic, which typer lets check values: its message alone does not name the value.
        first = wrong()[0]
        said = first["msg"].removeprefix("Value error, ")
        error.message = said if first["type"] == "value_error" else f"{first['input']!r}: {said}"
    near = getattr(error, "possibilities", None)
    if near:
        message = f"{error.message.rstrip('.')}. Did you mean {', '.join(map(repr, near))}?"
    else:
        message = " ".join(error.format_message().split())
    return message if error.ctx is None else f"{message} (see `{error.ctx.command_path} --help`)"


def _is_expected(error: Exception) -> bool:
    from consumers.outputs.redis.connection import SinkError
    from consumers.replaying.errors import ReplayError
    from consumers.settings import SettingsError
    from models import ModelError
    from stream import StreamError

    return isinstance(error, StreamError | ModelError | SinkError | SettingsError | ReplayError)


def _failed(arguments: Sequence[str]) -> int:
    """Python's own code is 1, which here answers a question."""
    if json_log.is_on:
        log.error("unexpected error: %s", _without_secrets(traceback.format_exc(), arguments))
        return _FAILED
    for line in _without_secrets(traceback.format_exc(), arguments).splitlines():
        sys.stderr.write(f"{printable(line)}\n")
    return _FAILED


def _cannot(message: str, arguments: Sequence[str]) -> int:
    if json_log.is_on:
        log.error("%s", _without_secrets(message, arguments))
        return _CANNOT
    print_lines(errors, f"clipline: {_without_secrets(message, arguments)}", "red")
    return _CANNOT


def _without_secrets(message: str, arguments: Sequence[str]) -> str:
    """`message`, where it quotes an argument, as that may be shown: an address in the wrong place has a password."""
    suspects = [each for each in arguments if "@" in each or "=" in each or "://" in each]
    if suspects:
        from stream import display_name

        for each in (part for suspect in suspects for part in (suspect, suspect.partition("=")[2])):
            message = message.replace(each, display_name(each)) if "://" in each or "@" in each else message
    return message


@app.callback(invoke_without_command=True)
def clipline(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    if version:
        console.print(f"clipline {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit


for commands in (
    setup,
    run,
    rules,
    services,
    stream,
    events,
    demo,
    footage,
    evidence,
    forget,
    pictures,
    notify,
    verdicts,
    dashboard,
    share,
    drill,
    deadletter,
    redis,
    models,
    replay,
    tune,
):
    commands.add_to(app)
for registered in app.registered_commands:
    registered.cls = Command
