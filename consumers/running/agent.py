"""The process that reads all cameras of the settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from consumers.outputs.states import CameraReporter, ensure_state_topics
from consumers.records.process import ProcessInfo
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import FleetCamera, KafkaTransport, attach_all

from .child import Run

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo) -> Iterator[Run]:
    """Connect to the broker; the run reads all cameras until it is told to stop or all footage is over.

    Raises:
        SettingsError: a camera's address cannot be resolved.
        BrokerError: the broker does not answer.
    """
    cameras = [
        FleetCamera(name, camera.address(), camera.loop, camera.reading) for name, camera in settings.cameras.items()
    ]
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    ensure_state_topics(transport, settings.topics)
    producer = transport.producer()

    def run(stop: Callable[[], bool]) -> None:
        attach_all(
            cameras,
            producer,
            settings.topics.segments,
            limits=settings.segments.limits,
            stop=stop,
            tell=CameraReporter(producer, settings.topics.cameras_state, process).tell,
        )
        producer.flush()

    try:
        yield run
    finally:
        producer.close()
