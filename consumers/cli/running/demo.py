"""`clipline demo`: everything on this machine, on sample cameras or footage of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.options import INTERRUPTED, ModelOption, PaceOption, console, stop_on_signal


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(demo)


def demo(
    footage: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOOTAGE",
            help="Video file or folder of your own, instead of the sample cameras.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    pace: PaceOption = "realtime",
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--end",
            help="Whether the dashboard stays after the summary, until Ctrl-C.",
            show_default="stays in a terminal",
        ),
    ] = None,
) -> None:
    """Start everything on this machine and classify sample cameras.

    Shows the cameras here and in a dashboard. Ends with a summary: what was
    detected, and how that compares with the truth of the samples.

    \b
    Examples:
      clipline demo
      clipline demo --model x3d-xs
    With footage of your own:
      clipline demo footage/ --pace max
    """
    from consumers.terminal.demo.demo import run_demo

    with stop_on_signal() as stop:
        stays = console.is_terminal if stay is None else stay
        outcome = run_demo(console, footage, model, pace, stop, stay=stays)
    if outcome.stopped:
        raise typer.Exit(INTERRUPTED)
