"""What tuning found in words, the same in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from consumers.replaying.judging.metrics import Counts, poisson_interval
from consumers.reports.wording import figure_text, interval_text
from consumers.rules.rule import Rule
from consumers.terminal.wording import count, duration

from .search import TunedLabel, per_day, per_day_bound

ADVICE_INTERVALS: Final = (
    "Intervals: exact Poisson, 95 %; false alarms taken as independent. Settings have none on the footage that they "
    "were chosen on."
)
_DAY: Final = 86_400.0


def verdict(found: Sequence[TunedLabel]) -> str:
    """What the recommended settings do on this footage, a sentence for each label."""
    sentences = []
    for tuned in found:
        before, after = (trial.counts(tuned.files) for trial in (tuned.before, tuned.chosen))
        sentences.append(
            f"{tuned.label}: start {tuned.chosen.rule.start:g} finds {after.detected} of "
            f"{count(after.truth, 'true event')} with {count(after.false_alarms, 'false alarm')} in "
            f"{duration(after.seconds)} of footage; now {before.detected} with {before.false_alarms}{_held(tuned)}."
        )
    return " ".join(sentences)


def _held(tuned: TunedLabel) -> str:
    held = tuned.held_out
    return f"; held out, {held.detected} with {held.false_alarms}" if held is not None else ""


def label_advice(tuned: TunedLabel) -> str:
    """Why a label's settings may exceed the budget; nothing where held-out files show that they keep to it."""
    held, budget = tuned.held_out, figure_text(tuned.budget)
    if not tuned.within:
        return (
            f"{tuned.label}: no setting keeps to {budget} false alarms per camera-day; this is the one with the fewest."
        )
    if held is None:
        return (
            f"{tuned.label}: nothing shows what these settings do on other footage: they cannot be checked on held-out "
            "files, which needs two files or more."
        )
    alarms, bound = count(held.false_alarms, "false alarm"), figure_text(per_day_bound(held))
    if per_day(held) > tuned.budget:
        return (
            f"{tuned.label}: on held-out files, settings chosen alike exceed {budget} per camera-day: {alarms}, "
            f"{figure_text(per_day(held))} per camera-day."
        )
    if per_day_bound(held) > tuned.budget:
        verb = "is" if held.false_alarms == 1 else "are"
        return (
            f"{tuned.label}: {duration(held.seconds)} of footage is too little to show a rate of {budget} per "
            f"camera-day; {alarms} in held-out files {verb} compatible with up to {bound} per camera-day (95 %)."
        )
    return ""


def settings_rows(found: Sequence[TunedLabel]) -> list[dict[str, Any]]:
    """For each label the settings now, the recommended ones, and those of held-out files, with what they give."""
    rows = []
    for tuned in found:
        variants: list[tuple[str, Rule | None, Counts | None]] = [
            ("now", tuned.before.rule, tuned.before.counts(tuned.files)),
            ("tuned", tuned.chosen.rule, tuned.chosen.counts(tuned.files)),
            ("tuned, held out", None, tuned.held_out),
        ]
        for name, rule, counts in variants:
            if counts is None:
                continue
            interval, high = "", 0.0
            if name != "tuned":  # those were chosen for having few false alarms here
                low, high = (bound * _DAY / counts.seconds for bound in poisson_interval(counts.false_alarms))
                interval = interval_text(low, high)
            rows.append(
                {
                    "label": tuned.label,
                    "name": name,
                    "rule": rule,
                    "counts": counts,
                    "per_day": per_day(counts),
                    "interval": interval,
                    "upper": high,
                }
            )
    return rows
