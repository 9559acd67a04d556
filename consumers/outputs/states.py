"""Telling others how cameras and workers are doing, on the topics of their states."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

from consumers.live.figures.snapshot import CameraSnapshot, WorkerSnapshot
from consumers.records.states.camera_state import CameraState, DiskTrouble
from consumers.records.states.process import HEARTBEAT_SECONDS, ProcessInfo
from consumers.records.states.worker_state import Status, WorkerCamera, WorkerState
from consumers.settings import TopicSettings, WorkerSettings
from stream import AGENT_STOPPED, BrokerError, FeedState, FeedWatch, Producer, Topic, Transport

from .outages import Refusals

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.5
#: A worker's state changes with each window: it is sent this often.
_WORKER_SECONDS: Final = 2.0
#: How long a worker's last report may take.
_END_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 2.0


def ensure_state_topics(transport: Transport, topics: TopicSettings) -> None:
    """Create the topics of states where they are missing: one partition, so that they are read to their end at once."""
    names = topics.cameras_state, topics.cameras_claims, topics.workers_state
    transport.ensure_topics([Topic(name, 1, compacted=True) for name in names])


class CameraReporter:
    """Sends each camera's state when it changes, and every few seconds."""

    def __init__(
        self,
        producer: Producer,
        topic: str,
        agent: ProcessInfo,
        disk: Callable[[], DiskTrouble | None] = lambda: None,
        spooled: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._producer, self._topic, self._agent, self._disk, self._spooled = producer, topic, agent, disk, spooled
        self._sent: dict[str, tuple[str, str | None, float]] = {}

    def tell(self, states: Sequence[FeedState]) -> None:
        """Take the states of all cameras; call it a few times a second.

        Raises:
            BrokerError: the broker is gone.
        """
        now = time.monotonic()
        for state in states:
            status, why, at = self._sent.get(state.camera, ("", None, 0.0))
            if (state.status, state.why) != (status, why) or now - at >= HEARTBEAT_SECONDS:
                record = CameraState(state, self._agent, time.time_ns() // 1000, self._disk(), self._spooled())
                self._producer.send(self._topic, *record.encode())
                self._sent[state.camera] = state.status, state.why, now


@contextlib.contextmanager
def reported_camera(
    connect: Callable[[], Transport],
    topics: TopicSettings,
    camera: str,
    agent: ProcessInfo,
    *,
    is_footage: bool = False,
    quiet_seconds: float,
    hear: Callable[[FeedState], None] = lambda _: None,
    is_ours: Callable[[], bool] = lambda: True,
    disk: Callable[[], DiskTrouble | None] = lambda: None,
    spooled: Callable[[], int | None] = lambda: None,
) -> Iterator[FeedWatch]:
    """Send the state of one camera while the body attaches it; what it yields is to be told how that goes.

    Unless that is told why it ended, the agent stopped.

    `hear` is called in another thread, with each state that is looked at. Nothing is sent while the camera is not ours.
    `disk` says why segments could not wait on disk, `spooled` how many wait there.

    With a producer of its own: an error about a segment must reach whoever sends segments. A broker that is away costs
    reports, never the attachment.
    """
    watch, done = FeedWatch(camera, is_footage=is_footage, quiet_seconds=quiet_seconds), threading.Event()

    def listen() -> None:
        while not done.wait(_LOOK_SECONDS):
            hear(watch.state())

    def ours() -> list[FeedState]:
        return [watch.state()] if is_ours() else []

    # A daemon: `hear` is not ours to wait for.
    thread = threading.Thread(target=listen, name="camera state", daemon=True)
    thread.start()
    try:
        with reported_cameras(connect, topics, agent, ours, disk, spooled):
            try:
                yield watch
            finally:
                watch.end(AGENT_STOPPED)
    finally:
        done.set()
        thread.join(_END_SECONDS)
        hear(watch.state())


@contextlib.contextmanager
def reported_cameras(
    connect: Callable[[], Transport],
    topics: TopicSettings,
    agent: ProcessInfo,
    states: Callable[[], Sequence[FeedState]],
    disk: Callable[[], DiskTrouble | None] = lambda: None,
    spooled: Callable[[], int | None] = lambda: None,
) -> Iterator[None]:
    """Send what `states` gives, on change and every few seconds, while the body runs, and a last time after it.

    `disk` says why segments could not wait on disk, `spooled` how many wait there.

    In a thread and with a producer of its own. A broker that is away costs reports, and nobody waits for it.
    """
    done, refusals = threading.Event(), Refusals()

    def run() -> None:
        while True:
            try:
                return _report(connect(), topics, agent, states, (disk, spooled), done)
            except BrokerError as error:
                refusals.note(error)
                if done.wait(_RETRY_SECONDS):
                    return None

    thread = threading.Thread(target=run, name="camera states", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_END_SECONDS)


def _report(
    transport: Transport,
    topics: TopicSettings,
    agent: ProcessInfo,
    states: Callable[[], Sequence[FeedState]],
    on_disk: tuple[Callable[[], DiskTrouble | None], Callable[[], int | None]],
    done: threading.Event,
) -> None:
    """Send states until the end.

    Raises:
        BrokerError: the broker is gone.
    """
    ensure_state_topics(transport, topics)
    producer = transport.producer()
    reporter = CameraReporter(producer, topics.cameras_state, agent, *on_disk)
    try:
        is_last = False
        while not is_last:
            is_last = done.wait(_LOOK_SECONDS)
            reporter.tell(states())
        producer.flush()
    finally:
        producer.close()


class WorkerReporter:
    """Sends a worker's state every few seconds while its `with` block lasts, and its end.

    In a thread and with a producer of its own. A broker that is away costs reports, never the worker.
    """

    def __init__(
        self,
        transport: Transport,
        topics: TopicSettings,
        worker: ProcessInfo,
        snapshot: Callable[[], WorkerSnapshot],
        *,
        settings: WorkerSettings,
        engine: str,
    ) -> None:
        self._transport, self._topics, self._worker = transport, topics, worker
        self._snapshot, self._settings, self._engine = snapshot, settings, engine
        self._producer: Producer | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker state", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Tell that the worker has ended; by any thread, and once."""
        self._done.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._done.wait(_WORKER_SECONDS if self._producer is not None else 0.0)
            try:
                self._send("ended" if ended else "working")
            except BrokerError as error:
                log.warning("the worker's state cannot be told: %s", error)
                self._close()
                ended = ended or self._done.wait(HEARTBEAT_SECONDS)
        self._close()

    def _send(self, status: Status) -> None:
        if self._producer is None:
            ensure_state_topics(self._transport, self._topics)
            self._producer = self._transport.producer()
        now_us = time.time_ns() // 1000
        state = worker_state(self._snapshot(), self._worker, status, self._settings, self._engine, now_us)
        self._producer.send(self._topics.workers_state, *state.encode())
        self._producer.flush()

    def _close(self) -> None:
        if self._producer is not None:
            self._producer.close()
            self._producer = None


def worker_state(
    snapshot: WorkerSnapshot, worker: ProcessInfo, status: Status, settings: WorkerSettings, engine: str, time_us: int
) -> WorkerState:
    """What a worker's snapshot says to others. One that has ended has no cameras any more."""
    cameras = () if status == "ended" else tuple(_camera(c) for c in snapshot.cameras)
    return WorkerState(
        worker=worker,
        status=status,
        group=settings.group,
        model=snapshot.model,
        engine=engine,
        cameras=cameras,
        lag=snapshot.lag,
        time_us=time_us,
        waiting=snapshot.waiting,
        alarms=tuple(sorted(snapshot.alarms)),
        awaited=tuple(map(str, snapshot.awaited)),
        away=snapshot.awaited,
        redis_behind=snapshot.redis_behind,
        lost_to_retention=snapshot.lost_to_retention,
        partitions=snapshot.partitions,
        exactly_once=snapshot.exactly_once,
        instance=settings.instance,
    )


def _camera(camera: CameraSnapshot) -> WorkerCamera:
    newest = camera.newest
    return WorkerCamera(
        camera=camera.camera,
        pending=camera.pending,
        silent_seconds=camera.silent_seconds,
        behind_seconds=camera.behind_seconds,
        label=newest.label if newest else None,
        score=newest.scores[newest.label] if newest else None,
        window_end_us=newest.end_us if newest else None,
        events=tuple(event.label for event in camera.active),
        fenced=camera.skipped.get("fenced", 0),
        fenced_seconds=camera.fenced_seconds,
        degraded=camera.degraded,
    )
