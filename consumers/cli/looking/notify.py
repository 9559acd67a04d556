"""The commands that tell people of events, and what became of that."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from consumers.cli.options import (
    DrillsOption,
    KafkaOption,
    LogOption,
    PrintJsonOption,
    SettingsOption,
    command_settings,
    console,
    end_on_signal,
    errors,
    logged_settings,
    parse_moment,
)

if TYPE_CHECKING:
    from consumers.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(notify)
    app.command()(deliveries)


class NotifyAction(StrEnum):
    follow = "follow"
    test = "test"
    ack = "ack"


class DeliveryState(StrEnum):
    queued = "queued"
    sending = "sending"
    retrying = "retrying"
    sent = "sent"
    failed = "failed"
    held = "held"
    acknowledged = "acknowledged"


def notify(
    action: Annotated[
        NotifyAction,
        typer.Argument(
            metavar="ACTION",
            help="follow: tell the channels of events as they come, until Ctrl-C. test: send one message through a "
            "channel, and show the answer. ack: note that somebody has seen a message.",
        ),
    ] = NotifyAction.follow,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="test: the channel. ack: id of a message or an event, or the first characters of it.",
            show_default=False,
        ),
    ] = None,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Tell people and programs of events, through the channels of the settings.

    Each table [channels.NAME] says where to send (webhook, or mail, chat and push
    through Apprise), which events, and when not. What became of each message is on
    the topic of deliveries: whoever is killed, none is lost, and none is sent twice
    where the receiver can tell. `clipline run` does this by itself where there are
    channels. Start several: one of them works, the others stand by.

    \b
    Examples:
      clipline notify test ops
      clipline notify
      clipline notify ack 3f0c6a
    """
    settings = command_settings(settings_file, kafka, None)
    if action is NotifyAction.follow:
        if target is not None:
            raise typer.BadParameter("TARGET is for test and ack")
        _follow(logged_settings(settings, log, "notify", console, errors))
        return
    if target is None:
        raise typer.BadParameter(
            "test wants a channel: a table [channels.NAME] of the settings"
            if action is NotifyAction.test
            else "ack wants the id of a message or an event; `clipline deliveries` lists them"
        )
    from consumers.notifying.by_hand import acknowledge, send_test
    from consumers.notifying.plan import Sent
    from stream import KafkaTransport

    transport = KafkaTransport(settings.broker, at_once=True)
    if action is NotifyAction.ack:
        entries = acknowledge(transport, settings, target)
        for entry in entries:
            console.print(f"{entry.channel} {entry.id}: acknowledged", soft_wrap=True)
        if not entries:
            console.print("acknowledged already")
        return
    outcome = send_test(transport, settings, target)
    if isinstance(outcome, Sent):
        console.print(f"{target}: sent ({outcome.detail})", soft_wrap=True)
        return
    errors.print(f"{target}: not sent: {outcome.why} ({outcome.detail})", style="red", soft_wrap=True)
    raise typer.Exit(1)


def _follow(settings: Settings) -> None:
    from consumers.notifying.notifier import Notifier
    from consumers.notifying.words import describe
    from consumers.records.delivery import Delivery
    from consumers.settings import SettingsError
    from consumers.terminal.unhurried_streams import unhurried_streams
    from stream import KafkaTransport

    if not settings.channels:
        raise SettingsError("no channels: expected a table [channels.NAME] with a url in the settings")

    def hear(entry: Delivery) -> None:
        console.print(describe(entry), soft_wrap=True)

    with end_on_signal(settings.shutdown_seconds) as ending, unhurried_streams(ending.stop.is_set):
        notifier = Notifier(lambda: KafkaTransport(settings.broker, at_once=True), settings, ending.stop.is_set, hear)
        console.print(f"channels: {', '.join(settings.channels)}", soft_wrap=True)
        notifier.run()
        console.print(f"deliveries: {notifier.summary}", soft_wrap=True)


def deliveries(
    channel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Messages through this channel.", show_default="all")
    ] = None,
    state: Annotated[
        list[DeliveryState] | None,
        typer.Option(help="Messages in this state; several may be given.", show_default="all"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Messages of which there is news since a time like 2026-11-24T08:00:00Z (UTC).",
            show_default="all",
        ),
    ] = None,
    last: Annotated[int, typer.Option(metavar="COUNT", min=1, max=100_000, help="The newest messages, so many.")] = 20,
    drills: DrillsOption = False,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """List what became of messages about events, the newest news last.

    \b
    Examples:
      clipline deliveries
      clipline deliveries --channel ops --state failed --state retrying
      clipline deliveries --since 2026-11-24T08:00:00Z --json
    """
    import json

    from consumers.notifying.by_hand import Wanted, newest_entries
    from consumers.notifying.words import describe
    from consumers.terminal.console import print_json
    from consumers.terminal.wording import withheld
    from stream import KafkaTransport

    since_us = parse_moment("--since", since)
    settings = command_settings(settings_file, kafka, None)
    wanted = Wanted(channel, frozenset(each.value for each in state or ()), since_us, drills)
    newest = newest_entries(KafkaTransport(settings.broker, at_once=True), settings, wanted)
    found = newest.entries
    for entry in found[-last:]:
        if as_json:
            print_json(console, json.loads(entry.encode()[2]))
        else:
            console.print(describe(entry), soft_wrap=True)
    if newest.withheld:
        errors.print(withheld(len(newest.withheld), "message"), style="yellow", soft_wrap=True)
    elif not found:
        errors.print("no messages", style="yellow")
    if len(found) > last:
        errors.print(f"{len(found) - last} older ones are not shown: --last N", style="yellow")
