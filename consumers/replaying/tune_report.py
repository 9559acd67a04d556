"""What was tried by `clipline tune`, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.drawing import render

from .report import trade
from .tuning import Tuned


def write_tune_report(model: str, found: Sequence[Tuned], rate: float) -> str:
    """Return the page."""
    rows = []
    for tuned in found:
        for name, trial in ((f"{tuned.label}, now", tuned.before), (f"{tuned.label}, tuned", tuned.chosen)):
            rows.append((name, trial.rule, trial.counts(tuned.files)))
    plot = trade({t.label: t.trials for t in found}, {t.label: t.chosen for t in found})
    return render("tuning.html", model=model, rate=rate, rows=rows, plot=plot)
