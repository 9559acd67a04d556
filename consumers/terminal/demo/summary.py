"""What came of a demo: its events beside the truth, what became of every frame, how fast it was."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from consumers.live.figures.accounts import CameraCounts
from consumers.terminal.console import Output
from consumers.terminal.wording import count, describe, duration, skip_reason
from consumers.times import parse_time_us
from stream import Pace

#: A machine that keeps up is not so far behind typically.
_SLOW_SECONDS: Final = 5.0

_Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """What happens on a sample camera, in seconds of its footage."""

    camera: str
    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class PlayedFeed:
    """A file that is played as a camera."""

    path: Path
    camera: str
    start_us: int
    #: How long it plays, as the file says itself; 0 where it does not.
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a demo, for its summary."""

    events: Sequence[_Body]
    counts: Mapping[str, CameraCounts]
    #: Labels that raise events.
    alarms: frozenset[str]
    #: From when footage was first sent until all of it was classified.
    seconds: float
    #: Typical and high (95 %) wall time from a segment's arrival to its predictions, where there were any.
    delays: tuple[float, float] | None
    #: From the call of the command to the first event; None where there was none.
    first_event_seconds: float | None
    stopped: bool
    pace: Pace


def read_truth(path: Path) -> list[Truth]:
    """Read `camera,label,start,end`, in seconds."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Truth(row["camera"], row["label"], float(row["start"]), float(row["end"])) for row in csv.DictReader(lines)
        ]


def print_summary(
    console: Output, outcome: Outcome, feeds: Sequence[PlayedFeed], truth: Sequence[Truth] | None
) -> None:
    """Say what came of the demo, beside the truth where it is known."""
    if outcome.stopped:
        console.print()
        say(console, "Stopped before the end of the footage: this is what came of it until then.", "yellow")
    if truth is None:
        heading(console, _capital(count(len(outcome.events), "event")))
        for event in outcome.events:
            console.print(describe(event))
        if not outcome.events:
            seen = f"The model saw nothing of what it raises events for ({', '.join(sorted(outcome.alarms))})."
            say(console, seen if outcome.alarms else "The model raises no events: none of its labels has a threshold.")
    else:
        _print_against_truth(console, outcome, feeds, truth)
    _print_accounts(console, outcome.counts, stopped=outcome.stopped)
    _print_speed(console, outcome)


def _print_against_truth(
    console: Output, outcome: Outcome, feeds: Sequence[PlayedFeed], truth: Sequence[Truth]
) -> None:
    starts = {feed.camera: feed.start_us for feed in feeds}
    rows: list[tuple[str, float, tuple[str, str, str], Text]] = []
    verdicts: Counter[str] = Counter()
    matched: set[str] = set()
    for t in truth:
        found = [
            e for e in outcome.events if e["camera"] == t.camera and e["label"] == t.label and _overlaps(e, t, starts)
        ]
        matched |= {e["event"] for e in found}
        happens = f"{t.label} {t.start_seconds:.1f}–{t.end_seconds:.1f} s"
        raised = ", ".join(_interval(e, starts) for e in found) or "none"
        peak = f"{max(e['peak_score'] for e in found):.2f}" if found else ""
        verdict = _verdict(t, outcome, found=bool(found))
        verdicts[verdict.plain] += 1
        rows.append((t.camera, t.start_seconds, (happens, raised, peak), verdict))
    for event in (e for e in outcome.events if e["event"] not in matched):
        verdicts["false alarm"] += 1
        raised, peak = f"{event['label']} {_interval(event, starts)}", f"{event['peak_score']:.2f}"
        rows.append(
            (event["camera"], _seconds(event, starts)[0], ("nothing", raised, peak), Text("false alarm", "red"))
        )
    quiet = {feed.camera for feed in feeds} - {row[0] for row in rows}
    rows += [(camera, 0.0, ("nothing", "none", ""), Text("correctly quiet", "green")) for camera in quiet]
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("camera", "what happens", "event raised", "peak score", "verdict"):
        table.add_column(name)
    for camera, _, cells, verdict in sorted(rows, key=lambda row: row[:2]):
        table.add_row(camera, *cells, verdict)
    known = verdicts["found"] + verdicts["missed"]
    unknown = sorted({t.label for t in truth} - outcome.alarms)
    heading(console, "What the model saw (times in seconds of the footage)")
    say(
        console,
        f"{verdicts['found']} of {count(known, 'known event')} found, {count(verdicts['false alarm'], 'false alarm')}."
        + (f" Not looked for: {', '.join(unknown)}, a label that this model does not have." if unknown else ""),
    )
    console.print(table)
    say(console, "Three scenes prove nothing: `clipline models` says how good the models are on real footage.")


def _verdict(truth: Truth, outcome: Outcome, *, found: bool) -> Text:
    if truth.label not in outcome.alarms:
        return Text("not looked for", "yellow")
    if found:
        return Text("found", "green")
    seen = outcome.counts[truth.camera].seconds if truth.camera in outcome.counts else 0.0
    if outcome.stopped and seen < truth.end_seconds:
        return Text("stopped before", "yellow")
    return Text("missed", "red")


def _print_accounts(console: Output, counts: Mapping[str, CameraCounts], *, stopped: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("camera", "frames", "= classified", "+ skipped", "+ unreadable", "windows", ""):
        table.add_column(name, justify="left" if name in {"camera", ""} else "right")
    for name, c in sorted(counts.items()):
        # What was stopped has frames in hand; nothing is wrong with that.
        rest = Text(f"{c.pending} in hand", "yellow") if stopped else Text(f"{c.pending} missing", "red")
        balanced = rest if c.pending else Text("balanced", "green")
        numbers = (c.frames, c.classified, c.skipped.total(), c.dead_lettered, c.windows)
        table.add_row(name, *(str(n) for n in numbers), balanced)
    heading(console, "What became of every frame")
    console.print(table)
    skipped: Counter[str] = sum((c.skipped for c in counts.values()), Counter())
    if skipped:
        reasons = ", ".join(f"{n} {skip_reason(reason)}" for reason, n in skipped.most_common())
        say(console, f"Skipped: {reasons}.")


def _print_speed(console: Output, outcome: Outcome) -> None:
    footage = sum(c.seconds for c in outcome.counts.values())
    frames = sum(c.frames for c in outcome.counts.values())
    heading(console, "How fast it was")
    if outcome.first_event_seconds is not None:
        say(console, f"First event {outcome.first_event_seconds:.1f} s after the start of the demo.")
    cameras, took = count(len(outcome.counts), "camera"), duration(outcome.seconds)
    if outcome.pace == "max":
        times, rate = footage / outcome.seconds, frames / outcome.seconds
        speed = f"in {took}: {times:.1f} times real time, {rate:.0f} frames a second"
    else:
        speed = f"in {took}, each in real time"
    say(console, f"{duration(footage)} of footage of {cameras} {speed}.")
    if outcome.delays is not None:
        middle, high = (duration(seconds) for seconds in outcome.delays)
        say(console, f"From a segment's arrival on Kafka to its scores: {middle} (median), {high} (95 %).")
        if outcome.pace == "realtime" and outcome.delays[0] > _SLOW_SECONDS:
            say(console, f"This machine did not keep up with {cameras} at once; with fewer it will.", "yellow")


def _overlaps(event: _Body, truth: Truth, starts: Mapping[str, int]) -> bool:
    start, end = _seconds(event, starts)
    return start < truth.end_seconds and truth.start_seconds < end


def _interval(event: _Body, starts: Mapping[str, int]) -> str:
    start, end = _seconds(event, starts)
    return f"{start:.1f}–{end:.1f} s"


def _seconds(event: _Body, starts: Mapping[str, int]) -> tuple[float, float]:
    origin = starts[event["camera"]] / 1e6
    start, end = (parse_time_us(event[name]) / 1e6 for name in ("start", "end"))
    return start - origin, end - origin


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def heading(console: Output, text: str) -> None:
    """Begin a part of what is said."""
    console.print()
    console.print(Text(text, "bold"))


def say(console: Output, text: str, style: str = "") -> None:
    """Say a sentence, wrapped to the width of the console."""
    console.print(text, style=style)
