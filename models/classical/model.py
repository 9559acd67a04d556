"""The traditional baseline: hand-made features and a classifier of scikit-learn, served like any other model.

`classical:svm`, `classical:forest` and `classical:knn`; `classical` is the first. A checkpoint holds the described
training clips and the classifier's parameters, and the classifier is fitted again when it is loaded, since scikit-learn
itself stores classifiers as pickles only. All labels count alike, however much footage each has, unless the recipe
says otherwise.

Nothing here needs torch: a worker that serves such a model does not load it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
import sklearn
from safetensors import SafetensorError
from safetensors.numpy import load_file
from scipy.special import softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from models.checkpoint import Checkpoint
from models.errors import CheckpointError, UnknownModelError

from .descriptors import PARTS, describe_clip
from .kinds import PARAMETERS, PREFIX, full_name

#: Each start of a worker fits the classifier, in a time that grows with the square of the samples.
MAX_SAMPLES: Final = 10_000

#: A feature that varies less over all training clips carries no information, and float16 could not hold its spread.
_LEAST_SPREAD: Final = 1e-4
_PROBES: Final = 32
#: How far scores may differ because samples are stored as float16.
_PROBE_TOLERANCE: Final = 5e-3

Floats = np.ndarray[Any, np.dtype[np.float32]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
Scores = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What defines a classifier beside its samples; stored in a contract's `training`."""

    architecture: str
    estimator: Mapping[str, float | int]
    #: Labels count alike in fitting, however many samples each has.
    balanced: bool
    seed: int

    @classmethod
    def default(cls, architecture: str, *, balanced: bool, seed: int) -> Parameters:
        name = full_name(architecture)
        return cls(name, PARAMETERS[name.partition(":")[2]], balanced, seed)

    def for_samples(self, count: int) -> Parameters:
        """The parameters for `count` samples: there cannot be more neighbours than samples."""
        if "n_neighbors" not in self.estimator:
            return self
        return replace(self, estimator={"n_neighbors": min(int(self.estimator["n_neighbors"]), count)})

    def encode(self) -> dict[str, Any]:
        return {
            "estimator": dict(self.estimator),
            "balanced": self.balanced,
            "seed": self.seed,
            "scikit_learn": sklearn.__version__,
        }

    @classmethod
    def decode(cls, architecture: str, training: Mapping[str, Any], where: str) -> Parameters:
        """Read back what `encode` wrote into a contract's `training`; `where` names the file in errors.

        Raises:
            CheckpointError: something is absent or not what it should be.
        """
        try:
            name = full_name(architecture)
            found = training[PREFIX]
            wanted = PARAMETERS[name.partition(":")[2]]
            values = {key: type(default)(found["estimator"][key]) for key, default in wanted.items()}
            parameters = cls(name, values, bool(found["balanced"]), int(found["seed"]))
        except (KeyError, TypeError, ValueError, UnknownModelError) as error:
            raise CheckpointError(f"{where}: its classifier cannot be read: {error}") from None
        if min(values.values()) <= 0 or len(values) < len(found["estimator"]):
            raise CheckpointError(
                f"{where}: estimator {found['estimator']}: expected {', '.join(wanted)}, all positive"
            )
        return parameters


class ClassicalModel:
    """Described clips, and a classifier fitted to them."""

    def __init__(
        self,
        parameters: Parameters,
        labels: int,
        *,
        samples: Floats,
        truth: Labels,
        mean: Floats,
        scale: Floats,
        threads: int | None = None,
    ) -> None:
        """Fit.

        Args:
            parameters: of the classifier.
            labels: L, of which `truth` need not hold all: one that it lacks scores 0.
            samples: (N, F), less `mean` (F,) and divided by `scale` (F,).
            truth: (N,) indices of labels.
            mean: of the descriptions.
            scale: likewise.
            threads: for fitting a forest; all cores if None.
        """
        self.parameters, self._labels = parameters, labels
        self._samples, self._truth, self._mean, self._scale = samples, truth, mean, scale
        self._estimator = _estimator(parameters, threads).fit(samples, truth)
        if "n_jobs" in self._estimator.get_params():
            self._estimator.set_params(n_jobs=1)  # for a few clips, handing work to threads costs more than doing it

    @classmethod
    def fit(
        cls, parameters: Parameters, labels: int, descriptions: Floats, truth: Labels, threads: int | None = None
    ) -> ClassicalModel:
        """Fit to descriptions (N, F) as they are, which are standardised for it.

        Every part of a description gets the same weight, as channels do in the kernel of Zhang et al., IJCV 2007:
        otherwise the gradients, which are most of the features, would outweigh motion.
        """
        sizes = np.fromiter(PARTS.values(), int)
        spread = descriptions.std(0)
        # Features that never varied become 0.
        scale = np.where(spread < _LEAST_SPREAD, np.inf, spread * np.sqrt(np.repeat(sizes, sizes)))
        # A checkpoint stores float16: rounded before fitting, the loaded model is the one that was measured.
        mean, scale = _halved(descriptions.mean(0)), _halved(scale)
        samples = _halved((descriptions - mean) / scale)
        chosen = parameters.for_samples(len(samples))
        return cls(chosen, labels, samples=samples, truth=truth, mean=mean, scale=scale, threads=threads)

    def scores(self, descriptions: Floats) -> Scores:
        """Scores (N, L) of descriptions (N, F); rows sum to one, and none depends on the others."""
        return self._scored((descriptions - self._mean) / self._scale)

    def state(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds."""
        return {
            "samples": self._samples,
            "truth": self._truth,
            "mean": self._mean,
            "scale": self._scale,
            "probes": self._scored(self._probes()).astype(np.float32),
        }

    @classmethod
    def load(cls, checkpoint: Checkpoint, threads: int | None = None) -> ClassicalModel:
        """Fit what a checkpoint holds.

        Raises:
            CheckpointError: it is damaged, or this version of scikit-learn fits another model than the one measured.
        """
        contract, path = checkpoint.contract, checkpoint.path
        parameters = Parameters.decode(contract.architecture, contract.training, str(path))
        found = _read(checkpoint)
        model = cls(
            parameters,
            len(contract.labels),
            samples=found["samples"],
            truth=found["truth"],
            mean=found["mean"],
            scale=found["scale"],
            threads=threads,
        )
        if np.abs(model._scored(model._probes()) - found["probes"]).max() > _PROBE_TOLERANCE:
            made = contract.training[PREFIX].get("scikit_learn", "another version")
            raise CheckpointError(
                f"{path}: scikit-learn {sklearn.__version__} fits another model to its samples than "
                f"scikit-learn {made}, whose accuracy was measured: install that version, or train again"
            )
        return model

    def _probes(self) -> Floats:
        """Samples whose scores show whether two fits are the same."""
        chosen: Floats = self._samples[np.linspace(0, len(self._samples) - 1, _PROBES).astype(int)]
        return chosen

    def _scored(self, samples: Floats) -> Scores:
        scores = np.zeros((len(samples), self._labels))
        scores[:, self._estimator.classes_] = self._shares(samples)
        return scores

    def _shares(self, samples: Floats) -> Scores:
        """Scores of the labels that have samples."""
        if hasattr(self._estimator, "decision_function"):
            # With two labels the machine returns one number, for the second. The temperature calibrates these.
            decision = self._estimator.decision_function(samples)
            logits = np.stack([-decision / 2, decision / 2], axis=1) if decision.ndim == 1 else decision
            return cast("Scores", softmax(logits, axis=1))
        shares = self._estimator.predict_proba(samples)
        if not hasattr(self._estimator, "n_neighbors"):
            return cast("Scores", shares)
        # Neighbours vote; one more vote is spread over all labels, so that no score is 0.
        counts = np.bincount(self._truth)[self._estimator.classes_]
        weights = counts.mean() / counts if self.parameters.balanced else np.ones(len(counts))
        votes = shares * self._estimator.n_neighbors * weights + 1 / len(counts)
        return cast("Scores", votes / votes.sum(1, keepdims=True))


def _estimator(parameters: Parameters, threads: int | None) -> Any:
    """One of scikit-learn's classifiers, not fitted; `threads` are for fitting a forest."""
    kind, options = parameters.architecture.partition(":")[2], dict(parameters.estimator)
    weight = "balanced" if parameters.balanced else None
    if kind == "svm":
        return SVC(class_weight=weight, random_state=parameters.seed, **options)  # with a Gaussian kernel
    if kind == "forest":
        return RandomForestClassifier(
            class_weight=weight, random_state=parameters.seed, n_jobs=threads or -1, **options
        )
    # Distances from a tree do not depend on the other clips of a batch, as those of a matrix product may.
    return KNeighborsClassifier(algorithm="kd_tree", **options)


def describe_clips(clips: Sequence[np.ndarray] | np.ndarray, threads: int) -> Floats:
    """Descriptions (B, F) of clips (B, T, H, W, 3), in several threads: OpenCV releases the interpreter's lock."""
    with ThreadPoolExecutor(threads) as pool:
        described: Floats = np.stack(list(pool.map(describe_clip, clips)))
    return described


def _halved(values: np.ndarray) -> Floats:
    return values.astype(np.float16).astype(np.float32)


def _read(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint, with their shapes checked."""
    path, labels = checkpoint.path, len(checkpoint.contract.labels)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from None
    found = {n: v if np.issubdtype(v.dtype, np.integer) else v.astype(np.float32) for n, v in stored.items()}
    features = sum(PARTS.values())
    samples = len(found.get("truth", ()))
    wanted = {
        "samples": (samples, features),
        "truth": (samples,),
        "mean": (features,),
        "scale": (features,),
        "probes": (_PROBES, labels),
    }
    shapes = {name: values.shape for name, values in found.items()}
    if shapes != wanted or not samples or not np.isin(found["truth"], np.arange(labels)).all():
        raise CheckpointError(f"{path}: its tensors are not those of {checkpoint.contract.architecture}: {shapes}")
    return found
