"""The command that makes pictures of events."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.options import (
    KafkaOption,
    LogOption,
    RedisOption,
    SettingsOption,
    command_settings,
    console,
    end_on_signal,
    errors,
    logged_settings,
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(pictures)


class PicturesAction(StrEnum):
    follow = "follow"
    show = "show"


def pictures(
    action: Annotated[
        PicturesAction,
        typer.Argument(
            metavar="ACTION",
            help="follow: make pictures of events as they come, until Ctrl-C. show: save those of one event.",
        ),
    ] = PicturesAction.follow,
    event: Annotated[
        str | None,
        typer.Argument(
            metavar="EVENT", help="For show: id of the event, or the first characters of it.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="show: WebP file of the strip.", show_default="strip.webp"),
    ] = None,
    peak: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="show: also write the frame with the peak, as WebP.", show_default=False),
    ] = None,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Make pictures of events: a strip of what moved, and the peak.

    For each event that begins or ends, the frame with the peak and a strip of six
    frames, with the moving part enlarged, go to Redis, and a record on the topic
    of pictures says where. `clipline run` does this by itself. Start several:
    one of them works, the others stand by. show makes the pictures anew, from
    the footage that is still on Kafka.

    \b
    Examples:
      clipline pictures
      clipline pictures show 3f0c6a -o strip.webp --peak peak.webp
    """
    settings = command_settings(settings_file, kafka, redis)
    if action is PicturesAction.show:
        if event is None:
            raise typer.BadParameter("show wants an EVENT; `clipline events --json | jq -r .event` prints their ids")
        from consumers.pictures.show import show_pictures
        from stream import KafkaTransport

        targets = {"strip": output or Path("strip.webp")} | ({} if peak is None else {"peak": peak})
        for line in show_pictures(KafkaTransport(settings.broker, at_once=True), settings, event, targets):
            console.print(line, soft_wrap=True)
        return
    if event is not None or output is not None or peak is not None:
        raise typer.BadParameter("EVENT, --output and --peak are for show")
    from consumers.pictures.follow import PictureFollower
    from consumers.records.event_pictures import EventPictures, StoredPicture
    from consumers.terminal.unhurried_streams import unhurried_streams
    from stream import KafkaTransport

    settings = logged_settings(settings, log, "pictures", console, errors)

    def hear(made: EventPictures) -> None:
        keys = [p.key for p in (made.peak, made.strip) if isinstance(p, StoredPicture)]
        console.print(f"{made.camera} {made.label} {made.state}: {', '.join(keys) or 'no pictures'}", soft_wrap=True)

    console.print("making pictures of events as they come")
    with end_on_signal(settings.shutdown_seconds) as ending, unhurried_streams(ending.stop.is_set):
        follower = PictureFollower(
            lambda: KafkaTransport(settings.broker, at_once=True), settings, ending.stop.is_set, hear
        )
        follower.run()
        console.print(f"pictures: {follower.summary}", soft_wrap=True)
