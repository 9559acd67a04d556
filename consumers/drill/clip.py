"""The clip of a drill on its way to the topic, as an agent would send it, but under the drill's name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from consumers.settings import Settings
from stream import Feed, Headers, Pace, SourceError, StreamError, Transport, attach, drilled, find_files

from .course import Stored

#: Amid the clip an end is sent before it stops; a broker that is away is not waited for longer.
_END_SECONDS: Final = 15.0


def clip_seconds(footage: str) -> float | None:
    """How long a clip is, as it says itself; None for one of several files, and where it does not say.

    Raises:
        SourceError: there is no such file or folder, or no footage in it.
    """
    files = find_files(Path(footage))
    if len(files) > 1:
        return None
    try:
        with Feed(str(files[0])) as feed:
            return feed.seconds
    except SourceError:  # who sends it says so
        return None


class DrillClip:
    """Sends footage from now on, to the partition of the camera for which it is a drill. A thread, while it lasts."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        footage: str,
        drill: str,
        pace: Pace,
        hear: Callable[[Stored], None],
    ) -> None:
        """Prepare.

        Args:
            transport: the broker.
            settings: topics, and how long segments are.
            footage: file or folder.
            drill: the name under which it travels.
            pace: "realtime", as fast as it was filmed, or "max".
            hear: told of each segment, by the thread, when the broker has it.

        Raises:
            BrokerError: the broker is away, or has no topic of segments.
        """
        camera = drilled(drill)
        assert camera is not None
        #: Where the camera's own segments go: the worker that has the camera takes the drill.
        self.partition = transport.partition_of(settings.topics.segments, camera.encode())
        self._settings, self._footage, self._drill, self._pace, self._hear = settings, footage, drill, pace, hear
        self._sender = _Sender(transport, self.partition, self._stored)
        self._stop = threading.Event()
        #: When the last of it was sent, `time.monotonic()`.
        self.ended_at: float | None = None
        #: Why it was not sent to its end.
        self.error: StreamError | None = None
        self._thread = threading.Thread(target=self._run, name="drill", daemon=True)

    def stop(self) -> None:
        """Send no more than the end."""
        self._stop.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join(_END_SECONDS)
        self._sender.close()

    def _run(self) -> None:
        try:
            attach(
                self._footage,
                self._drill,
                self._sender,
                self._settings.topics.segments,
                limits=self._settings.segments.limits,
                pace=self._pace,
                start_us=time.time_ns() // 1000,
                stop=self._stop.is_set,
            )
        except StreamError as error:
            self.error = error
        self.ended_at = time.monotonic()

    def _stored(self, end_us: int) -> None:
        self._hear(Stored(end_us, time.time_ns() // 1000))


class _Sender:
    """Sends to one partition, and waits until each segment is stored."""

    def __init__(self, transport: Transport, partition: int, stored: Callable[[int], None]) -> None:
        self._producer, self._partition, self._tell = transport.producer(), partition, stored

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        self._producer.send(topic, key, headers, value, self._partition)
        self._producer.flush()
        if value:
            self._tell(int(dict(headers)["end-us"]))

    def flush(self) -> None:
        self._producer.flush()

    def close(self) -> None:
        self._producer.close()
