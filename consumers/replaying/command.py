"""`clipline replay`: replay what a session found, judge, print, and write what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from consumers.files import content_digest, write_json, write_text
from consumers.learning.trained_on import warn_of_training_data
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.rules.rule_set import tracker_rules
from consumers.settings import Settings, override
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from models import Classifier, find

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
from .judging.placing import TrueEvent, place_truth
from .judging.windows import window_figures
from .replay import Replayed, frames_without_windows
from .session import (
    INTERRUPTED,
    STOPPED,
    UNGATED,
    ReplayOptions,
    Session,
    classify_footage,
    open_session,
    scoring_setup,
)
from .summary import print_comparison, print_summary


@dataclass(frozen=True, slots=True)
class ReplayFiles:
    """What to write beside the summary in the terminal; None for what is not wanted."""

    json: Path | None = None
    report: Path | None = None
    #: A folder, in the form of NIST's ActEV_Scorer.
    actev: Path | None = None


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
    setup = scoring_setup(classifier, settings, rules)
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
