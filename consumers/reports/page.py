"""Fill a page: what stands at the top of every report, and the templates that share one look."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from consumers.terminal.wording import count, duration
from stream import display_name

from .wording import figure_text, interval_text


@dataclass(frozen=True, slots=True)
class Header:
    """The top of a report."""

    #: What it is: `Replay of 3 cameras by movenet-motion-42c84c9e`.
    title: str
    #: The result in one sentence.
    verdict: str
    #: Everything that the terminal warned of.
    warnings: Sequence[str] = ()
    #: Name and value: the sources, the model, its thresholds. A value may be several lines.
    facts: Sequence[tuple[str, Sequence[str]]] = ()
    #: The command that made it; nothing where a program did.
    command: str = ""
    made_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))


def command_line() -> str:
    """The command that this process was started with, as it can be typed again, without passwords."""
    return shlex.join([Path(sys.argv[0]).name, *map(display_name, sys.argv[1:])])


def render(template: str, header: Header, **values: Any) -> str:
    """Fill one of the pages in `consumers/reports/templates`; text is escaped, plots (`Plot`) are not."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader(__package__ or "consumers.reports"),
    )
    environment.filters |= {"figure": figure_text, "duration": duration}
    environment.globals |= {"count": count, "interval": interval_text}
    return environment.get_template(template).render(header=header, **values)
