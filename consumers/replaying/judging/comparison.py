"""Two models on the same footage: where they differ, and whether the difference is significant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.evaluation.bootstrap import ROUNDS, draw_groups, interval
from models.evaluation.significance import mcnemar

from .judgement import Judgement


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """A second model minus the first, on the same truth; intervals are 95 % of draws of whole files."""

    #: Indices of true events that only one of them finds.
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    #: Two-sided p-value of an exact McNemar test on true events, taken as independent.
    p_value: float
    recall: float | None
    false_alarms_per_hour: float
    #: Intervals by the names of the two above; empty if there is only one file.
    bounds: Mapping[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        return {
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "p_value": self.p_value,
            "difference": {"recall": self.recall, "false_alarms_per_hour": self.false_alarms_per_hour},
            "low": {name: low for name, (low, _) in self.bounds.items()},
            "high": {name: high for name, (_, high) in self.bounds.items()},
        }


def compare_models(first: Judgement, second: Judgement, *, rounds: int = ROUNDS, seed: int = 0) -> ModelComparison:
    """Compare two models by the true events that only one of them finds, and by their false alarms.

    Raises:
        ValueError: they were not judged by the same truth.
    """
    if first.truth != second.truth or first.event_set.unit_seconds.keys() != second.event_set.unit_seconds.keys():
        raise ValueError("the two models were not judged by the same truth on the same footage")
    found = [set(j.matched) for j in (first, second)]
    only = [tuple(i for i in range(len(first.truth)) if i in found[a] and i not in found[1 - a]) for a in (0, 1)]
    units = sorted(first.event_set.unit_seconds)
    seconds = np.array([first.event_set.unit_seconds[u] for u in units])
    truth = np.bincount([units.index(t.unit) for t in first.event_set.truth], minlength=len(units))
    gained = np.zeros(len(units))
    for indices, sign in ((only[1], 1), (only[0], -1)):
        for index in indices:
            gained[units.index(first.event_set.truth[index].unit)] += sign
    alarms = np.zeros(len(units))
    for judgement, sign in ((second, 1), (first, -1)):
        for detection, match in zip(judgement.event_set.detections, judgement.matched, strict=True):
            if match is None:
                alarms[units.index(detection.unit)] += sign
    drawn: dict[str, list[float]] = {"recall": [], "false_alarms_per_hour": []}
    for rows in draw_groups(len(units), rounds, seed):
        if truth[rows].sum():
            drawn["recall"].append(float(gained[rows].sum() / truth[rows].sum()))
        drawn["false_alarms_per_hour"].append(float(alarms[rows].sum() * 3600 / seconds[rows].sum()))
    return ModelComparison(
        only[0],
        only[1],
        mcnemar(len(only[0]), len(only[1])),
        float(gained.sum() / truth.sum()) if truth.sum() else None,
        float(alarms.sum() * 3600 / seconds.sum()),
        {name: interval(values) for name, values in drawn.items() if values},
    )
