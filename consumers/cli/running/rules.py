"""The command for rules: when scores are an event."""

from __future__ import annotations

from enum import StrEnum
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
    app.command()(rules)


class RulesAction(StrEnum):
    apply = "apply"
    show = "show"
    history = "history"


def rules(
    action: Annotated[
        RulesAction,
        typer.Argument(
            metavar="ACTION",
            help="apply: have the rules of the settings hold, in running workers. show: a version, as settings. "
            "history: all versions.",
            show_default=False,
        ),
    ],
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION",
            help="For show: its name, or how that begins. Left out: the one that holds now.",
            show_default=False,
        ),
    ] = None,
    valid_from: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="apply: hold for what is filmed from a time like 2026-11-24T08:00:00Z (UTC) on, or earliest: for all "
            "footage.",
            show_default="in 20 s",
        ),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="NAME", help="show: what that means for a camera.", show_default=False)
    ] = None,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Change when scores are an event, in workers that run.

    apply sends [tracker] and [[rules]] of the settings to the topic of rules.
    Each worker of the group goes by them from an event time on, 20 s from now
    unless it is said otherwise, so all of them change at the same window. Once
    something was applied, that holds, also for workers that start later with
    other settings. Versions are kept; events name theirs.

    \b
    Examples:
      clipline rules apply
      clipline rules apply --settings dusk.toml --valid-from 2026-11-24T22:00:00Z
      clipline rules show --camera dock-1
      clipline rules history
    """
    from consumers.rules.version import EARLIEST_US
    from consumers.terminal.printing.rules import apply_rules, show_history, show_rules

    for name, given, of in (
        ("VERSION", version, "show"),
        ("--camera", camera, "show"),
        ("--valid-from", valid_from, "apply"),
    ):
        if given is not None and action != of:
            raise typer.BadParameter(f"{name} is for {of}")
    if as_json and action is RulesAction.apply:
        raise typer.BadParameter("--json is for show and history")
    since_us = EARLIEST_US if valid_from == "earliest" else parse_moment("--valid-from", valid_from)
    settings = command_settings(settings_file, kafka, None)
    if action is RulesAction.apply:
        apply_rules(settings, since_us, console, errors)
    elif action is RulesAction.show:
        show_rules(settings, version, camera, console, as_json=as_json)
    else:
        show_history(settings, console, errors, as_json=as_json)
