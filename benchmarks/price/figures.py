"""What was measured: figures, how they are counted, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.table import Table

from stream import StreamError

from .measuring import MissingError, WrongWorkError
from .rows import BROKER, CORE, GPU, LATENCY, MEMORY, PROFILE, Row

_FROM_FILE: Final = "processor time of the one process, all threads, from opening the MP4 file to the last scores"
_COUNTED: Final = {
    (CORE, "direct"): _FROM_FILE + "; cutting segments included",
    (CORE, "kafka"): "processor time of the worker process, all threads, from joining the group to the last commit, "
    "Redis and Kafka clients included; segments were produced before; broker and Redis are other processes, not "
    "counted",
    (GPU, "direct"): "wall time on one core and one GPU, from opening the MP4 file to the last scores",
    (PROFILE, ""): "processor time of each part while no other part is at work; what is left of the whole is the rest",
    (MEMORY, ""): "highest proportional set size (PSS) of the worker process on a backlog with many cameras, less that "
    "with few, by the difference in cameras",
    (LATENCY, ""): "95th percentile of the wall time from the call that sends the segment that completes a window to "
    "the arrival of its prediction at a subscriber, while so many cameras are live that a worker on all cores is busy "
    "for half the time",
    (BROKER, ""): "wall time from the first send to the last acknowledgement, and of reading all of it back",
}

#: What is aimed at.
GOALS: Final = {MEMORY: 15.0, LATENCY: 150.0}


@dataclass(slots=True)
class Figure:
    """A figure, or the reason why there is none."""

    row: Row
    value: float | None = None
    ratio_to_best_peer: float | None = None
    #: Least and most of the rounds.
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    reason: str | None = None
    #: Whether there is no figure because what was measured did something else than it should.
    is_wrong: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def counted(self) -> str:
        row = self.row
        kept = _COUNTED.get((row.kind, row.path)) or _COUNTED.get((row.kind, ""))
        return kept or (_COUNTED[row.kind, "direct"] if row.kind == GPU else _FROM_FILE)

    def take(self, values: Sequence[float]) -> None:
        self.value = round(statistics.median(values), 3)
        self.low, self.high, self.rounds = round(min(values), 3), round(max(values), 3), len(values)

    def fail(self, reason: str) -> None:
        self.value, self.reason, self.is_wrong = None, reason, True

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Keep the reason why a block could not measure this; others go on."""
        try:
            yield
        except MissingError as error:
            self.reason = str(error)
        except (WrongWorkError, StreamError) as error:
            self.fail(str(error))

    def as_json(self) -> dict[str, Any]:
        row = {key: value for key, value in asdict(self.row).items() if value and key != "kind"}
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.row.unit,
            "ratio_to_best_peer": self.ratio_to_best_peer,
            "low": self.low,
            "high": self.high,
            "rounds": self.rounds,
            "reason": self.reason,
            "counted": self.counted,
            **row,
            **self.details,
        }


def relate(figures: Mapping[Row, Figure], best_precision: str) -> None:
    """Note the ratio to the best peer of the same model and footage.

    Peers compute in the precision that OpenVINO chooses here, so a row in another one is compared with none.
    """
    for row, figure in figures.items():
        if (
            row.kind != CORE
            or figure.value is None
            or row.precision not in {"", best_precision}
            or row.gates == "still"
        ):
            continue
        peers = [
            other.value
            for peer, other in figures.items()
            if peer.kind == CORE and peer.is_peer and (peer.model, peer.footage) == (row.model, row.footage)
            if other.value is not None
        ]
        if peers:
            figure.ratio_to_best_peer = round(figure.value / max(peers), 3)


def table(figures: Sequence[Figure]) -> Table:
    found = Table(box=None)
    found.add_column("", no_wrap=True)
    for name in ("value", "rounds", "ratio"):
        found.add_column(name, justify="right", no_wrap=True)
    kind = None
    for figure in figures:
        if figure.row.kind != kind:
            kind = figure.row.kind
            found.add_row(f"{kind} ({figure.row.unit})", style="bold")
        if figure.value is None:
            continue
        ratio = "" if figure.ratio_to_best_peer is None else f"{figure.ratio_to_best_peer:.2f}"
        name = figure.name.removeprefix(f"{kind}.")
        found.add_row(f"  {name}", f"{figure.value:.1f}", f"{figure.low:.1f} to {figure.high:.1f}", ratio)
    return found


def not_measured(figures: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By reason: the names of figures, as in the JSON, that there are none of."""
    reasons: dict[str, list[str]] = {}
    for figure in figures:
        if figure["value"] is None:
            reasons.setdefault(figure["reason"] or "not measured", []).append(figure["name"])
    return reasons
