"""The commands that move video and events: attach, work, events, demo."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.live import Live

from .help import ADVANCED
from .options import (
    INTERRUPTED,
    DrillsOption,
    EngineOption,
    ExitAfterOption,
    FpsOption,
    FromOption,
    GroupOption,
    KafkaOption,
    LogOption,
    ModelOption,
    PaceOption,
    PrintJsonOption,
    RedisOption,
    SettingsOption,
    StartOption,
    StrideOption,
    TakeOverOption,
    TranscodeOption,
    command_settings,
    console,
    end_on_signal,
    errors,
    json_log,
    logged_settings,
    parse_start,
    stop_on_signal,
)

if TYPE_CHECKING:
    from consumers.settings import Settings
    from consumers.subscribing.selection import Selection

# `models` (torch) and `stream` (libav, kafka) are imported by the commands that need them: `--help` is quick.


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (attach, work, events, demo):
        app.command()(command)


def attach(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A video file, a folder of them, or rtsp://…; in an address, ${NAME} stands for a variable.",
        ),
    ],
    camera: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the camera.", show_default="the file's or folder's name"),
    ] = None,
    pace: PaceOption = "realtime",
    loop: Annotated[bool, typer.Option("--loop", help="Start again at the end of the footage.")] = False,
    start: StartOption = None,
    fps: FpsOption = None,
    transcode: TranscodeOption = False,
    take_over: TakeOverOption = False,
    exit_after: ExitAfterOption = None,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Send a camera or recorded footage to Kafka.

    Video is cut into segments and, but with --transcode, never re-encoded. A
    camera is sent until Ctrl-C, footage until it ends. Others can read a command
    line: a password belongs into an environment variable.

    While the broker is away, segments of a camera wait on disk (section
    [spool] of the settings), and footage waits where it is.

    \b
    Examples (with a camera and files of your own):
      clipline attach rtsp://10.0.0.7/stream --camera lobby
      clipline attach '${DOCK_URL}' --camera dock
      clipline attach footage.mp4 --camera gate --pace max
      clipline attach footage/ --camera archive --start 2026-11-24T08:00:00Z
    """
    from consumers.running.allocation import give_back_early
    from consumers.running.attaching import attach_camera
    from consumers.terminal.attaching import QuietNotes, attach_progress, attach_summary
    from stream import Reading, is_live

    settings = logged_settings(command_settings(settings_file, kafka, None), log, "agent", console, errors)
    give_back_early()
    source, camera, start_us = _attached(source, camera, start, loop=loop)
    begins = "connecting" if is_live(source) else "opening"
    has_end = not (loop or is_live(source))
    with (
        end_on_signal(settings.shutdown_seconds, INTERRUPTED if has_end else 0) as ending,
        attach_progress(errors, camera, begins) as show,
    ):
        attached = attach_camera(
            settings,
            source,
            camera,
            pace=pace,
            loop=loop,
            start_us=start_us,
            reading=Reading(fps, transcode),
            take_over=take_over,
            exit_after_seconds=exit_after,
            ending=ending,
            progress=show,
            hear=QuietNotes(errors).hear,
        )
    console.print(attach_summary(camera, attached), soft_wrap=True)
    for failure in attached.failures:
        errors.print(f"left out: {failure}", style="yellow", soft_wrap=True)
    if ending.stop.is_set() and has_end:
        raise typer.Exit(INTERRUPTED)  # the rest of the footage was not sent


def _attached(source: str, camera: str | None, start: str | None, *, loop: bool) -> tuple[str, str, int | None]:
    """The address or path to attach, under which name, and from when its footage begins.

    Raises:
        BadParameter, SourceError: one of them cannot be used.
    """
    from consumers.settings import resolve
    from stream import camera_id, camera_of, check_address, check_camera_id, find_files, is_live, may_be_film

    if camera is None:
        _refuse_named(source)
    if "://" in source or source.startswith("${"):
        try:
            source = resolve(source, os.environ)
        except ValueError as error:
            raise typer.BadParameter(f"SOURCE: {error}") from None
    if camera is None and is_live(source):
        raise typer.BadParameter("--camera is needed: an address does not name its camera")
    try:
        camera = camera_of(Path(source)) if camera is None else check_camera_id(camera)
    except ValueError as error:
        raise typer.BadParameter(f"--camera: {error}; {camera_id(camera or '')!r} would do") from None
    start_us = parse_start(start)
    check_address(source)
    if not is_live(source):
        find_files(Path(source))
    elif not may_be_film(source) and (loop or start_us is not None):
        raise typer.BadParameter("--start and --loop are for footage; a camera has no end and is sent as it is filmed")
    return source, camera, start_us


def _refuse_named(source: str) -> None:
    """Say how a camera is named where it was tried with NAME=SOURCE; raises BadParameter."""
    from stream import check_camera_id, display_name

    name, equals, rest = source.partition("=")
    if not equals or not rest or Path(source).exists():
        return
    try:
        check_camera_id(name)
    except ValueError:
        return
    rest = display_name(rest)
    raise typer.BadParameter(
        f"SOURCE: {name}={rest}: no such file; a camera is named by --camera: "
        f"clipline attach {shlex.quote(rest)} --camera {name}"
    )


def work(
    model: ModelOption = None,
    group: GroupOption = None,
    begin: FromOption = None,
    engine: EngineOption = None,
    stride: StrideOption = None,
    exit_after: ExitAfterOption = None,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Classify the cameras on Kafka and raise events, until Ctrl-C.

    Start as many workers as you like: they share the cameras. A broker that is
    away is waited for.

    \b
    Examples:
      clipline work
      clipline work --model x3d-xs
    What was sent before the first worker, too:
      clipline work --from earliest
    A second model on the same cameras:
      clipline work --model x3d-xs --group clipline-x3d
    """
    from consumers.live.assemble import Serving
    from consumers.records.process import ProcessInfo
    from consumers.running.allocation import give_back_early
    from consumers.running.worker import keep_working
    from consumers.terminal.live_view import LiveView
    from consumers.terminal.plain import plain_log

    settings = command_settings(
        settings_file, kafka, redis, model=model, engine=engine, stride_seconds=stride, group=group, start=begin
    )
    settings = logged_settings(settings, log, "worker", console, errors)
    give_back_early()

    def show(serving: Serving) -> contextlib.AbstractContextManager[object]:
        if console.is_terminal:
            return Live(LiveView(serving.snapshot, "clipline work"), console=console)
        return plain_log(serving.snapshot, None if json_log.is_on else sys.stdout)

    with end_on_signal(settings.shutdown_seconds) as ending:
        serving = keep_working(
            settings,
            ProcessInfo.current(),
            ending,
            show,
            loading=lambda: errors.status("loading the model"),
            exit_after_seconds=exit_after,
            asks_start=begin is not None or settings.worker.start != "now",
        )
        if console.is_terminal and serving is not None:
            for name, counts in sorted(serving.worker.counts.items()):
                console.print(f"{name}: {counts.summary()}", soft_wrap=True)
        # Threads that are decoding would be waited for when the interpreter ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events, until Ctrl-C.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --follow: print the stored events first.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only those reported since then: 90s, 15m, 1h or 2d ago, or a time like 2026-11-24T08:00:00Z. With "
            "--follow: these first.",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only events of this camera, or of those that a pattern such as 'gate*' names. May be given several "
            "times.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL", help="Only events with this label. May be given several times.", show_default=False
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="Print incidents: what cameras of a group see at once is one. With --follow: as one opens, as "
            "another event joins it, and when all of it is over.",
        ),
    ] = False,
    form: Annotated[
        Literal["text", "table", "json", "csv"] | None,
        typer.Option(
            "--format",
            help="One line for people, a table's row, a JSON object or a row of CSV for each report.",
            show_default="text",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group",
            metavar="NAME",
            rich_help_panel=ADVANCED,
            help="With --follow: a Kafka consumer group that remembers what was printed; started again, it goes on.",
            show_default=False,
        ),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            "--serve",
            metavar="HOST:PORT",
            help="Print nothing, and serve events to programs and browsers, as server-sent events at "
            "http://HOST:PORT/events.",
            show_default=False,
        ),
    ] = None,
    drills: DrillsOption = False,
    exit_after: ExitAfterOption = None,
    as_json: PrintJsonOption = False,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Print events: those stored, or new ones as they come.

    With --json, each line is one event. With --follow, a broker that is away
    is waited for, which a line on stderr says within seconds; reading goes on
    after the last event that was printed.

    \b
    Examples:
      clipline events
      clipline events --since 1h --format table
      clipline events --follow --label fight --camera 'gate*' --since 1h
      clipline events --follow --json | jq .camera
    """
    from consumers.subscribing.subscription import open_subscription
    from consumers.terminal.events import follow_events, print_stored_events

    if serve is not None:
        asked: dict[str, object] = {
            "--follow": follow,
            "--all": everything,
            "--since": since,
            "--camera": camera,
            "--label": label,
            "--merge": merge,
            "--drills": drills,
        }
        asked |= {"--format": form, "--json": as_json, "--group": group, "--exit-after": exit_after}
        _refuse(asked, "what is printed, and with --serve each client asks for itself")
        _serve_events(logged_settings(command_settings(settings_file, kafka, None), log, "subscriber", errors), serve)
        return
    if not follow:
        _refuse({"--all": everything, "--exit-after": exit_after, "--group": group}, "--follow")
    if everything:
        _refuse({"--since": since}, "events without --all")
    if as_json and form != "json":
        _refuse({"--format": form}, "events without --json")
    selection, since_us = _selected(label, camera, since, drills=drills)
    settings = logged_settings(command_settings(settings_file, kafka, None), log, "subscriber", errors)
    form = "json" if as_json else form or "text"
    with stop_on_signal() as stop:
        if follow:
            begin_us = 0 if everything else since_us
            try:
                subscription = open_subscription(
                    settings, selection, since_us=begin_us, group=group, give_up_seconds=exit_after, stop=stop
                )
            except ValueError as error:
                raise typer.BadParameter(f"--{error}") from None
            follow_events(subscription, form, console, merge=merge)
            return
        print_stored_events(settings, selection, since_us or 0, form, console, errors, stop, merge=merge)
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)  # the rest was not printed


def _refuse(options: Mapping[str, object], what_for: str) -> None:
    """Refuse the first option that is given.

    Raises:
        BadParameter: one is.
    """
    if given := [option for option, value in options.items() if value is not None and value is not False]:
        raise typer.BadParameter(f"{given[0]} is for {what_for}")


def _selected(
    labels: list[str] | None, cameras: list[str] | None, since: str | None, *, drills: bool
) -> tuple[Selection, int | None]:
    """Which events, and since when; microseconds since the Unix epoch.

    Raises:
        BadParameter: an option's value is none.
    """
    from consumers.subscribing.selection import Selection
    from consumers.subscribing.subscription import parse_since

    try:
        return Selection.of(labels, cameras, drills=drills), parse_since(since)
    except ValueError as error:
        option, _, why = str(error).partition(":")
        raise typer.BadParameter(f"--{option.removesuffix('s')}:{why}") from None


def _serve_events(settings: Settings, address: str) -> None:
    from consumers.settings import SettingsError
    from consumers.subscribing.serving import serving

    with stop_on_signal() as stop:
        try:
            with serving(settings, address) as (url, streams):
                console.print(f"events at {url}, until Ctrl-C", soft_wrap=True)
                stop.wait()
        except (SettingsError, ValueError) as error:
            raise typer.BadParameter(f"--serve: {error}") from None
    if streams.slow:
        errors.print(f"disconnected since they took nothing: {streams.slow} clients", style="yellow")


def demo(
    footage: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOOTAGE",
            help="Video file or folder of your own, instead of the sample cameras.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    pace: PaceOption = "realtime",
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--end",
            help="Whether the dashboard stays after the summary, until Ctrl-C.",
            show_default="stays in a terminal",
        ),
    ] = None,
) -> None:
    """Start everything on this machine and classify sample cameras.

    Shows the cameras here and in a dashboard. Ends with a summary: what was
    detected, and how that compares with the truth of the samples.

    \b
    Examples:
      clipline demo
      clipline demo --model x3d-xs
    With footage of your own:
      clipline demo footage/ --pace max
    """
    from consumers.terminal.demo import run_demo

    with stop_on_signal() as stop:
        stays = console.is_terminal if stay is None else stay
        outcome = run_demo(console, footage, model, pace, stop, stay=stays)
    if outcome.stopped:
        raise typer.Exit(INTERRUPTED)
