"""The command that tries whether an alarm of a camera reaches people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.options import (
    INTERRUPTED,
    KafkaOption,
    PaceOption,
    PrintJsonOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    stop_on_signal,
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(drill)


def drill(
    camera: Annotated[str, typer.Option(metavar="NAME", help="The camera whose way is tried.")],
    clip: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Footage that raises an event.", show_default="a fight, from the demo's footage"
        ),
    ] = None,
    pace: PaceOption = "realtime",
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, max=3600, help="Longest wait for the next station.")
    ] = 60.0,
    acknowledge: Annotated[
        float | None,
        typer.Option(
            "--acknowledge",
            metavar="SECONDS",
            min=1,
            max=86_400,
            help="Wait so long for somebody to acknowledge it (`clipline notify ack`).",
            show_default="no wait",
        ),
    ] = None,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Try whether an alarm of a camera reaches people, and how soon.

    A marked clip goes through the workers, rules and channels of the camera, while
    the camera goes on. Told are channels with `drill = true`; of the others the
    ledger says that they would have been. Nothing counts it, and subscribers see
    it only if they ask. Exit code 1: an alarm would not get through now.

    \b
    Examples:
      clipline drill --camera gate
      clipline drill --camera gate --clip gate.mp4 --timeout 30
      clipline drill --camera gate --acknowledge 300 --json
    """
    from consumers.drill.clip import clip_seconds
    from consumers.drill.run import Drill, run_drill
    from consumers.terminal.console import print_json
    from consumers.terminal.demo.demo import FOOTAGE
    from consumers.terminal.printing.drill import opening_words, print_drill, waiting_words
    from stream import KafkaTransport, check_camera_id

    try:
        check_camera_id(camera)
    except ValueError as error:
        raise typer.BadParameter(f"--camera: {error}") from None
    footage = FOOTAGE / "gate.mp4" if clip is None else clip
    seconds = clip_seconds(str(footage))
    settings = command_settings(settings_file, kafka, None)
    wanted = Drill(camera, str(footage), pace, timeout, acknowledge)
    errors.print(opening_words(wanted, seconds), soft_wrap=True)
    transport = KafkaTransport(settings.broker, at_once=True)
    with stop_on_signal() as stop, errors.status(f"drill of {camera}") as status:
        result = run_drill(
            transport,
            settings,
            wanted,
            stop.is_set,
            lambda course: status.update(waiting_words(course)),
        )
    if as_json:
        print_json(console, result.body())
    else:
        print_drill(console, result)
    if result.stopped:
        raise typer.Exit(INTERRUPTED)
    if not result.passed:
        raise typer.Exit(1)
