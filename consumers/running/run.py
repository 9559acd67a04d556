"""Everything on one machine: services, one agent for all cameras, workers, and what they say in the foreground.

    clipline run ─┬─ Kafka and Redis, embedded or the operator's own
                  ├─ agent                one process for all cameras
                  ├─ worker-1, worker-2 … classify what is on the topic (none where run.workers = 0)
                  ├─ pictures             of events, where there are workers (pictures.enabled)
                  ├─ notify               where the settings have channels (notify.enabled)
                  ├─ verdicts             the page behind the links of messages, where there are any (verdicts.enabled)
                  ├─ dashboard            pages and the HTTP API (dashboard.enabled)
                  └─ foreground           reads the topics as anybody else does

The foreground knows nothing of the processes but what they publish, so that it shows what `clipline status` shows.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from consumers.files import hold_folder
from consumers.notifying.channels import open_channel
from consumers.outputs.outages import watch_kafka, watch_redis, watching
from consumers.rules.applying import other_rules
from consumers.settings import Settings, SettingsError
from consumers.setup.check_channels import remarks_on_channels
from consumers.setup.ports import dashboard_note, not_served
from consumers.setup.services import Services, open_services, without_transactions
from stream import (
    BrokerError,
    KafkaAddress,
    KafkaTransport,
    SourceError,
    check_address,
    find_files,
    is_live,
)

from .children import (
    NO_DASHBOARD,
    NO_PAGES,
    NO_PICTURES,
    PROCESSES_SHARE,
    asks,
    makes_pictures,
    notifies,
    own_name,
    specs_of,
)
from .overview import Overview
from .sending.claims import reader_of, taken_words
from .state_topics import read_states
from .supervising.supervisor import ProcessFailedError, RestartPolicy, Supervisor
from .watch import Watch

log = logging.getLogger(__name__)

#: Without its services nothing can end in order.
_END_WITHOUT_SERVICES_SECONDS: Final = 1.0
_LAST_PORT: Final = 65535


class Foreground(Protocol):
    """Who watches: a view in a terminal, or lines."""

    def begin(self, plan: Plan) -> None:
        """Everything is about to start."""

    def say(self, line: str) -> None:
        """Something happened to a process or service."""

    def show(self, now: Overview) -> None:
        """How everything is; told a few times a second."""

    def event(self, body: Mapping[str, object]) -> None:
        """A report of an event came."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to run."""

    cameras: tuple[str, ...]
    model: str
    workers: int
    kafka: str
    #: May hold a password.
    redis: str = field(repr=False)
    #: How the services were found or started.
    notes: tuple[str, ...]
    logs: Path
    #: What other commands need in their environment to find these services.
    exports: Mapping[str, str]


def run_everything(
    settings: Settings, environment: Mapping[str, str], foreground: Foreground, stop: Callable[[], bool]
) -> None:
    """Run until `stop()`, and end everything in order.

    Args:
        settings: as they are; the children read them again from `environment`.
        environment: of the children: names the settings file and what overrides it.
        foreground: who is told.
        stop: asked several times a second.

    Raises:
        SettingsError: there are no cameras, or one's address cannot be resolved.
        ServiceError, BrokerError, SinkError: a service cannot be started, or the broker does not answer.
        ProcessFailedError: something dies again and again.
    """
    if not settings.cameras:
        raise SettingsError(
            "no cameras: expected a table [cameras.NAME] with a url in the settings; `clipline init` writes a file to "
            "begin with"
        )
    for name, camera in settings.cameras.items():
        _check_footage(name, camera.address(environment))
    _check_ports(settings)
    if notifies(settings):
        for name, channel in settings.channels.items():
            open_channel(name, channel)  # what is wrong with it is said now, and not by a process that ends
    if asks(settings):
        settings.verdicts.signing()  # likewise
    policy = RestartPolicy(settings.run.max_restarts, settings.run.restart_window_seconds)
    with _log_folder(settings.run.log_folder) as logs:
        while True:
            began = time.monotonic()
            with open_services(settings, settings.run.services, data=settings.run.data) as services:
                failure = _run_on(services, settings, environment, logs, foreground, stop)
            if failure is None:
                return
            now = time.monotonic()
            pause = policy.pause(now, now - began, counts=True)
            if pause is None:
                raise ProcessFailedError(f"{failure}; {policy.said}")
            foreground.say(f"everything starts again ({policy.said}){services.lost}")
            _sleep(pause, stop)


def _check_footage(name: str, address: str) -> None:
    """A camera may come back; a file that is not there was named wrongly.

    Raises:
        SettingsError: the address is neither a camera's nor that of footage that is there.
    """
    if is_live(address):
        return
    try:
        check_address(address)
        find_files(Path(address))
    except SourceError as error:
        raise SettingsError(f"cameras.{name}: {error}") from None


def _run_on(
    services: Services,
    settings: Settings,
    environment: Mapping[str, str],
    logs: Path,
    foreground: Foreground,
    stop: Callable[[], bool],
) -> str | None:
    """Run until `stop()` or until a service that was started here fails; return why it did."""
    _refuse_taken_cameras(services, settings)
    foreground.begin(_plan(services, settings, logs))
    if (other := _other_rules(services, settings)) is not None:
        foreground.say(f"rules: {other}")
    supervisor = Supervisor(
        specs_of(services, settings, environment, settings.worker.instance or own_name(logs)),
        logs,
        max_restarts=settings.run.max_restarts,
        window_seconds=settings.run.restart_window_seconds,
        stuck_seconds=settings.metrics.stuck_seconds,
        say=foreground.say,
    )
    broker = KafkaAddress(services.kafka, settings.kafka_security.value())
    failure: str | None = None
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    kafka, redis = watch_kafka(broker, said.put, advises=False), watch_redis(services.redis, said.put)
    watch = Watch(broker, settings, is_away=lambda: kafka.awaited is not None)
    waiting = contextlib.ExitStack()
    try:
        supervisor.start()
        waiting.enter_context(watching(kafka, redis))
        while not stop():
            while not said.empty():
                foreground.say(said.get())
            supervisor.check()
            for line in services.news(kafka.seconds, redis.seconds):
                foreground.say(line)
            if (failure := services.failure()) is not None:
                # Before it is said what that ends.
                foreground.say(failure)
                return failure
            for body in watch.poll():
                foreground.event(body)
            if (news := watch.news()) is not None:
                foreground.say(news)
            if (now := watch.overview()) is not None:
                foreground.show(now)
        return None
    finally:
        waiting.close()
        foreground.say("ending")
        alone = failure is not None or watch.is_silent
        killed = supervisor.stop(
            _END_WITHOUT_SERVICES_SECONDS if alone else PROCESSES_SHARE * settings.shutdown_seconds
        )
        for name in killed:
            foreground.say(f"{name} did not end in order and was killed")
        watch.close()


def _check_ports(settings: Settings) -> None:
    """Each child has a port.

    Raises:
        SettingsError: there is none for the last one.
    """
    if settings.metrics.port is not None and settings.metrics.port + settings.run.workers > _LAST_PORT:
        raise SettingsError(
            f"metrics.port = {settings.metrics.port}: expected {settings.run.workers + 1} ports from there on, one for "
            f"each process, and {_LAST_PORT} is the last one"
        )


def _plan(services: Services, settings: Settings, logs: Path) -> Plan:
    found = {"CLIPLINE_KAFKA": (services.kafka, settings.kafka), "CLIPLINE_REDIS": (services.redis, settings.redis)}
    notes = [*services.notes, *without_transactions(settings, services)]
    if (port := settings.metrics.port) is not None:
        workers = f", workers at {port + 1} to {port + settings.run.workers}" if settings.run.workers else ""
        notes.append(f"metrics and probes at http://{settings.metrics.host}:{port}/metrics (agent){workers}")
    if settings.notify.enabled:
        notes += [f"{each.subject}: {each.text}" for each in remarks_on_channels(settings)]
    if makes_pictures(settings) and NO_PICTURES:
        notes.append(f"no pictures of events ({NO_PICTURES}; pictures.enabled = false: do without)")
    if asks(settings):
        at = f"at http://{settings.verdicts.listen} behind {settings.verdicts.base_url}"
        page = not_served("verdicts", settings.verdicts.listen) or f"verdicts {at}"
        notes.append(f"no page for verdicts ({NO_PAGES})" if NO_PAGES else page)
    if settings.dashboard.enabled:
        notes.append(dashboard_note(settings.dashboard.listen, NO_DASHBOARD))
    return Plan(
        cameras=tuple(settings.cameras),
        model=settings.worker.model,
        workers=settings.run.workers,
        kafka=services.kafka,
        redis=services.redis,
        notes=tuple(notes),
        logs=logs,
        exports={name: at for name, (at, named) in found.items() if at != named},
    )


def _refuse_taken_cameras(services: Services, settings: Settings) -> None:
    """Two agents on one camera would send two feeds under one id, of which neither is classified as it should be.

    Raises:
        SettingsError: another agent on the same broker reads one of our cameras now.
    """
    if services.started_broker or services.is_away or settings.run.take_over:
        return  # the agent asks a broker that is away when it is there
    try:
        states = read_states(
            KafkaTransport(KafkaAddress(services.kafka, settings.kafka_security.value())), settings.topics
        ).cameras
    except BrokerError:
        return  # the agent and the workers wait for it
    for name in settings.cameras:
        if (agent := reader_of(states.get(name))) is not None:
            raise SettingsError(
                f"{taken_words(f'cameras.{name}', agent, services.kafka)}; end that one, or give this run another "
                "camera name, topics.prefix or broker, or take the cameras over with --take-over"
            )


def _other_rules(services: Services, settings: Settings) -> str | None:
    """That workers go by others than the rules of the settings, in words; None where not, or where nobody knows."""
    if services.started_broker or services.is_away:
        return None
    try:
        return other_rules(KafkaTransport(KafkaAddress(services.kafka, settings.kafka_security.value())), settings)
    except BrokerError:
        return None  # workers say it, too


@contextlib.contextmanager
def _log_folder(folder: Path) -> Iterator[Path]:
    """The folder of the log files, for ourselves alone.

    Raises:
        SettingsError: it cannot be made, or another run writes there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_folder(folder))
        except BlockingIOError:
            raise SettingsError(
                f"run.log_folder: another `clipline run` writes to {folder}; end it, or give this one a folder of its "
                "own"
            ) from None
        except OSError as error:
            raise SettingsError(f"run.log_folder: {folder} cannot be written ({error.strerror})") from None
        yield folder


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not stop() and time.monotonic() < deadline:
        time.sleep(0.05)
