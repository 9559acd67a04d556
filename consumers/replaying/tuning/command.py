"""`clipline tune`: find thresholds with the fewest misses for a given false-alarm budget, and write them down."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from consumers.files import write_text
from consumers.replaying.errors import ReplayError
from consumers.replaying.judging.metrics import Counts
from consumers.replaying.judging.placing import place_truth
from consumers.replaying.replay import Replayed
from consumers.replaying.session import INTERRUPTED, STOPPED, ReplayOptions, Session, classify_footage, open_session
from consumers.replaying.verdict import source_lines
from consumers.reports.wording import figure_text
from consumers.settings import Settings, override
from consumers.terminal.console import Output
from consumers.terminal.wording import count, duration
from models import find, name_of
from stream import ClipSpec

from .advice import ADVICE_INTERVALS, label_advice, settings_rows, verdict
from .search import TunedLabel, tune

_HEAD: Final = "# Written by `clipline tune`."
_BUDGET: Final = re.compile(
    r"\s*(?P<n>[0-9]*\.?[0-9]+)?\s*(?:false alarms? )?(?:(?:per|a|/)\s*)?(?:camera-)?(?P<unit>day|hour)?\s*"
)
_PER_DAY: Final = {"day": 1.0, "hour": 24.0}


def parse_budget(text: str) -> float:
    """Read a rate of false alarms per camera-day: "1", "0.5 per day", "2 a camera-day", "0.1/hour".

    Raises:
        ReplayError: the text is no such rate.
    """
    found = _BUDGET.fullmatch(text)
    if found is None or found["n"] is None:
        raise ReplayError(
            f"--budget {text!r}: expected false alarms per camera-day, like 1, '0.5 per day' or '0.1/hour'"
        )
    return float(found["n"]) * _PER_DAY[found["unit"] or "day"]


def run_tune(
    settings: Settings,
    options: ReplayOptions,
    *,
    budget: str,
    output: Path,
    report: Path | None,
    out: Output,
    errors: Output,
    stop: Callable[[], bool],
) -> int:
    """Classify the footage, search for settings, print what they give, and write them; return the exit code.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: something cannot be used.
    """
    rate = parse_budget(budget)
    if output.exists() and not output.read_text("utf-8", errors="replace").startswith(_HEAD):
        raise ReplayError(f"{output}: holds other settings; name another file with --output and copy what you want")
    with open_session(settings, options, errors) as session:
        notes = session.notes
        replayed = classify_footage(session, stop)
        if replayed is None:
            notes.say(STOPPED)
            return INTERRUPTED
        truth, left_out = place_truth(session.truth_rows or (), replayed.timelines, session.rules)
        for reason in (*replayed.unreadable, *left_out):
            notes.warn(reason)
        if not truth:
            raise ReplayError(f"{options.labels}: no row is about a label that raises events, so nothing can be tuned")
        with errors.status("trying settings") as status:
            found = tune(
                replayed.timelines,
                session.rules,
                truth,
                options.matcher,
                rate,
                lambda name, done, _: status.update(f"{name}: {done} tried"),
                stop,
            )
        if found is None:
            notes.say(STOPPED)
            return INTERRUPTED
        print_settings(out, found)
        # "default" may be another model in another version.
        named = override(settings, {"worker": {"model": name_of(find(settings.worker.model))}}, "tune")
        text = settings_text(found, session.classifier.id, rate, named, session.setup.spec)
        write_text(output, text, ReplayError)
        out.print()
        _say(
            out,
            f"Settings: {output}; copy them into clipline.toml (with `--settings {output}` alone, kafka and "
            "everything else have their defaults)",
        )
        if report is not None:
            from consumers.reports.page import command_line  # noqa: PLC0415  jinja2 comes with an extra

            from .report import write_tune_report  # noqa: PLC0415  matplotlib is slow to import

            model = session.classifier.id
            facts = _facts(session, replayed, output)
            page = write_tune_report(f"Tuning of {model}", found, rate, notes.warnings, facts, command_line())
            write_text(report, page, ReplayError)
            _say(out, f"Report: {report}")
    return 0


def _facts(session: Session, replayed: Replayed, output: Path) -> dict[str, Sequence[str]]:
    cameras = {t.camera: [piece.name for piece in t.pieces] for t in replayed.timelines}
    return {
        "Footage": [*source_lines({"cameras": cameras}), f"{duration(replayed.seconds)} in all"],
        "Model": [f"{session.classifier.id}, run by {session.classifier.engine}"],
        "Truth": [f"{session.options.labels}; a true event is found by {session.options.matching}"],
        "Settings written": [str(output)],
    }


def settings_text(found: Sequence[TunedLabel], model: str, rate: float, settings: Settings, spec: ClipSpec) -> str:
    """The settings as TOML, with what they gave on this footage, and the model, engine and stride they hold for.

    Args:
        found: what is recommended.
        model: its id, for a comment.
        rate: the budget of all labels together, false alarms a camera-day.
        settings: those that the footage was classified with.
        spec: how clips were made.
    """
    lines = [
        _HEAD,
        f"# For {model}, at most {rate:g} false alarms per camera-day.",
        "",
        "# The thresholds hold for this model, engine and stride only.",
        "[worker]",
        f"model = {_quoted(settings.worker.model)}",
        f"engine = {_quoted(settings.worker.engine)}",
        f"stride_seconds = {spec.stride_us / 1e6!r}",
        "",
        "[tracker]",
        f"update_seconds = {settings.tracker.update_seconds!r}",
    ]
    for tuned in found:
        rule = tuned.chosen.rule
        lines += ["", f"# On {_counted(tuned.chosen.counts(tuned.files))}"]
        if tuned.held_out is not None:
            lines.append(f"# Held out, to be expected on other footage: {_counted(tuned.held_out)}")
        lines += [
            f"[tracker.labels.{_key(tuned.label)}]",
            f"start = {rule.start!r}",
            f"end = {rule.end!r}",
            f"min_seconds = {rule.min_seconds!r}",
            f"cooldown_seconds = {rule.cooldown_seconds!r}",
            f"smoothing = {rule.smoothing!r}",
        ]
    return "\n".join(lines) + "\n"


def _counted(counts: Counts) -> str:
    hours = f"{counts.seconds / 3600:.2f} camera-hours"
    return f"{hours}: {counts.detected} of {counts.truth} found, {counts.false_alarms} false alarms."


def _key(label: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", label):
        return label
    return _quoted(label)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of TOML, too


def print_settings(out: Output, found: Sequence[TunedLabel]) -> None:
    """Print what the settings now and the recommended ones give, and how sure that is."""
    table = Table(box=None)
    for lines in (("", "label"), ("", "settings")):
        table.add_column(_header(*lines), no_wrap=True)
    for lines in (
        ("", "found"), ("false", "alarms"), ("per", "camera-day"), ("95 %", "interval"), ("median", "alert, s"),
    ):  # fmt: skip
        table.add_column(_header(*lines), justify="right", no_wrap=True)
    for row in settings_rows(found):
        counts = row["counts"]
        table.add_row(
            Text(row["label"]),
            row["name"],
            f"{counts.detected} of {counts.truth}",
            str(counts.false_alarms),
            figure_text(row["per_day"]),
            row["interval"],
            figure_text(counts.figures()["time_to_alert_p50"]),
        )
    out.print(table)
    _say(out, ADVICE_INTERVALS, "dim")
    out.print()
    _say(out, verdict(found), "bold")
    for tuned in found:
        rule = tuned.chosen.rule
        _say(
            out,
            f"{tuned.label}: start {rule.start:g}, end {rule.end:g}, min_seconds {rule.min_seconds:g}, "
            f"cooldown_seconds {rule.cooldown_seconds:g}, smoothing {rule.smoothing}; "
            f"{count(len(tuned.trials), 'setting')} tried",
        )
        if advice := label_advice(tuned):
            _say(out, advice, "yellow")


def _header(*lines: str) -> Group:
    return Group(*map(Text, lines))


def _say(out: Output, text: str, style: str | None = None) -> None:
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
