"""The dashboard of a demo, and the pictures of events that it shows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from consumers.pictures.follow import PictureFollower
from consumers.settings import Settings, SettingsError
from consumers.web.serving import serving_dashboard
from stream import KafkaTransport

#: Taken where the usual port is not free.
_ANY_PORT = "127.0.0.1:0"
_END_SECONDS = 5.0


@contextlib.contextmanager
def demo_dashboard(settings: Settings) -> Iterator[str]:
    """Serve pages, and make pictures of events, while the body runs; yield the address of the pages.

    Raises:
        SettingsError: no port can be listened on.
    """
    over = threading.Event()
    pictures = threading.Thread(
        target=PictureFollower(lambda: KafkaTransport(settings.broker, at_once=True), settings, over.is_set).run,
        name="pictures",
        daemon=True,
    )
    with contextlib.ExitStack() as stack:
        try:
            url, _ = stack.enter_context(serving_dashboard(settings, settings.dashboard.listen))
        except SettingsError:
            url, _ = stack.enter_context(serving_dashboard(settings, _ANY_PORT))
        pictures.start()
        try:
            yield url.removesuffix("/api/v1") + "/"
        finally:
            over.set()
            pictures.join(_END_SECONDS)
