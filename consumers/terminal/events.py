"""`clipline events`: prints the reports of events, stored ones or new ones as they come."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from rich.console import Console

from consumers.outputs.names import Names
from consumers.outputs.outages import watch_kafka, watching
from consumers.outputs.subscriber import EventReader
from consumers.records.event import Event
from consumers.settings import Settings
from stream import KafkaTransport, SourceError

from .console import print_json
from .wording import describe


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to print, and how. None: of all cameras, with any label."""

    camera: str | None
    label: str | None
    as_json: bool

    def holds(self, event: Event) -> bool:
        return self.camera in {None, event.camera} and self.label in {None, event.label}

    def show(self, event: Event, out: Console) -> None:
        if self.as_json:
            print_json(out, event.body())
        else:
            out.print(describe(event.body()), soft_wrap=True)


def print_stored_events(
    settings: Settings, wanted: Wanted, out: Console, errors: Console, stop: threading.Event
) -> None:
    """Print all that is stored at this moment.

    Raises:
        BrokerError: the broker is away, or has no topic of events.
        SourceError: nobody has heard of the camera or label.
    """
    transport, names, printed = KafkaTransport(settings.broker, at_once=True), Names(settings), 0
    with watching(watch_kafka(settings.broker)):
        for event in EventReader(settings.topics).stored(transport):
            if stop.is_set():
                return
            names.see(event)
            if wanted.holds(event):
                wanted.show(event, out)
                printed += 1
        if printed:
            return
        if (unknown := names.unknown(transport, wanted.camera, wanted.label)) is not None:
            raise SourceError(unknown)
    errors.print("no events", style="yellow")


def follow_events(
    settings: Settings,
    wanted: Wanted,
    out: Console,
    errors: Console,
    stop: threading.Event,
    *,
    stored: bool,
    give_up_seconds: float | None,
) -> None:
    """Print events as they come, until `stop`; `stored` prints those before them first.

    Raises:
        BrokerError: the broker has been away for `give_up_seconds`.
    """
    names = Names(settings)

    asked = False

    def connect() -> KafkaTransport:
        nonlocal asked
        transport = KafkaTransport(settings.broker, at_once=True)
        unknown = None if asked else names.unknown(transport, wanted.camera, wanted.label)
        asked = True
        if unknown is not None:
            errors.print(f"{unknown}; waiting for it", style="yellow", soft_wrap=True)
        return transport

    events = EventReader(settings.topics).follow(
        connect, f"Kafka at {settings.kafka}", stored=stored, stop=stop.is_set, give_up_seconds=give_up_seconds
    )
    for event in events:
        if wanted.holds(event):
            wanted.show(event, out)
