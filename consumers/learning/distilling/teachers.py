"""What teachers say of footage: scores of the windows that each would be served, kept so that a stopped run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumers.learning.footage.examples import Example
from consumers.learning.footage.frames import Progress, Sampling, try_frames
from consumers.terminal.notes import Notes
from models import Checkpoint, Classifier, Contract, TrainingError, code_version, find, library_versions
from models.training import distributed, unfinished
from models.training.distillation import Opinion
from models.training.material.computed import Computed
from models.windows.windowing import in_batches, sliding_windows

#: Windows after which progress is told.
_WINDOWS_AT_ONCE: Final = 64
_PERCENT: Final = 100
_TASK: Final = "teachers' scores, percent"
#: What decodes and computes: another version may give other scores.
_LIBRARIES: Final = ("av", "numpy", "openvino", "torch")


class Teachers:
    """Models with the same labels, whose scores are averaged."""

    def __init__(self, names: Sequence[str], engine: str = "auto") -> None:
        """Find them.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or its labels are not those of the first.
        """
        self.checkpoints: tuple[Checkpoint, ...] = tuple(find(name) for name in names)
        for other in self.checkpoints[1:]:
            if set(other.contract.labels) != set(self.contract.labels):
                raise TrainingError(
                    f"teachers must know the same labels: {self.checkpoints[0].id} knows "
                    f"{', '.join(self.contract.labels)}; {other.id} {', '.join(other.contract.labels)}"
                )
            if other.contract.multi_label != self.contract.multi_label:
                several, one = sorted((self.checkpoints[0], other), key=lambda c: not c.contract.multi_label)
                raise TrainingError(
                    f"teachers must score alike: a clip may have several labels for {several.id}, and one for {one.id}"
                )
        self._names, self._engine = names, engine

    @property
    def contract(self) -> Contract:
        """Of the first teacher, whose labels, in this order, are the student's."""
        return self.checkpoints[0].contract

    def opinions(
        self,
        examples: Sequence[Example],
        digests: Mapping[Path, str],
        folder: Path,
        notes: Notes,
        progress: Progress,
    ) -> dict[Example, list[Opinion] | str]:
        """What each teacher says of each example, or why that cannot be decoded.

        It is kept in `folder`; what an earlier run had left there is told. Decoded frames of one example at a time are
        needed, so that days of footage fit on a disk.
        """
        story: list[Any] = [[c.id for c in self.checkpoints], self._engine, _story(examples, digests)]
        story += [library_versions(*_LIBRARIES), code_version(Path(__file__).parents[3] / "models")]
        if (left := distributed.from_first(lambda: unfinished.claim(folder, story))) is not None:
            notes.say(left, style="")
        classifiers = [Classifier.load(name, self._engine) for name in self._names]
        at = 0

        def compute(index: int) -> dict[str, np.ndarray]:
            return self._score(classifiers, examples[index], lambda share: tell(at + share))

        def tell(done: float) -> None:
            progress(_TASK, int(_PERCENT * done / len(examples)), _PERCENT)

        kept = Computed(folder / "teachers'-scores" if distributed.world() == 1 else None, compute)

        def one(index: int) -> Mapping[str, np.ndarray] | str:
            nonlocal at
            try:
                return kept.of(index)
            except _UndecodableError as error:
                return str(error)
            finally:
                at += 1
                tell(at)

        tell(0)
        found = distributed.share_out(range(len(examples)), one)
        return {e: self._read(found[index]) for index, e in enumerate(examples)}

    def _score(
        self, classifiers: Sequence[Classifier], example: Example, tell: Callable[[float], None]
    ) -> dict[str, np.ndarray]:
        arrays = {}
        for number, classifier in enumerate(classifiers):
            contract = classifier.contract
            frames = try_frames(example, Sampling.of(contract))
            if isinstance(frames, str):
                raise _UndecodableError(frames)
            windows = sliding_windows(len(frames), contract.frames)  # (W, T)
            scores = []
            for batch in in_batches(windows, _WINDOWS_AT_ONCE):
                scores.append(classifier.predict_windows(frames, batch))
                tell((number + sum(map(len, scores)) / len(windows)) / len(classifiers))
            order = [contract.labels.index(label) for label in self.contract.labels]
            arrays[f"scores {number}"] = np.concatenate(scores)[:, order]
            arrays[f"middles {number}"] = windows[:, [0, -1]].mean(1) * contract.spacing_seconds
        return arrays

    def _read(self, arrays: Mapping[str, np.ndarray] | str) -> list[Opinion] | str:
        if isinstance(arrays, str):
            return arrays
        return [Opinion(arrays[f"middles {n}"], arrays[f"scores {n}"]) for n in range(len(self.checkpoints))]


class _UndecodableError(Exception):
    """Footage that cannot be decoded; the message says where and why."""


def story_of(teachers: Teachers, examples: Sequence[Example], digests: Mapping[Path, str]) -> Any:
    """Plain values by which other teachers, or other footage, are known."""
    return [[c.id for c in teachers.checkpoints], _story(examples, digests)]


def _story(examples: Sequence[Example], digests: Mapping[Path, str]) -> list[Any]:
    return [[digests[e.path], e.start_seconds, e.end_seconds] for e in examples]
