"""The live view in the terminal: cameras, newest label and score, speed, lag, and events as they come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumers.live.accounts import CameraCounts
from consumers.live.worker import Worker
from consumers.records.prediction import rfc3339

_BAR_WIDTH: Final = 10
_EVENTS_SHOWN: Final = 6
_RATE_SECONDS: Final = 3.0
_STATE_STYLES: Final = {"started": "bold red", "updated": "yellow", "ended": "green"}


class LiveView:
    """A rich renderable over a running worker; draws what is there at the moment it is asked."""

    def __init__(self, worker: Worker, title: str) -> None:
        self._worker, self._title = worker, title
        self._history: deque[tuple[float, Mapping[str, int]]] = deque()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        counts = dict(self._worker.counts)
        rates = self._rates(counts)
        alarming = {e.camera: e.label for e in self._worker.active_events()}
        table = Table(expand=True, box=None, pad_edge=False, header_style="dim")
        for name in ("camera", "newest", "score", "time"):
            table.add_column(name, no_wrap=True)
        for name in ("frames/s", "pending", "events"):
            table.add_column(name, justify="right", no_wrap=True)
        for name, camera in sorted(counts.items()):
            newest = camera.newest
            score = newest.scores[newest.label] if newest else 0.0
            table.add_row(
                Text(f"● {name}", style="bold red" if name in alarming else "bold"),
                newest.label if newest else Text("waiting", style="dim"),
                _bar(score) if newest else "",
                rfc3339(newest.end_us)[11:19] if newest else "",
                f"{rates.get(name, 0.0):.0f}",
                str(camera.pending),
                str(camera.events),
            )
        recent = list(self._worker.newest_events)[-_EVENTS_SHOWN:]
        events = (
            Group(*(describe(e.body()) for e in reversed(recent))) if recent else Text("no events yet", style="dim")
        )
        latency = self._worker.latency_seconds(50)
        footer = Text(
            f"{len(counts)} cameras   lag {self._worker.lag} records   "
            f"segment to prediction {'–' if latency is None else f'{latency * 1000:.0f} ms'}",
            style="dim",
        )
        yield Panel(Group(table, Text(), events, Text(), footer), title=self._title, border_style="blue")

    def _rates(self, counts: Mapping[str, CameraCounts]) -> dict[str, float]:
        now = time.monotonic()
        self._history.append((now, {name: c.frames for name, c in counts.items()}))
        while now - self._history[0][0] > _RATE_SECONDS:
            self._history.popleft()
        since, before = self._history[0]
        seconds = max(now - since, 1e-3)
        return {name: (c.frames - before.get(name, 0)) / seconds for name, c in counts.items()}


def describe(body: Mapping[str, Any]) -> Text:
    """One line about an event, from the body that subscribers get."""
    moment = body["end"][11:21]
    return Text.assemble(
        (f"{moment} ", "dim"),
        (f"{body['state']:8}", _STATE_STYLES[body["state"]]),
        f"{body['label']} on {body['camera']}, {body['seconds']:.1f} s, peak {body['peak_score']:.2f}",
        (f"  ({body['ending'].replace('_', ' ')})" if body["ending"] else "", "dim"),
    )


def _bar(score: float) -> Text:
    filled = round(score * _BAR_WIDTH)
    return Text.assemble(("█" * filled, "cyan"), ("░" * (_BAR_WIDTH - filled), "dim"), f" {score:.2f}")
