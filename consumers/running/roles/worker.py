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
from consumers.outputs.redis.connection import SinkError
from consumers.outputs.states import WorkerReporter
from consumers.records.states.process import ProcessInfo
from consumers.running.child import EXIT_REFUSED, Run
from consumers.running.ending import Ending
from consumers.running.monitoring.endpoint import endpoint
from consumers.running.monitoring.monitors import WorkerMonitor
from consumers.running.monitoring.spans import Spans, sent_spans
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings
from consumers.terminal.wording import NO_EVENTS
from models import ModelError
from stream import BrokerError, KafkaAddress, KafkaTransport

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2
_RETRY_SECONDS: Final = 1.0

AWAY: Final = ()
REFUSED: Final = (ModelError, SinkError)


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:
    """Connect to the broker and load the model; the run works until it is told to stop.

    Raises:
        BrokerError: the broker does not answer.
        SinkError: the address of Redis is not understood.
        ModelError: the checkpoint or engine cannot be used.
        SettingsError: settings and model do not fit.
        GpuError: the settings ask for a GPU that cannot be had.
    """
    monitor = WorkerMonitor(settings, process)
    pulse.watch(monitor.stuck)
    with (
        endpoint(settings.metrics, monitor),
        sent_spans("worker", process) as spans,
        open_worker(settings) as serving,
    ):
        monitor.serving, monitor.spans = serving, spans
        log.info(
            "working: model %s, engine %s, decoding on the %s, group %s",
            serving.classifier.id,
            serving.classifier.engine,
            "processor" if serving.gpu is None else "GPU",
            settings.worker.group,
        )
        if not serving.snapshot().alarms:
            log.warning("raises %s", NO_EVENTS)

        def run(ending: Ending) -> None:
            run_worker(serving, settings, process, ending, spans)
            for name, counts in sorted(serving.worker.counts.items()):
                log.info("%s: %s", name, counts.summary())

        yield run


def keep_working(
    settings: Settings,
    process: ProcessInfo,
    ending: Ending,
    show: Callable[[Serving], AbstractContextManager[object]],
    *,
    loading: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
    exit_after_seconds: float | None = None,
    asks_start: bool = False,
) -> Serving | None:
    """Work until the process is to end; a broker that is away is waited for, and then all begins anew with what it has.

    Args:
        settings: model and services.
        process: who we are.
        ending: says when to end. Is asked to, with `EXIT_REFUSED`, when the broker has been away for too long.
        show: what is shown while a worker works.
        loading: what is shown while the model is loaded.
        exit_after_seconds: give up when the broker has been away for so long; never, if None.
        asks_start: somebody asked where the group is to begin, and is told if it does not.

    Returns:
        The last worker; None where there was none.

    Raises:
        BrokerError: the broker has been away for too long.
        FencedError: another worker has our name.
        SinkError, ModelError, SettingsError: as `prepare`.
    """
    serving, kafka = None, watch_kafka(settings.broker, lambda _: None)
    is_late, over = threading.Event(), threading.Event()

    too_late = f"Kafka at {settings.kafka} has not answered for {exit_after_seconds or 0:g} s"

    def give_up() -> None:
        while not (is_late.is_set() or over.wait(_LOOK_SECONDS)):
            if exit_after_seconds is not None and kafka.seconds >= exit_after_seconds:
                ending.code, ending.why = EXIT_REFUSED, too_late
                is_late.set()
                ending.ask()

    threading.Thread(target=give_up, name="exit after", daemon=True).start()
    monitor = WorkerMonitor(settings, process, lambda: kafka.awaited)
    with (
        kafka,
        endpoint(settings.metrics, monitor),
        sent_spans("worker", process) as spans,
        contextlib.ExitStack() as stack,
    ):
        monitor.spans = spans
        stack.callback(over.set)
        while not ending.stop.is_set():
            try:
                with contextlib.ExitStack() as work:
                    # Nothing is in hand while a model is loaded.
                    with loading(), ending.within(0):
                        serving = work.enter_context(open_worker(settings))
                    if asks_start:
                        serving.worker.say_where, asks_start = log.warning, False
                    work.enter_context(show(serving))
                    monitor.serving = serving
                    work.callback(setattr, monitor, "serving", None)
                    run_worker(serving, settings, process, ending, spans)
            except BrokerError as error:
                log.warning("%s: the worker begins anew when it answers", error)
                _wait_for(settings.broker, ending.stop.is_set)
    if is_late.is_set():
        raise BrokerError(too_late)
    return serving


def _wait_for(kafka: KafkaAddress, stop: Callable[[], bool]) -> None:
    """Return when the broker answers, or soon after `stop()`."""
    while not stop():
        time.sleep(_RETRY_SECONDS)
        with contextlib.suppress(BrokerError):
            KafkaTransport(kafka, at_once=True)
            return


def run_worker(serving: Serving, settings: Settings, process: ProcessInfo, ending: Ending, spans: Spans | None) -> None:
    """Work until the process is to end, sending the worker's state to its topic meanwhile, and spans where asked.

    Raises:
        BrokerError: the broker is gone for longer than the retries last.
        FencedError: another worker has our name.
    """
    reporter = WorkerReporter(
        KafkaTransport(settings.broker),
        settings.topics,
        process,
        serving.snapshot,
        settings=settings.worker,
        engine=serving.classifier.engine,
    )
    with ending.last(serving.leave), reporter, ending.last(reporter.end):
        serving.worker.run(ending.stop.is_set, lambda: ending.is_for_good, told=spans.committed if spans else None)
    # Redis may still be brought up to date; whoever comes next does it, too.
    ending.is_done = True
