"""What several commands share: consoles, options and their words, settings, stopping in order."""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from consumers.running.allocation import give_back_early
from consumers.running.ending import Ending
from consumers.terminal.console import Output
from consumers.times import parse_time_us

from .help import ADVANCED, CONNECTION
from .logs import JsonLog

if TYPE_CHECKING:
    # pydantic and, through it, the whole of `stream`: a third of a second that `--help` does not want.
    from consumers.learning.footage.examples import DataOptions
    from consumers.settings import Settings

#: Exit code of a process that SIGINT ended, as a shell reports it (docs/exit-codes.md).
INTERRUPTED: Final = 130

console = Output()
errors = Output(stderr=True)
json_log = JsonLog()

#: Times are counted from 1970, and footage has to end before the year 9999.
_LATEST_START_US: Final = 253_339_228_800_000_000  # the year 9998

EngineName = Literal["auto", "openvino", "openvino-f32", "torch"]
PaceName = Literal["realtime", "max"]

_LABELLED_FOOTAGE = (
    "Labelled footage: a folder with a subfolder for each class, a CSV file with the columns "
    "path,label[,start,end][,group], or annotations as of Kinetics, ActivityNet or MMAction2."
)


def above_zero(value: float | None) -> float | None:
    """Check an option's value.

    Raises:
        BadParameter: it is zero or below.
    """
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not above 0.")
    return value


def shipped_models() -> list[str]:
    """The models' names, for a shell to complete."""
    from models import shipped

    return list(shipped())


# Where to find the broker, Redis and the settings.
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        rich_help_panel=CONNECTION,
        help="Settings file.",
        show_default="clipline.toml in this folder, if there is one",
    ),
]
KafkaOption = Annotated[
    str | None,
    typer.Option(
        "--kafka",
        metavar="HOST:PORT",
        rich_help_panel=CONNECTION,
        help="Kafka broker; overrides the settings file and CLIPLINE_KAFKA.",
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        rich_help_panel=CONNECTION,
        help="Redis server; overrides the settings file and CLIPLINE_REDIS. Others can read a command line: give a "
        "password as ${NAME}, which stands for an environment variable.",
    ),
]

# What classifies.
MODEL_HELP = "Name of a shipped model (`clipline models`) or path of a model file."
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help=MODEL_HELP, autocompletion=shipped_models),
]
GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        rich_help_panel=ADVANCED,
        help="Consumer group: workers of one group share the cameras.",
        show_default="clipline-classify",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        rich_help_panel=ADVANCED,
        help="Where a new group begins: now, earliest, or with what was sent at a time or later, "
        "2026-11-24T08:00:00Z. A group that has begun before goes on where it stopped.",
        show_default="now",
    ),
]
EngineOption = Annotated[
    EngineName | None,
    typer.Option("--engine", rich_help_panel=ADVANCED, help="Library that runs the model.", show_default="auto"),
]
StrideOption = Annotated[
    float | None,
    typer.Option(
        "--stride",
        metavar="SECONDS",
        callback=above_zero,
        rich_help_panel=ADVANCED,
        help="Classify a window this often.",
        show_default="half a window",
    ),
]

# Footage and its labels.
DataArgument = Annotated[list[Path], typer.Argument(metavar="DATA", help=_LABELLED_FOOTAGE)]
PaceOption = Annotated[
    PaceName, typer.Option("--pace", help="Send footage as fast as it was recorded, or as fast as possible.")
]
FpsOption = Annotated[
    float | None,
    typer.Option(
        "--fps",
        metavar="RATE",
        min=0.01,
        max=1000,
        rich_help_panel=ADVANCED,
        help="Pictures a second of a stream without times, as raw H.264.",
        show_default="what it says, else 25",
    ),
]

TranscodeOption = Annotated[
    bool,
    typer.Option(
        "--transcode",
        rich_help_panel=ADVANCED,
        help="Encode video once as H.264 where its codec cannot be carried as it is.",
    ),
]

StartOption = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="When the footage begins: a time like 2026-11-24T08:00:00Z, or 'now'.",
        show_default="when it was recorded",
    ),
]
TakeOverOption = Annotated[
    bool,
    typer.Option("--take-over", help="Read a camera that another agent reads; the other one is told, and stops."),
]
ExitAfterOption = Annotated[
    float | None,
    typer.Option(
        "--exit-after",
        metavar="SECONDS",
        callback=above_zero,
        help="Exit with 2 when the broker has been away for so long.",
        show_default="wait for as long as it takes",
    ),
]
LogOption = Annotated[
    Literal["text", "json"] | None,
    typer.Option(
        "--log",
        help="How to log: for people, or as one JSON object a line on stderr.",
        show_default="text",
    ),
]
DrillsOption = Annotated[bool, typer.Option("--drills", help="Drills, too (`clipline drill`).")]
LabelMapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW",
        help="Rename a label; 'OLD=' leaves its examples out. May be given several times.",
        show_default=False,
    ),
]

SkipMissingOption = Annotated[
    bool, typer.Option("--skip-missing", help="Go on without rows whose file is missing, and say how many.")
]
SkipBadRowsOption = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Go on without rows that are wrong, and say how many.")
]
GroupByOption = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="PATTERN",
        help="Regular expression that finds in a file's path which recording it is from.",
        show_default=False,
    ),
]

RestOption = Annotated[
    str | None,
    typer.Option(
        "--rest",
        metavar="LABEL",
        help="Label of what lies outside of the rows of a file: for lists of events in long footage.",
        show_default="nothing is said about it",
    ),
]

# What is written.
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the results to FILE, as JSON.")
]
PrintJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ReportOption = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Also write a report to FILE: one HTML page that needs no other."),
]


#: Options that have another name than their setting.
_OPTIONS: Final = {"start": "--from"}


def command_settings(path: Path | None, kafka: str | None, redis: str | None, **worker: Any) -> Settings:
    """Settings with what the command line says over them; `worker` are keys of that section, named as the options are.

    Raises:
        SettingsError: the file cannot be used, or an option's value; the message begins with its name.
    """
    from consumers.settings import load_settings, override

    settings = load_settings(path)
    given: dict[str, dict[str, Any]] = {"--kafka": {"kafka": kafka}, "--redis": {"redis": redis}}
    given |= {
        _OPTIONS.get(key, f"--{key.removesuffix('_seconds')}"): {"worker": {key: value}}
        for key, value in worker.items()
    }
    # One at a time, so that the message names the option.
    for name, values in given.items():
        settings = override(settings, values, name)
    return settings


def logged_settings(settings: Settings, log_format: str | None, role: str, *consoles: Output) -> Settings:
    """Settings with the format that `--log` names; where that is JSON, all that `consoles` print is logged so."""
    from consumers.records.states.process import ProcessInfo
    from consumers.settings import override

    settings = override(settings, {"log": {"format": log_format}}, "--log")
    if settings.log.format == "json":
        json_log.begin(role, ProcessInfo.current().id, *consoles)
    return settings


def _show_cursor() -> None:
    console.show_cursor(True)


@contextlib.contextmanager
def end_on_signal(seconds: float | None = None, code: int = 0) -> Iterator[Ending]:
    """Ctrl-C and SIGTERM ask a command to end in order; a second one ends it at once.

    Args:
        seconds: within which it has ended; None: it takes what it takes.
        code: exit code where it has not.
    """
    if seconds is not None:
        give_back_early()  # it may run for a month
    ending = Ending(seconds, code, before_exit=_show_cursor)
    with ending.listen():
        yield ending


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """The same, for what ends soon in any case: an event that is set when it is to."""
    with end_on_signal() as ending:
        yield ending.stop


def parse_start(text: str | None) -> int | None:
    """`--start` in microseconds since the Unix epoch.

    Raises:
        BadParameter: it is no time.
    """
    if text is None:
        return None
    if text == "now":
        return time.time_ns() // 1000
    try:
        start_us = parse_time_us(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"--start: {text!r} is neither 'now' nor a time like 2026-11-24T08:00:00Z") from None
    if not 0 <= start_us <= _LATEST_START_US:
        raise typer.BadParameter(f"--start: {text!r}: expected a time from 1970 to 9998")
    return start_us


def parse_moment(option: str, text: str | None) -> int | None:
    """The value of an option that names a time of the clock, in microseconds since the Unix epoch.

    Raises:
        BadParameter: it is no time.
    """
    if text is None:
        return None
    try:
        return max(0, parse_time_us(text))
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{option}: {text!r} is no time like 2026-11-24T08:00:00Z") from None


def renamed_labels(label_map: list[str] | None) -> dict[str, str]:
    """Parse `old=new` pairs.

    Raises:
        BadParameter: a pair has no '='.
    """
    if not label_map:
        return {}
    from models import normal_label

    renamed = {}
    for pair in label_map:
        old, equals, new = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--map {pair!r}: expected OLD=NEW")
        renamed[normal_label(old)] = normal_label(new)
    return renamed


def check_data(
    data: Sequence[Path], renamed: Mapping[str, str], options: DataOptions, test: Sequence[Path] = ()
) -> None:
    """Read lists of labelled footage before a command imports torch: what is wrong with them is said at once.

    The command reads them again, and says what it left out.

    Raises:
        TrainingError: they cannot be used.
    """
    from consumers.learning.footage.datasets import find_examples

    if data:
        find_examples(data, renamed, options, test=test)


def data_options(
    *,
    skip_missing: bool,
    skip_bad_rows: bool,
    group_by: str | None = None,
    rest: str | None = None,
    multi_label: bool = False,
) -> DataOptions:
    """What to do about rows of labelled footage that cannot be used, without groups, and about what no row is of.

    Raises:
        BadParameter: `group_by` is no regular expression, or `rest` is empty.
    """
    from consumers.learning.footage.examples import DataOptions

    try:
        pattern = None if group_by is None else re.compile(group_by)
    except re.error as error:
        raise typer.BadParameter(f"--group-by {group_by!r}: expected a regular expression ({error})") from None
    if rest is not None and not rest.strip():
        raise typer.BadParameter("--rest: expected the name of a label")
    return DataOptions(skip_missing, skip_bad_rows, pattern, rest, multi_label)
