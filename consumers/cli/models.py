"""The commands about models: train, evaluate, compare, export, list."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import console, errors
from .train import LabelMapOption, renamed_labels, train

# `models` (torch) is imported by the commands that need it: `--help` is quick.


class PrecisionChoice(StrEnum):
    f32 = "f32"
    f16 = "f16"
    bf16 = "bf16"
    int8 = "int8"


def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint's path or a shipped model's name.")],
    data: Annotated[list[Path], typer.Argument(help="Labelled footage, in a form that `clipline train` takes.")],
    label_map: LabelMapOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report there: one file with everything.")] = None,
    calibrated: Annotated[
        Path | None,
        typer.Option(help="Write the model there, calibrated on this footage, with thresholds for labels that alarm."),
    ] = None,
    false_alarm_rate: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of other clips that a threshold may let pass.")
    ] = 0.05,
    engine: Annotated[str, typer.Option(help="auto, openvino, openvino-f32 or torch.")] = "auto",
) -> None:
    """Measure a model on labelled footage that it has not seen.

    \b
    clipline evaluate own.safetensors held-out/ --report report.html
    clipline evaluate cnn-lstm labels.csv --map nofight=normal --json figures.json
    clipline evaluate own.safetensors labels.csv --calibrated better.safetensors --false-alarm-rate 0.01
    """
    from consumers.learning.evaluate import evaluate_command

    evaluate_command(
        console, model, data, renamed_labels(label_map), engine, json_file, report, calibrated, false_alarm_rate, errors
    )


def compare(
    first: Annotated[str, typer.Argument(help="A checkpoint's path or a shipped model's name.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    data: Annotated[list[Path], typer.Argument(help="Labelled footage, in a form that `clipline train` takes.")],
    label_map: LabelMapOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    engine: Annotated[str, typer.Option(help="auto, openvino, openvino-f32 or torch.")] = "auto",
) -> None:
    """Measure two models on the same footage and test whether they differ.

    \b
    clipline compare cnn-lstm own.safetensors held-out/
    """
    from consumers.learning.evaluate import compare_command

    compare_command(console, (first, second), data, renamed_labels(label_map), engine, json_file, errors)


def export(
    model: Annotated[str, typer.Argument(help="A checkpoint's path or a shipped model's name.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="An .xml (OpenVINO), .onnx or .pt2 (torch.export).", show_default=False),
    ] = None,
    precision: Annotated[PrecisionChoice | None, typer.Option(help="See docs/export.md.", show_default="f32")] = None,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Labelled footage that int8 is calibrated on.", show_default=False)
    ] = None,
    compared: Annotated[
        list[Path] | None,
        typer.Option("--compare", help="Labelled footage to measure on: size, speed, accuracy.", show_default=False),
    ] = None,
    label_map: LabelMapOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what --compare measures there.")] = None,
) -> None:
    """Write a model as a file that is served without torch, and measure what that costs.

    \b
    clipline export cnn-lstm -o cnn-lstm.xml --precision f16      # then, elsewhere: clipline work --model cnn-lstm.xml
    clipline export own.safetensors -o own.xml --precision int8 --calibration footage.csv --compare held-out.csv
    clipline export own.safetensors --calibration footage.csv --compare held-out.csv    # every form, in one table
    """
    from consumers.learning.export import export_command

    if json_file is not None and not compared:
        raise typer.BadParameter("--json needs --compare: it holds what was measured")
    if output is None and precision is not None:
        raise typer.BadParameter("--precision needs --output: without one, every precision is measured")
    if output is None and not compared:
        raise typer.BadParameter("nothing to do: expected --output, or --compare with labelled footage, or both")
    if output is not None and (precision is PrecisionChoice.int8) != bool(calibration):
        raise typer.BadParameter("--precision int8 and --calibration FOOTAGE go together")
    export_command(
        console,
        model,
        output,
        precision.value if precision is not None else "f32",
        calibration or [],
        compared or [],
        renamed_labels(label_map),
        json_file,
        errors,
    )


def models(
    zoo: Annotated[bool, typer.Option("--zoo", help="The architectures that can be trained, with their cost.")] = False,
) -> None:
    """List the models that ship, or the architectures that can be trained.

    \b
    clipline models
    clipline models --zoo
    """
    from consumers.learning.catalogue import print_models, print_zoo

    (print_zoo if zoo else print_models)(console)


def add_to(app: typer.Typer) -> None:
    """Register the commands, in the order in which help lists them."""
    for command in (train, evaluate, compare, export, models):
        app.command()(command)
