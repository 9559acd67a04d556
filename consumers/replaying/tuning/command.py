"""`clipline tune`: settings of the tracker for a budget of false alarms, written where `clipline work` reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from consumers.replaying.command import INTERRUPTED, Asked, open_session, run
from consumers.replaying.errors import ReplayError
from consumers.replaying.judging.metrics import Counts
from consumers.replaying.judging.truth import place_truth
from consumers.replaying.telling import note, shown, write
from consumers.settings import Settings, override
from models import find, name_of
from stream import ClipSpec

from .sweep import Tuned, per_day, per_day_bound, tune

_HEAD: Final = "# Written by `clipline tune`."
_BUDGET: Final = re.compile(
    r"\s*(?P<n>[0-9]*\.?[0-9]+)?\s*(?:false alarms? )?(?:(?:per|a|/)\s*)?(?:camera-)?(?P<unit>day|hour)?\s*"
)
_STOPPED: Final = "stopped; what was classified is kept, and the same command goes on there"
_PER_DAY: Final = {"day": 1.0, "hour": 24.0}


def parse_budget(text: str) -> float:
    """False alarms a camera-day: "1", "0.5 per day", "2 a camera-day", "0.1/hour".

    Raises:
        ReplayError: it is no such rate.
    """
    found = _BUDGET.fullmatch(text)
    if found is None or found["n"] is None:
        raise ReplayError(f"--budget {text!r}: expected false alarms a camera-day, like 1, '0.5 per day' or '0.1/hour'")
    return float(found["n"]) * _PER_DAY[found["unit"] or "day"]


def tune_command(
    settings: Settings,
    asked: Asked,
    budget: str,
    output: Path,
    report: Path | None,
    out: Console,
    notes: Console,
    stop: Callable[[], bool],
) -> int:
    """Classify what was not yet, sweep, print, and write the settings.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: something cannot be used.
    """
    rate = parse_budget(budget)
    if output.exists() and not output.read_text("utf-8", errors="replace").startswith(_HEAD):
        raise ReplayError(f"{output}: holds other settings; name another file with --output and copy what you want")
    with open_session(settings, asked, notes) as session:
        replayed = run(session, stop)
        if replayed is None:
            note(notes, _STOPPED)
            return INTERRUPTED
        truth, left_out = place_truth(session.claims or (), replayed.courses, session.rules)
        for reason in (*replayed.unreadable, *left_out):
            note(notes, reason)
        if not truth:
            raise ReplayError(f"{asked.labels}: nothing in it makes an event, so there is nothing to tune for")
        with notes.status("sweeping") as status:
            found = tune(
                replayed.courses,
                session.rules,
                truth,
                asked.fit,
                rate,
                lambda name, done, _: status.update(f"{name}: {done} tried"),
                stop,
            )
        if found is None:
            note(notes, _STOPPED)
            return INTERRUPTED
        show(out, found)
        # "default" may be another model in another version.
        named = override(settings, {"worker": {"model": name_of(find(settings.worker.model))}}, "tune")
        write(output, settings_text(found, session.classifier.id, rate, named, session.how.spec))
        out.print(
            f"\nSettings: {output}; copy them into clipline.toml (alone, as `--settings {output}`, they leave "
            "kafka and all else at its default)",
            highlight=False,
            soft_wrap=True,
        )
        if report is not None:
            from .report import write_tune_report  # noqa: PLC0415  matplotlib is slow to import

            write(report, write_tune_report(session.classifier.id, found, rate))
            out.print(f"Report: {report}", highlight=False)
    return 0


def settings_text(found: Sequence[Tuned], model: str, rate: float, settings: Settings, spec: ClipSpec) -> str:
    """The settings as TOML, with what they were measured to do, and what else that depends on.

    Args:
        found: what is recommended.
        model: its id, for whoever reads it.
        rate: the budget of all labels together, false alarms a camera-day.
        settings: those that footage was classified under.
        spec: how often it was.
    """
    lines = [
        _HEAD,
        f"# For {model}, at most {rate:g} false alarms a camera-day.",
        "",
        "# What was tuned for: other scores, or others at other times, would want other thresholds.",
        "[worker]",
        f"model = {_quoted(settings.worker.model)}",
        f"engine = {_quoted(settings.worker.engine)}",
        f"stride_seconds = {spec.stride_us / 1e6!r}",
        "",
        "[tracker]",
        f"update_seconds = {settings.tracker.update_seconds!r}",
    ]
    for tuned in found:
        rule, counts = tuned.chosen.rule, tuned.chosen.counts(tuned.files)
        lines += [
            "",
            (
                f"# On {counts.seconds / 3600:.2f} camera-hours: {counts.detected} of {counts.truth} found, "
                f"{counts.false_alarms} false alarms."
            ),
            f"[tracker.labels.{_key(tuned.label)}]",
            f"start = {rule.start!r}",
            f"end = {rule.end!r}",
            f"min_seconds = {rule.min_seconds!r}",
            f"cooldown_seconds = {rule.cooldown_seconds!r}",
            f"smoothing = {rule.smoothing!r}",
        ]
    return "\n".join(lines) + "\n"


def _key(label: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", label):
        return label
    return _quoted(label)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of TOML, too


def show(out: Console, found: Sequence[Tuned]) -> None:
    """What was tried, what it would do, and how sure that is."""
    table = Table(box=None)
    for name in ("label", "", "found", "false alarms", "a camera-day", "median alert"):
        table.add_column(name, justify="left" if name in {"label", ""} else "right")
    for tuned in found:
        rows: list[tuple[str, Counts | None]] = [
            ("now", tuned.before.counts(tuned.files)),
            ("tuned", tuned.chosen.counts(tuned.files)),
            ("tuned, on files held out", tuned.held_out),
        ]
        for name, counts in rows:
            if counts is None:
                table.add_row(tuned.label, name, "needs two files or more", "", "", "")
                continue
            alert = counts.figures()["time_to_alert_p50"]
            table.add_row(
                tuned.label,
                name,
                f"{counts.detected} of {counts.truth}",
                str(counts.false_alarms),
                shown(per_day(counts)),
                "–" if alert is None else f"{alert:.1f} s",
            )
    out.print(table)
    for tuned in found:
        rule, counts = tuned.chosen.rule, tuned.chosen.counts(tuned.files)
        out.print(
            f"\n{tuned.label}: start {rule.start:g}, end {rule.end:g}, min_seconds {rule.min_seconds:g}, "
            f"cooldown_seconds {rule.cooldown_seconds:g}, smoothing {rule.smoothing}; "
            f"{len(tuned.trials)} settings tried",
            highlight=False,
            soft_wrap=True,
        )
        bound = per_day_bound(counts)
        if not tuned.within:
            out.print(
                f"No setting keeps to {shown(tuned.budget)} a camera-day; "
                "this is the one with the fewest false alarms.",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )
        elif bound > tuned.budget:
            out.print(
                f"{counts.seconds / 86400:.3g} camera-days are too few to show it: so few false alarms are compatible "
                f"with up to {shown(bound)} a camera-day (95 %).",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )
