"""The command that has a stretch of a camera's time forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from consumers.cli.options import (
    KafkaOption,
    PrintJsonOption,
    RedisOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    parse_moment,
)

if TYPE_CHECKING:
    from consumers.forgetting.work import Forgetting, Goes, Seen
    from consumers.records.forgotten import Forgotten

_LEFT = 1


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(forget)


def forget(
    camera: Annotated[str | None, typer.Option(metavar="ID", help="Of this camera.", show_default=False)] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Footage since a time like 2026-11-24T08:00:00Z (UTC).", show_default=False
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Footage before that time.", show_default=False)
    ] = None,
    why: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why: whoever asks for it is told.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and what would stay, and change nothing.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Say what is left of what was forgotten: of all cameras, or of one."),
    ] = False,
    all_before: Annotated[
        bool,
        typer.Option(
            "--and-all-before",
            help="Also delete records from Kafka, which can only delete them with all that was sent before them, of "
            "all cameras.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before records are deleted.")] = False,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Forget a stretch of a camera's time, and say what is left of it.

    From then on nobody is shown footage, scores, events and pictures of it, for
    good: not by the API, playlists, evidence, replays or Redis. What Redis holds
    and the embedded broker hold is deleted. Apache Kafka deletes no records amid
    others: they stay on its disk until retention takes them, or --and-all-before
    does. Then all is read again, and a table says what is gone, what is left and
    until when. Exits with 1 while something is left; --check looks again;
    --dry-run says what would become of it, and exits with 0. Times are event time.

    \b
    Examples:
      clipline forget --camera lobby --from 2026-11-24 --to 2026-11-25
      clipline forget --check
    """
    from consumers.forgetting.work import Forgetting
    from stream import KafkaTransport, display_name

    _check(camera, begin, end, check=check, changes=bool(why or dry_run or all_before or yes))
    settings = command_settings(settings_file, kafka, redis)
    # Two systems on one machine may have cameras of one name.
    errors.print(f"Kafka at {settings.kafka}, Redis at {display_name(settings.redis)}", soft_wrap=True)
    transport = KafkaTransport(settings.broker, at_once=True)
    work = Forgetting(transport, settings, _progress())
    if check:
        _check_again(work, camera, as_json=as_json)
        return
    from consumers.forgetting.work import new_stretch
    from consumers.outputs.names import Names

    begin_us, end_us = parse_moment("--from", begin), parse_moment("--to", end)
    assert camera is not None
    assert begin_us is not None
    assert end_us is not None
    stretch = new_stretch(camera, begin_us, end_us, why, time.time_ns() // 1000)
    unknown = Names(settings).unknown(transport, [camera], [])
    if dry_run:
        _dry_run(work, stretch, unknown, all_before=all_before, as_json=as_json)
    else:
        _forget(work, stretch, unknown, all_before=all_before, yes=yes, as_json=as_json)


def _progress() -> Callable[[str], None]:
    """Say what is being done, each thing once: what is left is looked for again and again."""
    said: set[str] = set()

    def say(line: str) -> None:
        if line not in said:
            said.add(line)
            errors.print(line, style="bright_black", soft_wrap=True)

    return say


def _check(camera: str | None, begin: str | None, end: str | None, *, check: bool, changes: bool) -> None:
    if check and (changes or begin is not None or end is not None):
        raise typer.BadParameter("--check takes no other option than --camera")
    if not check and (camera is None or begin is None or end is None):
        raise typer.BadParameter("expected --camera, --from and --to; or --check")


def _check_again(work: Forgetting, camera: str | None, *, as_json: bool) -> None:
    from consumers.forgetting.book import ForgottenBook
    from consumers.terminal.printing.forgetting import print_report

    stretches = work.stretches().stretches(camera)
    if not stretches:
        errors.print("nothing was forgotten" + ("" if camera is None else f" of camera {camera}"), soft_wrap=True)
        return
    seen = work.look(ForgottenBook(stretches))
    report = work.report(stretches, seen, seen)
    print_report(report, console, as_json=as_json)
    if report.is_anything_left:
        raise typer.Exit(_LEFT)


def _dry_run(work: Forgetting, stretch: Forgotten, unknown: Sequence[str], *, all_before: bool, as_json: bool) -> None:
    from consumers.forgetting.book import ForgottenBook
    from consumers.terminal.printing.forgetting import print_dry_run

    seen = work.look(ForgottenBook([stretch]))
    _refuse_unknown(seen, unknown)
    goes = _what_goes(work, seen, stretch.camera) if all_before else []
    print_dry_run(work.dry_run(stretch, seen, goes), console, as_json=as_json)


def _forget(
    work: Forgetting, stretch: Forgotten, unknown: Sequence[str], *, all_before: bool, yes: bool, as_json: bool
) -> None:
    """Note it before all is read, which takes a while: but where it is not known yet whether that is wanted."""
    from consumers.forgetting.book import ForgottenBook
    from consumers.terminal.printing.forgetting import print_report

    before = None
    if all_before:
        work.check_deletes()
    if unknown or (all_before and not yes):
        before = work.look(ForgottenBook([stretch]))
        _refuse_unknown(before, unknown)
    goes = _what_goes(work, before, stretch.camera) if before is not None and all_before else []
    if goes and not yes:
        typer.confirm("Delete it?", abort=True, err=True)
    stretch = work.note(stretch, all_before=all_before)
    errors.print("noted: nobody is shown it from now on")
    if before is None:
        before = work.look(ForgottenBook([stretch]))
        goes = _what_goes(work, before, stretch.camera) if all_before else []
    stretch = work.note_events(stretch, before)
    book = ForgottenBook([stretch])
    work.delete_from_redis(book, before)
    if goes:
        work.delete_before(goes)
    report = work.report([stretch], before, work.look_again(book))
    print_report(report, console, as_json=as_json)
    if report.is_anything_left:
        raise typer.Exit(_LEFT)


def _refuse_unknown(seen: Seen, unknown: Sequence[str]) -> None:
    from stream import SourceError

    if seen.is_empty and unknown:
        raise SourceError(unknown[0])


def _what_goes(work: Forgetting, seen: Seen, camera: str) -> list[Goes]:
    """What records of a stretch take with them, after saying so."""
    from consumers.terminal.printing.forgetting import what_goes_lines

    goes = work.what_goes(seen)
    for line in what_goes_lines(goes, camera):
        errors.print(line, style="yellow", soft_wrap=True)
    return goes
