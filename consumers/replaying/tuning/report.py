"""What was tried by `clipline tune`, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.live.tracker import Rule
from consumers.replaying.judging.metrics import Counts
from consumers.replaying.report import trade
from consumers.replaying.telling import shown
from consumers.reports.drawing import render

from .sweep import Tuned, per_day, per_day_bound


def write_tune_report(model: str, found: Sequence[Tuned], rate: float) -> str:
    """Return the page."""
    rows: list[tuple[str, Rule | None, Counts]] = []
    for tuned in found:
        for name, trial in ((f"{tuned.label}, now", tuned.before), (f"{tuned.label}, tuned", tuned.chosen)):
            rows.append((name, trial.rule, trial.counts(tuned.files)))
        if tuned.held_out is not None:
            rows.append((f"{tuned.label}, tuned, on files held out", None, tuned.held_out))
    budget = found[0].budget / 24 if found else None  # each label's is the same
    plot = trade({t.label: t.trials for t in found}, {t.label: t.chosen for t in found}, budget)
    bounds = [(t, per_day_bound(t.chosen.counts(t.files))) for t in found]
    return render(
        "tuning.html", model=model, rate=rate, rows=rows, plot=plot, per_day=per_day, bounds=bounds, number=shown
    )
