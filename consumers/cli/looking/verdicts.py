"""The command for verdicts: whether events were right."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from consumers.cli.options import (
    INTERRUPTED,
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
    stop_on_signal,
)

if TYPE_CHECKING:
    from consumers.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(verdicts)


class VerdictsAction(StrEnum):
    list = "list"
    give = "give"
    export = "export"
    serve = "serve"


def verdicts(
    action: Annotated[
        VerdictsAction,
        typer.Argument(
            metavar="ACTION",
            help="list: what was said. give: say it by hand. export: footage of judged events, as a data set. serve: "
            "the page behind the links of messages, until Ctrl-C.",
        ),
    ] = VerdictsAction.list,
    event: Annotated[
        str | None,
        typer.Argument(
            metavar="EVENT", help="give: id of the event, or the first characters of it.", show_default=False
        ),
    ] = None,
    answer: Annotated[
        Literal["right", "false"] | None,
        typer.Argument(metavar="ANSWER", help="give: right, or false for a false alarm.", show_default=False),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="list: verdicts that were given since a time like 2026-11-24T08:00:00Z (UTC).",
            show_default="all",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="export: folder of the data set.", show_default="labelled"
        ),
    ] = None,
    false_as: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="export: what footage of false alarms is to be taught as.",
            show_default="the model's label that raises no events",
        ),
    ] = None,
    lead: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="Footage before the event.")] = 0.0,
    tail: Annotated[float, typer.Option(min=0.0, metavar="SECONDS", help="Footage after the event.")] = 0.0,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="serve: where, instead of `listen` in the settings.",
            show_default="127.0.0.1:8310",
        ),
    ] = None,
    as_json: PrintJsonOption = False,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Say whether events were right, and see what was said.

    With [verdicts] in the settings, messages about events carry links: right,
    false alarm, nothing more for an hour. Each opens a small page that asks once
    more, so that a program that looks at links answers nothing. `clipline run`
    serves that page by itself. Verdicts are on the topic of verdicts.

    export cuts the footage of judged events out of what is on Kafka, before its
    retention is over, into a folder for each label, with a list. Run it every
    night into one folder: what is there already is not cut again.

    \b
    Examples:
      clipline verdicts
      clipline verdicts give 3f0c6a false
      clipline verdicts export -o labelled/
      clipline verdicts serve --listen 127.0.0.1:8310
    """
    for name, given, of in (
        ("EVENT", event, "give"),
        ("ANSWER", answer, "give"),
        ("--since", since, "list"),
        ("--json", as_json or None, "list"),
        ("--output", output, "export"),
        ("--false-as", false_as, "export"),
        ("--lead", lead or None, "export"),
        ("--tail", tail or None, "export"),
        ("--listen", listen, "serve"),
        ("--log", log, "serve"),
    ):
        if given is not None and action != of:
            raise typer.BadParameter(f"{name} is for {of}")
    settings = command_settings(settings_file, kafka, None)
    if action is VerdictsAction.serve:
        _serve(logged_settings(settings, log, "verdicts", console, errors), listen or settings.verdicts.listen)
    elif action is VerdictsAction.give:
        if event is None or answer is None:
            raise typer.BadParameter("give wants an EVENT, and right or false; `clipline events --json` prints ids")
        _give(settings, event, answer)
    elif action is VerdictsAction.export:
        _export(settings, output or Path("labelled"), false_as, lead, tail)
    else:
        _list(settings, parse_moment("--since", since), as_json=as_json)


def _serve(settings: Settings, address: str) -> None:
    from consumers.records.verdict import Verdict
    from consumers.settings import SettingsError
    from consumers.terminal.unhurried_streams import unhurried_streams
    from consumers.verdicts.by_hand import describe_verdict
    from consumers.verdicts.serving import serving_verdicts
    from stream import KafkaTransport

    if not settings.verdicts.is_set:
        raise SettingsError("verdicts: expected base_url, with which links begin, and secret in section [verdicts]")

    def hear(verdict: Verdict) -> None:
        console.print(describe_verdict(verdict), soft_wrap=True)

    with end_on_signal(settings.shutdown_seconds) as ending, unhurried_streams(ending.stop.is_set):
        try:
            with serving_verdicts(
                lambda: KafkaTransport(settings.broker, at_once=True), settings, address, hear
            ) as url:
                console.print(f"verdicts at {url}, until Ctrl-C", soft_wrap=True)
                ending.stop.wait()
        except ValueError as error:
            raise typer.BadParameter(f"--listen: {error}") from None


def _give(settings: Settings, event: str, answer: Literal["right", "false"]) -> None:
    from consumers.verdicts.by_hand import describe_verdict, give_verdict
    from stream import KafkaTransport

    given = give_verdict(KafkaTransport(settings.broker, at_once=True), settings, event, answer)
    console.print(describe_verdict(given), soft_wrap=True)


def _export(settings: Settings, folder: Path, false_as: str | None, lead: float, tail: float) -> None:
    from consumers.terminal.wording import count, withheld
    from consumers.verdicts.export import LIST, export_footage, quiet_label
    from stream import KafkaTransport

    quiet = quiet_label(settings, false_as)
    with stop_on_signal() as stop:
        done = export_footage(
            KafkaTransport(settings.broker, at_once=True),
            settings,
            folder,
            quiet,
            lead_seconds=lead,
            tail_seconds=tail,
            stop=stop.is_set,
        )
    for note in done.notes:
        errors.print(note, style="yellow", soft_wrap=True)
    for gone in done.gone:
        told = f"{gone.label} at {gone.camera}, {gone.began[:19]}Z, event {gone.event[:12]} ({gone.verdict})"
        errors.print(f"gone: {told}: {gone.why}", style="yellow", soft_wrap=True)
    if done.forgotten:
        errors.print(withheld(done.forgotten, "judged event"), style="yellow", soft_wrap=True)
    if done.removed:
        files = count(done.removed, "file")
        errors.print(f"{files} of earlier exports deleted: forgotten since", style="yellow", soft_wrap=True)
    if done.cut_around:
        files = count(done.cut_around, "new file")
        errors.print(f"{files} without what is forgotten around the event", style="yellow", soft_wrap=True)
    labels = Counter(row.label for row in done.rows)
    found = ", ".join(f"{n} of {label}" for label, n in sorted(labels.items())) or "nothing"
    console.print(f"{folder / LIST}: {found}; {count(done.cut, 'new file')}", soft_wrap=True)
    if stop.is_set():
        raise typer.Exit(INTERRUPTED)  # the rest was not cut


def _list(settings: Settings, since_us: int | None, *, as_json: bool) -> None:
    import json

    from consumers.terminal.console import print_json
    from consumers.terminal.wording import withheld
    from consumers.verdicts.by_hand import listed_verdicts
    from stream import KafkaTransport

    found = listed_verdicts(KafkaTransport(settings.broker, at_once=True), settings, since_us)
    for verdict, line in zip(found.verdicts, found.lines, strict=True):
        if as_json:
            print_json(console, json.loads(verdict.encode()[2]))
        else:
            console.print(line, soft_wrap=True)
    if found.withheld:
        errors.print(withheld(found.withheld, "verdict"), style="yellow", soft_wrap=True)
    elif not found.verdicts:
        errors.print("no verdicts", style="yellow")
