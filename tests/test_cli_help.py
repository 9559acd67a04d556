"""Help, completion, messages and the log: what the command line says before it does anything."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from rich.table import Table

from consumers import __version__
from consumers.cli.help import ADVANCED, CONNECTION, GROUPS, Group, grouped, summary
from consumers.cli.logs import logging_to
from consumers.cli.main import app
from consumers.cli.options import EngineName, console, errors
from consumers.terminal.console import Output
from tests.command_line import clipline

APPLICATION: Any = typer.main.get_command(app)
COMMANDS = tuple(APPLICATION.commands)
ROOT = Path(__file__).parents[1]

#: Options that mean something of their own in a command; all others have the same words wherever they are.
OF_THEIR_OWN = {"--all", "--camera", "--from", "--group", "--output", "--resume", "--since"}


def narrow(*arguments: str) -> str:
    """What `clipline` prints on a terminal of 80 columns."""
    return clipline(*arguments, COLUMNS="80").stdout


def examples(command: str) -> list[str]:
    """The command lines in a command's help that call it, with continued lines joined."""
    joined = APPLICATION.commands[command].help.replace("\\\n", " ")
    return re.findall(r"^ +(?:[A-Z_]+=\S+ )*(clipline .*?)(?: \||  +#|$)", joined, re.MULTILINE)


def test_clipline_alone_prints_its_help():
    alone = clipline()
    assert alone == clipline("--help")
    assert alone.returncode == 0
    assert "Usage: clipline" in alone.stdout


def test_every_command_stands_in_a_group():
    assert grouped([*COMMANDS, "stray"])["Other"] == ["stray"]
    assert "Other" not in grouped(list(COMMANDS)), "name new commands in GROUPS of consumers/cli/help.py"
    shown = narrow("--help")
    places = [shown.index(f"\n{title}:\n") for title in GROUPS]
    assert places == sorted(places)
    assert "\nOther:\n" not in shown


def test_no_summary_is_cut():
    shown = " ".join(narrow("--help").split())
    assert "..." not in shown.partition("[ARGS]...")[2]
    for command in APPLICATION.commands.values():
        assert summary(command) in shown


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns(command):
    shown = narrow(*filter(None, [command]), "--help")
    assert [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_and_whole(command):
    shown = " ".join(narrow(command, "--help").split())
    for param in APPLICATION.commands[command].params:
        assert param.help, f"{command} {param.name}"
        assert param.help in shown, f"{command} {param.name}"
        assert all(name in shown for name in param.opts if param.param_type_name == "option")


@pytest.mark.parametrize("command", COMMANDS)
def test_sections_go_from_common_to_rare(command):
    shown = narrow(command, "--help")
    titles = re.findall(r"^(\w.*):$", shown, re.MULTILINE)
    rank = {"Arguments": 0, "Options": 1, ADVANCED: 3, CONNECTION: 4}
    assert [rank.get(title, 2) for title in titles] == sorted(rank.get(title, 2) for title in titles)
    assert "Options" in titles


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_visible_and_can_be_parsed(command):
    found = examples(command)
    shown = narrow(command, "--help")
    assert any(example.startswith(f"clipline {command}") for example in found)
    for example in found:
        name, *arguments = shlex.split(example)[1:]
        assert f"  clipline {name}" in shown
        # What cannot be parsed raises a usage error.
        APPLICATION.commands[name].make_context(name, arguments)


def test_no_example_has_a_password():
    texts = [APPLICATION.commands[name].help for name in COMMANDS]
    assert not [text for text in texts if re.search(r"://[^/\s]*:[^/\s]*@", text)]


def test_an_option_has_the_same_words_in_every_command():
    words: dict[tuple[str, bool], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in COMMANDS:
        for param in APPLICATION.commands[name].params:
            if param.param_type_name == "option" and not OF_THEIR_OWN & set(param.opts):
                # A flag and an option with a value may share a name: --json prints, or writes a file.
                words[param.opts[0], param.is_flag][param.help].append(name)
    assert {option: dict(said) for option, said in words.items() if len(said) > 1} == {}


def test_engines_are_those_that_settings_know():
    from consumers.settings import WorkerSettings

    assert get_args(EngineName) == get_args(WorkerSettings.model_fields["engine"].annotation)


def test_help_imports_nothing_large():
    """Or `--help` and every press of Tab take a second: only commands that need these import them."""
    code = (
        "import sys\nfrom consumers.cli.main import main\n"
        "try:\n    main(['--help'])\nfinally:\n    print(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded & {"torch", "av", "kafka", "redis", "numpy", "openvino", "pydantic", "models", "stream"} == set()


def test_version_is_that_of_the_package():
    assert clipline("--version").stdout == f"clipline {__version__}\n"


@pytest.mark.slow
def test_bash_completes_commands_and_options_once_installed(tmp_path):
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "clipline"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m consumers.cli "$@"\n')
    script.chmod(0o755)
    commands = """
        clipline --install-completion > /dev/null
        source ~/.bashrc
        press_tab() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            _clipline_completion clipline
            echo "${COMPREPLY[@]}"
        }
        press_tab clipline ev
        press_tab clipline attach --pa
        press_tab clipline work --engine open
        press_tab clipline compare x3d
    """
    environment = os.environ | {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["bash", "--norc", "-c", commands], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines() == ["events evidence evaluate", "--pace", "openvino openvino-f32", "x3d-xs"], done


def test_the_reference_of_commands_is_what_its_script_writes():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import commands
    finally:
        sys.path.remove(str(ROOT / "docs"))
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "run `python docs/commands.py`"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["atach"], "No such command 'atach'. Did you mean 'attach'? (see `clipline --help`)"),
        (["bogus"], "No such command 'bogus'. (see `clipline --help`)"),
        (["--versoin"], "No such option: --versoin. Did you mean '--version'? (see `clipline --help`)"),
        (["work", "--modle", "x"], "No such option: --modle. Did you mean '--model'? (see `clipline work --help`)"),
        (["attach"], "Missing argument 'SOURCE'. (see `clipline attach --help`)"),
        (
            ["attach", "x.mp4", "--pace", "fast"],
            "Invalid value for '--pace': 'fast' is not one of 'realtime', 'max'. (see `clipline attach --help`)",
        ),
        (
            ["tune", "x.mp4", "--overlap", "2"],
            "Invalid value for '--overlap': '2': Input should be less than or equal to 1 (see `clipline tune --help`)",
        ),
        (
            ["work", "--stride", "-1"],
            "Invalid value for '--stride': -1 is not above 0. (see `clipline work --help`)",
        ),
        (
            ["work", "--redis", "cache:6379"],
            "--redis: redis = …: expected redis://host:port/database, rediss:// (TLS), unix:// or redis+sentinel://",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_is_named_with_what_was_expected(arguments, message):
    said = clipline(*arguments)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"clipline: {message}\n")


def test_names_are_no_markup_and_no_emoji_wherever_they_are_printed(capsys):
    table = Table("camera", box=None)
    table.add_row("[red]gate[/red] :smile:")
    console.print("[red]gate[/red] :smile:", table)
    errors.print("[/] 10.0.0.7")
    printed = capsys.readouterr()
    assert printed.out.count("[red]gate[/red] :smile:") == 2
    assert printed.err == "[/] 10.0.0.7\n"


def test_a_log_in_a_file_has_one_line_a_record_with_an_iso_date(tmp_path):
    with (tmp_path / "log").open("w") as file, logging_to(Output(file=file)):
        logging.getLogger("stream.agent").warning("camera %s: gone", "[red]gate[/red] :smile:")
        try:
            int("one\ntwo")
        except ValueError:
            logging.getLogger("consumers.live").exception("cannot go on\nat all")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING camera \[red]gate\[/red] :smile:: gone", first)
    assert re.match(r"\S+Z ERROR cannot go on\\nat all\\nTraceback .*ValueError: [^\n]+$", second)


def test_a_log_on_a_terminal_is_short_and_its_text_is_no_markup(tmp_path):
    with (tmp_path / "log").open("w") as file:
        console = Output(file=file, force_terminal=True, width=80, color_system="standard")
        with logging_to(console):
            logging.getLogger("stream.agent").warning("camera [red]gate[/red]: gone")
    shown = (tmp_path / "log").read_text()
    assert "\x1b[" in shown, "coloured"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING +camera \[red]gate\[/red]: gone\s*", plain)


def test_what_libraries_warn_of_does_not_show(tmp_path):
    with (tmp_path / "log").open("w") as file, logging_to(Output(file=file)):
        logging.getLogger("kafka.conn").error("connection refused")
        logging.getLogger("nncf").warning("a warning")
        with warnings.catch_warnings(record=True) as shown:
            warnings.warn("deprecated", FutureWarning, stacklevel=1)
        logging.getLogger("openvino").error("an error")
    assert not shown
    assert re.fullmatch(r"\S+Z ERROR an error\n", (tmp_path / "log").read_text())


def test_logging_ends_with_the_command():
    before = list(logging.getLogger().handlers)
    with logging_to(Output()):
        pass
    assert logging.getLogger().handlers == before


def test_models_names_can_be_copied_at_80_columns():
    names = [model["name"] for model in json.loads(clipline("models", "--json").stdout)]
    shown = narrow("models")
    assert {"movenet-motion", "x3d-xs", "cnn-lstm", "cnn-3d"} <= set(names)
    assert all(re.search(rf"^{re.escape(name)}\b", shown, re.MULTILINE) for name in names)
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


def test_a_group_lists_a_command_that_nobody_grouped():
    other = typer.Typer(cls=Group, rich_markup_mode=None)
    other.command("stray")(lambda: None)
    other.command("demo")(lambda: None)
    from typer.testing import CliRunner

    assert "\nOther:\n  stray" in CliRunner().invoke(other, ["--help"]).stdout
