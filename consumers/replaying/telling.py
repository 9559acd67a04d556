"""The result of a replay in a screenful, and in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumers.files import write_text
from consumers.terminal.wording import describe

from .errors import ReplayError

#: Events, and misses, that are told one by one.
_ROWS_SHOWN: Final = 20
_WINDOW_FIGURES: Final = ("accuracy", "balanced_accuracy", "auc")


def shown(value: float | None) -> str:
    """A figure in three digits, or all of those before the point."""
    if value is None:
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def show(out: Console, content: Mapping[str, Any], matching: str, *, judged: bool) -> None:
    """The result in a screenful."""
    kept = content["kept_seconds"]
    cameras = _count(len(content["cameras"]), "camera")
    out.print(
        f"{content['model']}: {content['footage_seconds']:.0f} s of footage of {cameras} in "
        f"{content['wall_seconds']:.1f} s, {content['times_realtime']:.0f} times real time"
        f"{f' ({kept:.0f} s were classified before)' if kept else ''}; {content['windows']} windows",
        highlight=False,
        soft_wrap=True,
    )
    for problem in content["problems"]:
        out.print(f"left out: {problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    events = content["events"]
    for row in events[:_ROWS_SHOWN]:
        line = describe(row)
        if judged:
            right = row["outcome"] == "detected"
            line.append("  detected" if right else "  false alarm", style="green" if right else "red")
        out.print(line, soft_wrap=True)
    if len(events) > _ROWS_SHOWN:
        out.print(f"… and {len(events) - _ROWS_SHOWN} more events", style="dim")
    if not judged:
        out.print(f"{_count(len(events), 'event')}.", highlight=False)
        return
    _show_missed(out, content["truth"])
    table = Table(box=None, title=f"\ndetected is {matching}", title_justify="left", title_style="dim")
    for name in ("", "value", "95 % interval"):
        table.add_column(name, justify="left" if not name else "right")
    for name in (
        *("truth_events", "detected", "misses", "false_alarms", "false_alarms_per_hour", "time_to_alert_p50"),
        *("time_to_alert_p95", "precision", "recall", "f1", "mean_average_precision"),
    ):
        low, high = content["low"].get(name), content["high"].get(name)
        bounds = "" if low is None or name == "truth_events" else f"{shown(low)} to {shown(high)}"
        value = content[name]
        table.add_row(name.replace("_", " "), shown(value), bounds)
    out.print(table)
    if content["clips"] is not None:
        out.print(f"\nWindows beside the events: {_windows(content['clips'])}.", highlight=False, soft_wrap=True)


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}"


def _show_missed(out: Console, truth: Sequence[Mapping[str, Any]]) -> None:
    missed = [row for row in truth if row["outcome"] == "missed"]
    for row in missed[:_ROWS_SHOWN]:
        out.print(
            Text(f"missed: {row['label']} on {row['camera']} from {row['start_seconds']:g} s", style="red"),
            soft_wrap=True,
        )
    if len(missed) > _ROWS_SHOWN:
        out.print(f"… and {len(missed) - _ROWS_SHOWN} more that were missed", style="dim")


def _windows(clips: Mapping[str, Any]) -> str:
    """Figures of single windows in words."""
    said = [f"{clips['clips']} windows"]
    for name in _WINDOW_FIGURES:
        value, low, high = clips.get(name), clips["low"].get(name), clips["high"].get(name)
        if value is not None:
            bounds = "" if low is None else f" ({low:.3f} to {high:.3f})"
            said.append(f"{name.replace('_', ' ')} {value:.3f}{bounds}")
    return ", ".join(said)


def show_against(out: Console, content: Mapping[str, Any]) -> None:
    """The second model beside the first, and how surely they differ."""
    other = content["against"]
    paired = other["paired"]
    table = Table(box=None)
    out.print(
        f"\nFirst: {content['model']}\nSecond: {other['model']}, on the same footage", highlight=False, soft_wrap=True
    )
    for name in ("", "first", "second", "second less first (95 %)"):
        table.add_column(name, justify="left" if not name else "right")
    for name in ("detected", "misses", "false_alarms", "false_alarms_per_hour", "time_to_alert_p50", "recall"):
        difference = paired["difference"].get(name)
        bounds = f" ({shown(paired['low'][name])} to {shown(paired['high'][name])})" if name in paired["low"] else ""
        values = shown(content[name]), shown(other[name])
        table.add_row(name.replace("_", " "), *values, "" if difference is None else f"{shown(difference)}{bounds}")
    out.print(table)
    if other["clips"] is not None:
        out.print(f"Windows of the second: {_windows(other['clips'])}.", highlight=False, soft_wrap=True)
    out.print(
        f"Only the first finds {len(paired['only_first'])} true events, only the second {len(paired['only_second'])}; "
        f"by chance alone with probability {paired['p_value']:.3g} (exact McNemar test).",
        highlight=False,
        soft_wrap=True,
    )


def note(notes: Console, text: str, style: str = "yellow") -> None:
    notes.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def write(path: Path, text: str) -> None:
    """Write a result.

    Raises:
        ReplayError: the path cannot be written.
    """
    write_text(path, text, ReplayError)
