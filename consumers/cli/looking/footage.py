"""The command that says what footage of a camera there is."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from consumers.cli.options import (
    KafkaOption,
    PrintJsonOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    parse_moment,
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(footage)


def footage(
    camera: Annotated[
        str | None,
        typer.Argument(metavar="CAMERA", help="Id of the camera; without it, all are listed.", show_default=False),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Footage since a time like 2026-11-24T08:00:00Z (UTC).",
            show_default="an hour before its end",
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Footage before that time.", show_default="its end")
    ] = None,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Say what footage of a camera is on Kafka: stretches, gaps, and where.

    Asks the index that agents write, so that no footage is read. Times are event
    time. A stretch is footage without a gap and without a reconnect, named by
    the offsets of its segments.

    \b
    Examples:
      clipline footage
      clipline footage lobby
      clipline footage lobby --from 2026-11-24T08:00:00Z --to 2026-11-24T09:00:00Z
      clipline footage lobby --json | jq .gaps
    """
    from consumers.terminal.printing.footage import list_cameras, show_footage

    settings = command_settings(settings_file, kafka, None)
    from_us, to_us = parse_moment("--from", begin), parse_moment("--to", end)
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise typer.BadParameter("--from: expected a time before --to")
    if camera is None:
        if from_us is not None or to_us is not None:
            raise typer.BadParameter("--from and --to are for one CAMERA")
        list_cameras(settings, console, time.time_ns() // 1000, as_json=as_json)
    else:
        show_footage(settings, camera, (from_us, to_us), console, errors, as_json=as_json)
