"""What several commands share: consoles, settings from the command line, stopping in order."""

from __future__ import annotations

import contextlib
import datetime as dt
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from consumers.settings import Settings, load_settings, override

console = Console()
errors = Console(stderr=True)

SettingsOption = Annotated[
    Path | None, typer.Option("--settings", help="TOML file; clipline.toml here if there is one.", show_default=False)
]
KafkaOption = Annotated[str | None, typer.Option("--kafka", help="Broker host:port, over settings and CLIPLINE_KAFKA.")]
RedisOption = Annotated[str | None, typer.Option("--redis", help="Redis URL, over settings and CLIPLINE_REDIS.")]


def command_settings(path: Path | None, kafka: str | None, redis: str | None, **worker: Any) -> Settings:
    """Settings with what the command line says over them."""
    settings = load_settings(path)
    top: dict[str, Any] = {"kafka": kafka, "redis": redis}
    return override(settings, {**top, "worker": worker}, "command line")


@contextlib.contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a command ends in order; a second one ends it at once."""
    stop = threading.Event()

    def ask(number: int, _: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parse_start(text: str | None) -> int | None:
    """`--start` in microseconds since the Unix epoch."""
    if text is None:
        return None
    if text == "now":
        return time.time_ns() // 1000
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--start: {text!r} is neither 'now' nor a time like 2026-11-24T08:00:00Z") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1e6)
