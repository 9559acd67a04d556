"""`clipline events`: those stored, new ones as they come, or a server of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from consumers.cli.help import ADVANCED
from consumers.cli.options import (
    INTERRUPTED,
    DrillsOption,
    ExitAfterOption,
    KafkaOption,
    LogOption,
    PrintJsonOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    logged_settings,
    stop_on_signal,
)

if TYPE_CHECKING:
    from consumers.settings import Settings
    from consumers.subscribing.selection import Selection


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(events)


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
    from consumers.terminal.printing.events import follow_events, print_stored_events

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
    from consumers.running.allocation import give_back_early
    from consumers.settings import SettingsError
    from consumers.subscribing.serving import serving
    from consumers.terminal.unhurried_streams import unhurried_streams

    give_back_early()
    with stop_on_signal() as stop, unhurried_streams(stop.is_set):
        try:
            with serving(settings, address) as (url, streams):
                console.print(f"events at {url}, until Ctrl-C", soft_wrap=True)
                stop.wait()
        except (SettingsError, ValueError) as error:
            raise typer.BadParameter(f"--serve: {error}") from None
    if streams.slow:
        errors.print(f"disconnected since they took nothing: {streams.slow} clients", style="yellow")
