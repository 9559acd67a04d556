"""`clipline events`: prints the reports of events, stored ones or new ones as they come."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rich.console import Console
from rich.text import Text

from consumers.outputs.names import Names
from consumers.outputs.outages import watch_kafka, watching
from consumers.printable import printable
from consumers.records.event import Event
from consumers.rules.incidents import Incident, merged, news
from consumers.settings import Settings
from consumers.subscribing.reader import EventReader
from consumers.subscribing.selection import Selection
from consumers.subscribing.subscription import Subscription
from consumers.terminal.console import print_json, print_verbatim
from consumers.terminal.wording import describe, describe_incident, moment
from stream import KafkaTransport, SourceError

Format = Literal["text", "table", "json", "csv"]
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of thing is printed."""

    #: The columns of a table and their widths; what is longer moves the rest of its row.
    table: Mapping[str, int]
    #: A body as a row of the table.
    row: Callable[[Body], list[str]]
    #: A body as one line for people.
    line: Callable[[Body], Text]
    #: The columns of CSV: the keys of a body.
    csv: Sequence[str]


def _event_row(body: Body) -> list[str]:
    return [
        *(moment(body["end"]), body["state"], body["camera"], printable(body["label"])),
        *(f"{body['seconds']:.1f}", f"{body['peak_score']:.2f}", body["event"][:8]),
    ]


def _incident_row(body: Body) -> list[str]:
    return [
        *(moment(body["end"]), body["state"], printable(body["group"] or ""), printable(body["label"])),
        *(f"{body['seconds']:.1f}", f"{body['peak_score']:.2f}", str(len(body["events"])), body["incident"][:8]),
        " ".join(map(printable, body["cameras"])),
    ]


EVENTS: Final = Layout(
    {"end (UTC)": 19, "state": 7, "camera": 16, "label": 16, "seconds": 9, "peak": 5, "event": 8},
    _event_row,
    describe,
    (
        *("event", "state", "camera", "label", "model", "start", "end"),
        *("seconds", "peak_score", "peak", "windows", "ending"),
        *("severity", "rule", "escalated", "reason", "group", "merge_seconds"),
    ),
)
INCIDENTS: Final = Layout(
    {
        "end (UTC)": 19,
        "state": 7,
        "group": 12,
        "label": 16,
        "seconds": 9,
        "peak": 5,
        "events": 6,
        "incident": 8,
        "cameras": 7,
    },
    _incident_row,
    describe_incident,
    (
        *("incident", "group", "state", "label", "cameras", "start", "end"),
        *("seconds", "peak_score", "severity", "events"),
    ),
)


class Printer:
    """Prints bodies one by one in a format, the columns' names first where it has columns."""

    def __init__(self, out: Console, form: Format, layout: Layout = EVENTS) -> None:
        self._out, self._layout = out, layout
        shows: dict[Format, Callable[[Body], None]] = {
            "text": lambda body: out.print(layout.line(body), soft_wrap=True),
            "table": lambda body: self._print_row(layout.row(body)),
            "json": lambda body: print_json(out, dict(body)),
            "csv": lambda body: self._print_csv([_joined(body[column]) for column in layout.csv]),
        }
        self.show = shows[form]
        if form == "csv":
            self._print_csv(list(layout.csv))
        elif form == "table":
            self._print_row(list(layout.table))

    def _print_row(self, cells: list[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._layout.table.values(), strict=True))
        self._out.print("  ".join(padded).rstrip(), soft_wrap=True)

    def _print_csv(self, cells: list[Any]) -> None:
        line = io.StringIO()
        safe = (_cell(cell) if isinstance(cell, str) else cell for cell in cells)
        csv.writer(line, lineterminator="").writerow(safe)
        print_verbatim(self._out, line.getvalue())


def _joined(value: Any) -> Any:
    """Several names as one cell: neither cameras nor ids hold spaces."""
    return " ".join(value) if isinstance(value, list) else value


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
    *,
    merge: bool = False,
) -> None:
    """Print all that is stored at this moment, of what was reported at `since_us` or later.

    With `merge` these are the incidents that the events are, each once, by begin.

    Raises:
        BrokerError: the broker is away, or has no topic of events.
        SourceError: nobody has heard of a camera or label.
    """
    transport, names = KafkaTransport(settings.broker, at_once=True), Names(settings)
    printer, printed = Printer(out, form, INCIDENTS if merge else EVENTS), 0
    with watching(watch_kafka(settings.broker)):
        reader = EventReader(settings.topics, drills=selection.drills)
        events = _seen(reader.stored(transport, since_us), names, selection, stop)
        for body in (_last(incident) for incident in merged(events)) if merge else (event.body() for event in events):
            printer.show(body)
            printed += 1
        if printed or stop.is_set():
            return
        if unknown := names.unknown(transport, selection.cameras, selection.labels):
            raise SourceError("; ".join(unknown))
    errors.print("no events", style="yellow")


def _seen(events: Iterable[Event], names: Names, selection: Selection, stop: threading.Event) -> Iterator[Event]:
    """Those that are wanted, until the stop; all names are noted."""
    for event in events:
        if stop.is_set():
            return
        names.see(event)
        if selection.holds(event):
            yield event


def _last(incident: Incident) -> Body:
    """How an incident of the past was in the end: over, or one that has begun and goes on."""
    return incident.body() | {"state": "ended" if incident.state == "ended" else "started"}


def follow_events(subscription: Subscription, form: Format, out: Console, *, merge: bool = False) -> None:
    """Print events as they come, until the subscription is over.

    With `merge` these are incidents: as they open, as another event joins them, and when all of their events are over.

    Raises:
        BrokerError: the broker has been away for as long as the subscription waits.
    """
    printer = Printer(out, form, INCIDENTS if merge else EVENTS)
    with subscription as events:
        for body in (each.body() for each in news(events)) if merge else (event.body() for event in events):
            printer.show(body)
