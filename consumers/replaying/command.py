"""`clipline replay`: find footage, model and truth; replay, judge, print, and write what was asked for."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from consumers.files import content_digest, write_json, write_text
from consumers.learning.trained_on import warn_of_training_data
from consumers.live.assemble import clip_spec, open_decoding
from consumers.live.stillness import StillRule
from consumers.outputs.outages import watch_kafka, watching
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet, check_cameras, tracker_rules
from consumers.settings import Settings, override
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import footage_progress
from models import Classifier, cache_folder, find
from stream import KafkaTransport, Reading, Transport

from .applied_rules import applied_rules
from .errors import ReplayError
from .judging.actev import actev_files
from .judging.comparison import compare_models
from .judging.gate import Gate
from .judging.judgement import (
    FIGURES,
    WITHOUT_TRUTH,
    Judgement,
    events_json,
    figures,
    incidents_json,
    judge_events,
    rounded,
    truth_json,
)
from .judging.metrics import Matcher, by_onset, by_overlap
from .judging.placing import TrueEvent, check_truth, place_truth
from .judging.truth import TruthRow, check_known, read_truth
from .judging.windows import window_figures
from .replay import Replayed, frames_without_windows, replay
from .run import ScoringSetup
from .sources import Recording, find_recordings
from .store import TraceStore
from .summary import print_comparison, print_summary
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
class ReplayFiles:
    """What to write beside the summary in the terminal; None for what is not wanted."""

    json: Path | None = None
    report: Path | None = None
    #: A folder, in the form of NIST's ActEV_Scorer.
    actev: Path | None = None


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
        if options.resume:
            folder = cache_folder() / "replay"
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clipline-replay-")))
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
        setup = _setup(classifier, settings, found.base)
        if not rules:
            notes.warn(f"{classifier.id} has no thresholds and raises no events: set tracker.labels.<label>.start")
        yield Session(options, settings, tuple(recordings), truth_rows, classifier, setup, rules, store, notes, book)


def _setup(classifier: Classifier, settings: Settings, rules: Mapping[str, Rule]) -> ScoringSetup:
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


def run_replay(
    settings: Settings,
    options: ReplayOptions,
    files: ReplayFiles,
    *,
    fail_if: str | None,
    out: Output,
    errors: Output,
    stop: Callable[[], bool],
) -> int:
    """Replay, print the summary, write `files`, and return the exit code: 1 if the condition `fail_if` holds.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: something cannot be used.
    """
    gate = None if fail_if is None else Gate.parse(fail_if, WITHOUT_TRUTH if options.labels is None else FIGURES)
    if options.against is not None:
        if options.against != UNGATED:
            find(options.against)
        if options.labels is None or options.through_kafka:
            raise ReplayError("--against needs --labels, and cannot be combined with --through-kafka")
    with open_session(settings, options, errors) as session:
        result = replay_and_judge(session, stop)
        if result is None:
            session.notes.say("stopped" if options.through_kafka else STOPPED)
            return INTERRUPTED
        content = result.content
        print_summary(out, content)
        if "against" in content:
            print_comparison(out, content)
        if files.json is not None:
            write_json(files.json, content, ReplayError)
        if files.actev is not None:
            for name, value in actev_files(result.judgement).items():
                write_json(files.actev / name, rounded(value), ReplayError)
        if files.report is not None:
            from consumers.reports.page import command_line  # noqa: PLC0415  jinja2 comes with an extra

            from .report import write_report  # noqa: PLC0415  matplotlib is slow to import

            with errors.status("drawing the report"):
                recordings = () if options.through_kafka else session.recordings
                page = write_report(
                    content, result.judgement, recordings, options.matcher, result.other, command_line()
                )
            write_text(files.report, page, ReplayError)
            out.print(f"Report: {files.report}", highlight=False, markup=False, soft_wrap=True)
    return 0 if gate is None else _exit_code(gate, content, session.notes)


def _exit_code(gate: Gate, content: Mapping[str, Any], notes: Notes) -> int:
    values = {name: content[name] for name in FIGURES - {"events"}} | {"events": len(content["events"])}
    if not content["truth_events"]:
        # No misses among no true events is no proof: the labels may be misspelt.
        values |= dict.fromkeys(("detected", "misses"))
    failures = gate.failures(values)
    if failures:
        notes.say(f"--fail-if {gate.text!r}: " + "; ".join(failures), style="red")
    return 1 if failures else 0


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of a replay."""

    #: What --json writes.
    content: dict[str, Any]
    judgement: Judgement
    #: Of the model of --against.
    other: Judgement | None


def replay_and_judge(session: Session, stop: Callable[[], bool]) -> ReplayResult | None:
    """Replay and judge; None if `stop` said so before it was done."""
    begun = time.monotonic()
    replayed = classify_footage(session, stop)
    seconds = time.monotonic() - begun
    if replayed is None:
        return None
    judged = session.truth_rows is not None
    truth_rows = session.truth_rows or ()
    truth, left_out = place_truth(truth_rows, replayed.timelines, session.rules)
    for reason in left_out:
        session.notes.warn(reason)
    if judged:
        models = [find(session.settings.worker.model)]
        models += [find(session.options.against)] if session.options.against not in (None, UNGATED) else []
        files = [piece.file for recording in session.recordings for piece in recording.pieces if piece.file is not None]
        digests = {path: content_digest(path) for path in files}
        for model in models:
            warn_of_training_data(model, digests, session.notes)
    # Windows may also show labels that raise no events.
    every = {row.label for row in truth_rows}
    happening, _ = place_truth(truth_rows, replayed.timelines, every)
    judgement = judge_events(replayed.timelines, session.rules, truth, session.options.matcher, session.book)
    content = result_json(session, replayed, judgement, seconds, judged=judged)
    several = session.classifier.contract.multi_label
    found = window_figures(replayed.timelines, happening, session.rules, multi_label=several) if judged else None
    content["clips"] = found
    other = None
    if session.options.against is not None:
        other = _other(session, session.settings, truth, stop)
        if other is None:
            return None
        content["against"] = _against(judgement, other)
        if session.options.against != UNGATED:
            several = find(session.options.against).contract.multi_label
        content["against"]["clips"] = window_figures(other.timelines, happening, other.rules, multi_label=several)
    content["warnings"] = list(session.notes.warnings)
    return ReplayResult(content, judgement, other)


def _other(
    session: Session, settings: Settings, truth: Sequence[TrueEvent], stop: Callable[[], bool]
) -> Judgement | None:
    """Judge the model of --against on the same footage, with its own thresholds."""
    options = session.options
    assert options.against is not None
    if options.against == UNGATED:
        second = replace(session, setup=replace(session.setup, still=None))
        replayed = classify_footage(second, stop)
        if replayed is None:
            return None
        return judge_events(replayed.timelines, session.rules, truth, options.matcher, session.book)
    settings = override(settings, {"worker": {"model": options.against}}, "--against")
    classifier = Classifier.load(options.against, engine=settings.worker.engine)
    # The thresholds of `tracker.labels` were chosen for the first, and this one may lack these labels.
    rules = tracker_rules(classifier.contract, settings.tracker.model_copy(update={"labels": {}}))
    setup = _setup(classifier, settings, rules)
    second = replace(session, classifier=classifier, setup=setup, rules=rules, book=RuleBook(rules))
    if strange := sorted({t.label for t in truth} - set(rules)):
        raise ReplayError(
            f"--against {options.against}: its thresholds raise no events for {', '.join(strange)}, "
            "so the models cannot be compared"
        )
    replayed = classify_footage(second, stop)
    return None if replayed is None else judge_events(replayed.timelines, rules, truth, options.matcher)


def _against(first: Judgement, second: Judgement) -> dict[str, Any]:
    model = second.timelines[0].pieces[0].trace.model
    found: dict[str, Any] = rounded(
        {
            "model": model,
            "rules": _rules(second.rules),
            **figures(second, judged=True),
            "paired": compare_models(first, second).to_json(),
        }
    )
    found["events"] = events_json(second, judged=True)
    return found


def _rules(rules: Mapping[str, Rule]) -> dict[str, Any]:
    return {label: asdict(rule) for label, rule in rules.items()}


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


def result_json(
    session: Session, replayed: Replayed, judgement: Judgement, seconds: float, *, judged: bool
) -> dict[str, Any]:
    """What `--json` writes."""
    frames = sum(p.trace.frames for c in replayed.timelines for p in c.pieces)
    lost = sum(p.trace.lost_frames for c in replayed.timelines for p in c.pieces)
    top = {
        "model": session.classifier.id,
        "engine": session.classifier.engine,
        "footage_seconds": replayed.seconds,
        "times_realtime": replayed.seconds / seconds,
        "kept_seconds": replayed.kept_seconds,
        "wall_seconds": seconds,
        "frames": frames,
        "lost_frames": lost,
        "held_seconds": sum(p.trace.held_seconds for c in replayed.timelines for p in c.pieces),
        "windows": sum(len(p.trace.places) for c in replayed.timelines for p in c.pieces),
        "gated_windows": sum(len(p.trace.gated) for c in replayed.timelines for p in c.pieces),
        "cameras": {c.camera: [p.name for p in c.pieces] for c in replayed.timelines},
        "clip": {
            "frames": session.setup.spec.frames,
            "spacing_seconds": session.setup.spec.spacing_us / 1e6,
            "stride_seconds": session.setup.spec.stride_us / 1e6,
        },
        "labels": str(session.options.labels) if judged else None,
        "matching": session.options.matching,
        "rules": _rules(session.rules),
        "rules_of": session.options.rules,
    }
    found: dict[str, Any] = rounded({**top, **figures(judgement, judged=judged)})
    found["events"] = events_json(judgement, judged=judged)
    found["incidents"] = incidents_json(judgement, judged=judged)
    found["truth"] = truth_json(judgement) if judged else None
    found["problems"] = [
        *replayed.unreadable,
        *(f"{p.name}: {why}" for c in replayed.timelines for p in c.pieces for why in frames_without_windows(p.trace)),
        *(f"{p.name}: {why}" for c in replayed.timelines for p in c.pieces for why in p.trace.problems),
    ]
    return found
