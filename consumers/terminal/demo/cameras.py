"""The cameras of a demo: films that are sent as an agent sends cameras, so that every page knows them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence

from consumers.outputs.states import reported_cameras
from consumers.records.states.process import ProcessInfo
from consumers.running.attaching import limits_of
from consumers.running.sending.claims import ClaimWatch
from consumers.running.sending.courier import Courier
from consumers.running.sending.indexing import Indexer
from consumers.running.sending.link import AgentLink
from consumers.settings import Settings
from stream import FOOTAGE_IS_OVER, FeedWatch, KafkaTransport, Pace, attach, quiet_after

from .summary import PlayedFeed


@contextlib.contextmanager
def demo_cameras(
    settings: Settings, feeds: Sequence[PlayedFeed], pace: Pace, stop: Callable[[], bool]
) -> Iterator[Callable[[PlayedFeed], None]]:
    """Claim a camera for each film, and tell their states while the body runs; yield what sends one, to its end.

    Raises:
        BrokerError: the broker does not answer.
    """
    agent, names = ProcessInfo.current(), [feed.camera for feed in feeds]
    quiet = quiet_after(settings.segments.limits)
    watches = {name: FeedWatch(name, is_footage=True, quiet_seconds=quiet) for name in names}

    def connect() -> KafkaTransport:
        return KafkaTransport(settings.broker, at_once=True)

    claims = ClaimWatch(connect, settings.topics, agent)
    index = Indexer(connect, settings.topics)
    link = AgentLink(
        connect, settings, agent, claims, names, take_over=False, must_have_all=True, claimed=index.claimed
    )
    links = [link.open()]
    with (
        index,
        Courier(
            lambda: links.pop() if links else link.open(),
            live=[],
            spool=None,
            limits=limits_of(settings),
            stop=stop,
            told=index.stored,
        ) as courier,
        reported_cameras(connect, settings.topics, agent, lambda: [watch.state() for watch in watches.values()]),
    ):
        yield functools.partial(_send, settings, courier, watches, pace, stop)


def _send(
    settings: Settings,
    courier: Courier,
    watches: dict[str, FeedWatch],
    pace: Pace,
    stop: Callable[[], bool],
    feed: PlayedFeed,
) -> None:
    watch = watches[feed.camera]
    try:
        attach(
            str(feed.path),
            feed.camera,
            courier,
            settings.topics.segments,
            limits=settings.segments.limits,
            pace=pace,
            start_us=feed.start_us,
            stop=stop,
            progress=watch.update,
        )
    finally:
        watch.end(FOOTAGE_IS_OVER)
