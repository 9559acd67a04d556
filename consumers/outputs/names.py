"""Which cameras and labels there are, for whoever asks for one that is not."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.states.worker_state import WorkerState
from consumers.settings import Settings
from stream import Record, Transport

#: So many of a topic's newest records are looked at.
_MAX_RECORDS = 2_000


class Names:
    """Cameras and labels that the settings, the topics or events have named so far."""

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics
        self._cameras, self._labels = set(settings.cameras), set(settings.tracker.labels)

    def see(self, event: Event) -> None:
        """Note what an event names."""
        self._cameras.add(event.camera)
        self._labels.add(event.label)

    def unknown(self, transport: Transport, cameras: Sequence[str], labels: Sequence[str]) -> list[str]:
        """What to say of cameras (ids or patterns) and labels that nobody has heard of, a line for each.

        Raises:
            BrokerError: the broker is away.
        """
        if not cameras and not labels:
            return []
        self._look(transport)
        said = [
            f"no camera {camera!r} has sent anything; {known_names(camera, self._cameras)}"
            for camera in cameras
            if not fnmatch.filter(self._cameras, camera)
        ]
        said += [
            f"no events with label {label!r}; {known_names(label, self._labels)}"
            for label in labels
            if self._labels and label not in self._labels
        ]
        return said

    def _look(self, transport: Transport) -> None:
        topics = self._topics
        for record in _newest(transport, topics.cameras_state):
            self._cameras.add((record.key or b"").decode(errors="replace"))
        for record in _newest(transport, topics.workers_state):
            with contextlib.suppress(RecordError):
                self._labels.update(WorkerState.decode(record.value or b"", record.where).alarms or ())
        for record in _newest(transport, topics.events):
            with contextlib.suppress(RecordError):
                self.see(Event.decode(record.key, record.headers, record.value, record.where))


def _newest(transport: Transport, topic: str) -> Iterator[Record]:
    if transport.existing([topic]):
        bounds = transport.offsets(topic).items()
        yield from transport.read({p: (max(first, end - _MAX_RECORDS), end) for p, (first, end) in bounds})


def known_names(name: str, known: Iterable[str]) -> str:
    """Which names there are, and which of them is near one that is not there."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    shown = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    return f"known: {shown or 'none'}" + (f"; did you mean {near[0]!r}?" if near else "")
