"""One camera or piece of footage, attached by hand: claimed, read, and brought to the broker whenever it is there."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from consumers.outputs.outages import ServiceWatch, watch_kafka
from consumers.outputs.states import reported_camera
from consumers.records.prediction import rfc3339
from consumers.records.states.camera_state import DiskTrouble
from consumers.records.states.process import ProcessInfo
from consumers.settings import Settings, SettingsError
from stream import (
    FOOTAGE_IS_OVER,
    Attached,
    BrokerError,
    FeedState,
    FeedWatch,
    KafkaTransport,
    Pace,
    Reading,
    SourceError,
    attach,
    is_film,
    is_live,
    quiet_after,
)

from .ending import Ending
from .monitoring.endpoint import endpoint
from .monitoring.monitors import AgentMonitor
from .monitoring.spans import sent_spans
from .sending.claims import ClaimWatch, taken_over_words
from .sending.courier import Courier, Limits, Link
from .sending.disk import DiskCheck
from .sending.indexing import Indexer, both
from .sending.link import AgentLink
from .sending.spool import Spool

log = logging.getLogger(__name__)


def attach_camera(
    settings: Settings,
    source: str,
    camera: str,
    *,
    pace: Pace,
    loop: bool,
    start_us: int | None,
    reading: Reading,
    take_over: bool,
    exit_after_seconds: float | None,
    ending: Ending,
    progress: Callable[[Attached], None],
    hear: Callable[[FeedState], None],
) -> Attached:
    """Send `source` as `camera`, to its end or until the process is to end; wait for the broker as long as it takes.

    Args:
        settings: where the broker is, and the limits of what waits for it.
        source: file, folder or address.
        camera: its id.
        pace: as of `stream.attach`.
        loop: likewise.
        start_us: likewise.
        reading: likewise.
        take_over: also where another agent reads the camera.
        exit_after_seconds: give up when the broker has been away for so long; never, if None.
        ending: says when to end.
        progress: told how far it has come.
        hear: told the camera's states, by another thread.

    Raises:
        SettingsError: another agent reads the camera, or has taken it over.
        SourceError: nothing can be read.
        BrokerError: the broker has been away for too long.
    """
    agent, address = ProcessInfo.current(), settings.broker
    live = is_live(source) and not is_film(source)

    def connect() -> KafkaTransport:
        return KafkaTransport(address, at_once=True)

    claims = ClaimWatch(connect, settings.topics, agent)
    index = Indexer(connect, settings.topics, is_lost=lambda name: claims.taken_by(name) is not None)
    link = AgentLink(
        connect,
        settings,
        agent,
        claims,
        [camera],
        take_over=take_over,
        must_have_all=True,
        claimed=index.claimed,
    )
    first = [found] if (found := opened(link)) is not None else []
    kafka = watch_kafka(address)
    if start_us is not None and start_us < link.ends_us[camera]:
        log.warning(
            "camera %s: footage up to %s was sent before. The same film may be sent again; other pictures of a time "
            "that was sent become dead letters: another film needs a later --start, or another --camera",
            camera,
            rfc3339(link.ends_us[camera]),
        )

    newest: list[FeedState] = []
    monitor = AgentMonitor(settings, agent, lambda: tuple(newest), lambda: kafka.awaited)

    def hear_state(state: FeedState) -> None:
        newest[:] = [state]
        hear(state)

    def is_over() -> bool:
        monitor.turn()
        return ending.stop.is_set() or claims.taken_by(camera) is not None or _is_late(kafka, exit_after_seconds)

    with (
        sent_spans("agent", agent) as spans,
        kafka,
        endpoint(settings.metrics, monitor),
        claims,
        spool_of(settings, agent.id if live else None) as spool,
        index,
        Courier(
            lambda: first.pop() if first else link.open(),
            live=[camera] if live else [],
            spool=spool,
            limits=limits_of(settings),
            stop=is_over,
            told=both(index.stored, spans.stored if spans else None),
        ) as courier,
        ending.last(courier.put_aside),
        reported_camera(
            connect,
            settings.topics,
            camera,
            agent,
            is_footage=not is_live(source),
            quiet_seconds=quiet_after(settings.segments.limits),
            hear=hear_state,
            is_ours=lambda: camera not in link.taken and claims.taken_by(camera) is None,
            disk=disk_of(settings, live=live),
            spooled=lambda: courier.on_disk,
        ) as watch,
    ):
        monitor.courier, monitor.spans = courier, spans

        def tell(state: Attached) -> None:
            state.on_disk = courier.on_disk
            progress(state)
            watch.update(state)

        with _said_why(watch):
            attached = attach(
                source,
                camera,
                courier,
                settings.topics.segments,
                limits=settings.segments.limits,
                pace=pace,
                loop=loop,
                start_us=start_us,
                stop=is_over,
                progress=tell,
                state=Attached(end_us=link.ends_us[camera]),
                reading=reading,
            )
        if not is_over():
            watch.end(FOOTAGE_IS_OVER)
    if (other := claims.taken_by(camera)) is not None:
        raise SettingsError(taken_over_words(camera, other))
    if not ending.stop.is_set() and _is_late(kafka, exit_after_seconds):
        raise BrokerError(f"Kafka at {address} has not answered for {exit_after_seconds:g} s")
    attached.unsent = courier.unsent
    attached.on_disk = courier.on_disk
    return attached


@contextlib.contextmanager
def _said_why(watch: FeedWatch) -> Iterator[None]:
    """Have the camera's state say why nothing could be read: whoever looks at it does not see what is printed here."""
    try:
        yield
    except SourceError as error:
        watch.fail(error.cause)
        raise
    except BrokerError:
        raise
    except Exception as error:
        watch.fail(f"internal error: {type(error).__name__}")
        raise


def limits_of(settings: Settings) -> Limits:
    """Of what waits on disk."""
    return Limits(int(settings.spool.max_megabytes * 1e6), settings.spool.max_hours * 3600)


@contextlib.contextmanager
def spool_of(settings: Settings, agent: str | None) -> Iterator[Spool | None]:
    """The folder in which an agent's segments wait; None without a name, or where it cannot be written.

    It is let go of by the courier that is given it.
    """
    spool = None
    if agent is not None:
        root = _spool_root(settings)
        try:
            spool = Spool(root, agent)
        except OSError as error:
            log.warning("spool.folder: %s cannot be used (%s): segments wait in memory", root, error.strerror or error)
    yield spool


def disk_of(settings: Settings, *, live: bool) -> Callable[[], DiskTrouble | None]:
    """Says why segments could not wait there; nothing where there are no live cameras, so that none would."""
    return DiskCheck(_spool_root(settings)).trouble if live else lambda: None


def _spool_root(settings: Settings) -> Path:
    return settings.spool.folder.expanduser() / settings.topics.prefix


def opened(link: AgentLink) -> Link | None:
    """The broker, if it answers now."""
    try:
        return link.open()
    except BrokerError as error:
        log.debug("%s", error)
        return None


def _is_late(kafka: ServiceWatch, exit_after_seconds: float | None) -> bool:
    return exit_after_seconds is not None and kafka.seconds >= exit_after_seconds
