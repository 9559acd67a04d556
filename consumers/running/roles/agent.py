"""The process that reads all cameras of the settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Final

from consumers.outputs.outages import watch_kafka, watching
from consumers.outputs.states import reported_cameras
from consumers.records.states.process import ProcessInfo
from consumers.running.attaching import disk_of, limits_of, opened, spool_of
from consumers.running.child import RUN_START, TURNS, Run
from consumers.running.ending import Ending
from consumers.running.monitoring.endpoint import endpoint
from consumers.running.monitoring.monitors import AgentMonitor
from consumers.running.monitoring.spans import sent_spans
from consumers.running.sending.claims import ClaimWatch
from consumers.running.sending.courier import Courier
from consumers.running.sending.indexing import Indexer, both
from consumers.running.sending.link import AgentLink
from consumers.running.supervising.pulse import Pulse
from consumers.running.supervising.turns import Turns
from consumers.settings import Settings
from stream import Beginning, FeedState, FleetCamera, KafkaTransport, attach_all, is_film, is_live

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:
    """Connect to the broker; the run reads all cameras until it is told to stop or all footage is over.

    A broker that is away is waited for: live cameras are read meanwhile. A camera that another agent has is not read;
    one that has ended agents before us is not read before its turn.

    Raises:
        SettingsError: a camera's address cannot be resolved.
    """

    def connect() -> KafkaTransport:
        return KafkaTransport(settings.broker, at_once=True)

    names = list(settings.cameras)
    addresses = {name: camera.address() for name, camera in settings.cameras.items()}
    claims = ClaimWatch(connect, settings.topics, process)
    index = Indexer(connect, settings.topics, is_lost=lambda camera: claims.taken_by(camera) is not None)
    link = AgentLink(
        connect,
        settings,
        process,
        claims,
        names,
        take_over=settings.run.take_over,
        must_have_all=False,
        claimed=index.claimed,
    )
    first = opened(link)
    cameras = [
        FleetCamera(name, addresses[name], camera.loop, camera.reading, link.ends_us[name])
        for name, camera in settings.cameras.items()
    ]
    newest: list[FeedState] = []
    kafka = watch_kafka(settings.broker)
    monitor = AgentMonitor(settings, process, lambda: tuple(newest), lambda: kafka.awaited)
    pulse.watch(monitor.stuck)

    def gone(camera: str) -> str | None:
        agent = link.taken.get(camera) or claims.taken_by(camera)
        return None if agent is None else f"{agent.id} has it"

    turns = Turns(os.environ.get(TURNS, ""), pulse.tell)

    def is_camera(name: str) -> bool:
        # One whose time has not come is not even asked whether it is a film: it may be the end of us.
        if not is_live(addresses[name]) or turns.waits(name):
            return is_live(addresses[name])
        with turns.reading(name):
            return not is_film(addresses[name])

    def run(ending: Ending) -> None:
        live = [name for name in names if is_camera(name)]
        waiting = [first] if first is not None else []
        with (
            sent_spans("agent", process) as spans,
            spool_of(settings, process.id if live else None) as spool,
            index,
            Courier(
                lambda: waiting.pop() if waiting else link.open(),
                live=live,
                spool=spool,
                limits=limits_of(settings),
                stop=ending.stop.is_set,
                told=both(index.stored, spans.stored if spans else None),
            ) as courier,
            ending.last(courier.put_aside),
            reported_cameras(
                connect,
                settings.topics,
                process,
                lambda: [s for s in newest if gone(s.camera) is None],
                disk_of(settings, live=bool(live)),
                lambda: courier.on_disk,
            ),
        ):
            monitor.courier, monitor.spans = courier, spans

            def tell(states: Sequence[FeedState]) -> None:
                monitor.turn()
                newest[:] = states

            turns.begin()
            attach_all(
                cameras,
                courier,
                settings.topics.segments,
                limits=settings.segments.limits,
                stop=ending.stop.is_set,
                tell=tell,
                gone=gone,
                begun=_begun(),
                admit=turns.admit,
            )
            courier.flush()

    with watching(kafka), endpoint(settings.metrics, monitor), claims:
        yield run


def _begun() -> Beginning | None:
    """When the run began, over restarts of this process: its footage is sent once."""
    if not (told := os.environ.get(RUN_START)):
        return None
    time_us, clock = told.split()
    return Beginning(int(time_us), float(clock))
