"""The commands that move video and events: attach, work, events, demo."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.progress import Progress, TextColumn

from .options import (
    KafkaOption,
    RedisOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    parse_start,
    stop_on_signal,
)

# `models` (torch) and `stream` (libav, kafka) are imported by the commands that need them: `--help` is quick.


def add_to(app: typer.Typer) -> None:
    """Register the commands, in the order in which help lists them."""
    for command in (attach, work, events, demo):
        app.command()(command)


class PaceChoice(StrEnum):
    realtime = "realtime"
    max = "max"


def attach(
    source: Annotated[str, typer.Argument(help="A video file, a folder of them, or rtsp://…")],
    camera: Annotated[str | None, typer.Option(help="Its id; the file's name if left out.", show_default=False)] = None,
    pace: Annotated[PaceChoice, typer.Option(help="How fast footage is handed over.")] = PaceChoice.realtime,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end of footage.")] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Event time of footage's first frame, RFC 3339 or 'now'; when it was recorded if left out."),
    ] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Put a camera or recorded footage onto Kafka, cut into segments, never re-encoded.

    \b
    clipline attach rtsp://user:secret@10.0.0.7/stream --camera lobby
    clipline attach footage.mp4 --camera gate --pace max
    clipline attach footage/ --camera archive --start 2026-11-24T08:00:00Z
    """
    from consumers.topics import ensure_topics
    from stream import Attached, KafkaTransport, check_camera_id, find_files, is_live
    from stream import attach as attach_feed

    settings = command_settings(settings_file, kafka, None)
    if camera is None and is_live(source):
        raise typer.BadParameter("--camera is needed: an rtsp:// address does not name its camera")
    try:
        camera = check_camera_id(camera or Path(source).resolve().stem)
    except ValueError as error:
        raise typer.BadParameter(f"--camera: {error}") from None
    start_us = parse_start(start)
    if not is_live(source):
        find_files(Path(source))
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[state]}"))
    with stop_on_signal() as stop, Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(f"{camera}: connecting", total=None, state="")

        def show(state: Attached) -> None:
            progress.update(
                task,
                description=f"[bold]{camera}[/bold]",
                state=f"{state.segments} segments, {state.seconds:.1f} s of footage, {state.bytes / 1e6:.1f} MB",
            )

        state = attach_feed(
            source,
            camera,
            producer,
            settings.topics.segments,
            limits=settings.segments.limits,
            pace=pace.value,
            loop=loop,
            start_us=start_us,
            stop=stop.is_set,
            progress=show,
        )
        producer.close()
    skipped = "".join(f", {n} frames skipped ({reason})" for reason, n in sorted(state.skipped.items()))
    console.print(
        f"{camera}: {state.frames} frames in {state.segments} segments, {state.seconds:.1f} s, "
        f"{state.bytes / 1e6:.1f} MB{skipped}",
        highlight=False,
    )
    for failure in state.failures:
        errors.print(f"left out: {failure}", style="yellow", markup=False)


def work(
    model: Annotated[str | None, typer.Option(help="A shipped model's name or a checkpoint's path.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, openvino, openvino-f32 or torch.")] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds between the beginnings of two windows.")] = None,
    group: Annotated[str | None, typer.Option(help="Consumer group; workers of one group share the cameras.")] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Classify the cameras on Kafka; start as many as you like, they share the cameras.

    \b
    clipline work
    clipline work --model x3d-xs --group clipline-x3d     # a second model on the same cameras
    """
    from consumers.live.assemble import open_worker
    from consumers.terminal.live_view import LiveView

    settings = command_settings(
        settings_file, kafka, redis, model=model, engine=engine, stride_seconds=stride, group=group
    )
    with stop_on_signal() as stop, contextlib.ExitStack() as stack:
        with errors.status("loading the model"):
            serving = stack.enter_context(open_worker(settings))
        if console.is_terminal:
            view = LiveView(serving.worker, f"clipline work · {serving.classifier.id}")
            stack.enter_context(Live(view, console=console, refresh_per_second=4, screen=False))
        else:
            stack.enter_context(_reported(serving.worker))
        serving.worker.run(stop.is_set)
    for name, counts in sorted(serving.worker.counts.items()):
        console.print(f"{name}: {counts.summary()}", highlight=False)


@contextlib.contextmanager
def _reported(worker: Any, seconds: float = 10.0) -> Iterator[None]:
    """Where no terminal shows the live view: events as they come, and a line on each camera now and then."""
    from consumers.terminal.live_view import describe

    done = threading.Event()

    def report() -> None:
        shown, last = 0, time.monotonic()
        while not done.wait(0.5):
            total, events = worker.events_total, list(worker.newest_events)
            for event in events[len(events) - min(total - shown, len(events)) :]:
                console.print(describe(event.body()), soft_wrap=True)
            shown = total
            if time.monotonic() - last >= seconds:
                last = time.monotonic()
                for name, counts in sorted(dict(worker.counts).items()):
                    console.print(f"{name}: {counts.summary()}, lag {worker.lag}", highlight=False, soft_wrap=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events instead.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --follow: those already stored, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    camera: Annotated[str | None, typer.Option(help="Only of this camera.", show_default=False)] = None,
    label: Annotated[str | None, typer.Option(help="Only with this label.", show_default=False)] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Print the events on the topic: those stored, or new ones as they come.

    \b
    clipline events                                  # what is stored
    clipline events --follow --label fight           # what comes
    clipline events --follow --json | jq .camera
    """
    from consumers.outputs.subscriber import read_events
    from consumers.terminal.live_view import describe
    from stream import KafkaTransport

    settings = command_settings(settings_file, kafka, None)
    transport = KafkaTransport(settings.kafka)
    with stop_on_signal() as stop:
        events = read_events(
            transport, settings.topics, follow=follow, stored=everything or not follow, stop=stop.is_set
        )
        for event in events:
            if camera not in {None, event.camera} or label not in {None, event.label}:
                continue
            if as_json:
                sys.stdout.write(json.dumps(event.body()) + "\n")
                sys.stdout.flush()
            else:
                console.print(describe(event.body()), soft_wrap=True)


def demo(
    footage: Annotated[
        Path | None, typer.Argument(help="Your own file or folder instead of the sample cameras.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="A shipped model's name or a checkpoint's path.")] = None,
    pace: Annotated[PaceChoice, typer.Option(help="How fast footage is handed over.")] = PaceChoice.realtime,
) -> None:
    """Start everything here, show sample cameras being classified, and sum up.

    \b
    clipline demo
    clipline demo ~/footage --pace max
    """
    from consumers.terminal.demo import run_demo

    with stop_on_signal() as stop:
        run_demo(console, footage, model, pace.value, stop)
