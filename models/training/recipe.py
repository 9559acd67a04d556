"""How a model is trained: everything that changes the result, in one value that can be compared and stored."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, Final, Literal, get_args

from .material.imbalance import IMBALANCES, Imbalance

#: Options whose name on the command line is another.
_TYPED: Final = {"optimiser": "optimizer", "begin_from": "from"}
Fit = Literal["stretch", "crop"]
Optimiser = Literal["adamw", "sgd"]
#: The figure that chooses the best epoch; all but the loss are better when larger.
Metric = Literal["loss", "accuracy", "balanced_accuracy", "macro_f1"]

OPTIMISERS: Final[tuple[str, ...]] = get_args(Optimiser)
METRICS: Final[tuple[str, ...]] = get_args(Metric)
FITS: Final[tuple[str, ...]] = get_args(Fit)
#: Remedies for imbalance that make sense of each label by itself.
_INDEPENDENT: Final = ("none", "weights", "focal")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Augmentation of training clips, the same in all frames of a clip. The defaults suit a few hundred clips."""

    #: Smallest share of the picture's area that a random crop keeps; 1 keeps all of it.
    crop: float = 0.6
    flip: bool = True
    #: How far brightness, contrast and saturation may change; 0 leaves them.
    colour: float = 0.3
    #: Strength of RandAugment (Cubuk et al., 2020), 0 to 30; 0 leaves it out.
    rand_augment: int = 0
    #: Clips are played up to this factor faster or slower; 1 leaves their speed.
    speed: float = 1.3
    #: Probability that a rectangle is erased (Zhong et al., 2020).
    erasing: float = 0.0
    #: Concentration of MixUp's (Zhang et al., 2018) and CutMix's (Yun et al., 2019) Beta distribution; 0 is off.
    mixup: float = 0.0
    cutmix: float = 0.0
    #: Of how many augmented views of each video a frozen image network computes features; the first is as it is.
    views: int = 2

    def __post_init__(self) -> None:
        _within("augmentation.crop", self.crop, 0.05, 1)
        _within("augmentation.colour", self.colour, 0, 1)
        _within("augmentation.rand_augment", self.rand_augment, 0, 30)
        _within("augmentation.speed", self.speed, 1, 4)
        _within("augmentation.erasing", self.erasing, 0, 1)
        _within("augmentation.mixup", self.mixup, 0, 10)
        _within("augmentation.cutmix", self.cutmix, 0, 10)
        _within("augmentation.views", self.views, 1, 64)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Raises:
        ValueError: a value is out of its range; the message names it.
    """

    architecture: str = "cnn_lstm"
    frames: int = 8
    spacing_seconds: float = 0.2
    size: int = 160
    #: How a picture becomes square: "stretch" squeezes it, "crop" cuts out its centre.
    fit: Fit = "stretch"
    epochs: int = 12
    batch: int = 16
    #: Gradients of so many batches make one step: larger steps in the memory of a batch.
    accumulate: int = 1
    optimiser: Optimiser = "adamw"
    learning_rate: float = 5e-4
    #: Share of the steps in which the learning rate rises; then it falls along a cosine.
    warm_up: float = 0.15
    weight_decay: float = 0.1
    label_smoothing: float = 0.1
    #: Probability of dropout, and of leaving out a residual branch; None keeps the architecture's own.
    dropout: float | None = None
    stochastic_depth: float | None = None
    #: How many of the last stages learn (`transfer.stages`); 0 is all, 1 only the head. None is only the head for
    #: architectures whose other stages are pretrained on millions of pictures (CNN-LSTM, movenet_motion), else all.
    trained_stages: int | None = None
    #: Factor of the learning rate from each stage to the one before it.
    layer_decay: float = 1.0
    #: Decay of the running average of the weights, which is then the model; 0 keeps the newest weights.
    averaging: float = 0.0
    #: Stop if the metric on held-out videos has not improved for so many epochs; None trains all epochs.
    patience: int | None = None
    metric: Metric = "loss"
    imbalance: Imbalance = "weights"
    #: Whether a video may have several labels, `fight|smoke`: each has an output and a loss of its own.
    multi_label: bool = False
    #: Whether the model is to say of what is like nothing that it has learnt that it is unknown.
    unknown: bool = False
    #: How many models of balanced subsets are averaged if imbalance is "ensemble".
    members: int = 5
    augmentation: Augmentation = field(default_factory=Augmentation)
    #: A checkpoint to begin from: its path, or a name that `models.find` knows. None: weights that ship, or random.
    begin_from: str | None = None
    seed: int = 0
    #: Labels that never raise an event.
    quiet: tuple[str, ...] = ("normal",)

    def __post_init__(self) -> None:
        _within("frames", self.frames, 1, 256)
        _within("size", self.size, 16, 1024)
        _within("epochs", self.epochs, 1, 100_000)
        _within("batch", self.batch, 2, 4096)
        _within("accumulate", self.accumulate, 1, 1024)
        _within("warm_up", self.warm_up, 0, 0.9)
        _within("label_smoothing", self.label_smoothing, 0, 0.9)
        if self.trained_stages is not None:
            _within("trained_stages", self.trained_stages, 0, 1000)
        _within("layer_decay", self.layer_decay, 0.01, 1)
        _within("averaging", self.averaging, 0, 0.99999)
        _within("members", self.members, 2, 50)
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay {self.weight_decay}: expected a number of at least 0")
        for name, value in (("spacing_seconds", self.spacing_seconds), ("learning_rate", self.learning_rate)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} {value}: expected a positive number")
        for name, probability in (("dropout", self.dropout), ("stochastic_depth", self.stochastic_depth)):
            if probability is not None:
                _within(name, probability, 0, 0.99)
        for name, choice, choices in (
            ("fit", self.fit, FITS),
            ("optimiser", self.optimiser, OPTIMISERS),
            ("metric", self.metric, METRICS),
            ("imbalance", self.imbalance, IMBALANCES),
        ):
            if choice not in choices:
                raise ValueError(f"{name} {choice!r}: expected one of {', '.join(choices)}")
        self._check_labels()

    def _check_labels(self) -> None:
        if self.multi_label and self.imbalance not in _INDEPENDENT:
            raise ValueError(
                f"imbalance {self.imbalance!r}: with several labels a clip expected one of {', '.join(_INDEPENDENT)}"
            )
        if self.multi_label and self.metric != "loss":
            raise ValueError(f"metric {self.metric!r}: with several labels a clip expected loss")

    def describe(self, only: Collection[str] | None = None) -> dict[str, Any]:
        """The recipe as plain values for a checkpoint's metadata; `only` some, such as `augmentation.flip`."""
        # Only the name: the folders on somebody's disk are private.
        whole = asdict(self) | {"begin_from": self.begin_from and PurePath(self.begin_from).name}
        if only is None:
            return whole
        varied = {name: value for name, value in whole.pop("augmentation").items() if f"augmentation.{name}" in only}
        return {name: value for name, value in whole.items() if name in only} | {"augmentation": varied}

    def given_beside(self, used: Collection[str]) -> list[str]:
        """Options that differ from the default and are not `used` (`epochs`, `augmentation.mixup`), as one types them.

        So `epochs` is called --epochs, and `augmentation.rand_augment` --rand-augment.
        """
        own, default = _flat(self), _flat(Recipe())
        given = [name for name, value in own.items() if name not in used and value != default[name]]
        return [f"--{_TYPED.get(name, name.rpartition('.')[2].replace('_', '-'))}" for name in given]


def _flat(recipe: Recipe) -> dict[str, Any]:
    options = asdict(recipe)
    return options | {f"augmentation.{name}": value for name, value in options.pop("augmentation").items()}


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} {value}: expected {low:g} to {high:g}")
