"""The commands that come before the first run: init, check."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from consumers.cli.options import PrintJsonOption, SettingsOption, console, errors
from consumers.printable import printable, without_credentials
from consumers.terminal.console import print_json

if TYPE_CHECKING:
    from consumers.setup.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "error": "red"}
_LEVEL_WIDTH = 9
#: A longer subject stands on a line of its own: it is never cut.
_SUBJECT_WIDTH = 20


def add_to(app: typer.Typer) -> None:
    """Register the commands, in the order in which help lists them."""
    for command in (init, check):
        app.command()(command)


def init(
    camera: Annotated[
        list[str] | None,
        typer.Option(
            help="A camera's name and address, rtsp:// or footage; once for each.",
            metavar="NAME=ADDRESS",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "clipline.toml"
    ),
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write users and passwords there, for you alone to read.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a settings file: every key, its default and what it does.

    User and password of a camera's address become references to environment variables: no password is written into
    the settings. Others can read a command line, so better write the references yourself, as in the last example.

    \b
    Examples:
      clipline init --camera lobby=lobby.mp4 --camera gate=gate.mp4
      clipline init --camera dock='${DOCK_URL}'
    """
    from consumers.setup.settings_file import absent_footage, file_text, new_cameras, secrets_text, write_new

    cameras = new_cameras(camera or ())
    variables = [name for each in cameras for name in each.secrets]
    if variables and secrets is not None:
        write_new(secrets, secrets_text(cameras), force=force, secret=True)
    write_new(output, file_text(cameras), force=force)
    count = f"{len(cameras)} camera{'s' if len(cameras) != 1 else ''}" if cameras else "no cameras yet"
    _say(f"{output}: written, with {count}.")
    for each in absent_footage(cameras):
        errors.print(f"cameras.{each.name}: {each.url}: no such file or folder (yet)", style="yellow", soft_wrap=True)
    _say("Next:")
    if not cameras:
        _say(f"  add your cameras to {output}, as its example [cameras.dock-1] shows")
    if variables and secrets is not None:
        # A shell looks for a name without a slash on its PATH.
        _say(f"  set -a; . {shlex.quote(str(secrets) if '/' in str(secrets) else f'./{secrets}')}; set +a")
    elif variables:
        _say("  set these variables to the users and passwords of the addresses:")
        for name in variables:
            _say(f"    export {name}=…")
    named = "" if output == Path("clipline.toml") else f" --settings {shlex.quote(str(output))}"
    _say(f"  clipline check{named}    # says what is wrong with the file and with this machine")
    _say(f"  clipline run{named}      # watches the cameras")


def check(
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
) -> None:
    """Find what is wrong with the settings, this machine or a camera.

    To be called before anything runs.

    Looks at the settings, processor, memory, disk, model, engine, broker, Redis, their ports and every camera: a live
    one is listened to for some seconds, all at once. Exit code 0 where nothing is wrong, 1 where something is.

    \b
    Examples:
      clipline check
      clipline check --settings site.toml --json
    """
    findings: list[Finding] = []
    for found in _findings(settings_file):
        finding = replace(found, text=without_credentials(found.text))
        findings.append(finding)
        if not as_json:
            for line in _lines(finding, min(console.width, 120)):
                console.print(line)
    failed = sum(finding.level == "error" for finding in findings)
    warned = sum(finding.level == "warning" for finding in findings)
    if as_json:
        print_json(console, [asdict(finding) for finding in findings], indent=2)
    elif failed or warned:
        console.print()
        console.print(f"{_count(failed, 'error')}, {_count(warned, 'warning')}. See docs/checks.md")
    else:
        console.print()
        console.print("All is well: `clipline run` can start.")
    if failed:
        raise typer.Exit(1)


def _findings(settings_file: Path | None) -> Iterator[Finding]:
    from consumers.settings import Settings
    from consumers.setup.check_cameras import check_cameras
    from consumers.setup.check_channels import check_channels
    from consumers.setup.checks import check_machine, check_model, check_services, read_settings

    settings, findings = read_settings(settings_file)
    yield from findings
    if settings is None:
        yield from check_machine(Settings())
        return
    yield from check_machine(settings)
    yield from check_model(settings)
    yield from check_channels(settings)
    yield from check_services(settings)
    with errors.status("listening to the cameras"):
        cameras = check_cameras(settings.cameras, settings.segments)
    yield from cameras


def _lines(finding: Finding, width: int) -> Sequence[Text]:
    """A finding as lines of at most `width`, its text beside its subject, or below where the subject is long."""
    indent = _LEVEL_WIDTH + _SUBJECT_WIDTH
    # A word that is longer than a line, such as a path, is left whole for copying.
    texts = textwrap.wrap(printable(finding.text), width - indent, break_long_words=False, break_on_hyphens=False)
    first = Text(finding.level.ljust(_LEVEL_WIDTH), style=_STYLES[finding.level])
    if len(finding.subject) < _SUBJECT_WIDTH:
        first.append(finding.subject.ljust(_SUBJECT_WIDTH) + texts.pop(0), style="default")
    else:
        first.append(finding.subject, style="default")
    return [first, *(Text(" " * indent + text) for text in texts)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _say(text: str) -> None:
    console.print(text, soft_wrap=True)
