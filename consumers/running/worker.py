"""A process that classifies the cameras on the topic."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from consumers.live.assemble import Serving, open_worker
from consumers.outputs.outages import watch_kafka
from consumers.outputs.redis_connection import SinkError
from consumers.outputs.states import WorkerReporter
from consumers.records.process import ProcessInfo
from consumers.settings import Settings
from consumers.terminal.wording import NO_EVENTS
from models import ModelError
from stream import BrokerError, KafkaAddress, KafkaTransport

from .child import Run
from .endpoint import endpoint
from .monitors import WorkerMonitor

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0
#: How long a worker may take to end in order while its broker is away.
_END_SECONDS: Final = 4.0

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
    monitor = WorkerMonitor(settings, process)
    with endpoint(settings.metrics, monitor), open_worker(settings) as serving:
        monitor.serving = serving
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


def keep_working(
    settings: Settings,
    process: ProcessInfo,
    stop: Callable[[], bool],
    show: Callable[[Serving], AbstractContextManager[object]],
    *,
    loading: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    exit_after_seconds: float | None = None,
    abandon: Callable[[], None] = lambda: None,
) -> Serving | None:
    """Work until `stop()`; a broker that is away is waited for, and then everything begins anew with what is stored.

    Args:
        settings: model and services.
        process: who we are.
        stop: asked often.
        show: what is shown while a worker works.
        loading: what is shown while the model is loaded.
        exit_after_seconds: give up when the broker has been away for so long; never, if None.
        abandon: called where the broker is away and the worker has not ended some seconds after `stop()`: what is in
            hand was acknowledged to nobody, and is read again by the next.

    Returns:
        The last worker; None where there was none.

    Raises:
        BrokerError: the broker has been away for too long.
        SinkError, ModelError, SettingsError: as `prepare`.
    """
    serving, kafka, ended = None, watch_kafka(settings.broker, lambda _: None), threading.Event()

    def is_late() -> bool:
        return exit_after_seconds is not None and kafka.seconds >= exit_after_seconds

    def end_all_the_same() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if (stop() or is_late()) and not ended.wait(_END_SECONDS) and kafka.seconds:
                abandon()

    threading.Thread(target=end_all_the_same, name="end", daemon=True).start()
    monitor = WorkerMonitor(settings, process, lambda: kafka.awaited)
    with kafka, endpoint(settings.metrics, monitor), contextlib.ExitStack() as stack:
        stack.callback(ended.set)
        while not (stop() or is_late()):
            try:
                with contextlib.ExitStack() as work:
                    with loading():
                        serving = work.enter_context(open_worker(settings))
                    work.enter_context(show(serving))
                    monitor.serving = serving
                    work.callback(setattr, monitor, "serving", None)
                    run_worker(serving, settings, process, lambda: stop() or is_late())
            except BrokerError as error:
                log.warning("%s: the worker begins anew when it answers", error)
                _wait_for(settings.broker, lambda: stop() or is_late())
        if not stop():
            raise BrokerError(f"Kafka at {settings.kafka} has not answered for {exit_after_seconds:g} s")
    return serving


def _wait_for(kafka: KafkaAddress, stop: Callable[[], bool]) -> None:
    """Return when the broker answers, or soon after `stop()`."""
    while not stop():
        time.sleep(_RETRY_SECONDS)
        with contextlib.suppress(BrokerError):
            KafkaTransport(kafka, at_once=True)
            return


def run_worker(serving: Serving, settings: Settings, process: ProcessInfo, stop: Callable[[], bool]) -> None:
    """Work until `stop()`, sending the worker's state to its topic meanwhile.

    Raises:
        BrokerError: the broker is gone for longer than the retries last.
    """
    reporter = WorkerReporter(
        KafkaTransport(settings.broker),
        settings.topics,
        process,
        serving.snapshot,
        group=settings.worker.group,
        engine=serving.classifier.engine,
    )
    with reporter:
        serving.worker.run(stop)
