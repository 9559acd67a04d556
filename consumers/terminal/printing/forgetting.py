"""The table of `clipline forget`: what was found, what is gone, what is left and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.table import Table

from consumers.forgetting.report import NOBODY_KNOWS, DryRun, Report, Row
from consumers.forgetting.work import Goes
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import rfc3339
from consumers.terminal.console import Output, print_json
from consumers.terminal.wording import count

#: So many other cameras are named.
_NAMED = 10
#: What is smaller is not said in megabytes.
_TOLD_BYTES = 100_000


def print_report(report: Report, out: Output, *, as_json: bool) -> None:
    """Print the table, and what it cannot know."""
    if as_json:
        print_json(out, report.body())
        return
    for stretch in report.stretches:
        asked = f", as {stretch.by} asked at {rfc3339(stretch.time_us)[:19]}Z"
        out.print(_told(stretch, asked), soft_wrap=True)
    shown = [row for row in report.rows if row.found or row.left]
    if shown:
        out.print(_table(shown), soft_wrap=True)
        for row in shown:
            if row.until is not None:
                out.print(f"{row.where}: {row.left} left, until {row.until}", soft_wrap=True)
    else:
        out.print("nothing of it was found", soft_wrap=True)
    _print_doubts(report.notes, out)
    left = sum(row.left for row in report.rows)
    out.print(f"{left} left" if left else "nothing that was looked at holds anything of it", soft_wrap=True)


def print_dry_run(would: DryRun, out: Output, *, as_json: bool) -> None:
    """Say what would become of what is there."""
    if as_json:
        print_json(out, would.body())
        return
    out.print(_told(would.stretch), soft_wrap=True)
    if not would.rows:
        out.print("nothing of it was found; what comes later of it would be shown to nobody", soft_wrap=True)
    for row in would.rows:
        size = f", {row.found_bytes / 1e6:.1f} MB" if row.found_bytes >= _TOLD_BYTES else ""
        out.print(f"{row.where} ({row.what}): {row.found}{size}: {row.then}", soft_wrap=True)
    _print_doubts(would.notes, out)
    out.print("Nothing was changed. Without --dry-run, nobody is shown any of it from then on.", soft_wrap=True)


def _told(stretch: Forgotten, asked: str = "") -> str:
    why = f" ({stretch.why})" if stretch.why else ""
    return f"camera {stretch.camera}, {rfc3339(stretch.from_us)} to {rfc3339(stretch.to_us)}{asked}{why}"


def _print_doubts(notes: Iterable[str], out: Output) -> None:
    """What could not be looked at, and what nobody can look at."""
    for note in notes:
        out.print(note, style="yellow", soft_wrap=True)
    out.print("What nobody can know from here:", soft_wrap=True)
    for line in NOBODY_KNOWS:
        out.print(f"- {line}", soft_wrap=True)


def what_goes_lines(goes: Iterable[Goes], camera: str) -> Iterator[str]:
    """What is deleted with records of a camera, a line for each partition."""
    for each in goes:
        others = {key: number for key, number in each.others.items() if key != camera}
        named = ", ".join(sorted(others)[:_NAMED]) + (" …" if len(others) > _NAMED else "")
        of = f", and {count(sum(others.values()), 'record')} of {named}" if others else ", and nothing of others"
        topic, number = each.partition
        yield (
            f"{topic}[{number}]: all before offset {each.end}, sent {rfc3339(each.first_us)[:19]}Z to "
            f"{rfc3339(each.last_us)[:19]}Z, {each.bytes / 1e6:.1f} MB: {each.others[camera]} of {camera}{of}"
        )


def _table(rows: Iterable[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("where", overflow="fold")
    table.add_column("what", overflow="fold")
    for name in ("found", "gone", "left"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.where, row.what, str(row.found), str(row.gone), str(row.left))
    return table
