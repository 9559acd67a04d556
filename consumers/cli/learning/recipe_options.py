"""How a network is trained: the options that `train` and `distill` share, with their words."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import typer

from consumers.cli.options import errors

OF_MODEL = {"show_default": "the architecture's"}
OF_CLIP = {"show_default": "that of --from, else the architecture's"}
MODEL, TRAINING, VARIATION, VALIDATION = "Model", "Training", "Augmentation and class balance", "Validation"


def option(*names: str, panel: str, help: str, **more: Any) -> Any:  # noqa: A002  typer's own word
    """An option in a section of the help."""
    return typer.Option(*names, rich_help_panel=panel, help=help, **more)


FramesOption = Annotated[int | None, option(panel=MODEL, min=1, metavar="COUNT", help="Frames in a clip.", **OF_CLIP)]
SpacingOption = Annotated[
    float | None, option(panel=MODEL, metavar="SECONDS", help="Time between two frames of a clip.", **OF_CLIP)
]
SizeOption = Annotated[
    int | None,
    option(panel=MODEL, min=32, max=640, metavar="PIXELS", help="Height and width of a frame.", **OF_CLIP),
]
DropoutOption = Annotated[
    float | None, option(panel=MODEL, metavar="SHARE", help="Probability of dropout.", **OF_MODEL)
]
StochasticDepthOption = Annotated[
    float | None,
    option(panel=MODEL, metavar="SHARE", help="Probability of skipping a residual branch.", **OF_MODEL),
]
EpochsOption = Annotated[int, option(panel=TRAINING, min=1, metavar="COUNT", help="Passes over the data.")]
BatchOption = Annotated[
    int, option(panel=TRAINING, min=2, metavar="COUNT", help="Clips in a step, over all processes together.")
]
AccumulateOption = Annotated[
    int,
    option(
        panel=TRAINING,
        min=1,
        metavar="COUNT",
        help="Add up the gradients of this many batches for each step: large steps in little memory.",
    ),
]
OptimiserOption = Annotated[Literal["adamw", "sgd"], option("--optimizer", panel=TRAINING, help="Optimizer.")]
LearningRateOption = Annotated[float, option(panel=TRAINING, metavar="RATE", help="Peak learning rate.")]
WarmUpOption = Annotated[
    float, option(panel=TRAINING, metavar="SHARE", help="Share of the steps in which the learning rate rises.")
]
WeightDecayOption = Annotated[float, option(panel=TRAINING, metavar="RATE", help="Weight decay.")]
TrainedStagesOption = Annotated[
    int | None,
    option(
        panel=TRAINING,
        metavar="COUNT",
        help="Train only the last stages of the network: 1 is the classifier alone, 0 everything.",
        show_default="1 for CNN-LSTMs and networks on MoveNet, else 0",
    ),
]
LayerDecayOption = Annotated[
    float,
    option(panel=TRAINING, metavar="FACTOR", help="Learning rate of each stage, relative to the stage after it."),
]
AveragingOption = Annotated[
    float,
    option(
        panel=TRAINING,
        metavar="SHARE",
        help="Keep a moving average of the weights: share of the old value, such as 0.99. 0 is off.",
    ),
]
SeedOption = Annotated[int, option(panel=TRAINING, metavar="NUMBER", help="The same seed gives the same model.")]
CropOption = Annotated[
    float, option(panel=VARIATION, metavar="SHARE", help="Random crops keep at least this share of the picture.")
]
FlipOption = Annotated[bool, option("--flip/--no-flip", panel=VARIATION, help="Mirror half of the clips.")]
ColourOption = Annotated[
    float, option(panel=VARIATION, metavar="SHARE", help="How much brightness, contrast and saturation vary.")
]
SpeedOption = Annotated[
    float, option(panel=VARIATION, metavar="FACTOR", help="Play clips up to this much faster or slower.")
]
MixupOption = Annotated[float, option(panel=VARIATION, metavar="ALPHA", help="MixUp. 0 is off.")]
CutmixOption = Annotated[float, option(panel=VARIATION, metavar="ALPHA", help="CutMix. 0 is off.")]
FoldsOption = Annotated[
    int, option(panel=VALIDATION, min=2, metavar="COUNT", help="Folds of the cross-validation, split by group.")
]
UsedFoldsOption = Annotated[
    int | None,
    option(panel=VALIDATION, min=1, metavar="COUNT", help="Validate on only this many folds.", show_default="all"),
]


def wait_without_spinning() -> None:
    """Let threads of torch sleep while they wait for each other, before torch is imported.

    By themselves they spin, which on a machine that does other work took 3.6 times the processor time.
    What the user set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def begun_architecture(given: str | None, begin_from: str | None, usual: str) -> str:
    """The architecture to train, `usual` if nothing names one; the model to begin from is fetched if need be."""
    from consumers.terminal.progress import task_progress
    from models import find
    from models.networks.zoo import describe

    if given is not None:
        describe(given)  # an unknown name is told before anything is fetched
    if begin_from is None:
        return given or usual
    with task_progress(errors) as progress:
        begun = find(begin_from, progress).contract.architecture
    return given or begun


def named_as_option(message: str) -> str:
    """A recipe's message, `augmentation.crop 2: …`, under the name that the command line has for it."""
    name, _, rest = message.partition(" ")
    option = name.removeprefix("augmentation.").removesuffix("_seconds").replace("_", "-")
    return f"--{option.replace('optimiser', 'optimizer')} {rest}"
