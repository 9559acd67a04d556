"""What a replay needs: its options, and footage, truth and model, found and checked before anything is decoded."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from consumers.files import passing_folder
from consumers.live.assemble import clip_spec, open_decoding
from consumers.live.effort.stillness import StillRule
from consumers.outputs.outages import watch_kafka, watching
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet, check_cameras
from consumers.settings import Settings
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import footage_progress
from models import Classifier, cache_folder, find
from stream import KafkaTransport, Reading, Transport

from .applied_rules import applied_rules
from .errors import ReplayError
from .footage.sources import Recording, find_recordings
from .judging.metrics import Matcher, by_onset, by_overlap
from .judging.placing import check_truth
from .judging.truth import TruthRow, check_known, read_truth
from .replay import Replayed, replay
from .run import ScoringSetup
from .store import TraceStore
from .through_kafka import replay_through_kafka

INTERRUPTED: Final = 130
#: In place of a second model: the first one, which computes every window.
UNGATED: Final = "ungated"
STOPPED: Final = "stopped; predictions so far are kept, and the same command continues from there"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and what makes an event a true one."""

    sources: tuple[str, ...]
    camera: str | None
    start_us: int | None
    labels: Path | None
    renamed: Mapping[str, str]
    match: Literal["overlap", "onset"]
    overlap: float
    onset_window: tuple[float, float]
    resume: bool = True
    #: Over a real broker: an embedded one, or the one of the settings.
    through_kafka: bool = False
    own_broker: bool = True
    #: Another model, on the same footage, or `UNGATED`.
    against: str | None = None
    reading: Reading | None = None
    #: Go on without rows of truth that are wrong.
    skip_bad_rows: bool = False
    #: The rules of the settings, or that were applied: the one that holds now, or each version for its time.
    rules: Literal["settings", "now", "then"] = "settings"

    def __post_init__(self) -> None:
        if min(self.onset_window) < 0:
            before, after = self.onset_window
            raise ReplayError(f"--onset-window {before:g} {after:g}: expected seconds before and after, 0 or more")

    @property
    def matcher(self) -> Matcher:
        return by_onset(*self.onset_window) if self.match == "onset" else by_overlap(self.overlap)

    @property
    def matching(self) -> str:
        """In words."""
        if self.match == "onset":
            before, after = self.onset_window
            return f"an event that begins between {before:g} s before and {after:g} s after its onset"
        return (
            f"an event that overlaps it by an IoU of {self.overlap:g} or more"
            if self.overlap
            else "an event that overlaps it"
        )


@dataclass(frozen=True, slots=True)
class Session:
    """Footage, truth and model, found and checked before anything is decoded."""

    options: ReplayOptions
    settings: Settings
    recordings: tuple[Recording, ...]
    truth_rows: tuple[TruthRow, ...] | None
    classifier: Classifier
    setup: ScoringSetup
    #: Of each label that makes events, on some camera, one of its rules.
    rules: Mapping[str, Rule]
    store: TraceStore
    notes: Notes
    #: By which events are made, where rules are not the same for all cameras at any time.
    book: RuleBook | None = None


@contextlib.contextmanager
def open_session(settings: Settings, options: ReplayOptions, console: Output) -> Iterator[Session]:
    """Read the truth, find the footage, load the model; what is left out is said on `console`.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: one of these cannot be used.
    """
    notes = Notes(console)
    # What is quick to check comes first.
    checkpoint = find(settings.worker.model)
    truth_rows = None
    if options.labels is not None:
        truth_rows = tuple(
            read_truth(
                options.labels,
                options.renamed,
                multi_label=checkpoint.contract.multi_label,
                skip_bad_rows=options.skip_bad_rows,
                say=notes.warn,
            )
        )
        check_known(truth_rows, checkpoint.id, checkpoint.contract.labels)

    with contextlib.ExitStack() as stack:

        @functools.cache
        def connect() -> Transport:
            transport = KafkaTransport(settings.broker, at_once=True)
            # Reading waits up to a minute for a broker that has gone: not in silence.
            stack.enter_context(watching(watch_kafka(settings.broker)))
            return transport

        recordings, left_out = find_recordings(
            options.sources, options.camera, options.start_us, settings.segments.limits, connect, options.reading
        )
        for reason in left_out:
            notes.warn(f"left out: {reason}")
        check_truth(truth_rows or (), {r.camera: [piece.name for piece in r.pieces] for r in recordings})
        folder = cache_folder() / "replay" if options.resume else stack.enter_context(passing_folder())
        store = TraceStore(folder)
        with console.status("loading the model"):
            classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
        found = RuleSet(classifier.contract, settings.tracker, settings.rules)
        names = [recording.camera for recording in recordings]
        check_cameras(found, names)
        book = RuleBook(found)
        if options.rules != "settings":
            now_us = time.time_ns() // 1000
            book.set(applied_rules(connect(), settings, classifier, options.rules, now_us, notes.warn))
        rules = book.any_of(names)
        setup = scoring_setup(classifier, settings, found.base)
        if not rules:
            notes.warn(f"{classifier.id} has no thresholds and raises no events: set tracker.labels.<label>.start")
        yield Session(options, settings, tuple(recordings), truth_rows, classifier, setup, rules, store, notes, book)


def scoring_setup(classifier: Classifier, settings: Settings, rules: Mapping[str, Rule]) -> ScoringSetup:
    """How footage is scored with a model, by these settings."""
    worker = settings.worker
    spec = clip_spec(classifier.contract, worker.stride_seconds)
    return ScoringSetup(
        classifier,
        spec,
        worker.threads,
        worker.max_batch,
        worker.decode_limits,
        StillRule.of(rules, settings.gates, spec.context),
        open_decoding(worker.decoder, classifier.engine),
    )


def classify_footage(session: Session, stop: Callable[[], bool]) -> Replayed | None:
    """Classify what was not classified before, and show progress; None if `stop` said so before it was done."""
    with footage_progress(session.notes.console) as progress:
        if session.options.through_kafka:
            return replay_through_kafka(
                session.recordings,
                session.setup,
                session.book or RuleBook(session.rules),
                session.settings,
                own_broker=session.options.own_broker,
                progress=progress,
                stop=stop,
            )
        return replay(
            session.recordings, session.setup, session.classifier.engine, session.store, progress=progress, stop=stop
        )
