"""The commands about models: train, distill, evaluate, compare, export, list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from consumers.cli.help import ADVANCED
from consumers.cli.options import (
    MODEL_HELP,
    DataArgument,
    EngineOption,
    GroupByOption,
    JsonOption,
    LabelMapOption,
    PrintJsonOption,
    ReportOption,
    RestOption,
    SkipBadRowsOption,
    SkipMissingOption,
    check_data,
    console,
    data_options,
    errors,
    renamed_labels,
    shipped_models,
)

from .distill import distill
from .train import train

# `models` (torch) is imported by the commands that need it: `--help` is quick.

PrecisionName = Literal["f32", "f16", "bf16", "int8"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (train, distill, evaluate, compare, export, models):
        app.command()(command)


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, autocompletion=shipped_models)],
    data: DataArgument,
    label_map: LabelMapOption = None,
    skip_missing: SkipMissingOption = False,
    skip_bad_rows: SkipBadRowsOption = False,
    group_by: GroupByOption = None,
    rest: RestOption = None,
    report: ReportOption = None,
    json_file: JsonOption = None,
    calibrated: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=ADVANCED,
            help="Also write the model to FILE, with its scores calibrated on this footage and new thresholds.",
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            rich_help_panel=ADVANCED,
            help="With --calibrated: share of the other clips that may pass a label's threshold.",
        ),
    ] = 0.05,
    engine: EngineOption = None,
) -> None:
    """Measure a model on labelled footage that it has not seen.

    \b
    Examples (with a model and footage of your own):
      clipline evaluate own.safetensors held-out/ --report report.html
      clipline evaluate cnn-lstm labels.csv --map nofight=normal --json out.json
      clipline evaluate own.safetensors labels.csv \\
        --calibrated better.safetensors
    """
    from models import find

    several = find(model).contract.multi_label
    renamed = renamed_labels(label_map)
    handling = data_options(
        skip_missing=skip_missing,
        skip_bad_rows=skip_bad_rows,
        group_by=group_by,
        rest=rest,
        multi_label=several,
    )
    check_data(data, renamed, handling)
    from consumers.learning.evaluate import EvaluateOptions, evaluate_command

    options = EvaluateOptions(
        model,
        data,
        renamed=renamed,
        data_options=handling,
        engine=engine or "auto",
        json_file=json_file,
        report_file=report,
        calibrated_file=calibrated,
        false_alarm_rate=false_alarm_rate,
    )
    evaluate_command(options, console, errors)


def compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help=MODEL_HELP, autocompletion=shipped_models)],
    second: Annotated[
        str,
        typer.Argument(metavar="SECOND", help="The model to compare it with, likewise.", autocompletion=shipped_models),
    ],
    data: DataArgument,
    label_map: LabelMapOption = None,
    skip_missing: SkipMissingOption = False,
    skip_bad_rows: SkipBadRowsOption = False,
    group_by: GroupByOption = None,
    rest: RestOption = None,
    json_file: JsonOption = None,
    engine: EngineOption = None,
) -> None:
    """Test whether two models differ significantly on the same footage.

    \b
    Examples (with a model and footage of your own):
      clipline compare movenet-motion own.safetensors held-out/
      clipline compare cnn-lstm x3d-xs labels.csv --json comparison.json
    """
    from models import find

    for model in (first, second):
        several = find(model).contract.multi_label
    renamed = renamed_labels(label_map)
    handling = data_options(
        skip_missing=skip_missing,
        skip_bad_rows=skip_bad_rows,
        group_by=group_by,
        rest=rest,
        multi_label=several,
    )
    check_data(data, renamed, handling)
    from consumers.learning.evaluate import CompareOptions, compare_command

    options = CompareOptions(
        (first, second),
        data,
        renamed=renamed,
        data_options=handling,
        engine=engine or "auto",
        json_file=json_file,
    )
    compare_command(options, console, errors)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, autocompletion=shipped_models)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: .xml (OpenVINO), .onnx or .pt2 (torch.export).",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        PrecisionName | None,
        typer.Option(help="Number format of the weights; docs/export.md compares them.", show_default="f32"),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DATA",
            help="Labelled footage to calibrate int8 on. May be given several times.",
            show_default=False,
        ),
    ] = None,
    compared: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            metavar="DATA",
            help="Labelled footage on which to measure size, speed and accuracy. May be given several times.",
            show_default=False,
        ),
    ] = None,
    label_map: LabelMapOption = None,
    skip_missing: SkipMissingOption = False,
    skip_bad_rows: SkipBadRowsOption = False,
    json_file: JsonOption = None,
) -> None:
    """Write a model as a file that is served without torch.

    With --compare, measures what that costs; without --output, in every
    format and precision.

    \b
    Examples:
      clipline export cnn-lstm -o cnn-lstm.xml --precision f16
    Then, on a machine without torch:
      clipline work --model cnn-lstm.xml
    With a model and footage of your own:
      clipline export own.safetensors -o own.xml --precision int8 \\
        --calibration footage.csv --compare held-out.csv
      clipline export own.safetensors --compare held-out.csv --json forms.json
    """
    from models import find

    # A file that is not there is said first, and before torch is imported.
    several = find(model).contract.multi_label
    if json_file is not None and not compared:
        raise typer.BadParameter("--json needs --compare: it holds what was measured")
    if output is None and precision is not None:
        raise typer.BadParameter("--precision needs --output: without one, every precision is measured")
    if output is None and not compared:
        raise typer.BadParameter("nothing to do: expected --output, or --compare with labelled footage, or both")
    if output is not None and (precision == "int8") != bool(calibration):
        raise typer.BadParameter("--precision int8 and --calibration DATA go together")
    renamed = renamed_labels(label_map)
    handling = data_options(skip_missing=skip_missing, skip_bad_rows=skip_bad_rows, multi_label=several)
    for data in (calibration, compared):
        check_data(data or [], renamed, handling)
    from consumers.learning.export import ExportOptions, export_command

    options = ExportOptions(
        model,
        output,
        precision=precision or "f32",
        calibration=calibration or [],
        compared=compared or [],
        renamed=renamed,
        data_options=handling,
        json_file=json_file,
    )
    export_command(options, console, errors)


def models(
    zoo: Annotated[
        bool, typer.Option("--zoo", help="List the architectures that can be trained, with their cost.")
    ] = False,
    as_json: PrintJsonOption = False,
) -> None:
    """List the models that ship, or the architectures to train.

    \b
    Examples:
      clipline models
      clipline models --json | jq -r '.[].name'
      clipline models --zoo
    """
    from consumers.learning.catalogue import print_models, print_zoo

    (print_zoo if zoo else print_models)(console, as_json=as_json)
