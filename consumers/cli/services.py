"""The command that runs servers of our own."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import console, stop_on_signal


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(up)


class BrokerChoice(StrEnum):
    embedded = "embedded"
    apache = "apache"


def up(
    broker: Annotated[BrokerChoice, typer.Option(help="Which broker to run.")] = BrokerChoice.embedded,
    data: Annotated[
        Path | None, typer.Option(help="Keep topics here over restarts (apache only).", show_default=False)
    ] = None,
) -> None:
    """Run a Kafka broker and a Redis server here, until Ctrl-C.

    Prints their addresses. The embedded broker keeps everything in memory.

    \b
    Examples:
      clipline up
    Apache Kafka (after `make kafka`), which keeps topics over restarts:
      clipline up --broker apache --data ./kafka-data
    """
    from stream.services import EmbeddedRedis
    from stream.services import broker as make_broker

    if data is not None and broker is not BrokerChoice.apache:
        raise typer.BadParameter("--data needs --broker apache: the embedded broker keeps everything in memory")
    with (
        stop_on_signal() as stop,
        make_broker(broker.value, data, port=9092) as kafka,
        EmbeddedRedis(port=6379) as redis,
    ):
        console.print("Kafka and Redis are up. In other terminals:\n", highlight=False)
        console.print(f"export CLIPLINE_KAFKA={kafka.address}\nexport CLIPLINE_REDIS={redis.address}", highlight=False)
        console.print("\nCtrl-C stops both.", style="dim")
        stop.wait()
