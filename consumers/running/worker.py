"""A process that classifies the cameras on the topic."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Final

from consumers.live.assemble import Serving, open_worker
from consumers.outputs.redis_connection import SinkError
from consumers.outputs.states import WorkerReporter
from consumers.records.process import ProcessInfo
from consumers.settings import Settings
from consumers.terminal.wording import NO_EVENTS
from models import ModelError
from stream import KafkaTransport

from .child import Run

log = logging.getLogger(__name__)

AWAY: Final = ()
REFUSED: Final = (ModelError, SinkError)


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo) -> Iterator[Run]:
    """Connect to the broker and load the model; the run works until it is told to stop.

    Raises:
        BrokerError: the broker does not answer.
        SinkError: the address of Redis is not understood.
        ModelError: the checkpoint or engine cannot be used.
        SettingsError: settings and model do not fit.
    """
    with open_worker(settings) as serving:
        log.info(
            "working: model %s, engine %s, group %s",
            serving.classifier.id,
            serving.classifier.engine,
            settings.worker.group,
        )
        if not serving.snapshot().alarms:
            log.warning("raises %s", NO_EVENTS)

        def run(stop: Callable[[], bool]) -> None:
            run_worker(serving, settings, process, stop)
            for name, counts in sorted(serving.worker.counts.items()):
                log.info("%s: %s", name, counts.summary())

        yield run


def run_worker(serving: Serving, settings: Settings, process: ProcessInfo, stop: Callable[[], bool]) -> None:
    """Work until `stop()`, sending the worker's state to its topic meanwhile.

    Raises:
        BrokerError: the broker is gone for longer than the retries last.
    """
    reporter = WorkerReporter(
        KafkaTransport(settings.kafka),
        settings.topics,
        process,
        serving.snapshot,
        group=settings.worker.group,
        engine=serving.classifier.engine,
    )
    with reporter:
        serving.worker.run(stop)
