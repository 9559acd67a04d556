"""What `clipline tune` tried, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consumers.replaying.report.plots import draw_tradeoff
from consumers.reports.page import Header, render
from consumers.reports.wording import figure_text

from .advice import ADVICE_INTERVALS, label_advice, settings_rows, verdict
from .search import TunedLabel


def write_tune_report(
    title: str,
    found: Sequence[TunedLabel],
    rate: float,
    warnings: Sequence[str] = (),
    facts: Mapping[str, Sequence[str]] | None = None,
    command: str = "",
) -> str:
    """Return the page.

    Args:
        title: the page's, naming the model.
        found: what is recommended for each label, at least one.
        rate: the budget of all labels together, false alarms a camera-day.
        warnings: what the terminal warned of; advice on labels is added.
        facts: names and values for the top of the page, like sources and model.
        command: how it was made.
    """
    budget = found[0].budget  # each label's is the same
    share = f", {figure_text(budget)} of each label" if len(found) > 1 else ""
    allowed = f"at most {rate:g} false alarms per camera-day{share}"
    all_facts = [("Budget", [allowed]), *(facts or {}).items()]
    advice = [text for tuned in found if (text := label_advice(tuned))]
    rows: list[dict[str, Any]] = settings_rows(found)
    return render(
        "tuning.html",
        Header(title, verdict(found), [*warnings, *advice], all_facts, command),
        rows=rows,
        intervals=ADVICE_INTERVALS,
        drawn=[draw_tradeoff({t.label: t.trials for t in found}, {t.label: t.chosen for t in found}, budget / 24)],
    )
