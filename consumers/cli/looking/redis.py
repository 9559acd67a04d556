"""The command that looks at Redis, and writes it anew."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from consumers.cli.options import (
    INTERRUPTED,
    GroupOption,
    KafkaOption,
    RedisOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    stop_on_signal,
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(redis)


class RedisAction(StrEnum):
    check = "check"
    rebuild = "rebuild"


def redis(
    action: Annotated[
        RedisAction,
        typer.Argument(
            metavar="ACTION",
            help="check: compare Redis with the topics. rebuild: write what Redis keeps anew.",
            show_default=False,
        ),
    ],
    group: GroupOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Compare Redis with the topics, or write it anew from them.

    Workers keep Redis as the topics are, and write it anew by themselves when it
    has lost its data. A rebuild is for what somebody changed by hand. Running
    workers take part in it, and no alarm is published again. check exits with 1
    where Redis differs; while results come in, it may name the newest ones.

    \b
    Examples:
      clipline redis check
      clipline redis rebuild
    """
    from consumers.outputs.redis.check import redis_differences
    from consumers.outputs.redis.connection import connect_redis
    from consumers.outputs.redis.rebuild import rebuild_redis
    from consumers.terminal.progress import task_progress
    from stream import KafkaTransport, display_name

    settings = command_settings(settings_file, kafka, redis, group=group)
    transport = KafkaTransport(settings.broker, at_once=True)
    connect_redis(settings.redis).close()
    where = f"Redis at {display_name(settings.redis)}"
    if action is RedisAction.check:
        differences = redis_differences(transport, settings)
        for line in differences:
            console.print(line, soft_wrap=True)
        if differences:
            raise typer.Exit(1)
        console.print(f"{where} shows what the topics hold", soft_wrap=True)
        return
    with stop_on_signal() as stop, task_progress(errors) as show:
        is_done = rebuild_redis(transport, settings, lambda done, total: show("records", done, total), stop.is_set)
    if not is_done:
        raise typer.Exit(INTERRUPTED)
    console.print(f"{where} shows the topics again", soft_wrap=True)
