"""What a worker says where no terminal shows the live view: a log, one line a record.

    2026-11-28T03:36:40Z - model movenet-motion-42c84c9e raises events for fight
    2026-11-28T03:36:47Z gate event started: fight from 2026-11-28T03:36:44.700000Z, 2.3 s, peak score 0.86
    2026-11-28T03:36:50Z gate 320 frames = 300 classified + 4 skipped (tail 4) + 0 dead-lettered + 16 pending; …

First when the line was written, then the camera ("-" where it is about none), then what there is to say. Lines are
never wrapped and never coloured, so that `grep` and log shippers can rely on them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from consumers.live.figures.accounts import CameraCounts
from consumers.live.figures.snapshot import CameraSnapshot, WorkerSnapshot
from consumers.printable import printable
from consumers.records.event import Event
from consumers.records.prediction import rfc3339

from .live_view import camera_state
from .wording import NO_EVENTS, count, duration

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
#: The first accounts come early: whoever has just started a worker wants to see that it works.
_FIRST_ACCOUNTS_SECONDS: Final = 10.0
_ACCOUNTS_SECONDS: Final = 60.0


class PlainLog:
    """Writes what is new in the snapshots that it is given: to `out`, or to the log where that is None."""

    def __init__(self, out: TextIO | None) -> None:
        self._out, self._reported = out, 0
        self._next_accounts = time.monotonic() + _FIRST_ACCOUNTS_SECONDS

    def begin(self, snapshot: WorkerSnapshot) -> None:
        """Write what is at work, and for what."""
        labels = f"events for {', '.join(sorted(snapshot.alarms))}" if snapshot.alarms else NO_EVENTS
        self._line("-", f"model {snapshot.model} raises {labels}")

    def write(self, snapshot: WorkerSnapshot) -> None:
        """Write the events reported since the last snapshot, and the accounts when it is time."""
        new = snapshot.events_total - self._reported
        self._reported = snapshot.events_total
        events = snapshot.newest_events[max(0, len(snapshot.newest_events) - new) :]
        if new > len(events):
            self._line("-", f"{count(new - len(events), 'report')} of events came too fast to be written here")
        for event in events:
            self._line(event.camera, _event(event))
        if time.monotonic() >= self._next_accounts:
            self._next_accounts += _ACCOUNTS_SECONDS
            self.write_accounts(snapshot)

    def write_accounts(self, snapshot: WorkerSnapshot) -> None:
        """Write what became of each camera's frames, and what still waits."""
        for camera in snapshot.cameras:
            self._line(camera.camera, f"{_account(camera)}; {camera_state(camera, snapshot)}")
        if snapshot.waiting:
            self._line("-", f"{count(snapshot.waiting, 'segment')} waiting")
        for service in snapshot.awaited:
            self._line("-", f"waiting for {service}")

    def _line(self, camera: str, words: str) -> None:
        if self._out is None:
            log.info("%s", words, extra={} if camera == "-" else {"camera": camera})
            return
        self._out.write(printable(f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} {camera} {words}") + "\n")
        self._out.flush()


@contextlib.contextmanager
def plain_log(snapshot: Callable[[], WorkerSnapshot], out: TextIO | None) -> Iterator[None]:
    """Write what `snapshot` says while the body runs, and at its end all accounts; to the log where `out` is None.

    Raises:
        OSError: `out` cannot be written, at the latest when the body ends.
    """
    plain, done = PlainLog(out), threading.Event()
    plain.begin(snapshot())

    def watch() -> None:
        # Nobody reads any more, or the disk is full: the worker goes on, and its end says so.
        with contextlib.suppress(OSError):
            while not done.wait(_LOOK_SECONDS):
                plain.write(snapshot())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        last = snapshot()
        plain.write(last)
        plain.write_accounts(last)


def _event(event: Event) -> str:
    ending = f" ({event.ending.replace('_', ' ')})" if event.ending else ""
    lasted = duration((event.end_us - event.start_us) / 1e6)
    began = rfc3339(event.start_us)
    return f"event {event.state}: {event.label} from {began}, {lasted}, peak score {event.peak_score:.2f}{ending}"


def _account(camera: CameraSnapshot) -> str:
    return CameraCounts(
        frames=camera.frames,
        classified=camera.classified,
        skipped=camera.skipped,
        dead_lettered=camera.dead_lettered,
        windows=camera.windows,
        events=camera.events,
    ).summary()
