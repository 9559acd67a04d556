"""The commands about recorded footage: parse and call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from consumers.cli.help import ADVANCED
from consumers.cli.options import (
    EngineOption,
    FpsOption,
    JsonOption,
    KafkaOption,
    LabelMapOption,
    ModelOption,
    ReportOption,
    SettingsOption,
    SkipBadRowsOption,
    StartOption,
    StrideOption,
    TranscodeOption,
    command_settings,
    console,
    errors,
    parse_start,
    renamed_labels,
    shipped_models,
    stop_on_signal,
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (replay, mine):
        app.command()(command)


_LABELS = typer.Option(
    "--labels",
    metavar="FILE",
    help="Truth: CSV with the columns camera_or_file,label,start,end, or ActivityNet JSON.",
    show_default=False,
)
_SCORING = "How events are matched with the truth"

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE", help="Files, folders, or kafka://TOPIC?camera=NAME&from=TIME&to=TIME", show_default=False
    ),
]
CameraOption = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="NAME",
        help="Treat all files as one camera of this name; with kafka://, read this camera.",
        show_default="each file is a camera of its own",
    ),
]
LabelsOption = Annotated[Path | None, _LABELS]
RequiredLabelsOption = Annotated[Path, _LABELS]
MatchOption = Annotated[
    Literal["overlap", "onset"],
    typer.Option("--match", rich_help_panel=_SCORING, help="An event matches where it overlaps, or begins, in time."),
]
OverlapOption = Annotated[
    float,
    typer.Option(
        "--overlap",
        min=0.0,
        max=1.0,
        metavar="IOU",
        rich_help_panel=_SCORING,
        help="With --match overlap: temporal overlap (intersection over union) that is needed. 0 accepts any.",
    ),
]
OnsetOption = Annotated[
    tuple[float, float],
    typer.Option(
        "--onset-window",
        metavar="BEFORE AFTER",
        rich_help_panel=_SCORING,
        help="With --match onset: how many seconds an event may begin before and after the true onset.",
    ),
]


def replay(
    sources: SourcesArgument,
    labels: LabelsOption = None,
    label_map: LabelMapOption = None,
    skip_bad_rows: SkipBadRowsOption = False,
    model: ModelOption = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Compare with a second model on the same footage, or with this one 'ungated'. Needs --labels.",
            autocompletion=shipped_models,
            show_default=False,
        ),
    ] = None,
    camera: CameraOption = None,
    start: StartOption = None,
    fps: FpsOption = None,
    transcode: TranscodeOption = False,
    report: ReportOption = None,
    json_file: JsonOption = None,
    fail_if: Annotated[
        str | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with code 1 if this holds, as 'misses>2 or false_alarms_per_hour>0.5'.",
            show_default=False,
        ),
    ] = None,
    match: MatchOption = "overlap",
    overlap: OverlapOption = 0.0,
    onset_window: OnsetOption = (2.0, 10.0),
    engine: EngineOption = None,
    stride: StrideOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            rich_help_panel=ADVANCED,
            help="Store predictions, and reuse those stored for the same footage and model.",
        ),
    ] = True,
    through_kafka: Annotated[
        bool,
        typer.Option(
            "--through-kafka",
            rich_help_panel=ADVANCED,
            help="Send everything over a real broker: an embedded one, or the one that --kafka names.",
        ),
    ] = False,
    rules: Annotated[
        Literal["settings", "now", "then"],
        typer.Option(
            help="When scores are an event: as the settings say, as what was applied for the group says now, or as was "
            "applied then, each version for its time."
        ),
    ] = "settings",
    actev: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=ADVANCED,
            help="Also write events and truth to FOLDER, in the format of NIST's ActEV_Scorer.",
        ),
    ] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Run recorded footage through the live pipeline and score it.

    The events are those a live worker would have raised. With --labels, they
    are compared with the truth: misses, false alarms, time to alert.

    \b
    Examples (with footage and labels of your own):
      clipline replay footage/
      clipline replay footage/ --labels truth.csv --report report.html
      clipline replay footage/ --labels truth.csv \\
        --fail-if 'misses>2 or false_alarms_per_hour>0.5'
      clipline replay footage/ --labels truth.csv --against x3d-xs
    What a camera sent to Kafka:
      clipline replay 'kafka://clipline.segments?camera=lobby'
    """
    from consumers.replaying.command import ReplayFiles, run_replay
    from consumers.replaying.session import ReplayOptions
    from stream import Reading

    settings = command_settings(settings_file, kafka, None, model=model, engine=engine, stride_seconds=stride)
    options = ReplayOptions(
        sources=tuple(sources),
        camera=camera,
        start_us=parse_start(start),
        labels=labels,
        renamed=renamed_labels(label_map),
        match=match,
        overlap=overlap,
        onset_window=onset_window,
        reading=Reading(fps, transcode),
        resume=resume,
        through_kafka=through_kafka,
        skip_bad_rows=skip_bad_rows,
        own_broker=kafka is None,
        against=against,
        rules=rules,
    )
    with stop_on_signal() as stop:
        code = run_replay(
            settings,
            options,
            ReplayFiles(json_file, report, actev),
            fail_if=fail_if,
            out=console,
            errors=errors,
            stop=stop.is_set,
        )
    raise typer.Exit(code)


def mine(
    sources: SourcesArgument,
    labels: RequiredLabelsOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="List of labelled footage to write, a CSV file.")
    ] = Path("mined.csv"),
    taught_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="LABEL",
            help="What the footage is to be taught as.",
            show_default="the model's label that raises no events",
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="COUNT", help="Write this many intervals, those with the highest scores.", show_default="all"
        ),
    ] = None,
    label_map: LabelMapOption = None,
    skip_bad_rows: SkipBadRowsOption = False,
    model: ModelOption = None,
    camera: CameraOption = None,
    start: StartOption = None,
    fps: FpsOption = None,
    transcode: TranscodeOption = False,
    match: MatchOption = "overlap",
    overlap: OverlapOption = 0.0,
    onset_window: OnsetOption = (2.0, 10.0),
    engine: EngineOption = None,
    stride: StrideOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """List where a model alarmed and nothing happened, to train on.

    The footage is replayed and compared with the truth, as `clipline replay`
    does (what that has classified is not classified again). The list names
    files and times, so nothing is copied, and `clipline train` takes it beside
    other lists.

    \b
    Examples (with footage and labels of your own):
      clipline mine footage/ --labels truth.csv -o mined.csv
      clipline mine footage/ --labels truth.csv --model own.safetensors \\
        --most 200
    Then:
      clipline train labels.csv mined.csv -o better.safetensors
    """
    from consumers.replaying.mining import run_mine
    from consumers.replaying.session import ReplayOptions
    from stream import Reading

    settings = command_settings(settings_file, None, None, model=model, engine=engine, stride_seconds=stride)
    options = ReplayOptions(
        sources=tuple(sources),
        camera=camera,
        start_us=parse_start(start),
        labels=labels,
        renamed=renamed_labels(label_map),
        match=match,
        overlap=overlap,
        onset_window=onset_window,
        reading=Reading(fps, transcode),
        skip_bad_rows=skip_bad_rows,
    )
    with stop_on_signal() as stop:
        code = run_mine(
            settings, options, label=taught_as, most=most, output=output, out=console, errors=errors, stop=stop.is_set
        )
    raise typer.Exit(code)
