"""The command that finds thresholds: parse and call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consumers.cli.options import (
    EngineOption,
    FpsOption,
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
    stop_on_signal,
)

from .replay import LabelsOption, MatchOption, OnsetOption, OverlapOption

if TYPE_CHECKING:
    from consumers.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(tune)


def tune(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE", help="Files, folders, or kafka://TOPIC?camera=NAME&from=TIME&to=TIME", show_default=False
        ),
    ] = None,
    labels: LabelsOption = None,
    from_verdicts: Annotated[
        bool,
        typer.Option(
            "--from-verdicts",
            help="Propose higher thresholds from scores that the broker keeps and from what people said of alarms.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="False alarms to allow for each camera, as '1 per day' or '0.1/hour'. With --from-verdicts: alarms "
            "of all cameras together, as '3 per night', '10 per day' or '20 per week'.",
            show_default="1 per day",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Settings file to write.",
            show_default="tuned.toml; with --from-verdicts none",
        ),
    ] = None,
    label_map: LabelMapOption = None,
    skip_bad_rows: SkipBadRowsOption = False,
    model: ModelOption = None,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="NAME",
            help="Treat all files as one camera of this name; with kafka://, read this camera. With --from-verdicts: "
            "cameras that match, as 'gate*'.",
            show_default="each file is a camera of its own",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="--from-verdicts: scores since then: 90s, 15m, 1h, 2d ago, or a time like 2026-11-24T08:00:00Z (UTC).",
            show_default="all that are kept",
        ),
    ] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="--from-verdicts: where nights (22:00 to 06:00), days and weeks begin, as Europe/Berlin.",
            show_default="UTC",
        ),
    ] = None,
    start: StartOption = None,
    fps: FpsOption = None,
    transcode: TranscodeOption = False,
    report: ReportOption = None,
    match: MatchOption = "overlap",
    overlap: OverlapOption = 0.1,
    onset_window: OnsetOption = (2.0, 10.0),
    engine: EngineOption = None,
    stride: StrideOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Find thresholds with the fewest misses for a false-alarm budget.

    They are fitted to footage whose truth is known, and written as settings.

    With --from-verdicts, they follow from the scores that the broker keeps and
    from verdicts (`clipline verdicts`). What would be lost is named; nothing
    changes until `clipline rules apply` takes the file.

    \b
    Examples (with footage and labels of your own):
      clipline tune footage/ --labels truth.csv --budget '1 per day'
      clipline tune footage/ --labels truth.csv --budget 0.1/hour \\
        -o night.toml --report tuning.html
    From what people said of alarms:
      clipline tune --from-verdicts --budget '3 per night' -o rules.toml
      clipline tune --from-verdicts --camera 'gate*' --since 7d
    """
    settings = command_settings(settings_file, kafka, None, model=model, engine=engine, stride_seconds=stride)
    if from_verdicts:
        _refuse_of_footage(
            {
                "SOURCE": sources,
                "--labels": labels,
                "--map": label_map,
                "--skip-bad-rows": skip_bad_rows,
                "--engine": engine,
                "--start": start,
                "--fps": fps,
                "--transcode": transcode,
                "--report": report,
                "--stride": stride,
            }
        )
        _tune_from_verdicts(settings, budget, camera, since, time_zone, output)
        return
    for name, given in (("--since", since), ("--time-zone", time_zone)):
        if given is not None:
            raise typer.BadParameter(f"{name} is for --from-verdicts")
    if not sources or labels is None:
        raise typer.BadParameter(f"expected {'--labels' if sources else 'SOURCE'}, or --from-verdicts")
    from consumers.replaying.session import ReplayOptions
    from consumers.replaying.tuning.command import run_tune
    from stream import Reading

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
        code = run_tune(
            settings,
            options,
            budget=budget if budget is not None else "1 per day",
            output=output or Path("tuned.toml"),
            report=report,
            out=console,
            errors=errors,
            stop=stop.is_set,
        )
    raise typer.Exit(code)


def _refuse_of_footage(given: Mapping[str, object]) -> None:
    if names := [name for name, value in given.items() if value]:
        raise typer.BadParameter(f"{', '.join(names)}: of footage, and --from-verdicts reads scores that are kept")


def _tune_from_verdicts(
    settings: Settings,
    budget: str | None,
    camera: str | None,
    since: str | None,
    time_zone: str | None,
    output: Path | None,
) -> None:
    from consumers.replaying.tuning.budget import AlarmBudget
    from consumers.replaying.tuning.from_verdicts import Wanted, run_from_verdicts
    from consumers.settings.schedule import zone
    from consumers.times import parse_since_us

    try:
        since_us = None if since is None else parse_since_us(since, time.time_ns() // 1000)
    except ValueError as error:
        raise typer.BadParameter(f"--since {since!r}: {error}") from None
    try:
        zone(time_zone or "UTC")
    except ValueError as error:
        raise typer.BadParameter(f"--time-zone {time_zone!r}: {error}") from None
    wanted = Wanted(
        None if budget is None else AlarmBudget.parse(budget), camera or "*", since_us, time_zone or "UTC", output
    )
    run_from_verdicts(settings, wanted, console, errors)
