"""`clipline distill`: its options, parsed into teachers, footage and a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.options import (
    MODEL_HELP,
    EngineOption,
    GroupByOption,
    LabelMapOption,
    RestOption,
    SkipBadRowsOption,
    SkipMissingOption,
    check_data,
    data_options,
    errors,
    renamed_labels,
    shipped_models,
)

from .recipe_options import (
    MODEL,
    TRAINING,
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

_DEFAULT = "x3d_xs"


def distill(
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help=MODEL_HELP, autocompletion=shipped_models)],
    footage: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOOTAGE",
            help="Video files, folders of them, or lists of labelled footage, of which no label is read.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")] = Path(
        "student.safetensors"
    ),
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="MODEL",
            help="Another teacher with the same labels: scores are averaged. May be given several times.",
            autocompletion=shipped_models,
            show_default=False,
        ),
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATA",
            help="Labelled footage to learn from, too, and to measure the student on where it is held out. "
            "May be given several times.",
            show_default=False,
        ),
    ] = None,
    label_map: LabelMapOption = None,
    skip_missing: SkipMissingOption = False,
    skip_bad_rows: SkipBadRowsOption = False,
    group_by: GroupByOption = None,
    rest: RestOption = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue what a stopped run of this command left, or start anew.")
    ] = True,
    engine: EngineOption = None,
    # The student.
    arch: Annotated[
        str | None,
        option(
            panel=MODEL,
            metavar="NAME",
            help="Architecture: one that `clipline models --zoo` lists.",
            show_default=f"that of --from, else {_DEFAULT}",
        ),
    ] = None,
    begin_from: Annotated[
        str | None,
        option(
            "--from",
            panel=MODEL,
            metavar="MODEL",
            help="Let the student begin with the weights of this model: a checkpoint, a shipped one's name, or "
            "kinetics/x3d_xs, kinetics/x3d_s or kinetics/x3d_m.",
            show_default=False,
        ),
    ] = None,
    frames: FramesOption = None,
    spacing: SpacingOption = None,
    size: SizeOption = None,
    dropout: DropoutOption = None,
    stochastic_depth: StochasticDepthOption = None,
    # The loop.
    temperature: Annotated[
        float,
        option(
            panel=TRAINING,
            min=1,
            max=100,
            metavar="NUMBER",
            help="Compare scores at this temperature: more than 1 makes more of what teachers find unlikely.",
        ),
    ] = 2.0,
    epochs: EpochsOption = 12,
    accumulate: AccumulateOption = 1,
    batch: BatchOption = 16,
    optimiser: OptimiserOption = "adamw",
    learning_rate: LearningRateOption = 5e-4,
    warm_up: WarmUpOption = 0.15,
    weight_decay: WeightDecayOption = 0.1,
    trained_stages: TrainedStagesOption = None,
    layer_decay: LayerDecayOption = 1.0,
    averaging: AveragingOption = 0.0,
    seed: SeedOption = 0,
    crop: CropOption = 0.6,
    flip: FlipOption = True,
    colour: ColourOption = 0.3,
    speed: SpeedOption = 1.3,
    mixup: MixupOption = 0.0,
    cutmix: CutmixOption = 0.0,
    # Validation.
    folds: FoldsOption = 5,
    used_folds: UsedFoldsOption = None,
) -> None:
    """Train a small model to give the scores of a large one, on footage that needs no labels.

    Teachers score each of their windows of the footage, the student learns to
    give these scores for windows of its own. It ends as cheap as its
    architecture, and at best as good as its teachers. With --labelled, its
    accuracy is measured by cross-validation, as `clipline train` does.

    \b
    Examples (with footage of your own):
      clipline distill movenet-motion recordings/ -o student.safetensors
      clipline distill own.safetensors recordings/ --labelled labels.csv \\
        --arch x3d_s --size 112
    Learn from two:
      clipline distill movenet-motion recordings/ --also cnn-lstm
    """
    from models import find

    # A file that is not there is said first, and before torch is imported.
    several, *_ = [find(model).contract.multi_label for model in (teacher, *(also or []))]
    wait_without_spinning()
    renamed = renamed_labels(label_map)
    handling = data_options(
        skip_missing=skip_missing,
        skip_bad_rows=skip_bad_rows,
        group_by=group_by,
        rest=rest,
        multi_label=several,
    )
    check_data(labelled or [], renamed, handling)
    from consumers.learning.distilling.command import DistillOptions, distill_command
    from models.training.recipe import Augmentation, Recipe
    from models.training.transfer import usual_clip

    arch = begun_architecture(arch, begin_from, _DEFAULT)
    clip = usual_clip(arch, begin_from)
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
            dropout=dropout,
            stochastic_depth=stochastic_depth,
            trained_stages=trained_stages,
            layer_decay=layer_decay,
            averaging=averaging,
            imbalance="none",
            augmentation=Augmentation(crop, flip, colour, speed=speed, mixup=mixup, cutmix=cutmix),
            begin_from=begin_from,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(named_as_option(str(error))) from None
    options = DistillOptions(
        [teacher, *(also or [])],
        footage,
        output,
        recipe,
        labelled=labelled or [],
        temperature=temperature,
        engine=engine or "auto",
        renamed=renamed,
        folds=folds,
        used_folds=used_folds,
        resume=resume,
        data_options=handling,
    )
    distill_command(options, errors)
