"""The result of a replay in a screenful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from consumers.terminal.console import Output
from consumers.terminal.wording import count, duration, moment

from .verdict import (
    comparison_rows,
    comparison_text,
    event_text,
    figure_rows,
    outcome_text,
    verdict,
    window_rows,
)

#: Events, and misses, that are listed one by one.
_ROWS_SHOWN: Final = 20


def print_summary(out: Output, content: Mapping[str, Any]) -> None:
    """Print what happened, the verdict, and the figures; `content` is what --json writes."""
    kept, gated = content["kept_seconds"], content["gated_windows"]
    _say(
        out,
        f"{content['model']}: {duration(content['footage_seconds'])} of footage from "
        f"{count(len(content['cameras']), 'camera')} in {duration(content['wall_seconds'])}, "
        f"{content['times_realtime']:.0f} times real time"
        f"{f' ({duration(kept)} had been classified before)' if kept else ''}; {content['windows']} windows"
        f"{f' ({gated} of them gated)' if gated else ''}",
    )
    if content["held_seconds"] >= 1:
        _say(out, f"pictures stood still for {duration(content['held_seconds'])}: no others came", "yellow")
    for problem in content["problems"]:
        _say(out, f"left out: {problem}", "yellow")
    _print_rows(out, content["events"], "event")
    truth = content["truth"]
    if truth is not None:
        _print_rows(out, [row for row in truth if row["outcome"] == "missed"], "missed event")
    _say(out, verdict(content), "bold")
    if truth is None:
        return
    out.print()
    table = Table(
        box=None, title=f"a true event is found by {content['matching']}", title_justify="left", title_style="dim"
    )
    _print_figures(out, table, figure_rows(content))
    if content["clips"] is not None:
        _print_windows(out, content["clips"], "single windows")


def print_comparison(out: Output, content: Mapping[str, Any]) -> None:
    """Print the second model beside the first, and whether the difference is significant."""
    other = content["against"]
    out.print()
    _say(out, f"First: {content['model']}")
    _say(out, f"Second: {other['model']}, on the same footage")
    table = Table(box=None)
    for name in ("", "first", "second", "second minus first", "95 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for row in comparison_rows(content):
        table.add_row(*row)
    out.print(table)
    if other["clips"] is not None:
        _print_windows(out, other["clips"], "single windows, second model")
    _say(out, comparison_text(other["paired"]))


def _print_rows(out: Output, rows: Sequence[Mapping[str, Any]], noun: str) -> None:
    for row in rows[:_ROWS_SHOWN]:
        line = Text.assemble((f"{moment(row['start'])} UTC  ", "dim"), event_text(row))
        if "outcome" in row:
            line.append(f"  {outcome_text(row)}", style="green" if row["outcome"] == "detected" else "red")
        out.print(line, soft_wrap=True)
    if len(rows) > _ROWS_SHOWN:
        _say(out, f"… and {count(len(rows) - _ROWS_SHOWN, f'more {noun}')}", "dim")


def _print_windows(out: Output, clips: Mapping[str, Any], title: str) -> None:
    out.print()
    _print_figures(out, Table(box=None, title=title, title_justify="left", title_style="dim"), window_rows(clips))


def _print_figures(out: Output, table: Table, rows: Sequence[tuple[str, str, str]]) -> None:
    for name in ("", "value", "95 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        table.add_row(*row)
    out.print(table)


def _say(out: Output, text: str, style: str | None = None) -> None:
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
