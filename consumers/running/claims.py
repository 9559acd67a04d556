"""What the topics say of a camera before an agent attaches it: who reads it already, and where its footage ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Final

from consumers.records.camera_state import CameraState
from consumers.records.process import ProcessInfo
from consumers.settings import TopicSettings
from stream import Segment, SegmentError, Transport

from .overview import DEAD_SECONDS

#: An agent that died without a word sent segments after its last state: they are looked for if it is as new as this,
#: among so many records of each partition. What was sent before is over by any clock that is not far off.
_RECENT_SECONDS: Final = 60.0
_MAX_RECORDS: Final = 200


def reader_of(state: CameraState | None) -> ProcessInfo | None:
    """The other agent that reads a camera now, as its newest state says; None where nobody does."""
    if state is None or state.feed.status == "ended":
        return None
    fresh = state.time_us > time.time_ns() // 1000 - int(DEAD_SECONDS * 1e6)
    return state.agent if fresh and _may_live(state.agent) else None


def taken_words(camera: str, agent: ProcessInfo, kafka: str) -> str:
    """That `agent` reads `camera`, for whoever wants to."""
    return f"{camera}: {agent.id} (process {agent.pid} on {agent.host}) reads it already for the broker at {kafka}"


def newest_ends(
    transport: Transport, topics: TopicSettings, states: Mapping[str, CameraState], cameras: Iterable[str]
) -> dict[str, int]:
    """By camera: the event time in microseconds at which what was sent of it ends, 0 where nothing is known.

    An agent's clock may be behind the one before it: epochs of a camera never overlap all the same.

    Raises:
        BrokerError: the broker does not answer.
    """
    known = {camera: states.get(camera) for camera in cameras}
    ends = {camera: state.feed.end_us if state is not None else 0 for camera, state in known.items()}
    now_us = time.time_ns() // 1000
    unsaid = {
        camera: state.time_us
        for camera, state in known.items()
        if state is not None and state.feed.status != "ended" and now_us - state.time_us < _RECENT_SECONDS * 1e6
    }
    if not unsaid:
        return ends
    since = transport.sent_since(topics.segments, min(unsaid.values()))
    ranges = {
        partition: (max(first, end - _MAX_RECORDS, min(since[partition], end)), end)
        for partition, (first, end) in transport.offsets(topics.segments).items()
    }
    for record in transport.read(
        {partition: (first, end) for partition, (first, end) in ranges.items() if first < end}
    ):
        camera = (record.key or b"").decode(errors="replace")
        if camera in unsaid:
            try:
                segment = Segment.decode(record.key, record.headers, record.value, record.where)
            except SegmentError:
                continue  # whoever classifies it says so
            ends[camera] = max(ends[camera], segment.end_us)
    return ends


def _may_live(process: ProcessInfo) -> bool:
    here = ProcessInfo.current()
    if process.host != here.host:
        return True
    if process.pid == here.pid:
        return False  # of an earlier process with our number
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
