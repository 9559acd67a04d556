"""The agent that reads a feed and sends its segments: the only part that sees a camera's address."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Protocol

from stream.errors import RecordTooLargeError, SourceError, StreamError
from stream.headers import Headers
from stream.segment import Segment

from .addresses import check_address, display_name, is_live, may_be_film
from .cutting.segmenter import Segmenter, SegmentLimits
from .folders import find_files
from .footage import Beginning, Footage, open_in_order
from .packets import Packet
from .reasons import CAMERA_ENDED, NO_FRAME
from .source import Feed, Reading
from .times.live_clock import MICROSECONDS, ArrivalTime, LiveClock, date_packets
from .times.timestamps import MAX_REORDER

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
#: Timestamps of a file that step back further than this jump.
_REORDER_SECONDS: Final = 1.0
#: No camera's first picture is dated further before it came.
_BEFORE_ARRIVAL_US: Final = 60_000_000
#: A camera's clock is said to be wrong once its times had to be corrected by so much, and again at twice as much.
_DRIFT_SECONDS: Final = 0.5
#: Jumps of a camera's clock are said this often at most.
_JUMP_QUIET_SECONDS: Final = 60.0
_SHARE_IN_PERCENT: Final = 0.001


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
    #: Event time at which the newest segment ended. What a camera sends next begins there or later.
    end_us: int = 0
    #: How much slower than time a camera's clock is, in millionths of the time that passed; its times are corrected.
    drift_ppm: int = 0
    #: Why nothing comes at the moment, without the camera's address; None while its feed is open, and before the first
    #: attempt is over.
    problem: str | None = None
    #: Segments that wait on disk for the broker, and such of footage that were not sent because the agent was stopped.
    on_disk: int = 0
    unsent: int = 0


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
    begun: Beginning | None = None,
    first_attempts: int | None = FIRST_ATTEMPTS,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Attached], None] = lambda _: None,
    state: Attached | None = None,
    reading: Reading | None = None,
) -> Attached:
    """Send the segments of `uri` (file, folder, or address of a camera or film) as `camera`, to its end or `stop()`.

    Files of a folder follow one another in the order in which they were recorded; a file that cannot be read is
    reported and left out. A camera that falls silent is tried again for as long as it takes, each time as a new epoch.

    Args:
        uri: where the video is.
        camera: the id it gets on the wire.
        sender: where segments go.
        topic: the topic they go to.
        limits: how long and large segments may be.
        pace: "realtime" hands over footage as fast as it was recorded, "max" as fast as it can be read.
        loop: begin again at the end, with time going on.
        start_us: event time of the first frame of footage; when it was recorded, if None.
        begun: when footage began that is sent as if it were filmed from then on, in place of `start_us`: what was sent
            before, as `state.end_us` says, is left out, and what is due by now is sent at once.
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

    check_address(uri)
    if is_live(uri) and not is_film(uri):
        _attach_camera(uri, camera, limits, send, stop, progress, state, first_attempts, reading)
    else:
        _attach_files(
            uri, camera, limits, send, stop, pace, state, start_us=start_us, begun=begun, loop=loop, reading=reading
        )
    sender.flush()
    return state


def is_film(uri: str) -> bool:
    """Whether what somebody serves at `uri` ends, as its length says. What does not answer is no film."""
    if not may_be_film(uri):
        return False
    try:
        with Feed(uri) as feed:
            return feed.seconds is not None
    except SourceError:
        return False


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
    begun: Beginning | None,
    loop: bool,
    reading: Reading | None,
) -> None:
    left_out: list[str] = []
    files = [uri] if is_live(uri) else open_in_order(find_files(Path(uri), left_out), reading)
    if is_live(uri) and start_us is None:
        start_us = time.time_ns() // 1000  # who serves a film does not say when it was recorded
    if begun is not None:
        start_us = begun.time_us
    footage = Footage(files, camera, limits, start_us=start_us, strict=not Path(uri).is_dir(), reading=reading)
    footage.failures += left_out
    state.failures, state.problem = footage.failures, None
    max_gap = (limits or SegmentLimits()).max_gap_seconds

    sent_us = 0 if begun is None else state.end_us

    def paced(feed: Feed) -> Iterator[Packet]:
        return _paced(feed, pace, stop, max_gap, 0.0 if begun is None else begun.late_seconds(footage.begin_us))

    try:
        while True:
            read = 0
            for segment in footage.segments(paced, stop):
                read += not segment.is_end
                # Of the newest file, that it has ended may be all that was not said.
                if segment.end_us > sent_us or (segment.is_end and segment.end_us == sent_us):
                    send([segment])
            if stop():
                return
            if not read:
                raise SourceError(
                    f"{uri}: no frame could be read ({state.failures or dict(state.skipped) or 'it is empty'})",
                    cause=NO_FRAME,
                )
            if not loop:
                return
    finally:
        state.skipped.update(footage.skipped)


def _paced(
    feed: Feed, pace: Pace, stop: Callable[[], bool], max_gap_seconds: float, late_seconds: float
) -> Iterator[Packet]:
    """The packets of a file that is to have begun `late_seconds` ago, each not before its time in real time.

    Where timestamps jump, forward by more than the longest gap or back, time goes on from there: nobody waits for it.
    Once it is to stop, what is shown before pictures that were given follows them, and nothing else.

    decode order    I0 P4 | B2 B1 B3 | P8 …      told to stop behind P4: frames 0 to 4
    """
    begin, last = 0.0, None
    newest, more = -math.inf, MAX_REORDER
    for packet in feed.packets():
        stamp = packet.dts if packet.dts is not None else packet.pts
        if pace == "realtime" and stamp is not None:
            seconds = float(stamp * feed.track.time_base)
            if last is None or not -_REORDER_SECONDS <= seconds - last <= max_gap_seconds:
                if last is not None:
                    late_seconds = max(0.0, time.monotonic() - begin - last)
                begin = time.monotonic() - late_seconds - seconds
            last = seconds
            while (left := begin + seconds - time.monotonic()) > 0 and not stop():
                time.sleep(min(left, _SLEEP_SECONDS))
        if stop():
            more -= 1
            if packet.pts is None or packet.pts > newest or more < 0:
                return
        newest = max(newest, packet.pts if packet.pts is not None else newest)
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
        seconds_before, began = state.seconds, time.monotonic()
        try:
            with Feed(uri, reading) as feed:
                connected, state.problem = True, None
                progress(state)
                _send_feed(feed, camera, limits, send, stop, state)
            state.problem = CAMERA_ENDED
            happened = f"{display_name(uri)} ended the stream"
        except SourceError as error:
            attempts += 1
            state.problem = error.cause
            if not connected and first_attempts is not None and attempts >= first_attempts:
                raise
            happened = str(error)
        if stop():
            return
        # Both: what a camera had gathered may be seconds of video at once.
        if min(state.seconds - seconds_before, time.monotonic() - began) >= STEADY_SECONDS:
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
    arrival, clock = ArrivalTime(state.end_us / 1e6), LiveClock()
    if (ahead := arrival.ahead_seconds) > 1:
        log.warning(
            "camera %s: its times begin %.0f s ahead of the clock, where its newest segment ended", camera, ahead
        )
    # Packets come with their event times, so that time 0 may be any. A feed without a picture ends there.
    zero_us = max(state.end_us, time.time_ns() // 1000 - _BEFORE_ARRIVAL_US)
    track = replace(feed.track, time_base=MICROSECONDS, zero=zero_us)
    segmenter = Segmenter(camera, track, limits, start_us=zero_us, live=True)
    notes = _ClockNotes(camera)
    packets = date_packets(feed.packets(), feed.track.time_base, clock, arrival, not_before_us=state.end_us)
    try:
        for packet in packets:
            state.drift_ppm = notes.drift_ppm(clock)
            send(segmenter.push(packet))
            if stop():
                break
    except SourceError:
        try:
            send(segmenter.end())
        except StreamError as other:  # a consequence, or met again at the next attempt
            log.warning("camera %s: the end of its feed could not be sent (%s)", camera, other)
        raise
    finally:
        state.skipped.update(segmenter.skipped)
    send(segmenter.end())


class _ClockNotes:
    """Says in the log what is wrong with a camera's clock, and not for each picture."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self._jumps, self._quiet_until = 0, -math.inf
        self._say_at_seconds = _DRIFT_SECONDS

    def drift_ppm(self, clock: LiveClock) -> int:
        """How much slower than time the camera's clock is, in millionths; 0 while that may be the network."""
        if clock.jumps > self._jumps and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _JUMP_QUIET_SECONDS
            times = clock.jumps - self._jumps
            log.warning(
                "camera %s: its timestamps jumped%s by %+.1f s; time goes on by arrival",
                self._camera,
                f" {times} times, the last time" if times > 1 else "",
                clock.jump_seconds,
            )
            self._jumps = clock.jumps
        off = abs(clock.corrected_seconds)
        if off >= self._say_at_seconds:
            self._say_at_seconds = max(2 * self._say_at_seconds, off)
            slow = "slow" if clock.drift > 0 else "fast"
            log.warning(
                "camera %s: its clock is %s by %s, %.1f s until now; its times are corrected by arrival",
                self._camera,
                slow,
                _share(abs(clock.drift)),
                off,
            )
        return round(clock.drift * 1e6) if off >= _DRIFT_SECONDS else 0


def _share(part: float) -> str:
    return f"{part:.1%}" if part >= _SHARE_IN_PERCENT else f"{part * 1e6:.0f} ppm"


def wait(seconds: float, stop: Callable[[], bool]) -> None:
    """Return after so many seconds, or soon after `stop()`."""
    deadline = time.monotonic() + seconds
    while not stop() and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, _SLEEP_SECONDS))
