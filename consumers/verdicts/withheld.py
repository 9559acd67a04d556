"""What is forgotten is in no data set: events that are, and files of earlier exports that have something of a stretch.

A file is judged by its pictures, not by how long it is: one that was cut around a stretch has none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from consumers.forgetting import ForgottenBook, forgotten_events
from consumers.records.event import Event
from consumers.settings import Settings
from consumers.times import parse_time_us
from stream import SegmentError, SourceError, Transport, joined_times_us

from .book import JudgedEvent

#: Of a row's times: they are milliseconds.
_ROUNDED_US: Final = 1_000
#: Files are looked at that may reach so near to a stretch: before their begin there is what decoders need, and behind
#: the event a tail.
_BEFORE_US: Final = 3_600_000_000
_BEHIND_US: Final = 86_400_000_000
#: So much of an event's id ends the name of its file.
ID_CHARACTERS: Final = 12


class Listed(Protocol):
    """A file of the list."""

    @property
    def path(self) -> str: ...
    @property
    def start(self) -> str: ...
    @property
    def end(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def began(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Withheld:
    """What nobody is to learn from any more."""

    book: ForgottenBook
    #: Ids of events.
    events: frozenset[str]

    def is_cut_around(self, report: Event, around: tuple[float, float]) -> bool:
        """Whether footage that is wanted `around` an event, seconds before and after it, is of a stretch."""
        lead_us, tail_us = (round(seconds * 1e6) for seconds in around)
        return self.book.of(report.camera, report.start_us - lead_us, report.end_us + tail_us) is not None

    def strays(self, folder: Path) -> list[Path]:
        """Files of forgotten events below a folder, also those that no list names, as who made them was ended."""
        begins = {event[:ID_CHARACTERS] for event in self.events}
        return [path for path in folder.glob("*/*_*.m[pk][4v]") if path.stem.rpartition("_")[2] in begins]

    def has_some(self, folder: Path, row: Listed) -> bool:
        """Whether a file of an earlier export shows something of a stretch; one that cannot be read is taken to."""
        if row.event in self.events:
            return True
        if not self.book.has(row.group):
            return False
        try:
            zero_us = parse_time_us(row.began) - round(float(row.start) * 1e6)
            begin_us, end_us = zero_us - _BEFORE_US, zero_us + round(float(row.end) * 1e6) + _BEHIND_US
            stretches = [each for each in self.book.stretches(row.group) if each.touches(begin_us, end_us)]
            if not stretches:
                return False
            times = [zero_us + each for each in joined_times_us(folder / row.path)]
        except (ValueError, SegmentError):
            return True
        edge = _ROUNDED_US
        return any(each.from_us + edge <= at < each.to_us - edge for each in stretches for at in times)


def withheld(
    transport: Transport, settings: Settings, book: ForgottenBook, judged: Mapping[str, JudgedEvent]
) -> Withheld:
    """What is forgotten of judged events, and of others.

    Raises:
        BrokerError: the broker is away, or does not let us read events.
    """
    gone = set(forgotten_events(transport, settings.topics, book))
    gone |= {
        event
        for event, said in judged.items()
        if any(book.of(each.camera, each.start_us, each.end_us, event) for each in said.verdicts)
    }
    return Withheld(book, frozenset(gone))


def remove(path: Path) -> None:
    """Delete a file; raises SourceError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SourceError(f"{path}: shows what is forgotten, and cannot be deleted ({error.strerror})") from None
