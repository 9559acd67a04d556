"""`clipline train`: its options, parsed into a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .options import (
    DataArgument,
    GroupByOption,
    LabelMapOption,
    SkipBadRowsOption,
    SkipMissingOption,
    check_data,
    data_options,
    errors,
    renamed_labels,
)

_DEFAULT = "movenet_motion"
_OF_MODEL = {"show_default": "the architecture's"}
_OF_CLIP = {"show_default": "that of --from, else the architecture's"}
_MODEL, _TRAINING, _VARIATION, _VALIDATION = "Model", "Training", "Augmentation and class balance", "Validation"


def _option(*names: str, panel: str, help: str, **more: Any) -> Any:  # noqa: A002  typer's own word
    return typer.Option(*names, rich_help_panel=panel, help=help, **more)


def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")] = Path(
        "model.safetensors"
    ),
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Architecture: one that `clipline models --zoo` lists, or classical.",
            show_default=f"that of --from, else {_DEFAULT}",
        ),
    ] = None,
    begin_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Fine-tune this model: a checkpoint, a shipped one's name, or kinetics/x3d_xs, kinetics/x3d_s or "
            "kinetics/x3d_m, which are downloaded once. Its classifier is replaced if the labels differ.",
            show_default=False,
        ),
    ] = None,
    label_map: LabelMapOption = None,
    skip_missing: SkipMissingOption = False,
    skip_bad_rows: SkipBadRowsOption = False,
    group_by: GroupByOption = None,
    merge_alike: Annotated[
        bool, typer.Option("--merge-alike", help="Make one group of the groups of videos that look alike.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue what a stopped run of this command left, or start anew.")
    ] = True,
    # The model.
    frames: Annotated[
        int | None, _option(panel=_MODEL, min=1, metavar="COUNT", help="Frames in a clip.", **_OF_CLIP)
    ] = None,
    spacing: Annotated[
        float | None, _option(panel=_MODEL, metavar="SECONDS", help="Time between two frames of a clip.", **_OF_CLIP)
    ] = None,
    size: Annotated[
        int | None,
        _option(panel=_MODEL, min=32, max=320, metavar="PIXELS", help="Height and width of a frame.", **_OF_CLIP),
    ] = None,
    dropout: Annotated[
        float | None, _option(panel=_MODEL, metavar="SHARE", help="Probability of dropout.", **_OF_MODEL)
    ] = None,
    stochastic_depth: Annotated[
        float | None,
        _option(panel=_MODEL, metavar="SHARE", help="Probability of skipping a residual branch.", **_OF_MODEL),
    ] = None,
    # The loop.
    epochs: Annotated[int, _option(panel=_TRAINING, min=1, metavar="COUNT", help="Passes over the data.")] = 12,
    batch: Annotated[
        int, _option(panel=_TRAINING, min=2, metavar="COUNT", help="Clips in a step, over all processes together.")
    ] = 16,
    optimiser: Annotated[Literal["adamw", "sgd"], _option("--optimizer", panel=_TRAINING, help="Optimizer.")] = "adamw",
    learning_rate: Annotated[float, _option(panel=_TRAINING, metavar="RATE", help="Peak learning rate.")] = 5e-4,
    warm_up: Annotated[
        float, _option(panel=_TRAINING, metavar="SHARE", help="Share of the steps in which the learning rate rises.")
    ] = 0.15,
    weight_decay: Annotated[float, _option(panel=_TRAINING, metavar="RATE", help="Weight decay.")] = 0.1,
    label_smoothing: Annotated[
        float, _option(panel=_TRAINING, metavar="SHARE", help="Share of the target that is spread over all labels.")
    ] = 0.1,
    trained_stages: Annotated[
        int | None,
        _option(
            panel=_TRAINING,
            metavar="COUNT",
            help="Train only the last stages of the network: 1 is the classifier alone, 0 everything.",
            show_default="1 for CNN-LSTMs and movenet_motion, else 0",
        ),
    ] = None,
    layer_decay: Annotated[
        float,
        _option(panel=_TRAINING, metavar="FACTOR", help="Learning rate of each stage, relative to the stage after it."),
    ] = 1.0,
    averaging: Annotated[
        float,
        _option(
            panel=_TRAINING,
            metavar="SHARE",
            help="Keep a moving average of the weights: share of the old value, such as 0.99. 0 is off.",
        ),
    ] = 0.0,
    patience: Annotated[
        int | None,
        _option(
            panel=_TRAINING,
            min=1,
            metavar="EPOCHS",
            help="Stop early after this many epochs without improvement on an inner validation split.",
            show_default="train all epochs",
        ),
    ] = None,
    metric: Annotated[
        Literal["loss", "accuracy", "balanced_accuracy", "macro_f1"],
        _option(panel=_TRAINING, help="What --patience and the choice of the best epoch look at."),
    ] = "loss",
    seed: Annotated[int, _option(panel=_TRAINING, metavar="NUMBER", help="The same seed gives the same model.")] = 0,
    tensorboard: Annotated[
        Path | None,
        _option(panel=_TRAINING, metavar="FOLDER", help="Also write curves for TensorBoard.", show_default=False),
    ] = None,
    # Augmentation and class balance.
    crop: Annotated[
        float, _option(panel=_VARIATION, metavar="SHARE", help="Random crops keep at least this share of the picture.")
    ] = 0.6,
    flip: Annotated[bool, _option("--flip/--no-flip", panel=_VARIATION, help="Mirror half of the clips.")] = True,
    colour: Annotated[
        float, _option(panel=_VARIATION, metavar="SHARE", help="How much brightness, contrast and saturation vary.")
    ] = 0.3,
    rand_augment: Annotated[
        int, _option(panel=_VARIATION, metavar="STRENGTH", help="RandAugment, up to 30. 0 is off.")
    ] = 0,
    speed: Annotated[
        float, _option(panel=_VARIATION, metavar="FACTOR", help="Play clips up to this much faster or slower.")
    ] = 1.3,
    erasing: Annotated[
        float, _option(panel=_VARIATION, metavar="SHARE", help="Probability of erasing a random rectangle.")
    ] = 0.0,
    mixup: Annotated[float, _option(panel=_VARIATION, metavar="ALPHA", help="MixUp. 0 is off.")] = 0.0,
    cutmix: Annotated[float, _option(panel=_VARIATION, metavar="ALPHA", help="CutMix. 0 is off.")] = 0.0,
    imbalance: Annotated[
        Literal["none", "weights", "oversample", "focal", "logit-adjust", "smote", "ensemble"],
        _option(
            panel=_VARIATION,
            help="How rare classes are balanced. 'ensemble' averages models trained on balanced subsets.",
        ),
    ] = "weights",
    # Validation.
    folds: Annotated[
        int, _option(panel=_VALIDATION, min=2, metavar="COUNT", help="Folds of the cross-validation, split by group.")
    ] = 5,
    used_folds: Annotated[
        int | None,
        _option(
            panel=_VALIDATION, min=1, metavar="COUNT", help="Validate on only this many folds.", show_default="all"
        ),
    ] = None,
    counted: Annotated[
        str | None,
        _option(
            panel=_VALIDATION,
            metavar="TEXT",
            help="Measure only on files whose path contains TEXT.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model on labelled footage and measure its accuracy.

    The accuracy is that of cross-validation, on clips that were held out.
    By default, a classifier is trained on motion features from a fixed pose
    network: minutes on a laptop, and the most accurate of what was tried on a
    few hundred clips. On several GPUs or machines, run the same command under
    torchrun.

    \b
    Examples (with footage of your own):
      clipline train data/ -o own.safetensors
      clipline train labels.csv --from kinetics/x3d_s \\
        --trained-stages 2 --layer-decay 0.5
    The same without internet, from a file that you fetched:
      clipline train labels.csv --from X3D_S.pyth --trained-stages 2
    How good would hand-made features be?
      clipline train labels.csv --arch classical
    On four GPUs:
      torchrun --nproc-per-node 4 -m consumers.cli train labels.csv --arch x3d_s
    """
    renamed = renamed_labels(label_map)
    handling = data_options(skip_missing=skip_missing, skip_bad_rows=skip_bad_rows, group_by=group_by)
    check_data(data, renamed, handling)
    from consumers.learning.train import TrainOptions, train_command
    from models.training.recipe import Augmentation, Recipe
    from models.training.transfer import usual_clip

    arch = _architecture(arch, begin_from)
    clip = usual_clip(arch, begin_from)  # an unknown name is told before anything is decoded
    try:
        recipe = Recipe(
            arch,
            frames=frames or clip.frames,
            spacing_seconds=clip.spacing_seconds if spacing is None else spacing,
            size=size or clip.size,
            fit=clip.fit,
            epochs=epochs,
            batch=batch,
            optimiser=optimiser,
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
            metric=metric,
            imbalance=imbalance,
            augmentation=Augmentation(crop, flip, colour, rand_augment, speed, erasing, mixup, cutmix),
            begin_from=begin_from,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(_named_as_option(str(error))) from None
    options = TrainOptions(
        data,
        output,
        recipe,
        renamed=renamed,
        data_options=handling,
        merge_alike=merge_alike,
        folds=folds,
        used_folds=used_folds,
        counted=counted,
        resume=resume,
        tensorboard=tensorboard,
    )
    train_command(options, errors)


def _architecture(given: str | None, begin_from: str | None) -> str:
    """The architecture to train; the model to begin from is fetched if need be."""
    from consumers.terminal.progress import task_progress
    from models import find
    from models.networks.zoo import describe

    if given is not None:
        describe(given)  # an unknown name is told before anything is fetched
    if begin_from is None:
        return given or _DEFAULT
    with task_progress(errors) as progress:
        begun = find(begin_from, progress).contract.architecture
    return given or begun


def _named_as_option(message: str) -> str:
    """A recipe's message, `augmentation.crop 2: …`, under the name that the command line has for it."""
    name, _, rest = message.partition(" ")
    option = name.removeprefix("augmentation.").removesuffix("_seconds").replace("_", "-")
    return f"--{option.replace('optimiser', 'optimizer')} {rest}"
