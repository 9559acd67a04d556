"""The table of `clipline forget`: what was found, what is gone, what is left and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.table import Table

from consumers.forgetting.report import NOBODY_KNOWS, Report, Row
from consumers.forgetting.work import Goes
from consumers.records.prediction import rfc3339

from .console import Output, print_json
from .wording import count

#: So many other cameras are named.
_NAMED = 10


def print_report(report: Report, out: Output, *, as_json: bool) -> None:
    """Print the table, and what it cannot know."""
    if as_json:
        print_json(out, report.body())
        return
    for stretch in report.stretches:
        why = f" ({stretch.why})" if stretch.why else ""
        out.print(
            f"camera {stretch.camera}, {rfc3339(stretch.from_us)} to {rfc3339(stretch.to_us)}{why}", soft_wrap=True
        )
    shown = [row for row in report.rows if row.found or row.left]
    if shown:
        out.print(_table(shown), soft_wrap=True)
        for row in shown:
            if row.until is not None:
                out.print(f"{row.where}: {row.left} left, until {row.until}", soft_wrap=True)
    else:
        out.print("nothing of it was found", soft_wrap=True)
    for note in report.notes:
        out.print(note, style="yellow", soft_wrap=True)
    out.print("What nobody can know from here:", soft_wrap=True)
    for line in NOBODY_KNOWS:
        out.print(f"- {line}", soft_wrap=True)
    left = sum(row.left for row in report.rows)
    out.print(f"{left} left" if left else "nothing that was looked at holds anything of it", soft_wrap=True)


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
