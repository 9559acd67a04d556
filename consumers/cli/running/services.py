"""The command that runs servers of our own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.options import SettingsOption, console, errors, stop_on_signal

#: How often the servers are looked at.
_WATCH_SECONDS = 1.0


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(up)


class BrokerChoice(StrEnum):
    embedded = "embedded"
    apache = "apache"


def up(
    broker: Annotated[
        BrokerChoice | None,
        typer.Option(help="Which broker to run; run.services of the settings if left out.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep topics here over restarts (apache only).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, show_default=False, help="The broker's; 9092, or any where that is taken."
        ),
    ] = None,
    redis_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, show_default=False, help="Redis'; 6379, or any where that is taken."
        ),
    ] = None,
    settings_file: SettingsOption = None,
) -> None:
    """Run a Kafka broker and a Redis server here, until Ctrl-C.

    Prints their addresses. The embedded broker keeps everything in memory, and of video only what
    run.broker_max_megabytes allows: the oldest goes first. A server that dies or hangs is started again;
    ends with exit code 1 where that cannot be.

    \b
    Examples:
      clipline up
      clipline up --port 19092 --redis-port 16379
    Apache Kafka (after `make kafka`), which keeps topics over restarts:
      clipline up --broker apache --data ./kafka-data
    """
    from consumers.outputs.outages import watch_kafka, watch_redis, watching
    from consumers.running.allocation import give_back_early
    from consumers.settings import load_settings
    from consumers.setup.services import open_services
    from consumers.terminal.unhurried_streams import unhurried_streams
    from stream import KafkaAddress

    give_back_early()
    settings = load_settings(settings_file)
    if broker is None:
        broker = BrokerChoice.apache if settings.run.services == "apache" else BrokerChoice.embedded
    if data is not None and broker is not BrokerChoice.apache:
        raise typer.BadParameter("--data needs --broker apache: the embedded broker keeps everything in memory")
    if broker is BrokerChoice.apache:
        data = data or settings.run.data
    with (
        stop_on_signal() as stop,
        # What dies is started again, whether or not somebody looks.
        unhurried_streams(stop.is_set),
        open_services(settings, broker.value, data=data, port=port, redis_port=redis_port) as services,
    ):
        for note in services.notes:
            errors.print(note, style="yellow", soft_wrap=True)
        console.print("Kafka and Redis are up. In other terminals:")
        console.print()
        console.print(f"export CLIPLINE_KAFKA={services.kafka}", soft_wrap=True)
        console.print(f"export CLIPLINE_REDIS={services.redis}", soft_wrap=True)
        console.print()
        console.print("Next: `clipline run` there watches the cameras of clipline.toml")
        console.print("(`clipline init` writes one). Ctrl-C here stops both servers.", style="dim")
        broker_watch = watch_kafka(KafkaAddress(services.kafka), lambda _: None)
        redis_watch = watch_redis(services.redis, lambda _: None)
        with watching(broker_watch, redis_watch):
            while not stop.wait(_WATCH_SECONDS):
                for line in services.news(broker_watch.seconds, redis_watch.seconds):
                    errors.print(line, style="yellow", soft_wrap=True)
                if (reason := services.failure()) is not None:
                    errors.print(f"clipline: {reason}", style="red", soft_wrap=True)
                    raise typer.Exit(1)
