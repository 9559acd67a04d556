"""`clipline train`: its options, parsed into a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from consumers.cli.options import (
    DataArgument,
    GroupByOption,
    LabelMapOption,
    RestOption,
    SkipBadRowsOption,
    SkipMissingOption,
    check_data,
    data_options,
    errors,
    renamed_labels,
)

from .recipe_options import (
    TRAINING,
    VALIDATION,
    VARIATION,
    AccumulateOption,
    AveragingOption,
    BatchOption,
    ColourOption,
    CropOption,
    CutmixOption,
    DropoutOption,
    EpochsOption,
    FlipOption,
    FoldsOption,
    FramesOption,
    LayerDecayOption,
    LearningRateOption,
    MixupOption,
    OptimiserOption,
    SeedOption,
    SizeOption,
    SpacingOption,
    SpeedOption,
    StochasticDepthOption,
    TrainedStagesOption,
    UsedFoldsOption,
    WarmUpOption,
    WeightDecayOption,
    begun_architecture,
    named_as_option,
    option,
    wait_without_spinning,
)

_DEFAULT = "movenet_views"


def train(
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")] = Path(
        "model.safetensors"
    ),
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Architecture: one that `clipline models --zoo` lists.",
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
    rest: RestOption = None,
    quiet: Annotated[
        list[str] | None,
        typer.Option(
            "--quiet",
            metavar="LABEL",
            help="A label that never raises an event. May be given several times.",
            show_default="normal",
        ),
    ] = None,
    multi_label: Annotated[
        bool,
        typer.Option(
            "--multi-label",
            help="A clip may have several labels, fight|smoke: their scores are independent, and need not sum to one.",
        ),
    ] = False,
    unknown: Annotated[
        bool,
        typer.Option("--unknown", help="Let the model say 'unknown' of what is like nothing that it has learnt."),
    ] = False,
    merge_alike: Annotated[
        bool, typer.Option("--merge-alike", help="Make one group of the groups of videos that look alike.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue what a stopped run of this command left, or start anew.")
    ] = True,
    # The model.
    frames: FramesOption = None,
    spacing: SpacingOption = None,
    size: SizeOption = None,
    dropout: DropoutOption = None,
    stochastic_depth: StochasticDepthOption = None,
    # The loop.
    epochs: EpochsOption = 12,
    batch: BatchOption = 16,
    accumulate: AccumulateOption = 1,
    optimiser: OptimiserOption = "adamw",
    learning_rate: LearningRateOption = 5e-4,
    warm_up: WarmUpOption = 0.15,
    weight_decay: WeightDecayOption = 0.1,
    label_smoothing: Annotated[
        float, option(panel=TRAINING, metavar="SHARE", help="Share of the target that is spread over all labels.")
    ] = 0.1,
    trained_stages: TrainedStagesOption = None,
    layer_decay: LayerDecayOption = 1.0,
    averaging: AveragingOption = 0.0,
    patience: Annotated[
        int | None,
        option(
            panel=TRAINING,
            min=1,
            metavar="EPOCHS",
            help="Stop early after this many epochs without improvement on an inner validation split.",
            show_default="train all epochs",
        ),
    ] = None,
    metric: Annotated[
        Literal["loss", "accuracy", "balanced_accuracy", "macro_f1"],
        option(panel=TRAINING, help="What --patience and the choice of the best epoch look at."),
    ] = "loss",
    seed: SeedOption = 0,
    tensorboard: Annotated[
        Path | None,
        option(panel=TRAINING, metavar="FOLDER", help="Also write curves for TensorBoard.", show_default=False),
    ] = None,
    # Augmentation and class balance.
    crop: CropOption = 0.6,
    flip: FlipOption = True,
    colour: ColourOption = 0.3,
    rand_augment: Annotated[
        int, option(panel=VARIATION, metavar="STRENGTH", help="RandAugment, up to 30. 0 is off.")
    ] = 0,
    speed: SpeedOption = 1.3,
    erasing: Annotated[
        float, option(panel=VARIATION, metavar="SHARE", help="Probability of erasing a random rectangle.")
    ] = 0.0,
    mixup: MixupOption = 0.0,
    cutmix: CutmixOption = 0.0,
    imbalance: Annotated[
        Literal["none", "weights", "oversample", "focal", "logit-adjust", "smote", "ensemble"],
        option(
            panel=VARIATION,
            help="How rare classes are balanced. 'ensemble' averages models trained on balanced subsets.",
        ),
    ] = "weights",
    # Validation.
    folds: FoldsOption = 5,
    used_folds: UsedFoldsOption = None,
    trials: Annotated[
        int | None,
        option(
            panel=VALIDATION,
            min=2,
            metavar="COUNT",
            help="Try this many learning rates and the like on the training part of each fold alone; keep the best.",
            show_default="none",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        option(
            "--test",
            panel=VALIDATION,
            metavar="DATA",
            help="A list or folder that is never learnt from, and judges the model once, at the end. May be given "
            "several times.",
            show_default="rows of a column `split` that say test",
        ),
    ] = None,
    learning_curve: Annotated[
        bool,
        option(
            "--learning-curve",
            panel=VALIDATION,
            help="Also measure the accuracy of models that learn from fewer groups: would more footage help?",
        ),
    ] = False,
    counted: Annotated[
        str | None,
        option(
            panel=VALIDATION,
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
    Rows that judge the model at the end, never learnt from:
      clipline train labels.csv --test test.csv
    How good would hand-made features be?
      clipline train labels.csv --arch classical
    On four GPUs:
      torchrun --nproc-per-node 4 -m consumers.cli train labels.csv --arch x3d_s
    """
    wait_without_spinning()
    renamed = renamed_labels(label_map)
    handling = data_options(
        skip_missing=skip_missing,
        skip_bad_rows=skip_bad_rows,
        group_by=group_by,
        rest=rest,
        multi_label=multi_label,
    )
    check_data(data, renamed, handling, test=test or ())
    from consumers.learning.train import TrainOptions, train_command
    from models.training.recipe import Augmentation, Recipe
    from models.training.transfer import usual_clip

    arch = begun_architecture(arch, begin_from, _DEFAULT)
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
            accumulate=accumulate,
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
            multi_label=multi_label,
            unknown=unknown,
            augmentation=Augmentation(crop, flip, colour, rand_augment, speed, erasing, mixup, cutmix),
            begin_from=begin_from,
            seed=seed,
            quiet=_quiet_labels(quiet),
        )
    except ValueError as error:
        raise typer.BadParameter(named_as_option(str(error))) from None
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
        trials=trials,
        test=test or (),
        learning_curve=learning_curve,
        resume=resume,
        tensorboard=tensorboard,
    )
    train_command(options, errors)


def _quiet_labels(given: list[str] | None) -> tuple[str, ...]:
    """Labels that never raise an event, as data are read; without any, the usual one."""
    from models import normal_label
    from models.training.recipe import Recipe

    return tuple(dict.fromkeys(map(normal_label, given))) if given else Recipe().quiet
