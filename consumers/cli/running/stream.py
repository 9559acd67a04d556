"""The commands that move video: attach, work."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from consumers.cli.options import (
    INTERRUPTED,
    EngineOption,
    ExitAfterOption,
    FpsOption,
    FromOption,
    GroupOption,
    KafkaOption,
    LogOption,
    ModelOption,
    PaceOption,
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
)

# `models` (torch) and `stream` (libav, kafka) are imported by the commands that need them: `--help` is quick.


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (attach, work):
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
    from consumers.running.attaching import attach_camera
    from consumers.terminal.printing.attaching import QuietNotes, attach_progress, attach_summary
    from consumers.terminal.unhurried_streams import unhurried_streams
    from stream import Reading, is_live

    settings = logged_settings(command_settings(settings_file, kafka, None), log, "agent", console, errors)
    source, camera, start_us = _attached(source, camera, start, loop=loop)
    begins = "connecting" if is_live(source) else "opening"
    has_end = not (loop or is_live(source))
    with (
        end_on_signal(settings.shutdown_seconds, INTERRUPTED if has_end else 0) as ending,
        unhurried_streams(ending.stop.is_set, INTERRUPTED if has_end else 0),
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
    from consumers.records.states.process import ProcessInfo
    from consumers.running.roles.worker import keep_working
    from consumers.terminal.live_view import LiveView
    from consumers.terminal.plain import plain_log
    from consumers.terminal.unhurried_streams import unhurried_streams

    settings = command_settings(
        settings_file, kafka, redis, model=model, engine=engine, stride_seconds=stride, group=group, start=begin
    )
    settings = logged_settings(settings, log, "worker", console, errors)

    def show(serving: Serving) -> contextlib.AbstractContextManager[object]:
        if console.is_terminal:
            return Live(LiveView(serving.snapshot, "clipline work"), console=console)
        return plain_log(serving.snapshot, None if json_log.is_on else sys.stdout)

    with end_on_signal(settings.shutdown_seconds) as ending:
        with unhurried_streams(ending.stop.is_set):
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
