"""Forgetting for clients of the API: whoever asks is answered once it is noted, and the rest is done here, in turn.

asked ─▶ noted (audit, clipline.forgotten) ─▶ 202        waiting ─▶ working ─▶ done, or failed
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

import anyio

from consumers.records.forgotten import Forgotten
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_forgotten
from stream import BrokerError, KafkaTransport, StreamError, display_name

from .book import ForgottenBook
from .report import DryRun, Report
from .work import Forgetting

log = logging.getLogger(__name__)

State = Literal["waiting", "working", "done", "failed"]
#: Each reads the topics for as long as that takes.
_MOST_WAITING: Final = 8
#: Results that are kept, the newest.
_MOST_KEPT: Final = 100
_END_SECONDS: Final = 3.0
#: Whoever asks waits for it, and whoever changes anything else behind that one.
_PREPARE_SECONDS: Final = 10.0


class TooManyStretchesError(Exception):
    """As many as there may be are being forgotten."""


class BrokerHangsError(BrokerError):
    """The broker takes what it is asked, and does not answer."""


class _EndedError(Exception):
    """Nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is done about one stretch."""

    stretch: Forgotten
    #: Whether it is only looked at.
    dry_run: bool
    state: State = "waiting"
    #: Why it failed, in words.
    why: str | None = None
    result: Report | DryRun | None = None


class Forgetter:
    """Works on stretches one after another, in a thread of its own. Use as a context manager; any thread may ask."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; nothing is connected, and no thread is there, before the first stretch."""
        self._settings = settings
        self._lock = threading.Lock()
        #: Whoever notes a stretch holds it from the look whether it is noted already: none is noted twice.
        self.noting = anyio.Lock()
        #: Places of those that are not put yet.
        self._held = 0
        #: By stretch, and whether it is only looked at, the one that was asked for last at the end.
        self._jobs: dict[tuple[bytes, bool], Job] = {}
        self._queue: queue.SimpleQueue[tuple[bytes, bool] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        #: That the topic is there; one that hangs is waited for by all.
        self._prepared: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a stretch is noted and put.

        Raises:
            TooManyStretchesError: there is none.
        """
        with self._lock:
            under_way = sum(job.state in {"waiting", "working"} for job in self._jobs.values())
            if under_way + self._held >= _MOST_WAITING:
                raise TooManyStretchesError("many stretches are being forgotten already")
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1

    def prepare(self) -> None:
        """See that there is a topic to note stretches on.

        Raises:
            BrokerHangsError: the broker does not say so within ten seconds.
            BrokerError: it is away, or refuses.
        """
        topics = self._settings.topics
        with self._lock:
            if self._prepared is None or self._prepared.done():
                self._prepared = _begun(lambda: ensure_topic_of_forgotten(self._transport(), topics))
            prepared = self._prepared
        try:
            prepared.result(_PREPARE_SECONDS)
        except TimeoutError:
            raise BrokerHangsError(
                f"Kafka at {display_name(self._settings.kafka)} has not answered for {_PREPARE_SECONDS:g} s whether "
                f"there is a topic {topics.forgotten}, so nothing is noted: see to the broker (`clipline check`), and "
                "ask again"
            ) from None

    def put(self, stretch: Forgotten, *, dry_run: bool) -> Job:
        """Have a stretch worked on that is noted, or looked at; one that waits already waits on."""
        key = stretch.key, dry_run
        with self._lock:
            known = self._jobs.pop(key, None)
            is_new = known is None or known.state in {"done", "failed"}
            self._jobs[key] = job = Job(stretch, dry_run) if known is None or is_new else known
            over = [each for each, job in self._jobs.items() if job.state in {"done", "failed"}]
            for gone in over[: max(0, len(self._jobs) - _MOST_KEPT)]:
                del self._jobs[gone]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="forgetting", daemon=True)
                self._thread.start()
        if is_new:
            self._queue.put(key)
        return job

    def jobs(self, camera: str) -> list[Job]:
        """What was asked for of a camera, the newest first."""
        with self._lock:
            return [job for job in reversed(self._jobs.values()) if job.stretch.camera == camera]

    def _transport(self) -> KafkaTransport:
        return KafkaTransport(self._settings.broker, at_once=True)

    def _run(self) -> None:
        while (key := self._queue.get()) is not None and not self._ends.is_set():
            job = self._note(key, state="working")
            try:
                self._note(key, state="done", result=self._worked_on(job))
            except _EndedError:
                return
            except StreamError as error:
                self._note(key, state="failed", why=" ".join(str(error).split()))
            except Exception:
                log.exception("%s could not be forgotten", key[0].decode(errors="replace"))
                self._note(key, state="failed", why="the log of this server says why")

    def _note(self, key: tuple[bytes, bool], **changes: object) -> Job:
        with self._lock:
            self._jobs[key] = job = replace(self._jobs[key], **changes)  # type: ignore[arg-type]
            return job

    def _worked_on(self, job: Job) -> Report | DryRun:
        work, book = Forgetting(self._transport(), self._settings, self._say), ForgottenBook([job.stretch])
        before = work.look(book)
        if job.dry_run:
            return work.dry_run(job.stretch, before, ())
        noted = work.note_events(job.stretch, before)
        book = ForgottenBook([noted])
        work.delete_from_redis(book, before)
        return work.report([noted], before, work.look_again(book))

    def _say(self, line: str) -> None:
        """Told before each topic: the moment to end."""
        if self._ends.is_set():
            raise _EndedError
        log.debug("%s", line)


def _begun(work: Callable[[], None]) -> Future[None]:
    """Work that is done in a thread of its own, as nothing ends what hangs there."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whoever waits is told
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="topic of what is forgotten", daemon=True).start()
    return future
