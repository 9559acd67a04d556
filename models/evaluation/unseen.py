"""How good the shipped models are where nobody looked: on clips of sources that had no part in making or choosing them.

These figures are not in the checkpoints, whose own are of the clips that the models were chosen on. They lie in
`checkpoints/unseen.json`, and whatever shows them reads them there: `clipline models`, README, the cards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.checkpoint import SHIPPED_FOLDER

_FILE: Final = SHIPPED_FOLDER / "unseen.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """Accuracy and AUC of one model, each a value, and its 95 % interval where one was computed."""

    accuracy: tuple[float, ...]
    auc: tuple[float, ...]

    def __str__(self) -> str:
        """`75.0 % (60 to 83), AUC 0.887 (0.79 to 0.97)`."""
        percent = "".join(f" ({100 * low:.0f} to {100 * high:.0f})" for low, high in _bounds(self.accuracy))
        area = "".join(f" ({low:.2f} to {high:.2f})" for low, high in _bounds(self.auc))
        return f"{100 * self.accuracy[0]:.1f} %{percent}, AUC {self.auc[0]:.3f}{area}"

    def to_json(self) -> dict[str, Any]:
        return {"accuracy": list(self.accuracy), "auc": list(self.auc)}


@dataclass(frozen=True, slots=True)
class Unseen:
    """What was measured on unseen clips, and a baseline on the clips that the models were chosen on."""

    clips: int
    sources: int
    models: Mapping[str, Measured]
    #: A logistic regression on features of EfficientNet-Lite0, cross-validated as the models are.
    baseline: Measured

    @property
    def footage(self) -> str:
        return f"{self.clips} clips of {self.sources} sources that nobody here has seen"

    @property
    def baseline_story(self) -> str:
        """What the baseline is, and what it reaches."""
        return (
            "A logistic regression on EfficientNet-Lite0 features (mean, standard deviation and mean change over 16 "
            f"frames) reaches {self.baseline} on the clips that the models learnt from, likewise held out by source"
        )

    def reaches_baseline(self, metrics: Mapping[str, Any]) -> bool:
        """Whether the held-out metrics of a checkpoint are as good as the baseline's, in accuracy and AUC."""
        reached: bool = metrics["accuracy"] >= self.baseline.accuracy[0] and metrics["auc"] >= self.baseline.auc[0]
        return reached


def measured_unseen() -> Unseen:
    """Read the figures that ship."""
    values = json.loads(_FILE.read_text("utf-8"))
    return Unseen(
        values["clips"],
        values["sources"],
        {name: Measured(tuple(m["accuracy"]), tuple(m["auc"])) for name, m in values["models"].items()},
        Measured((values["baseline"]["accuracy"],), (values["baseline"]["auc"],)),
    )


def _bounds(values: tuple[float, ...]) -> list[tuple[float, float]]:
    return [(values[1], values[2])] if len(values) > 1 else []
