"""Remedies for labels with far less footage than others: weights, resampling, losses and synthetic samples.

Each is applied to the training part of a split, never to what is held out, so figures describe footage as it is.
Targets of the losses are indices (B,) or, after mixing clips, probabilities (B, L).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.errors import TrainingError

#: `none`: no remedy. `weights`: rare labels weigh more in the loss. `oversample`: their clips are drawn more often.
#: `focal`: easy clips weigh less. `logit-adjust`: the loss corrects for how rare a label is. `smote`: new features are
#: interpolated between those of a rare label. `ensemble`: models of balanced subsets are averaged.
Imbalance = Literal["none", "weights", "oversample", "focal", "logit-adjust", "smote", "ensemble"]
IMBALANCES: Final[tuple[Imbalance, ...]] = get_args(Imbalance)

Indices = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

#: SMOTE's own default (Chawla et al., 2002, section 4.2).
_NEIGHBOURS: Final = 5


def class_weights(
    counts: Sequence[int] | Indices, scheme: Literal["inverse", "effective"] = "inverse", *, beta: float = 0.999
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Weights (L,) of labels with `counts` (L,) samples; they average to one over the samples.

    `inverse`: proportional to 1 / n. `effective`: proportional to 1 / E, with the effective number of samples
    E = (1 - beta^n) / (1 - beta) of Cui et al., CVPR 2019, proposition 1. beta = 0 weighs all labels alike, beta → 1
    approaches `inverse`.
    A label without samples has weight 0, so neither clips nor label smoothing teach anything about it.

    Raises:
        ValueError: a negative count, or a beta outside [0, 1).
        TrainingError: there are no samples at all.
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or (n < 0).any():
        raise ValueError(f"counts {n.tolist()}: expected one number a label, none negative")
    if not 0 <= beta < 1:
        raise ValueError(f"beta {beta}: expected at least 0 and less than 1")
    if not n.sum():
        raise TrainingError("no samples of any label: expected at least one")
    # expm1 keeps the digits that 1 - beta^n loses where beta is near 1.
    amount = n if scheme == "inverse" else -np.expm1(n * np.log(beta)) / (1 - beta) if beta else np.minimum(n, 1.0)
    weights = np.divide(1.0, amount, out=np.zeros_like(n), where=n > 0)
    scaled: np.ndarray[tuple[int], np.dtype[np.float64]] = weights * n.sum() / (weights * n).sum()
    return scaled


def positive_weights(counts: Sequence[int] | Indices, samples: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Weights (L,) of having each label, of labels that `counts` (L,) of the samples have: both sides then weigh alike.

    1 for a label that no sample has.
    """
    n = np.asarray(counts, dtype=np.float64)
    weights: np.ndarray[tuple[int], np.dtype[np.float64]] = np.where(
        (n > 0) & (n < samples), (samples - n) / np.maximum(n, 1), 1.0
    )
    return weights


def focal_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor | None = None,
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Focal loss of softmax scores, a mean over the batch: clips that are already right hardly contribute.

    FL = -w_t (1 - p_t)^gamma log p_t (Lin et al., ICCV 2017, eq. 5, with one term a label as in their section 3.1):
    for soft targets q the sum over labels of -q_k w_k (1 - p_k)^gamma log p_k. With gamma = 0 it is cross-entropy.

    Args:
        logits: (B, L).
        targets: (B,) indices, or (B, L) probabilities.
        weight: (L,), alpha in the paper; 1 for all labels if None.
        gamma: how strongly easy clips are discounted.
        label_smoothing: the share of each target that is spread evenly over all labels.

    Raises:
        ValueError: a negative gamma.
    """
    if gamma < 0:
        raise ValueError(f"gamma {gamma}: expected 0 or more")
    wanted = _probabilities(targets, logits, label_smoothing)  # (B, L)
    log_p = functional.log_softmax(logits, dim=1)
    # Where p rounds to 1, the power has no finite slope for gamma < 1, so the base stays just above 0.
    easy = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny) ** gamma
    losses = -wanted * easy * log_p
    return (losses if weight is None else losses * weight).sum(1).mean()


class LogitAdjustment(nn.Module):
    """Cross-entropy of logits + tau log(prior) (Menon et al., ICLR 2021, eq. 10).

    The network learns only what the prior does not explain, so the served logits do not favour common labels. A label
    without samples is counted as having one, since the prior's logarithm must be finite.
    """

    shift: torch.Tensor

    def __init__(self, counts: Sequence[int] | Indices, *, tau: float = 1.0, label_smoothing: float = 0.0) -> None:
        """`counts` (L,) of the training part.

        Raises:
            ValueError: a negative tau.
        """
        super().__init__()
        if tau < 0:
            raise ValueError(f"tau {tau}: expected 0 or more")
        n = np.maximum(np.asarray(counts, dtype=np.float64), 1)
        self.label_smoothing = label_smoothing
        self.register_buffer("shift", torch.tensor(tau * np.log(n / n.sum()), dtype=torch.float32))

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of logits (B, L) for targets (B,) or (B, L)."""
        return functional.cross_entropy(logits + self.shift, targets, label_smoothing=self.label_smoothing)


def oversampled(indices: Indices, truth: Indices, generator: np.random.Generator) -> Indices:
    """Draw `indices` so that each label occurs as often as the most common one, in random order.

    Every sample is drawn at least once, and at most once more than any other of its label.

    Args:
        indices: (n,) of the training part.
        truth: (N,) labels of all samples.
        generator: the same state gives the same draw.
    """
    members = _by_label(indices, truth)
    most = max((len(m) for m in members), default=0)
    drawn = [
        np.concatenate([np.tile(m, most // len(m)), generator.choice(m, most % len(m), replace=False)]) for m in members
    ]
    return generator.permutation(np.concatenate([*drawn, indices[:0]]))


def balanced_subsets(indices: Indices, truth: Indices, count: int, generator: np.random.Generator) -> list[Indices]:
    """`count` subsets of `indices`, each with all samples of the rarest label and as many of every other.

    EasyEnsemble (Liu, Wu, Zhou, IEEE Trans. SMC-B 39, 2009): a model is trained on each and their scores are averaged.
    Together they see far more of the common labels than a single balanced subset holds.

    Args:
        indices: (n,) of the training part.
        truth: (N,) labels of all samples.
        count: how many subsets.
        generator: the same state gives the same draws.

    Raises:
        ValueError: less than one subset.
    """
    if count < 1:
        raise ValueError(f"{count} subsets: expected at least one")
    members = _by_label(indices, truth)
    least = min((len(m) for m in members), default=0)
    return [
        np.sort(np.concatenate([*(generator.choice(m, least, replace=False) for m in members), indices[:0]]))
        for _ in range(count)
    ]


def synthetic_minority(
    features: Floats, truth: Indices, labels: Sequence[str], *, seed: int = 0, neighbours: int = _NEIGHBOURS
) -> tuple[Floats, Indices]:
    """Add samples between neighbours of one label until each label has as many as the most common (SMOTE).

    Chawla et al., JAIR 16, 2002, as imbalanced-learn computes it. If a label has few samples, all of them
    are neighbours. It interpolates, so it suits features, where the midpoint of two samples is plausible, not pixels.

    Args:
        features: (N, ...); each sample is taken as one vector.
        truth: (N,) indices into `labels`.
        labels: names for error messages.
        seed: the same seed gives the same samples.
        neighbours: from how many nearest neighbours of a sample the other end is drawn.

    Returns:
        Features (M, ...) and truth (M,): first the given ones, unchanged.

    Raises:
        TrainingError: a label with a single sample, which has no neighbour.
    """
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415  slow to import, and only for this

    counts = np.bincount(truth, minlength=len(labels))
    if single := [labels[int(k)] for k in np.flatnonzero((counts == 1) & (counts < counts.max()))]:
        raise TrainingError(
            f"only one sample of label {', '.join(map(repr, single))}: SMOTE interpolates between two; "
            "add footage of it, or choose another remedy for imbalance (weights, oversample)"
        )
    flat = features.reshape(len(features), -1)
    added = [flat]
    names = [truth]
    for label in np.flatnonzero((counts > 0) & (counts < counts.max())):
        # One label at a time: imbalanced-learn has one number of neighbours for all labels, limited by the rarest.
        smote = SMOTE(
            sampling_strategy={int(label): int(counts.max())},
            k_neighbors=min(neighbours, int(counts[label]) - 1),
            random_state=seed,
        )
        more, _ = smote.fit_resample(flat, truth)
        added.append(more[len(flat) :])
        names.append(np.full(len(more) - len(flat), label, truth.dtype))
    together = np.concatenate(added)
    return together.reshape(len(together), *features.shape[1:]), np.concatenate(names)


def _by_label(indices: Indices, truth: Indices) -> list[Indices]:
    """The indices of each label that occurs."""
    own = truth[indices]
    return [indices[own == k] for k in np.unique(own)]


def _probabilities(targets: torch.Tensor, logits: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    """Targets as smoothed probabilities (B, L)."""
    classes = logits.shape[1]
    exact = functional.one_hot(targets, classes) if targets.ndim == 1 else targets
    return exact.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / classes
