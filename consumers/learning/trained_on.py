"""What a checkpoint says about its training: renamed labels, labels that raise no events, footage that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from consumers.terminal.notes import Notes
from models import Checkpoint, Contract

from .footage.leakage import sampled, seen_footage

#: Of a model that has no thresholds yet.
_QUIET: Final = ("normal",)
#: What a contract's `training` calls the footage that temperature and thresholds were fitted to, and that set int8.
CALIBRATION_FOOTAGE: Final = "calibration"
INT8_FOOTAGE: Final = "int8_calibration"
#: And the models that it was taught by, each as `began_from` describes it.
TEACHERS: Final = "teachers"
_FITTED: Final = {
    CALIBRATION_FOOTAGE: "has its temperature and thresholds from",
    INT8_FOOTAGE: "has its ranges of int8 from",
}
_ITS_OWN_FIGURES: Final = "Its own metrics are of clips that were held out."


def known_labels(checkpoints: Sequence[Checkpoint], renamed: Mapping[str, str]) -> dict[str, str]:
    """How labels are renamed: as they were for training, unless the user renames them otherwise."""
    known = {label for c in checkpoints for label in c.contract.labels}
    in_training = {
        old: new
        for c in reversed(checkpoints)
        for old, new in c.contract.training.get("renamed", {}).items()
        if old not in known
    }
    return in_training | dict(renamed)


def quiet_labels(contract: Contract) -> tuple[str, ...]:
    """The labels that raise no events: those without a threshold, or "normal" if the model has no thresholds."""
    if not contract.thresholds:
        return _QUIET
    return tuple(label for label in contract.labels if label not in contract.thresholds)


def began_from(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint keeps of the one that it began from or learnt from: its id, and digests of all its footage."""
    return {"model": checkpoint.id, "footage": _all_footage(checkpoint)}


def _all_footage(checkpoint: Checkpoint) -> list[str]:
    """Digests of the footage that a model has learnt from, as have those that its training began from or imitated."""
    training = checkpoint.contract.training
    before = [training.get("began_from", {}), *training.get(TEACHERS, ())]
    return sampled([*training.get("footage", ()), *(d for model in before for d in model.get("footage", ()))])


def warn_of_training_data(
    checkpoint: Checkpoint, digests: Mapping[Path, str], notes: Notes, advice: str = _ITS_OWN_FIGURES
) -> None:
    """Warn about files that a model was trained or calibrated on; `digests` are those of the files."""
    training = checkpoint.contract.training
    if "footage" in training:
        seen = _told_seen(_all_footage(checkpoint), digests)
    else:  # an older checkpoint holds only the name of its data
        trained_on = training.get("data", ())
        names = {trained_on} if isinstance(trained_on, str) else set(trained_on)
        seen = ", ".join(sorted(names & {part for path in digests for part in path.parts}))
    if seen:
        notes.warn(f"{checkpoint.id} was trained on {seen}, so its figures on them are too optimistic. {advice}")
    for key, what in _FITTED.items():
        if seen := _told_seen(training.get(key, {}).get("footage", ()), digests):
            notes.warn(
                f"{checkpoint.id} {what} {seen}, so its figures on them are too optimistic. Judge it on other footage"
            )


def _told_seen(sample: Sequence[str], digests: Mapping[Path, str]) -> str:
    """How many of the files are in a `footage_sample`, in words; nothing if none is."""
    count, is_all = seen_footage(sample, digests)
    return f"{'' if is_all else 'at least '}{count} of these {len(digests)} videos" if count else ""
