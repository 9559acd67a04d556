"""Serving the API at an address."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter

from consumers.bundles.serving import BundleMaker
from consumers.forgetting.serving import Forgetter
from consumers.outputs.outages import watch_redis
from consumers.pictures.store import PictureReader
from consumers.settings import Settings, SettingsError, is_loopback
from consumers.subscribing.serving import event_streams
from consumers.subscribing.shared import Answers, SharedTransport
from consumers.web_server import AddressTakenError, parse_address, web_server
from stream import KafkaTransport, Transport

from .access import Access
from .app import PREFIX, make_app
from .cameras.sample import SampleMaker
from .cameras.snapshot import SnapshotMaker
from .desk import Desk, Writer
from .fast import FastFootage
from .memory.intake import followed
from .memory.view import View
from .oidc import Journeys, open_provider
from .playlists import Footage
from .routes.entering.login import LOGIN_PATH, WAYS_PATH
from .routes.pages import pages_router, read_pages
from .routes.playing.shared import shared_router
from .scores import ScoreReader
from .sharing import SharedFootage
from .sharing.scores import SharedScores
from .shelf.cards import ModelShelf
from .shelf.reports import ReportFolder
from .thresholds import ThresholdReader
from .what_if.answers import Answers as WhatIfAnswers
from .what_if.scores import PastScoreReader


@contextlib.contextmanager
def serving_dashboard(
    settings: Settings,
    address: str,
    more: Sequence[APIRouter] = (),
    watch: Callable[[Callable[[], float]], None] = lambda _: None,
) -> Iterator[tuple[str, Desk]]:
    """Serve pages and the API at an address while the body runs; yield the API's URL and what it works with.

    Args:
        settings: of the dashboard, and of all that it shows.
        address: where.
        more: routes beside its own.
        watch: given what tells for how many seconds the server has not turned.

    Raises:
        SettingsError: others than this machine could use it and nobody has to say who asks, the address cannot be
            listened on, or a file of a secret not be used.
        ValueError: it is no address.
    """
    host, _ = parse_address(address)
    access = Access(settings.dashboard)
    provider = open_provider(settings.dashboard.oidc)
    if settings.dashboard.is_open and not is_loopback(host):
        raise SettingsError(
            f"{address}: whoever reaches this address could see and change everything: set dashboard.tokens "
            "(`clipline dashboard token NAME` prints one), dashboard.users, dashboard.oidc or dashboard.user_header, "
            "or listen on 127.0.0.1"
        )

    def connect() -> Transport:
        return KafkaTransport(settings.broker, at_once=True)

    answers = Answers()

    def connect_to_follow() -> Transport:
        return SharedTransport(settings.broker, answers, followed(settings.topics))

    # Who asks is known by then: the streams ask for nothing more.
    limits = settings.serve.model_copy(update={"max_clients": settings.dashboard.max_streams})
    pictures = PictureReader(settings)
    with contextlib.ExitStack() as stack:
        stack.callback(pictures.close)
        view = stack.enter_context(View(connect_to_follow, settings))
        samples = SampleMaker(connect, settings, view.forgotten)
        stack.callback(samples.close)
        snapshots = SnapshotMaker(connect, settings, view.forgotten)
        stack.callback(snapshots.close)
        access.follow(view.access, lambda: view.knows("access"))
        footage = stack.enter_context(Footage(connect, settings, view.forgotten))
        streams = event_streams(settings.model_copy(update={"serve": limits}), None, view.forgotten)
        scores = ScoreReader(connect, settings.topics, view.forgotten)
        stack.callback(scores.close)
        past_scores = PastScoreReader(connect, settings.topics)
        stack.callback(past_scores.close)
        writer = Writer(connect, settings)
        stack.callback(writer.close)
        desk = Desk(
            settings=settings,
            access=access,
            view=view,
            scores=scores,
            past_scores=past_scores,
            what_if=WhatIfAnswers(),
            thresholds=ThresholdReader(settings),
            pictures=pictures,
            redis=stack.enter_context(watch_redis(settings.redis)),
            streams=streams,
            writer=writer,
            footage=footage,
            shared_footage=SharedFootage(footage),
            shared_scores=SharedScores(scores, view.forgotten),
            fast=stack.enter_context(
                FastFootage(connect, settings.topics, settings.dashboard.max_fast_views, view.forgotten)
            ),
            bundles=BundleMaker(connect, settings),
            forgetter=stack.enter_context(Forgetter(settings)),
            samples=samples,
            snapshots=snapshots,
            models=ModelShelf(settings.worker.model),
            reports=ReportFolder(settings.dashboard.reports),
            provider=provider,
            journeys=Journeys(settings.dashboard.signing(), LOGIN_PATH, WAYS_PATH),
        )
        pages = read_pages()
        app = make_app(desk, [pages_router(pages), shared_router(pages), *more])
        clients, slow_seconds = settings.dashboard.max_clients, settings.serve.slow_seconds
        try:
            server = stack.enter_context(
                web_server(app, address, clients, "dashboard", proxy_headers=False, slow_seconds=slow_seconds)
            )
        except AddressTakenError as error:
            raise SettingsError(
                f"{error}: `clipline run` serves the dashboard by itself, perhaps there; for another port there are "
                "dashboard.listen and `clipline dashboard --listen HOST:PORT`"
            ) from None
        watch(lambda: server.still_seconds)
        streams.abort, streams.let_go = server.abort, lambda: server.let_go
        # Before the server ends, which waits for what is under way.
        stack.callback(streams.close)
        yield f"{server.url}{PREFIX}", desk
