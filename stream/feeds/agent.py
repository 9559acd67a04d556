"""The agent that reads a feed and puts its segments on the topic: the only one that sees a camera's address."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from stream.broker.transport import Producer
from stream.errors import RecordTooLargeError, SourceError
from stream.segment import Segment

from .footage import Footage
from .segmenter import Segmenter, SegmentLimits
from .source import Feed, Packet, display_name, find_files, is_live

log = logging.getLogger(__name__)

Pace = Literal["realtime", "max"]

#: Seconds between attempts to reach a camera again: doubling from the first to the last.
RECONNECT_SECONDS: Final = (1.0, 30.0)
#: A camera that never answered is a wrong address sooner than a long absence.
MAX_FIRST_ATTEMPTS: Final = 3
#: Footage is handed over this often at least, so that pacing keeps time.
_SLEEP_SECONDS: Final = 0.2


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


def attach(
    uri: str,
    camera: str,
    producer: Producer,
    topic: str,
    *,
    limits: SegmentLimits | None = None,
    pace: Pace = "realtime",
    loop: bool = False,
    start_us: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Attached], None] = lambda _: None,
) -> Attached:
    """Send the segments of `uri` (a file, a folder or an rtsp:// camera) as `camera`, until it ends or `stop()`.

    Files of a folder follow one another in the order of their names; a file that cannot be read is reported and left
    out. A camera that falls silent is tried again for as long as it takes, each time as a new epoch.

    Args:
        uri: where the video is.
        camera: the id it gets on the wire.
        producer: where segments go.
        topic: the topic they go to.
        limits: how long and large segments may be.
        pace: "realtime" hands over footage as fast as it was recorded, "max" as fast as it can be read.
        loop: begin again at the end, with time going on.
        start_us: event time of the first frame of footage; when it was recorded, if None.
        stop: asked often.
        progress: told after each segment.

    Raises:
        SourceError: nothing of `uri` can be read.
        BrokerError: the broker is gone.
    """
    state = Attached()

    def send(segments: list[Segment]) -> None:
        for segment in segments:
            key, headers, data = segment.encode()
            try:
                producer.send(topic, key, headers, data)
            except RecordTooLargeError as error:
                # The hole in the sequence tells the worker; the frames are counted here.
                log.warning("camera %s: %s", camera, error)
                state.skipped["too_large"] += segment.frames
                continue
            state.segments += not segment.is_end
            state.frames += segment.frames
            state.seconds += segment.seconds
            state.bytes += len(data)
            state.skipped.update(segment.skipped)
            progress(state)

    if "://" in uri and not is_live(uri):
        raise SourceError(f"{display_name(uri)}: expected a file, a folder or an rtsp:// camera")
    if is_live(uri):
        _attach_camera(uri, camera, limits, send, stop, state)
    else:
        _attach_files(uri, camera, limits, send, stop, pace, state, start_us=start_us, loop=loop)
    producer.flush()
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
) -> None:
    footage = Footage(find_files(Path(uri)), camera, limits, start_us=start_us, strict=Path(uri).is_file())
    state.failures = footage.failures
    try:
        while True:
            sent_before = state.segments
            for segment in footage.segments(lambda feed: _paced(feed, pace, stop), stop):
                send([segment])
            if stop():
                return
            if state.segments == sent_before:
                raise SourceError(
                    f"{uri}: no frame could be read ({state.failures or dict(state.skipped) or 'it is empty'})"
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
    state: Attached,
) -> None:
    connected, attempts, wait = False, 0, RECONNECT_SECONDS[0]
    newest_us = 0
    while not stop():
        try:
            with Feed(uri) as feed:
                connected, attempts, wait = True, 0, RECONNECT_SECONDS[0]
                # Epochs grow, even where the clock was set back meanwhile.
                segmenter = Segmenter(
                    camera, feed.track, limits, start_us=newest_us, clock=lambda: time.time_ns() // 1000
                )
                try:
                    for packet in feed.packets():
                        send(segmenter.push(packet))
                        if stop():
                            break
                finally:
                    send(segmenter.end())
                    state.skipped.update(segmenter.skipped)
                    newest_us = segmenter.last_end_us
            log.warning("camera %s: %s ended the stream", camera, display_name(uri))
        except SourceError as error:
            attempts += 1
            if not connected and attempts >= MAX_FIRST_ATTEMPTS:
                raise
            log.warning("camera %s: %s; trying again in %.0f s", camera, error, wait)
        deadline = time.monotonic() + wait
        while not stop() and time.monotonic() < deadline:
            time.sleep(_SLEEP_SECONDS)
        wait = min(2 * wait, RECONNECT_SECONDS[1])
