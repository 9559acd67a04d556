"""`clipline train`: its options, parsed into a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

LabelMapOption = Annotated[
    list[str] | None, typer.Option("--map", help="old=new; '=' and nothing leaves out. May be repeated.")
]
_THE_MODELS = {"show_default": "the model's"}
_MODEL, _LOOP, _VARIATION, _MEASURE = "The model", "The loop", "Variation and balance", "What is measured"


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:  # noqa: A002  typer's own word
    return typer.Option(*names, rich_help_panel=panel, help=help, **more)


def renamed_labels(label_map: list[str] | None) -> dict[str, str]:
    """Parse `old=new` pairs.

    Raises:
        BadParameter: a pair has no '='.
    """
    renamed = {}
    for pair in label_map or []:
        old, equals, new = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--map {pair!r}: expected old=new")
        renamed[old] = new
    return renamed


def train(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="A folder per class, a CSV path,label[,start,end][,group], or footage labelled as for Kinetics, "
            "ActivityNet or MMAction2."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")] = Path(
        "model.safetensors"
    ),
    label_map: LabelMapOption = None,
    # The model.
    arch: Annotated[
        str, _option(panel=_MODEL, help="One of `clipline models --zoo`, or classical.")
    ] = "movenet_motion",
    begin_from: Annotated[
        str | None,
        _option(
            "--from",
            panel=_MODEL,
            help="Begin from a checkpoint or a PyTorchVideo model; with a new head, unless the labels are the same.",
        ),
    ] = None,
    frames: Annotated[int | None, _option(panel=_MODEL, min=1, help="Frames of a clip.", **_THE_MODELS)] = None,
    spacing: Annotated[
        float | None, _option(panel=_MODEL, help="Seconds from one frame to the next.", **_THE_MODELS)
    ] = None,
    size: Annotated[
        int | None, _option(panel=_MODEL, min=32, max=320, help="Height and width of a frame.", **_THE_MODELS)
    ] = None,
    dropout: Annotated[float | None, _option(panel=_MODEL, help="Probability.", **_THE_MODELS)] = None,
    stochastic_depth: Annotated[
        float | None, _option(panel=_MODEL, help="Probability of leaving out a branch.", **_THE_MODELS)
    ] = None,
    # The loop.
    epochs: Annotated[int, _option(panel=_LOOP, min=1, help="Passes over the data.")] = 12,
    batch: Annotated[int, _option(panel=_LOOP, min=2, help="Clips a step, over all processes.")] = 16,
    optimiser: Annotated[str, _option("--optimizer", panel=_LOOP, help="adamw or sgd.")] = "adamw",
    learning_rate: Annotated[float, _option(panel=_LOOP, help="Highest learning rate.")] = 5e-4,
    warm_up: Annotated[float, _option(panel=_LOOP, help="Share of the steps in which it rises.")] = 0.15,
    weight_decay: Annotated[float, _option(panel=_LOOP, help="Pull of weights towards zero.")] = 0.1,
    label_smoothing: Annotated[float, _option(panel=_LOOP, help="Share of a target spread over all labels.")] = 0.1,
    trained_stages: Annotated[
        int | None,
        _option(
            panel=_LOOP,
            help="How many of the last stages learn; 0 is all, 1 the head only.",
            show_default="1 for CNN-LSTMs and movenet_motion, else 0",
        ),
    ] = None,
    layer_decay: Annotated[float, _option(panel=_LOOP, help="Learning rate of each stage over the next's.")] = 1.0,
    averaging: Annotated[float, _option(panel=_LOOP, help="Keep a running average of weights, as 0.99.")] = 0.0,
    patience: Annotated[
        int | None, _option(panel=_LOOP, min=1, help="Stop after so many epochs without gain on inner held-out groups.")
    ] = None,
    metric: Annotated[
        str, _option(panel=_LOOP, help="Of gain and best epoch: loss, accuracy, balanced_accuracy or macro_f1.")
    ] = "loss",
    seed: Annotated[int, _option(panel=_LOOP, help="The same seed gives the same model.")] = 0,
    resume: Annotated[
        bool, _option("--resume/--fresh", panel=_LOOP, help="Go on from what a killed run of this command left.")
    ] = True,
    tensorboard: Annotated[
        Path | None, _option(panel=_LOOP, help="Write curves for TensorBoard there.", show_default=False)
    ] = None,
    # Variation and balance.
    crop: Annotated[float, _option(panel=_VARIATION, help="Smallest share of the picture that is kept.")] = 0.6,
    flip: Annotated[bool, _option("--flip/--no-flip", panel=_VARIATION, help="Mirror half of the clips.")] = True,
    colour: Annotated[float, _option(panel=_VARIATION, help="How far light and colour move.")] = 0.3,
    rand_augment: Annotated[int, _option(panel=_VARIATION, help="Strength of RandAugment, 0 to 30.")] = 0,
    speed: Annotated[float, _option(panel=_VARIATION, help="Up to so much faster or slower.")] = 1.3,
    erasing: Annotated[float, _option(panel=_VARIATION, help="Probability of erasing a rectangle.")] = 0.0,
    mixup: Annotated[float, _option(panel=_VARIATION, help="MixUp's alpha.")] = 0.0,
    cutmix: Annotated[float, _option(panel=_VARIATION, help="CutMix's alpha.")] = 0.0,
    imbalance: Annotated[
        str,
        _option(
            panel=_VARIATION,
            help="none, weights, oversample, focal, logit-adjust, smote or ensemble (of balanced draws).",
        ),
    ] = "weights",
    # What is measured.
    folds: Annotated[int, _option(panel=_MEASURE, min=2, help="Parts into which groups are divided.")] = 5,
    used_folds: Annotated[
        int | None, _option(panel=_MEASURE, min=1, help="Validate on so many of them.", show_default="all")
    ] = None,
    counted: Annotated[
        str | None, _option(panel=_MEASURE, help="Measure only on files whose path contains this.")
    ] = None,
) -> None:
    """Train a model on labelled footage and measure it on groups that were held out.

    The default fits a head on what a frozen pose network sees change: minutes on a laptop, and the best of what was
    tried on a few hundred clips. On several GPUs or machines the same command runs under torchrun.

    \b
    clipline train data/ -o own.safetensors                    # data/fight/*.mp4, data/normal/*.mp4
    clipline train labels.csv --arch x3d_s --from X3D_S.pyth --trained-stages 2 --layer-decay 0.5
    clipline train labels.csv --arch classical                 # what would hand-made features do?
    torchrun --nproc-per-node 4 -m consumers.cli train labels.csv --arch x3d_s
    """
    from consumers.learning.train import train_command
    from models.networks.zoo import describe
    from models.training.recipe import Augmentation, Recipe

    renamed = renamed_labels(label_map)
    designed = describe(arch)  # an unknown name is told before anything is decoded
    try:
        recipe = Recipe(
            arch,
            frames=frames or designed.frames,
            spacing_seconds=spacing or designed.spacing_seconds,
            size=size or designed.size,
            epochs=epochs,
            batch=batch,
            optimiser=optimiser,  # type: ignore[arg-type]  # checked by the recipe, as are the next ones
            learning_rate=learning_rate,
            warm_up=warm_up,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
            trained_stages=trained_stages,
            layer_decay=layer_decay,
            averaging=averaging,
            patience=patience,
            metric=metric,  # type: ignore[arg-type]
            imbalance=imbalance,  # type: ignore[arg-type]
            augmentation=Augmentation(crop, flip, colour, rand_augment, speed, erasing, mixup, cutmix),
            begin_from=begin_from,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    train_command(Console(stderr=True), data, output, recipe, renamed, folds, used_folds, counted, resume, tensorboard)
