"""Who may send a camera: what the topics say of it before an agent attaches it, and while it does.

    agent A                 topic of claims          agent B, at the same instant
    reads: nobody                                    reads: nobody
    claims ────────────────▶ A claims 5
                             B claims 7 ◀─────────── claims
    reads again: B is        (the higher one wins)   reads again: B is ahead, goes on
    ahead, or hears it
    within a second: stops

Of equal claims the first one in the log wins. A clock that is off makes no difference: a claim is larger than any that
was read before, and who wins is the same for whoever reads the log.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from consumers.outputs.outages import Refusals
from consumers.records.fields import RecordError
from consumers.records.states.camera_claim import CameraClaim
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.running.overview import DEAD_SECONDS
from consumers.running.state_topics import read_states
from consumers.settings import TopicSettings
from stream import BrokerError, Producer, Record, Segment, SegmentError, Transport

log = logging.getLogger(__name__)

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


def holder_of(claim: CameraClaim | None, state: CameraState | None) -> ProcessInfo | None:
    """The other agent that has a camera now, as it says, or that claimed it and has said nothing yet."""
    if claim is not None and (state is None or state.agent != claim.agent):
        is_fresh = claim.time_us > time.time_ns() // 1000 - int(DEAD_SECONDS * 1e6)
        if is_fresh and (state is None or state.time_us < claim.time_us) and _may_live(claim.agent):
            return claim.agent
    return reader_of(state)


def readers(transport: Transport, topics: TopicSettings, cameras: Iterable[str]) -> dict[str, tuple[ProcessInfo, int]]:
    """By camera that an agent reads now: the agent, and since when, wall clock in microseconds.

    Raises:
        BrokerError: the broker does not answer.
    """
    claims = read_claims(transport, topics) if transport.existing([topics.cameras_claims]) else {}
    states = read_states(transport, topics).cameras
    found = {}
    for camera in cameras:
        claim = claims.get(camera)
        if (agent := holder_of(claim, states.get(camera))) is not None:
            found[camera] = agent, agent.started_us if claim is None or claim.agent != agent else claim.time_us
    return found


def standing_claims(
    records: Iterable[Record], known: Mapping[str, CameraClaim] | None = None
) -> dict[str, CameraClaim]:
    """By camera, the claim that holds when all of `records` of the topic, in order, have been read."""
    found = dict(known or {})
    for record in records:
        if record.value is None:
            continue
        try:
            claim = CameraClaim.decode(record.value, record.where)
        except RecordError as error:
            log.warning("%s: left out", error)
            continue
        before = found.get(claim.camera)
        if before is None or claim.claim > before.claim:
            found[claim.camera] = claim
    return found


def read_claims(transport: Transport, topics: TopicSettings) -> dict[str, CameraClaim]:
    """By camera, the claim that holds now.

    Raises:
        BrokerError: the broker does not answer.
    """
    return standing_claims(transport.read_to_end([(topics.cameras_claims, 0)]))


def claim_cameras(
    transport: Transport,
    producer: Producer,
    topics: TopicSettings,
    cameras: Sequence[str],
    agent: ProcessInfo,
    before: Mapping[str, CameraClaim],
) -> tuple[dict[str, CameraClaim], dict[str, CameraClaim]]:
    """Claim cameras, after the claims that were known.

    Returns:
        By camera: our claim where it holds, and the other's where another agent was ahead.

    Raises:
        BrokerError: the broker does not answer.
    """
    now_us = time.time_ns() // 1000
    ours = {
        camera: CameraClaim(camera, max(now_us, before[camera].claim + 1 if camera in before else 1), agent, now_us)
        for camera in cameras
    }
    for claim in ours.values():
        producer.send(topics.cameras_claims, *claim.encode())
    producer.flush()
    now = read_claims(transport, topics)
    lost = {camera: now[camera] for camera in cameras if camera in now and now[camera].agent != agent}
    return {camera: claim for camera, claim in ours.items() if camera not in lost}, lost


class ClaimWatch:
    """Hears within a second which of our cameras another agent has claimed. A thread, while its `with` block lasts."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        topics: TopicSettings,
        agent: ProcessInfo,
        *,
        retry_seconds: float = 2.0,
    ) -> None:
        """Prepare.

        Args:
            connect: opens the broker; asked again after each BrokerError.
            topics: names of the topics.
            agent: who we are.
            retry_seconds: between attempts to reach the broker.
        """
        self._connect, self._topics, self._agent, self._retry_seconds = connect, topics, agent, retry_seconds
        self._ours: dict[str, CameraClaim] = {}
        self._standing: dict[str, CameraClaim] = {}
        self._told: set[str] = set()
        self._refusals = Refusals()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claims", daemon=True)

    def add(self, claims: Mapping[str, CameraClaim]) -> None:
        """Watch over claims of ours."""
        self._ours |= claims

    def taken_by(self, camera: str) -> ProcessInfo | None:
        """The agent that has taken a camera over from us."""
        ours, standing = self._ours.get(camera), self._standing.get(camera)
        if ours is None or standing is None or standing.agent == self._agent or standing.claim < ours.claim:
            return None
        return standing.agent

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._follow()
            except BrokerError as error:
                self._refusals.note(error)
                self._done.wait(self._retry_seconds)

    def _follow(self) -> None:
        transport = self._connect()
        consumer, producer = transport.consumer([self._topics.cameras_claims]), None
        try:
            while not self._done.is_set():
                records = consumer.poll(0.5).records
                self._standing = standing_claims(records, self._standing)
                for claim in self._outdone(records):
                    # Compaction keeps the newest record, which has to be the one that holds.
                    producer = producer or transport.producer()
                    producer.send(self._topics.cameras_claims, *claim.encode())
                    producer.flush()
                self._tell()
        finally:
            consumer.close()
            if producer is not None:
                producer.close()

    def _outdone(self, records: Iterable[Record]) -> list[CameraClaim]:
        """Claims of ours that hold, and have a record behind them that does not."""
        newest = {(record.key or b"").decode(errors="replace"): record for record in records}
        found = []
        for camera, ours in list(self._ours.items()):
            if camera in newest and self._standing.get(camera) == ours and newest[camera].value != ours.encode()[2]:
                found.append(ours)
        return found

    def _tell(self) -> None:
        for camera in list(self._ours):
            if camera not in self._told and (agent := self.taken_by(camera)) is not None:
                self._told.add(camera)
                log.warning("%s: it is sent no more by this process", taken_over_words(camera, agent))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._thread.join(1.0)


def taken_over_words(camera: str, agent: ProcessInfo) -> str:
    """That `agent` has taken `camera` over."""
    return f"camera {camera}: {agent.id} (process {agent.pid} on {agent.host}) has taken it over"


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
