"""`clipline replay`: puts sources, model, truth and figures together, and tells what came of it."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console

from consumers.live.assemble import clip_spec, tracker_rules
from consumers.live.tracker import Rule
from consumers.settings import Settings, override
from consumers.terminal.progress import footage_progress
from models import Classifier, cache_folder, find
from models.evaluation.figures import evaluate
from models.evaluation.scores import ClipScores
from stream import KafkaTransport, Transport

from .errors import ReplayError
from .judging.actev import actev_files
from .judging.against import compare
from .judging.gate import Gate
from .judging.judge import FIGURES, WITHOUT_TRUTH, Judgement, event_rows, figures, judge, rounded, truth_rows
from .judging.metrics import Fit, by_onset, by_overlap
from .judging.truth import Claim, TrueEvent, check_truth, place_truth, read_truth
from .judging.windows import judged_windows
from .replay import Replayed, replay
from .run import ScoringSetup
from .sources import Recording, find_recordings
from .store import TraceStore
from .telling import note, show, show_against, write
from .through_kafka import replay_through_kafka

#: Draws for the intervals of window metrics: there are many windows, and areas under curves are slow.
_WINDOW_ROUNDS: Final = 200
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user wants replayed, and how it is to be compared."""

    sources: tuple[str, ...]
    camera: str | None
    start_us: int | None
    labels: Path | None
    renamed: Mapping[str, str]
    match: Literal["overlap", "onset"]
    overlap: float
    onset_window: tuple[float, float]
    resume: bool = True
    #: Over a real broker; an embedded one unless there is an address.
    through_kafka: bool = False
    own_broker: bool = True
    #: Another model, on the same footage.
    against: str | None = None

    def __post_init__(self) -> None:
        if min(self.onset_window) < 0:
            before, after = self.onset_window
            raise ReplayError(f"--onset-window {before:g} {after:g}: expected seconds before and after, 0 or more")

    @property
    def fit(self) -> Fit:
        return by_onset(*self.onset_window) if self.match == "onset" else by_overlap(self.overlap)

    @property
    def matching(self) -> str:
        """In words."""
        if self.match == "onset":
            before, after = self.onset_window
            return f"an event that begins from {before:g} s before to {after:g} s after the true onset"
        return (
            f"an event with an overlap (IoU) of {self.overlap:g} or more" if self.overlap else "an event that overlaps"
        )


@dataclass(frozen=True, slots=True)
class Session:
    """Everything that was found before anything is decoded."""

    asked: Asked
    settings: Settings
    recordings: tuple[Recording, ...]
    claims: tuple[Claim, ...] | None
    classifier: Classifier
    how: ScoringSetup
    rules: Mapping[str, Rule]
    store: TraceStore
    notes: Console


@contextlib.contextmanager
def open_session(settings: Settings, asked: Asked, notes: Console) -> Iterator[Session]:
    """Read the truth, find the footage, load the model.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: one of these cannot be used.
    """
    # What is quick to ask comes first.
    find(settings.worker.model)
    claims = None if asked.labels is None else tuple(read_truth(asked.labels, asked.renamed))

    def connect() -> Transport:
        return KafkaTransport(settings.kafka)

    recordings, left_out = find_recordings(
        asked.sources, asked.camera, asked.start_us, settings.segments.limits, connect
    )
    for reason in left_out:
        note(notes, f"left out: {reason}")
    check_truth(claims or (), {r.camera: [piece.name for piece in r.pieces] for r in recordings})
    with contextlib.ExitStack() as stack:
        if asked.resume:
            folder = cache_folder() / "replay"
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clipline-replay-")))
        store = TraceStore(folder)
        with notes.status("loading the model"):
            classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
        how = _how(classifier, settings)
        rules = tracker_rules(classifier.contract, settings.tracker)
        if not rules:
            note(notes, f"{classifier.id} has no thresholds, so nothing is an event: set tracker.labels.<label>.start")
        yield Session(asked, settings, tuple(recordings), claims, classifier, how, rules, store, notes)


def _how(classifier: Classifier, settings: Settings) -> ScoringSetup:
    worker = settings.worker
    return ScoringSetup(
        classifier, clip_spec(classifier.contract, worker.stride_seconds), worker.threads, worker.max_batch
    )


def replay_command(
    settings: Settings,
    asked: Asked,
    json_file: Path | None,
    report_file: Path | None,
    actev: Path | None,
    fail_if: str | None,
    out: Console,
    notes: Console,
    stop: Callable[[], bool],
) -> int:
    """Replay, print, write what was asked for, and return the exit code: 1 where the gate's condition holds.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: something cannot be used.
    """
    gate = None if fail_if is None else Gate.parse(fail_if, WITHOUT_TRUTH if asked.labels is None else FIGURES)
    if asked.against is not None:
        find(asked.against)
        if asked.labels is None or asked.through_kafka:
            raise ReplayError("--against needs --labels, and compares without a broker")
    with open_session(settings, asked, notes) as session:
        result = _result(session, stop)
        if result is None:
            kept = "" if asked.through_kafka else "; what was classified is kept, and the same command goes on there"
            note(notes, f"stopped{kept}")
            return INTERRUPTED
        content = result.content
        show(out, content, asked.matching, judged=result.judged)
        if "against" in content:
            show_against(out, content)
        if json_file is not None:
            write(json_file, json.dumps(content, indent=2) + "\n")
        if actev is not None:
            for name, value in actev_files(result.judgement).items():
                write(actev / name, json.dumps(rounded(value), indent=2) + "\n")
        if report_file is not None:
            from .report import write_report  # noqa: PLC0415  matplotlib is slow to import

            with notes.status("drawing the report"):
                page = write_report(
                    content,
                    result.judgement,
                    () if asked.through_kafka else session.recordings,
                    asked.fit,
                    result.windows,
                    result.other,
                    judged=result.judged,
                )
            write(report_file, page)
            out.print(f"Report: {report_file}", highlight=False)
    return 0 if gate is None else _exit_code(gate, content, notes)


def _exit_code(gate: Gate, content: Mapping[str, Any], notes: Console) -> int:
    values = {name: content[name] for name in FIGURES - {"events"}} | {"events": len(content["events"])}
    if not content["truth_events"]:
        # That nothing is missed of nothing shows nothing: the labels may be misspelt.
        values |= dict.fromkeys(("detected", "misses"))
    failures = gate.failures(values)
    if failures:
        note(notes, f"--fail-if {gate.text!r}: " + "; ".join(failures), style="red")
    return 1 if failures else 0


@dataclass(frozen=True, slots=True)
class _Result:
    content: dict[str, Any]
    judgement: Judgement
    windows: ClipScores | None
    other: Judgement | None
    judged: bool


def _result(session: Session, stop: Callable[[], bool]) -> _Result | None:
    """Everything that is to be told; None where `stop` said so before."""
    begun = time.monotonic()
    replayed = run(session, stop)
    seconds = time.monotonic() - begun
    if replayed is None:
        return None
    judged = session.claims is not None
    claims = session.claims or ()
    truth, left_out = place_truth(claims, replayed.courses, session.rules)
    for reason in left_out:
        note(session.notes, reason)
    # Windows show also what no event is made of.
    happening, _ = place_truth(claims, replayed.courses, {claim.label for claim in claims})
    judgement = judge(replayed.courses, session.rules, truth, session.asked.fit)
    content = document(session, replayed, judgement, seconds, judged=judged)
    windows = judged_windows(replayed.courses, happening, session.rules) if judged else None
    content["clips"] = _clips(windows)
    other = None
    if session.asked.against is not None:
        other = _other(session, session.settings, truth, stop)
        if other is None:
            return None
        content["against"] = _against(judgement, other)
        content["against"]["clips"] = _clips(judged_windows(other.courses, happening, other.rules))
    return _Result(content, judgement, windows, other, judged)


def _clips(windows: ClipScores | None) -> dict[str, Any] | None:
    """Figures of single windows, with intervals by file; without where there is one file."""
    if windows is None:
        return None
    found = evaluate(windows, rounds=_WINDOW_ROUNDS).to_json()
    return found if found["groups"] > 1 else {**found, "low": {}, "high": {}}


def _other(
    session: Session, settings: Settings, truth: Sequence[TrueEvent], stop: Callable[[], bool]
) -> Judgement | None:
    """What the model that is compared makes of the same footage, with its own thresholds."""
    asked = session.asked
    assert asked.against is not None
    settings = override(settings, {"worker": {"model": asked.against}}, "--against")
    classifier = Classifier.load(asked.against, engine=settings.worker.engine)
    how = _how(classifier, settings)
    # Those of `tracker.labels` were chosen for the first, and may be of labels that this one lacks.
    rules = tracker_rules(classifier.contract, settings.tracker.model_copy(update={"labels": {}}))
    second = replace(session, classifier=classifier, how=how, rules=rules)
    if strange := sorted({t.label for t in truth} - set(rules)):
        raise ReplayError(
            f"--against {asked.against}: by its own thresholds makes no events of {', '.join(strange)}, so nothing is "
            "comparable"
        )
    replayed = run(second, stop)
    return None if replayed is None else judge(replayed.courses, rules, truth, asked.fit)


def _against(first: Judgement, second: Judgement) -> dict[str, Any]:
    model = second.courses[0].pieces[0].trace.model
    found: dict[str, Any] = rounded(
        {
            "model": model,
            "rules": _rules(second.rules),
            **figures(second, judged=True),
            "paired": compare(first, second).to_json(),
        }
    )
    found["events"] = event_rows(second, judged=True)
    return found


def _rules(rules: Mapping[str, Rule]) -> dict[str, Any]:
    return {label: asdict(rule) for label, rule in rules.items()}


def run(session: Session, stop: Callable[[], bool]) -> Replayed | None:
    """Make what traces are missing, with a bar."""
    with footage_progress(session.notes) as progress:
        if session.asked.through_kafka:
            return replay_through_kafka(
                session.recordings,
                session.how,
                dict(session.rules),
                session.settings,
                own_broker=session.asked.own_broker,
                progress=progress,
                stop=stop,
            )
        return replay(
            session.recordings, session.how, session.classifier.engine, session.store, progress=progress, stop=stop
        )


def document(
    session: Session, replayed: Replayed, judgement: Judgement, seconds: float, *, judged: bool
) -> dict[str, Any]:
    """What `--json` writes."""
    frames = sum(p.trace.frames for c in replayed.courses for p in c.pieces)
    lost = sum(p.trace.lost_frames for c in replayed.courses for p in c.pieces)
    top = {
        "model": session.classifier.id,
        "engine": session.classifier.engine,
        "footage_seconds": replayed.seconds,
        "times_realtime": replayed.seconds / seconds,
        "kept_seconds": replayed.kept_seconds,
        "wall_seconds": seconds,
        "frames": frames,
        "lost_frames": lost,
        "windows": sum(len(p.trace.places) for c in replayed.courses for p in c.pieces),
        "cameras": {c.camera: [p.name for p in c.pieces] for c in replayed.courses},
        "matching": session.asked.matching,
        "rules": _rules(session.rules),
    }
    found: dict[str, Any] = rounded({**top, **figures(judgement, judged=judged)})
    found["events"] = event_rows(judgement, judged=judged)
    found["truth"] = truth_rows(judgement) if judged else None
    found["problems"] = [
        *replayed.unreadable,
        *(f"{p.name}: {why}" for c in replayed.courses for p in c.pieces for why in p.trace.problems),
    ]
    return found
