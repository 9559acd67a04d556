"""The command for records that could not be used."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

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

if TYPE_CHECKING:
    from consumers.outputs.dead_letters import DeadLetters, Summary
    from consumers.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(deadletter)


class DeadLetterAction(StrEnum):
    list = "list"
    show = "show"
    retry = "retry"
    purge = "purge"


#: Which options are of which action.
_OWN = {
    DeadLetterAction.list: {"--camera", "--reason", "--since", "--limit", "--json"},
    DeadLetterAction.show: {"--save"},
    DeadLetterAction.retry: set[str](),
    DeadLetterAction.purge: {"--before", "--all"},
}


def deadletter(
    action: Annotated[
        DeadLetterAction,
        typer.Argument(
            metavar="ACTION",
            help="list: the newest ones. show: one of them. retry: send its record to the segments topic again. "
            "purge: delete old ones, or all.",
            show_default=False,
        ),
    ],
    record: Annotated[
        str | None,
        typer.Argument(
            metavar="RECORD",
            help="For show and retry: its name as list gives it, 'TOPIC[PARTITION]@OFFSET', in quotes.",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="NAME", help="list: those of this camera.", show_default="all")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="list: those whose reason holds this text.", show_default="all"),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="list: those since a time like 2026-11-24T08:00:00Z (UTC).", show_default="all"
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="COUNT", min=1, max=100_000, help="list: so many.", show_default="20")
    ] = None,
    as_json: PrintJsonOption = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="show: also write the record's value to FILE.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="purge: those that were sent before a time (UTC).")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="purge: all of them.")] = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Look at records that could not be used, and send them again.

    Workers put what they cannot decode on the topic of dead letters, with the
    reason. list shows the newest first. retry sends one record to the segments
    topic as it was, once, and its dead letter stays: workers classify it where
    they can read it now and its time has not passed. purge deletes for good, on
    brokers that can (Apache Kafka; not the embedded one).

    \b
    Examples:
      clipline deadletter list --camera lobby --since 2026-11-24T08:00:00Z
      clipline deadletter list --reason truncated --limit 100 --json
      clipline deadletter show 'clipline.deadletter[0]@17' --save bad.ts
      clipline deadletter retry 'clipline.deadletter[0]@17'
      clipline deadletter purge --before 2026-11-01T00:00:00Z
    """
    from consumers.outputs.dead_letters import DeadLetters, delete_dead_letters
    from consumers.terminal.wording import count
    from stream import KafkaTransport

    _check(
        action,
        record,
        {
            "--camera": camera,
            "--reason": reason,
            "--since": since,
            "--limit": limit,
            "--json": as_json or None,
            "--save": save,
            "--before": before,
            "--all": everything or None,
        },
    )
    since_us, before_us = parse_moment("--since", since), parse_moment("--before", before)
    settings = command_settings(settings_file, kafka, None)
    transport = KafkaTransport(settings.broker, at_once=True)
    letters = DeadLetters(transport, settings.topics)
    if action is DeadLetterAction.list:
        yet = "" if letters.has_topic else f": the topic {settings.topics.deadletter} does not exist yet"
        _list(letters, camera, reason, since_us, limit or 20, as_json=as_json, yet=yet)
    elif action is DeadLetterAction.purge:
        deleted = delete_dead_letters(transport, settings.topics, before_us)
        yet = "" if letters.has_topic else " (the topic does not exist yet)"
        console.print(f"{settings.topics.deadletter}: deleted {count(deleted, 'dead letter')}{yet}", soft_wrap=True)
    elif action is DeadLetterAction.show:
        _show(letters, str(record), save)
    else:
        _retry(letters, str(record), settings)


def _check(action: DeadLetterAction, record: str | None, given: dict[str, Any]) -> None:
    """Refuse what the action does not take, and what it lacks.

    Raises:
        BadParameter: one of them; the message names the option.
    """
    for name, value in given.items():
        if value is not None and name not in _OWN[action]:
            raise typer.BadParameter(f"{name} is for {next(a for a, own in _OWN.items() if name in own).value}")
    needs_record = action in {DeadLetterAction.show, DeadLetterAction.retry}
    if needs_record != (record is not None):
        raise typer.BadParameter(
            f"{action.value} {'needs' if needs_record else 'takes no'} RECORD, a name such as "
            "'clipline.deadletter[0]@17'"
        )
    if action is DeadLetterAction.purge and (given["--before"] is None) == (given["--all"] is None):
        raise typer.BadParameter("purge needs either --before TIME or --all")


def _list(
    letters: DeadLetters,
    camera: str | None,
    reason: str | None,
    since_us: int | None,
    limit: int,
    *,
    as_json: bool,
    yet: str,
) -> None:
    from consumers.terminal.console import print_json
    from consumers.terminal.printing.dead_letters import body, line
    from consumers.terminal.wording import withheld

    wanted = (
        each
        for each in letters.newest(since_us)
        if camera in {None, each.camera} and (reason is None or reason.casefold() in each.reason.casefold())
    )
    told = _Told(wanted)
    shown = 0
    for shown, each in enumerate(itertools.islice(told, limit), 1):  # noqa: B007  counted for below
        if as_json:
            print_json(console, body(each))
        else:
            console.print(line(each), soft_wrap=True)
    is_more = shown > 0 and next(told, None) is not None
    if told.withheld:
        errors.print(withheld(told.withheld, "dead letter"), style="yellow", soft_wrap=True)
    elif not shown:
        errors.print(f"no dead letters{yet}", style="yellow", soft_wrap=True)
    if is_more:
        errors.print(f"the newest {shown}; --limit COUNT shows more", style="yellow")


class _Told:
    """Dead letters without those that are forgotten, which are counted."""

    def __init__(self, letters: Iterable[Summary]) -> None:
        self._letters = iter(letters)
        self.withheld = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Summary:
        for each in self._letters:
            if not each.is_forgotten:
                return each
            self.withheld += 1
        raise StopIteration


def _show(letters: DeadLetters, name: str, save: Path | None) -> None:
    from consumers.terminal.printing.dead_letters import described
    from stream import SourceError

    letter, record = letters.find(name)
    for each in described(letter, record):
        console.print(each, soft_wrap=True)
    if save is not None:
        try:
            save.write_bytes(letter.value)
        except OSError as error:
            raise SourceError(f"{save}: cannot be written ({error.strerror})") from None
        console.print(f"wrote {len(letter.value)} bytes to {save}", soft_wrap=True)


def _retry(letters: DeadLetters, name: str, settings: Settings) -> None:
    letter = letters.send_again(name)
    key = letter.key.decode(errors="backslashreplace")
    console.print(
        f"{name}: sent to {settings.topics.segments} again, once: key {key!r}, "
        f"{len(letter.headers)} headers, {len(letter.value)} bytes; the dead letter stays",
        soft_wrap=True,
    )
