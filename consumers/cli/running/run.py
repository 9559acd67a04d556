"""The commands for all cameras of a settings file: run, status."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Annotated

import typer

from consumers.cli.options import (
    KafkaOption,
    LogOption,
    ModelOption,
    PrintJsonOption,
    RedisOption,
    SettingsOption,
    TakeOverOption,
    command_settings,
    console,
    end_on_signal,
    errors,
    json_log,
    logged_settings,
    stop_on_signal,
)
from consumers.terminal.console import Output, print_json, print_lines

#: Columns of a table that no terminal shows.
_PIPE_WIDTH = 200


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(run)
    app.command()(status)


def run(
    model: ModelOption = None,
    take_over: TakeOverOption = False,
    log: LogOption = None,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
) -> None:
    """Watch all cameras of the settings file: services, cameras, workers.

    Starts what is needed, starts again what dies, and ends everything on
    Ctrl-C. Logs are in run.log_folder.

    \b
    Examples:
      clipline run
      clipline run --settings site.toml
    """
    from consumers.running.run import run_everything
    from consumers.running.supervising.supervisor import ProcessFailedError
    from consumers.settings import SettingsError, kept_file, no_file_words
    from consumers.settings import settings_file as find_settings
    from consumers.terminal.lasting_run import LastingRun
    from consumers.terminal.run_view import LiveRun, PlainRun

    settings = logged_settings(command_settings(settings_file, kafka, redis, model=model), log, "run", console, errors)
    environment = dict(os.environ)
    found = find_settings(settings_file)
    if found is None and not settings.cameras:
        raise SettingsError(no_file_words())
    if settings.run.workers and settings.worker.decoder == "cuda":
        # Before anything is started, and a worker says so seconds later.
        from consumers.live.assemble import check_decoder

        check_decoder(settings.worker.decoder)
    if take_over:
        environment["CLIPLINE_RUN__TAKE_OVER"] = "true"
        settings = settings.model_copy(update={"run": settings.run.model_copy(update={"take_over": True})})
    if model is not None:
        environment["CLIPLINE_WORKER__MODEL"] = model
    with end_on_signal(settings.shutdown_seconds) as ending, contextlib.ExitStack() as stack:
        if found is not None:
            # A process that is started again goes by what the others go by, however the file was edited meanwhile.
            environment["CLIPLINE_SETTINGS"] = str(stack.enter_context(kept_file(found)))
        view = LiveRun(console) if console.is_terminal else PlainRun(None if json_log.is_on else sys.stdout)
        failure: ProcessFailedError | None = None
        with LastingRun(view) as shown:
            try:
                run_everything(settings, environment, shown, ending.stop.is_set)
            except ProcessFailedError as error:
                failure = error
        if failure is None:
            # Below the last view, which says how it was before.
            shown.end(lambda: console.print("Everything has ended."), 0)
        else:
            words = f"clipline: {failure}"
            shown.end(lambda: print_lines(errors, words, "red"), 1)
            raise typer.Exit(1)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")] = False,
    as_json: PrintJsonOption = False,
    settings_file: SettingsOption = None,
    kafka: KafkaOption = None,
) -> None:
    """Show how all cameras, agents and workers are doing.

    Also those of other machines on the same broker, and channels that get no
    messages. Cameras that the settings name and that never reported are a
    problem; those that they do not name are marked. Exits with 1 where something
    is wrong, and says what.

    \b
    Examples:
      clipline status
      clipline status --watch
      clipline status --json | jq .problems
    """
    from consumers.running.named import Named
    from consumers.running.overview import overview
    from consumers.running.state_topics import StatesFollower, read_settled_states
    from consumers.terminal.status_view import StatusView, watch_status
    from stream import KafkaTransport

    if watch and as_json:
        raise typer.BadParameter("--watch shows a table; --json prints once")
    settings = command_settings(settings_file, kafka, None)
    transport = KafkaTransport(settings.broker, at_once=True)
    if watch:
        with (
            stop_on_signal() as stop,
            StatesFollower(transport, settings.topics, f"Kafka at {settings.kafka}", channels=True) as follower,
        ):
            watch_status(console, follower, Named.read(transport, settings), stop.is_set)
        return
    states = read_settled_states(transport, settings.topics, channels=True)
    now = Named.read(transport, settings).beside(overview(states, time.time_ns() // 1000), states.cameras)
    if as_json:
        print_json(console, now.body(), indent=1)
    else:
        # A pipe has no width that anything would have to fit.
        (console if console.is_terminal else Output(width=_PIPE_WIDTH)).print(StatusView(now))
    if now.problems:
        raise typer.Exit(1)
