"""The commands about recorded footage: parse and call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    KafkaOption,
    SettingsOption,
    command_settings,
    console,
    errors,
    parse_start,
    stop_on_signal,
)
from .train import LabelMapOption, renamed_labels


class MatchChoice(StrEnum):
    overlap = "overlap"
    onset = "onset"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(replay)
    app.command()(tune)
    app.command()(evidence)


SourcesArgument = Annotated[
    list[str], typer.Argument(help="Files, folders, or kafka://topic?camera=…&from=…&to=…", show_default=False)
]
CameraOption = Annotated[
    str | None, typer.Option(help="All files are this one camera; the camera of a topic.", show_default=False)
]
StartOption = Annotated[
    str | None,
    typer.Option(help="Event time of footage's first frame, RFC 3339 or 'now'; when it was recorded if left out."),
]
ModelOption = Annotated[str | None, typer.Option(help="A shipped model's name or a checkpoint's path.")]
EngineOption = Annotated[str | None, typer.Option(help="auto, openvino, openvino-f32 or torch.")]
StrideOption = Annotated[float | None, typer.Option(help="Seconds between the beginnings of two windows.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Keep predictions, and use those kept of the same footage.")
]
MatchOption = Annotated[MatchChoice, typer.Option("--match", help="What makes an event one of the truth.")]
OverlapOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Least temporal overlap (IoU) of a match; 0 is any.")
]
OnsetOption = Annotated[
    tuple[float, float],
    typer.Option("--onset-window", help="With --match onset: seconds before and after the true onset."),
]
_LABELS = typer.Option(
    "--labels", help="Truth: CSV camera_or_file,label,start,end, or ActivityNet JSON.", show_default=False
)
LabelsOption = Annotated[Path | None, _LABELS]
RequiredLabelsOption = Annotated[Path, _LABELS]
ReportOption = Annotated[Path | None, typer.Option(help="Write an HTML report there: one file with everything.")]


def replay(
    sources: SourcesArgument,
    labels: LabelsOption = None,
    model: ModelOption = None,
    stride: StrideOption = None,
    engine: EngineOption = None,
    camera: CameraOption = None,
    start: StartOption = None,
    label_map: LabelMapOption = None,
    match: MatchOption = MatchChoice.overlap,
    overlap: OverlapOption = 0.0,
    onset_window: OnsetOption = (2.0, 10.0),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures and events there.")] = None,
    report: ReportOption = None,
    actev: Annotated[
        Path | None, typer.Option(help="Write events and truth into this folder, as NIST's ActEV_Scorer takes them.")
    ] = None,
    fail_if: Annotated[
        str | None,
        typer.Option("--fail-if", help="Exit with 1 where this holds, as 'misses>2 or false_alarms_per_hour>0.5'."),
    ] = None,
    resume: ResumeOption = True,
    through_kafka: Annotated[
        bool,
        typer.Option("--through-kafka", help="Over a real broker: an embedded one, or the one that --kafka names."),
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Another model on the same footage; the report shows where they differ.")
    ] = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """What a live worker would have said of recorded footage, and how that compares with the truth.

    \b
    clipline replay footage/                                              # each file a camera
    clipline replay footage/ --labels truth.csv --report report.html --json figures.json
    clipline replay footage/ --labels truth.csv --fail-if 'misses>2 or false_alarms_per_hour>0.5'
    clipline replay footage/ --labels truth.csv --against own.safetensors --report report.html
    clipline replay 'kafka://clipline.segments?camera=lobby&from=2026-11-24T08:00:00Z' --model own.safetensors
    """
    from consumers.replaying.command import Asked, replay_command

    settings = command_settings(settings_file, kafka, None, model=model, engine=engine, stride_seconds=stride)
    asked = Asked(
        tuple(sources),
        camera,
        parse_start(start),
        labels,
        renamed_labels(label_map),
        match.value,
        overlap,
        onset_window,
        resume=resume,
        through_kafka=through_kafka,
        own_broker=kafka is None,
        against=against,
    )
    with stop_on_signal() as stop:
        code = replay_command(settings, asked, json_file, report, actev, fail_if, console, errors, stop.is_set)
    raise typer.Exit(code)


def tune(
    sources: SourcesArgument,
    labels: RequiredLabelsOption,
    budget: Annotated[
        str, typer.Option(help="False alarms that are allowed, as '1 per day' or '0.1/hour'.")
    ] = "1 per day",
    output: Annotated[Path, typer.Option("--output", "-o", help="The settings to write.")] = Path("tuned.toml"),
    report: ReportOption = None,
    model: ModelOption = None,
    stride: StrideOption = None,
    engine: EngineOption = None,
    camera: CameraOption = None,
    start: StartOption = None,
    label_map: LabelMapOption = None,
    match: MatchOption = MatchChoice.overlap,
    overlap: OverlapOption = 0.1,
    onset_window: OnsetOption = (2.0, 10.0),
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Settings that miss least within a budget of false alarms, from footage whose truth is known.

    \b
    clipline tune footage/ --labels truth.csv --budget '1 per day'
    clipline tune footage/ --labels truth.csv --budget 0.1/hour -o night.toml --report tuning.html
    """
    from consumers.replaying.command import Asked
    from consumers.replaying.tuning.command import tune_command

    settings = command_settings(settings_file, kafka, None, model=model, engine=engine, stride_seconds=stride)
    asked = Asked(
        tuple(sources),
        camera,
        parse_start(start),
        labels,
        renamed_labels(label_map),
        match.value,
        overlap,
        onset_window,
    )
    with stop_on_signal() as stop:
        code = tune_command(settings, asked, budget, output, report, console, errors, stop.is_set)
    raise typer.Exit(code)


def evidence(
    event: Annotated[str, typer.Argument(help="The event's id, or the beginning of it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write; its suffix names the container.")
    ] = Path("evidence.mp4"),
    lead: Annotated[float, typer.Option(min=0.0, help="Seconds before the event.")] = 3.0,
    tail: Annotated[float, typer.Option(min=0.0, help="Seconds after it.")] = 3.0,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """The footage of an event, cut out of the topic at segments, not encoded again.

    \b
    clipline events --json | jq -r .event
    clipline evidence 3f0c6a -o clip.mp4 --lead 5 --tail 5
    """
    from consumers.outputs.evidence import find_evidence, write_evidence
    from consumers.terminal.live_view import describe
    from stream import KafkaTransport

    settings = command_settings(settings_file, kafka, None)
    found = find_evidence(KafkaTransport(settings.kafka), settings.topics, event, lead, tail)
    write_evidence(found, output)
    console.print(describe(found.body), soft_wrap=True)
    console.print(f"{output}: {found.seconds:.1f} s in {len(found.segments)} segments", highlight=False, soft_wrap=True)
    for part in found.missing:
        errors.print(f"not in it: {part}", style="yellow", markup=False, highlight=False, soft_wrap=True)
