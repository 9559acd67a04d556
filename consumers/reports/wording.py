"""Figures and intervals in words, the same in a terminal and on a page. Durations: `consumers.terminal.wording`."""

from __future__ import annotations

import datetime as dt
import math

#: Shown in place of a figure that does not exist.
ABSENT = "–"


def figure_text(value: float | None) -> str:
    """Three significant digits, at most three after the point; all before it. `ABSENT` for None and NaN."""
    if value is None or math.isnan(value):
        return ABSENT
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{round(value, 3):.3g}" if abs(value) >= 0.001 else f"{value:.1g}"


def interval_text(low: float | None, high: float | None) -> str:
    """`0.16 to 1`; nothing where there is no interval, or one of width zero, which would look like certainty."""
    if low is None or high is None or math.isnan(low) or low == high:
        return ""
    return f"{figure_text(low)} to {figure_text(high)}"


def moment_text(time_us: int) -> str:
    """Date and time of day of a moment in µs since the Unix epoch: `2026-11-24 08:00:05 UTC`."""
    return f"{dt.datetime.fromtimestamp(time_us / 1e6, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
