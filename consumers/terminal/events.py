"""`clipline events`: prints the reports of events, stored ones or new ones as they come."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable
from typing import Any, Final, Literal

from rich.console import Console

from consumers.outputs.names import Names
from consumers.outputs.outages import watch_kafka, watching
from consumers.printable import printable
from consumers.records.event import Event
from consumers.settings import Settings
from consumers.subscribing.reader import EventReader
from consumers.subscribing.selection import Selection
from consumers.subscribing.subscription import Subscription
from stream import KafkaTransport, SourceError

from .console import print_json, print_verbatim
from .wording import describe, moment

Format = Literal["text", "table", "json", "csv"]
#: The columns of a table and their widths; what is longer moves the rest of its row.
_TABLE: Final = {"end (UTC)": 19, "state": 7, "camera": 16, "label": 16, "seconds": 9, "peak": 5, "event": 8}
#: The columns of CSV: the body of an event.
CSV_COLUMNS: Final = (
    *("event", "state", "camera", "label", "model", "start", "end"),
    *("seconds", "peak_score", "peak", "windows", "ending"),
    *("severity", "rule", "escalated", "reason"),
)


class EventPrinter:
    """Prints reports of events one by one in a format, the columns' names first where it has columns."""

    def __init__(self, out: Console, form: Format) -> None:
        self._out = out
        shows: dict[Format, Callable[[dict[str, Any]], None]] = {
            "text": self._show_line,
            "table": self._show_row,
            "json": lambda body: print_json(out, body),
            "csv": lambda body: self._print_csv([body[column] for column in CSV_COLUMNS]),
        }
        self._show = shows[form]
        if form == "csv":
            self._print_csv(list(CSV_COLUMNS))
        elif form == "table":
            self._print_row(list(_TABLE))

    def show(self, event: Event) -> None:
        """Print a report."""
        self._show(event.body())

    def _show_line(self, body: dict[str, Any]) -> None:
        self._out.print(describe(body), soft_wrap=True)

    def _show_row(self, body: dict[str, Any]) -> None:
        self._print_row(
            [
                *(moment(body["end"]), body["state"], body["camera"], printable(body["label"])),
                *(f"{body['seconds']:.1f}", f"{body['peak_score']:.2f}", body["event"][:8]),
            ]
        )

    def _print_row(self, cells: list[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, _TABLE.values(), strict=True))
        self._out.print("  ".join(padded).rstrip(), soft_wrap=True)

    def _print_csv(self, cells: list[Any]) -> None:
        line = io.StringIO()
        safe = (_cell(cell) if isinstance(cell, str) else cell for cell in cells)
        csv.writer(line, lineterminator="").writerow(safe)
        print_verbatim(self._out, line.getvalue())


def _cell(text: str) -> str:
    """Text that a spreadsheet shows and does not calculate: labels are what a model of somebody's says."""
    return printable(f"'{text}" if text.startswith(("=", "+", "-", "@")) else text)


def print_stored_events(
    settings: Settings,
    selection: Selection,
    since_us: int,
    form: Format,
    out: Console,
    errors: Console,
    stop: threading.Event,
) -> None:
    """Print all that is stored at this moment, of what was reported at `since_us` or later.

    Raises:
        BrokerError: the broker is away, or has no topic of events.
        SourceError: nobody has heard of a camera or label.
    """
    transport, names, printer = KafkaTransport(settings.broker, at_once=True), Names(settings), EventPrinter(out, form)
    printed = 0
    with watching(watch_kafka(settings.broker)):
        for event in EventReader(settings.topics, drills=selection.drills).stored(transport, since_us):
            if stop.is_set():
                return
            names.see(event)
            if selection.holds(event):
                printer.show(event)
                printed += 1
        if printed:
            return
        if unknown := names.unknown(transport, selection.cameras, selection.labels):
            raise SourceError("; ".join(unknown))
    errors.print("no events", style="yellow")


def follow_events(subscription: Subscription, form: Format, out: Console) -> None:
    """Print events as they come, until the subscription is over.

    Raises:
        BrokerError: the broker has been away for as long as the subscription waits.
    """
    printer = EventPrinter(out, form)
    with subscription as events:
        for event in events:
            printer.show(event)
