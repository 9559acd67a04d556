"""All cameras of a site in one process: a thread each, so that a camera costs a few megabytes.

Threads, because a camera's time is spent in libav, which waits and reads without Python's lock. What one camera does
touches no other: whatever goes wrong with it is its state, and it is tried again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.errors import BrokerError, SourceError

from . import agent
from .addresses import is_live
from .agent import Attached, Pauses, Sender, attach, wait
from .cutting.segmenter import SegmentLimits
from .footage import Beginning
from .reasons import AGENT_STOPPED, FOOTAGE_IS_OVER
from .source import Reading
from .state import FeedState, FeedStatus, FeedWatch, quiet_after

log = logging.getLogger(__name__)

#: How often states are looked at.
_LOOK_SECONDS: Final = 0.5
#: How long cameras may take to end: one that is silent is inside libav until its timeout, and is left there.
_END_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class FleetCamera:
    """A camera of a fleet."""

    camera: str
    #: A file, a folder or an address.
    uri: str = field(repr=False)
    #: Begin again at the end of footage.
    loop: bool = False
    reading: Reading | None = None
    #: Event time in microseconds at which what was sent of it before ends: what it sends now begins there or later.
    end_us: int = 0


def attach_all(
    cameras: Sequence[FleetCamera],
    sender: Sender,
    topic: str,
    *,
    limits: SegmentLimits | None = None,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[Sequence[FeedState]], None] = lambda _: None,
    gone: Callable[[str], str | None] = lambda _: None,
    begun: Beginning | None = None,
    admit: Callable[[str], str | None] = lambda _: None,
) -> None:
    """Send the segments of all cameras until `stop()`, or until each has ended as only footage does.

    Footage stands in for a camera here: it is sent in real time, as if it were filmed from now on. Whoever is started
    again amid it says when that was, and it goes on where it was; what loops begins anew.
    A camera that does not answer, breaks off or was never there is tried again for as long as it takes, at growing
    pauses; `tell` hears of it, as does the log when it has given nothing for 10 s.

    Args:
        cameras: what to read.
        sender: where segments go; it must bear to be used by several threads.
        topic: the topic they go to.
        limits: how long and large segments may be.
        stop: asked often, by several threads.
        tell: told the state of every camera twice a second, and a last time at the end.
        gone: why a camera is to be read no more, in a few words; None while it is.
        begun: when footage began; now, if None.
        admit: asked by the thread that is to read a camera, until it gives None: why it is not to be read yet.

    Raises:
        BrokerError: the broker is gone. No camera is read any more.
    """
    quiet = quiet_after(limits or SegmentLimits())
    over = threading.Event()
    begun = Beginning.now() if begun is None else begun
    lanes = [
        _Lane(camera, sender, topic, limits, lambda: over.is_set() or stop(), gone, admit, quiet, begun)
        for camera in cameras
    ]
    for lane in lanes:
        lane.start()
    known: dict[str, FeedState] = {}
    try:
        while not stop() and any(lane.is_alive() for lane in lanes):
            for lane in lanes:
                if lane.broken is not None:
                    raise lane.broken
            states = [lane.watch.state() for lane in lanes]
            for state in states:
                _log_change(known.get(state.camera), state, quiet)
            known = {state.camera: state for state in states}
            tell(states)
            time.sleep(_LOOK_SECONDS)
    finally:
        over.set()
        deadline = time.monotonic() + _END_SECONDS
        for lane in lanes:
            lane.join(max(0.0, deadline - time.monotonic()))
            lane.watch.end(AGENT_STOPPED)
    for lane in lanes:
        if lane.broken is not None:
            raise lane.broken
    tell([lane.watch.state() for lane in lanes])


class _Lane(threading.Thread):
    """Reads one camera. Not waited for at the end of the process: libav may hold it for seconds."""

    def __init__(
        self,
        camera: FleetCamera,
        sender: Sender,
        topic: str,
        limits: SegmentLimits | None,
        stop: Callable[[], bool],
        gone: Callable[[str], str | None],
        admit: Callable[[str], str | None],
        quiet_seconds: float,
        begun: Beginning,
    ) -> None:
        super().__init__(name=f"camera {camera.camera}", daemon=True)
        self._camera, self._sender, self._topic, self._limits = camera, sender, topic, limits
        self._asked_to_stop, self._gone, self._admit = stop, gone, admit
        self._attached = Attached(end_us=camera.end_us)
        # What was sent of a time that is still to come is none of this footage.
        goes_on = not camera.loop and camera.end_us <= time.time_ns() // 1000
        self._begun = begun if goes_on else None
        self.watch = FeedWatch(camera.camera, is_footage=not is_live(camera.uri), quiet_seconds=quiet_seconds)
        #: The broker's error that ended this thread.
        self.broken: BrokerError | None = None

    def run(self) -> None:
        pauses = Pauses(*agent.RECONNECT_SECONDS)
        self._wait_for_its_turn()
        while not self._is_over():
            seconds_before = self._attached.seconds
            try:
                self._attach()
            except BrokerError as error:
                self.broken = error
                return
            except SourceError as error:
                # Footage: a camera's own errors are dealt with in `attach`.
                self._attached.problem = error.cause
                happened = str(error)
            except Exception as error:
                # A mistake of ours about one camera is not to blind the others.
                log.exception("camera %s: unexpected error", self._camera.camera)
                self._attached.problem = happened = f"internal error: {type(error).__name__}"
            else:
                why = AGENT_STOPPED if self._is_over() else FOOTAGE_IS_OVER
                self.watch.end(self._gone(self._camera.camera) or why)
                return
            if self._attached.seconds - seconds_before >= agent.STEADY_SECONDS:
                pauses.reset()
            pause = pauses.next()
            log.warning("camera %s: %s; trying again in %.0f s", self._camera.camera, happened, pause)
            self.watch.update(self._attached)
            wait(pause, self._is_over)

    def _wait_for_its_turn(self) -> None:
        while not self._is_over() and (why := self._admit(self._camera.camera)) is not None:
            if self._attached.problem is None:
                log.warning("camera %s: %s", self._camera.camera, why)
            self._attached.problem = why
            self.watch.update(self._attached)
            wait(_LOOK_SECONDS, self._is_over)
        self._attached.problem = None

    def _is_over(self) -> bool:
        return self._asked_to_stop() or self._gone(self._camera.camera) is not None

    def _attach(self) -> None:
        attach(
            self._camera.uri,
            self._camera.camera,
            self._sender,
            self._topic,
            limits=self._limits,
            loop=self._camera.loop,
            start_us=max(time.time_ns() // 1000, self._attached.end_us),
            begun=self._begun,
            first_attempts=None,
            stop=self._is_over,
            progress=self.watch.update,
            state=self._attached,
            reading=self._camera.reading,
        )


_BAD: Final = frozenset[FeedStatus]({"stalled", "failed"})


def _log_change(before: FeedState | None, now: FeedState, quiet_seconds: float) -> None:
    if before is not None and before.status == now.status:
        return
    if now.status in _BAD:
        log.warning("camera %s: no data for %.0f s%s", now.camera, quiet_seconds, f" ({now.why})" if now.why else "")
    elif now.status == "live":
        log.info(
            "camera %s: live, %s %dx%d%s",
            now.camera,
            now.codec,
            now.width,
            now.height,
            ", again" if before is not None and before.status in _BAD else "",
        )
    elif now.status == "ended":
        log.info("camera %s: ended, %s", now.camera, now.why)
