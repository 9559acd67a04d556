"""Names of labels, files, models and keys are shown as they are, whatever they look like to a terminal."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.table import Table
from rich.text import Text

from consumers.cli.main import app
from consumers.printable import printable
from consumers.running.logs import OneLine
from consumers.settings import load_settings
from consumers.terminal.console import Output, print_json, print_lines
from consumers.terminal.printing.attaching import attach_progress
from consumers.terminal.progress import footage_progress, task_progress
from consumers.terminal.wording import describe
from stream import Attached
from tests.command_line import clipline

ROOT = Path(__file__).resolve().parents[1]
#: What a person may call a thing, and how it is shown.
NAMES = {
    "a[/b]": "a[/b]",
    "own [v2]": "own [v2]",
    "[bold]x": "[bold]x",
    "[link=http://x]y[/link]": "[link=http://x]y[/link]",
    "clipline:camera:x": "clipline:camera:x",
    "clear\x1b[2J": r"clear\x1b[2J",
    "back\rto": r"back\rto",
    "two\nlines": r"two\nlines",
    "tab\tbell\x07": r"tab\tbell\x07",
    "right\u202eleft": r"right\u202eleft",
    "c1\x9b31m": r"c1\x9b31m",
    "not\udcffutf": r"not\udcffutf",
    "grün 猫 👩‍👧": "grün 猫 👩‍👧",
}
each_name = pytest.mark.parametrize(("name", "shown"), NAMES.items(), ids=map(ascii, NAMES))


def printed(*things: object, **options: object) -> str:
    out = Output(file=io.StringIO(), width=200)
    out.print(*things, **options)  # type: ignore[arg-type]
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@each_name
def test_a_name_is_shown_as_it_is_in_everything_that_is_printed(name, shown):
    table = Table(name, title=f"t {name}", box=None)
    table.add_row(name)
    table.add_row(Text(printable(name)))
    assert printed(name) == f"{shown}\n"
    assert printed(name, style="red") == f"{shown}\n"
    assert shown in printed(Text.assemble(("a", "bold"), (printable(name), "red")))
    assert printed(table).count(shown) == 4
    assert len(printed(table).splitlines()) == 4


@each_name
def test_a_name_is_shown_as_it_is_while_work_goes_on(name, shown):
    out = Output(file=io.StringIO(), width=200, force_terminal=True)
    with task_progress(out) as show:
        show(name, 1, 2)
    with footage_progress(out) as show_footage:
        show_footage(name, 1.0, 2.0)
    with attach_progress(out, name) as show_attached:
        show_attached(Attached())
    with out.status(name) as status:
        status.update(f"{name}: 2 tried")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.file.getvalue())  # type: ignore[attr-defined]
    # Rich itself drops a bell and a return.
    assert shown in text or re.sub(r"[\x07\r]", "", name) in text or printable(re.sub(r"[\x07\r]", "", name)) in text
    assert not set(text) & set(name) & set("\x1b\x07\x9b\u202e\t")


def test_text_keeps_its_styles_where_something_in_it_is_escaped():
    out = Output(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    out.print(Text.assemble(("a\x1bb", "red"), "c\x9bd"))
    assert re.sub(r"\x1b\[0m\x1b\[31m", "", out.file.getvalue()) == "\x1b[31ma\\x1bb\x1b[0mc\\x9bd\n"  # type: ignore[attr-defined]


def test_a_message_of_several_lines_cannot_pose_as_another():
    out = Output(file=io.StringIO(), width=80)
    print_lines(out, "clipline: x\nclipline: all is well\rdone", "red")
    assert out.file.getvalue() == "clipline: x\n  clipline: all is well\\rdone\n"  # type: ignore[attr-defined]


@each_name
def test_json_is_valid_and_holds_the_very_name(name, shown):
    out = Output(file=io.StringIO(), width=20)
    print_json(out, {name: name * 9})
    assert json.loads(out.file.getvalue()) == {name: name * 9}  # type: ignore[attr-defined]


@each_name
def test_a_log_line_is_one_line(name, shown):
    record = logging.LogRecord("stream", logging.WARNING, __file__, 1, "camera %s: gone", (name,), None)
    line = OneLine().format(record)
    assert len(line.splitlines()) == 1
    assert line == printable(line)


@each_name
def test_an_event_is_told_with_its_label(name, shown):
    body = {"state": "started", "label": name, "camera": "gate", "seconds": 2.0, "peak_score": 0.9, "ending": None}
    body |= {"end": "2026-11-24T08:00:00Z", "event": "3f2a9c1b" * 4}
    assert f"{shown} on gate" in printed(describe(body))


def calls() -> Iterator[list[str]]:
    """Every argument and option that takes a value, with a name in its place."""
    needed = {"evaluate": ["x3d-xs", "no.csv"], "compare": ["x3d-xs", "cnn-lstm", "no.csv"], "demo": ["no.mp4"]}
    needed |= {"attach": ["no.mp4"], "replay": ["no.mp4"], "tune": ["no.mp4"], "evidence": ["id"], "export": ["x3d-xs"]}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command, found in commands.items():
        for param in found.params:
            if getattr(param, "is_flag", False) or command in {"train", "up"}:
                continue  # train imports torch for seconds before it looks; up would start servers
            given = ["NAME"] if param.param_type_name == "argument" else [param.opts[0], "NAME"]
            if command == "work" and param.opts[0] != "--exit-after":
                given += ["--exit-after", "0.2"]  # it would wait for its broker for ever
            yield [command, *(needed.get(command, []) if param.param_type_name == "option" else []), *given]


@pytest.mark.parametrize("call", calls(), ids=" ".join)
def test_no_command_takes_a_name_for_markup_or_ends_in_a_traceback(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 50)
    monkeypatch.setattr("consumers.outputs.redis.connection.CONNECT_TIMEOUT_SECONDS", 0.1)
    away = {"CLIPLINE_KAFKA": "127.0.0.1:1", "CLIPLINE_REDIS": "redis://127.0.0.1:1", "CLIPLINE_RUN__SERVICES": "own"}
    name = "a[b]:camera:[/c]\x1b[31m\r\u202e\nclipline: well"
    said = clipline(*(name if part == "NAME" else part for part in call), **away)
    assert said.returncode in {0, 1, 2}, said.stderr
    text = said.stdout + said.stderr
    assert "Traceback" not in text
    assert not set("\x1b\r\u202e📷") & set(text)
    assert not [line for line in text.splitlines() if line.startswith("clipline: well")]


@pytest.mark.parametrize("name", ["own [v2].safetensors", "a[/b].mp4", ":camera:.mp4"])
def test_a_file_that_is_not_there_is_named_in_full(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"clipline: {name}: no such file or folder" in clipline("attach", name, "--camera", "x").stderr
    assert name in clipline("work", "--model", name).stderr
    Path(name).parent.mkdir(exist_ok=True)
    assert f"{name}.toml: written" in clipline("init", "-o", f"{name}.toml").stdout


def test_labels_of_a_settings_file_are_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("clipline.toml").write_text('[tracker.labels."a[/b]:camera:\\u001b"]\nstart = 7\n')
    said = clipline("status")
    assert said.returncode == 2
    assert r"tracker.labels.a[/b]:camera:\x1b.start = 7" in said.stderr


SOURCES = sorted(path for room in ("consumers", "models", "stream") for path in (ROOT / room).rglob("*.py"))
_CONSOLE = ROOT / "consumers" / "terminal" / "console.py"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_sources_make_no_other_console_and_no_markup(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        where = f"{path.relative_to(ROOT)}:{node.lineno}: {called}"
        keywords = {each.arg: each.value for each in node.keywords}
        for word in ("markup", "emoji"):
            value = keywords.get(word)
            assert value is None or (isinstance(value, ast.Constant) and value.value is False), where
        if name == "TextColumn":
            assert "markup" in keywords, f"{where}: a TextColumn is markup unless it is told"
        if path != _CONSOLE:
            assert name != "Console", f"{where}: use consumers.terminal.console.Output"
        # What takes a string for markup, whatever the console says.
        assert name not in {"from_markup", "render_markup", "Panel", "Prompt", "Confirm", "Spinner"}, where
        assert called not in {"print", "rich.print", "rprint", "typer.secho", "click.secho", "click.echo"}, where
        if called == "typer.echo":
            assert ast.unparse(node.args[0]) == "context.get_help()", where


def test_a_label_in_a_drawing_is_no_formula_no_element_and_not_left_out():
    pytest.importorskip("matplotlib")
    from consumers.reports.drawing import draw, in_legend

    def paint(axes):
        for name in ("<script>x</script>", "$\\frac$ and $", "_hidden", "a[/b]"):
            axes.plot([0, 1], label=in_legend(name))
        axes.legend()

    svg = draw('a "caption" <b>', paint).svg
    assert "<script>" not in svg.replace("&lt;", "")
    for shown in ("&lt;script&gt;x&lt;/script&gt;", "$\\frac$ and $", "_hidden", "a[/b]"):
        assert shown in svg, shown
    assert 'aria-label="a &quot;caption&quot; &lt;b&gt;"' in svg


TEMPLATES = ROOT / "consumers" / "reports" / "templates"


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_templates_take_only_drawings_as_they_are_and_put_text_where_it_is_escaped(path):
    text = path.read_text("utf-8")
    assert set(re.findall(r"\{\{[^}]*\|\s*safe[^}]*\}\}", text)) <= {"{{ plot.svg|safe }}"}
    assert "autoescape" not in text
    for script in re.findall(r"<(?:script|style)\b.*?</(?:script|style)>", text, re.DOTALL):
        assert "{{" not in script
    assert not re.findall(r"<[^>]*\s[\w-]+=\{\{", text), "an attribute without quotes"


def test_a_written_settings_file_reads_back_whatever_an_address_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = 'my "own" [v2]\\x\x7f\x1b\n.mp4'
    said = clipline("init", "--camera", f"gate={address}", "-o", "it's own.toml")
    assert said.returncode == 0, said.stderr
    assert """clipline check --settings 'it'"'"'s own.toml'""" in said.stdout
    assert load_settings(Path("it's own.toml"), {}).cameras["gate"].url == address


def test_what_is_not_utf_8_is_named_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = clipline("init", "--camera", "gate=\udcff.mp4")
    assert (said.returncode, said.stdout) == (2, "")
    assert r"\udcff.mp4" in said.stderr
    assert not list(tmp_path.iterdir())
