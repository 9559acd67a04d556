"""The agent that reads a feed and sends its segments: the only part that sees a camera's address."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Protocol

from stream.errors import RecordTooLargeError, SourceError
from stream.headers import Headers
from stream.segment import Segment

from .addresses import display_name, is_live
from .folders import find_files
from .footage import Footage
from .packets import Packet
from .segmenter import Segmenter, SegmentLimits
from .source import Feed, Reading

log = logging.getLogger(__name__)

Pace = Literal["realtime", "max"]

#: Seconds between attempts to reach a camera again: doubling from the first to the last.
RECONNECT_SECONDS: Final = (1.0, 30.0)
#: A camera has to give so many seconds of video before the pauses begin anew from the shortest: one that connects and
#: breaks off again is not to be tried every second.
STEADY_SECONDS: Final = 10.0
#: A camera that never answered is a wrong address sooner than a long absence, for whoever typed it just now.
FIRST_ATTEMPTS: Final = 3
#: Footage is handed over this often at least, so that pacing keeps time.
_SLEEP_SECONDS: Final = 0.2


class Sender(Protocol):
    """Where records go: the part of a broker's producer that an agent needs."""

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        """Queue a record; raise RecordTooLargeError if it can never be sent."""

    def flush(self) -> None:
        """Return when every record sent so far is stored."""


class Pauses:
    """Waiting times in seconds between attempts, doubling up to a bound."""

    def __init__(self, first: float, last: float) -> None:
        self._first, self._last = first, last
        self._next = first

    def next(self) -> float:
        pause, self._next = self._next, min(2 * self._next, self._last)
        return pause

    def reset(self) -> None:
        self._next = self._first


@dataclass(slots=True)
class Attached:
    """How far an attachment has come."""

    segments: int = 0
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    #: Files left out, with the reason.
    failures: list[str] = field(default_factory=list)
    #: Of the newest video; empty and 0 before the first.
    codec: str = ""
    width: int = 0
    height: int = 0
    #: Event time at which the newest segment ended.
    end_us: int = 0
    #: Why nothing comes at the moment, without the camera's address; None while its feed is open, and before the first
    #: attempt is over.
    problem: str | None = None


def attach(
    uri: str,
    camera: str,
    sender: Sender,
    topic: str,
    *,
    limits: SegmentLimits | None = None,
    pace: Pace = "realtime",
    loop: bool = False,
    start_us: int | None = None,
    first_attempts: int | None = FIRST_ATTEMPTS,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Attached], None] = lambda _: None,
    state: Attached | None = None,
    reading: Reading | None = None,
) -> Attached:
    """Send the segments of `uri` (a file, a folder or an rtsp:// camera) as `camera`, until it ends or `stop()`.

    Files of a folder follow one another in the order of their names; a file that cannot be read is reported and left
    out. A camera that falls silent is tried again for as long as it takes, each time as a new epoch.

    Args:
        uri: where the video is.
        camera: the id it gets on the wire.
        sender: where segments go.
        topic: the topic they go to.
        limits: how long and large segments may be.
        pace: "realtime" hands over footage as fast as it was recorded, "max" as fast as it can be read.
        loop: begin again at the end, with time going on.
        start_us: event time of the first frame of footage; when it was recorded, if None.
        first_attempts: how often a camera that has never answered is tried; for as long as it takes, if None.
        stop: asked often.
        progress: told after each segment, and when a camera's connection opens or breaks.
        state: counts to go on with, of an earlier attachment of the same camera.
        reading: what the user says about how the feed is read.

    Raises:
        SourceError: nothing of `uri` can be read.
        BrokerError: the broker is gone.
    """
    state = Attached() if state is None else state

    too_large = 0

    def send(segments: list[Segment]) -> None:
        nonlocal too_large
        for segment in segments:
            # Workers see a hole in the sequence; what was in it travels with the next record.
            skipped = {**segment.skipped, "too_large": too_large} if too_large else segment.skipped
            key, headers, data = replace(segment, skipped=skipped).encode()
            try:
                sender.send(topic, key, headers, data)
            except RecordTooLargeError as error:
                log.warning("camera %s: %s", camera, error)
                too_large += segment.frames
                continue
            too_large = 0
            state.segments += not segment.is_end
            state.frames += segment.frames
            state.seconds += segment.seconds
            state.bytes += len(data)
            state.codec, state.width, state.height = segment.codec, segment.width, segment.height
            state.end_us = segment.end_us
            state.skipped.update(skipped)
            progress(state)

    if "://" in uri and not is_live(uri):
        expected = "expected a file, a folder or an rtsp:// camera"
        raise SourceError(f"{display_name(uri)}: {expected}", cause=expected)
    if is_live(uri):
        _attach_camera(uri, camera, limits, send, stop, progress, state, first_attempts, reading)
    else:
        _attach_files(uri, camera, limits, send, stop, pace, state, start_us=start_us, loop=loop, reading=reading)
    sender.flush()
    return state


def _attach_files(
    uri: str,
    camera: str,
    limits: SegmentLimits | None,
    send: Callable[[list[Segment]], None],
    stop: Callable[[], bool],
    pace: Pace,
    state: Attached,
    *,
    start_us: int | None,
    loop: bool,
    reading: Reading | None,
) -> None:
    left_out: list[str] = []
    files = find_files(Path(uri), left_out)
    footage = Footage(files, camera, limits, start_us=start_us, strict=Path(uri).is_file(), reading=reading)
    footage.failures += left_out
    state.failures, state.problem = footage.failures, None
    try:
        while True:
            sent_before = state.segments
            for segment in footage.segments(lambda feed: _paced(feed, pace, stop), stop):
                send([segment])
            if stop():
                return
            if state.segments == sent_before:
                raise SourceError(
                    f"{uri}: no frame could be read ({state.failures or dict(state.skipped) or 'it is empty'})",
                    cause="no frame could be read",
                )
            if not loop:
                return
    finally:
        state.skipped.update(footage.skipped)


def _paced(feed: Feed, pace: Pace, stop: Callable[[], bool]) -> Iterator[Packet]:
    """The packets of a file, each not before its time when the pace is real time."""
    begin, first = time.monotonic(), None
    for packet in feed.packets():
        stamp = packet.dts if packet.dts is not None else packet.pts
        if pace == "realtime" and stamp is not None:
            seconds = float(stamp * feed.track.time_base)
            first = seconds if first is None else first
            while (wait := begin + seconds - first - time.monotonic()) > 0 and not stop():
                time.sleep(min(wait, _SLEEP_SECONDS))
        if stop():
            return
        yield packet


def _attach_camera(
    uri: str,
    camera: str,
    limits: SegmentLimits | None,
    send: Callable[[list[Segment]], None],
    stop: Callable[[], bool],
    progress: Callable[[Attached], None],
    state: Attached,
    first_attempts: int | None,
    reading: Reading | None,
) -> None:
    connected, attempts, pauses = False, 0, Pauses(*RECONNECT_SECONDS)
    while not stop():
        seconds_before = state.seconds
        try:
            with Feed(uri, reading) as feed:
                connected, state.problem = True, None
                progress(state)
                _send_feed(feed, camera, limits, send, stop, state)
            state.problem = "the camera ended the stream"
            happened = f"{display_name(uri)} ended the stream"
        except SourceError as error:
            attempts += 1
            state.problem = error.cause
            if not connected and first_attempts is not None and attempts >= first_attempts:
                raise
            happened = str(error)
        if stop():
            return
        if state.seconds - seconds_before >= STEADY_SECONDS:
            pauses.reset()
        pause = pauses.next()
        log.warning("camera %s: %s; trying again in %.0f s", camera, happened, pause)
        progress(state)
        wait(pause, stop)


def _send_feed(
    feed: Feed,
    camera: str,
    limits: SegmentLimits | None,
    send: Callable[[list[Segment]], None],
    stop: Callable[[], bool],
    state: Attached,
) -> None:
    """Send what a camera's open feed gives, and the mark that ends it."""
    # Epochs grow, even where the clock was set back meanwhile.
    segmenter = Segmenter(camera, feed.track, limits, start_us=state.end_us, clock=lambda: time.time_ns() // 1000)
    try:
        for packet in feed.packets():
            send(segmenter.push(packet))
            if stop():
                break
    finally:
        send(segmenter.end())
        state.skipped.update(segmenter.skipped)


def wait(seconds: float, stop: Callable[[], bool]) -> None:
    """Return after so many seconds, or soon after `stop()`."""
    deadline = time.monotonic() + seconds
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _SLEEP_SECONDS))
