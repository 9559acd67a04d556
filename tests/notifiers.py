"""A notifier that runs beside a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from consumers.notifying.notifier import Notifier
from consumers.settings import Settings
from stream import KafkaTransport
from tests.waiting import eventually


@contextmanager
def notifying(settings: Settings) -> Iterator[Notifier]:
    """At work when the body begins: a new group begins with what comes from now on."""
    stop = threading.Event()
    notifier = Notifier(lambda: KafkaTransport(settings.broker), settings, stop.is_set)
    thread = threading.Thread(target=notifier.run)
    thread.start()
    try:
        assert eventually(lambda: notifier.is_at_work, 60)
        yield notifier
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
