"""`clipline mine`: where a model alarmed and nothing was there, as labelled footage to train on.

    truth           ████                 ████
    alarms       ▓▓▓▓▓      ▓▓▓▓   ▓▓▓▓▓▓▓▓
    mined        ──         ────   ──────         without what is shorter than a window

Rows name the files and times; no footage is copied.
"""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumers.files import write_text
from consumers.settings import Settings
from consumers.terminal.console import Output
from consumers.terminal.wording import count, duration
from models import UNKNOWN, normal_label

from .errors import ReplayError
from .judging.judgement import Judgement, judge_events
from .judging.placing import TrueEvent, place_truth
from .session import INTERRUPTED, STOPPED, ReplayOptions, Session, classify_footage, open_session
from .trace import Timeline

_COLUMNS: Final = ("path", "label", "start", "end", "group", "alarm", "score")
_DIGITS: Final = 3

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Mined:
    """Footage of one file in which a model alarmed wrongly."""

    file: str
    camera: str
    #: Of the file, in seconds.
    start: float
    end: float
    #: The label that was alarmed, and the highest score.
    alarm: str
    score: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def run_mine(
    settings: Settings,
    options: ReplayOptions,
    *,
    label: str | None,
    most: int | None,
    output: Path,
    out: Output,
    errors: Output,
    stop: Callable[[], bool],
) -> int:
    """Replay, write the false alarms as a list that `clipline train` takes, and return the exit code.

    Args:
        settings: the model, and the rules by which it alarms.
        options: footage and truth.
        label: what the footage is to be taught as; None: the model's first label that raises no events.
        most: the most intervals to write, those with the highest scores; None for all.
        output: the list.
        out: where the summary goes.
        errors: where warnings and progress go.
        stop: whether to end early.

    Raises:
        ReplayError, StreamError, ModelError, SettingsError: something cannot be used.
    """
    with open_session(settings, options, errors) as session:
        taught_as = _taught_as(session, label)
        if nameless := [p.name for r in session.recordings for p in r.pieces if p.file is None]:
            raise ReplayError(f"{nameless[0]}: no file that a list could name; expected files or folders")
        replayed = classify_footage(session, stop)
        if replayed is None:
            session.notes.say(STOPPED)
            return INTERRUPTED
        rows = session.truth_rows or ()
        truth, left_out = place_truth(rows, replayed.timelines, session.rules)
        for reason in (*replayed.unreadable, *left_out):
            session.notes.warn(reason)
        happening, _ = place_truth(rows, replayed.timelines, {row.label for row in rows} - {taught_as})
        judgement = judge_events(replayed.timelines, session.rules, truth, options.matcher, session.book)
        found = sorted(false_alarms(judgement, happening), key=lambda m: (-m.score, m.file, m.start))
        least = session.setup.spec.frames * session.setup.spec.spacing_us / 1e6
        long = [m for m in found if m.seconds >= least]
        kept = long[:most]
        write_text(output, _table(kept, taught_as, output), ReplayError)
        _sum_up(out, output, judgement, kept, len(long) - len(kept), len(found) - len(long), taught_as)
    return 0


def false_alarms(judgement: Judgement, happening: Sequence[TrueEvent]) -> list[Mined]:
    """The footage of events that find no true one, by file, without what anything true happens in.

    Args:
        judgement: events and the truth of their labels.
        happening: all that truly happens, also of labels that raise no events.
    """
    true: dict[str, list[Interval]] = defaultdict(list)
    for event in happening:
        true[event.camera].append((event.start_us, event.end_us))
    alarms: dict[str, list[tuple[Interval, str, float]]] = defaultdict(list)
    for reported, index in zip(judgement.events, judgement.matched, strict=True):
        if index is None:
            e = reported.event
            alarms[e.camera].append(((e.start_us, e.end_us), e.label, e.peak_score))
    return [
        mined
        for timeline in judgement.timelines
        for mined in _by_file(timeline, alarms[timeline.camera], true[timeline.camera])
    ]


def _by_file(
    timeline: Timeline, alarms: Sequence[tuple[Interval, str, float]], true: Sequence[Interval]
) -> list[Mined]:
    found = []
    for start_us, end_us in _without(_joined([interval for interval, _, _ in alarms]), _joined(true)):
        # Two labels may have been alarmed at once: the list says each second of footage once.
        score, alarm = max((s, label) for (begin, end), label, s in alarms if begin < end_us and end > start_us)
        for piece in timeline.pieces:
            begin, end = max(start_us, piece.first_us), min(end_us, piece.end_us)
            if begin < end:
                start, stop = (round((time_us - piece.first_us) / 1e6, _DIGITS) for time_us in (begin, end))
                found.append(Mined(piece.name, timeline.camera, start, stop, alarm, score))
    return found


def _joined(intervals: Sequence[Interval]) -> list[Interval]:
    """The union of intervals, in order."""
    joined: list[Interval] = []
    for begin, end in sorted(intervals):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def _without(intervals: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """The parts of intervals in which none of the others lies; both are in order."""
    left = []
    for interval_begin, interval_end in intervals:
        begin = interval_begin
        for other_begin, other_end in others:
            if other_end <= begin or other_begin >= interval_end:
                continue
            if other_begin > begin:
                left.append((begin, other_begin))
            begin = other_end
        if begin < interval_end:
            left.append((begin, interval_end))
    return left


def _taught_as(session: Session, label: str | None) -> str:
    """The label of footage in which nothing happens.

    Raises:
        ReplayError: it raises events, or the model has none that does not and the user names none.
    """
    labels = session.classifier.contract.labels
    if label is not None:
        named = normal_label(label)
        if named in session.rules:
            raise ReplayError(f"--as {label!r}: it raises events, and this footage is to teach that nothing happened")
        return named
    quiet = next((known for known in labels if known not in {*session.rules, UNKNOWN}), None)
    if quiet is None:
        raise ReplayError(
            f"{session.classifier.id}: every label raises events ({', '.join(labels)}); name the one for footage in "
            "which nothing happens with --as"
        )
    return quiet


def _table(mined: Sequence[Mined], label: str, output: Path) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    folder = output.absolute().parent
    for m in mined:
        file = Path(m.file).absolute()  # not resolved: a link's name is what people know
        # What lies beside or below the list moves with it.
        path = os.path.relpath(file, folder) if file.is_relative_to(folder) else str(file)
        table.writerow((path, label, f"{m.start:g}", f"{m.end:g}", m.camera, m.alarm, f"{m.score:.3f}"))
    return text.getvalue()


def _sum_up(
    out: Output, output: Path, judgement: Judgement, kept: Sequence[Mined], beyond: int, short: int, label: str
) -> None:
    alarms = sum(index is None for index in judgement.matched)
    said = (
        f"{output}: {count(len(kept), 'interval')} of {count(len({m.file for m in kept}), 'file')} "
        f"({duration(sum(m.seconds for m in kept))}) to be taught as {label!r}, from {count(alarms, 'false alarm')}"
    )
    if beyond:
        said += f"; {count(beyond, 'interval')} with lower scores left out (--most)"
    if short:
        said += f"; {count(short, 'interval')} shorter than a window left out"
    out.print(said, soft_wrap=True)
    if kept:
        out.print(
            f"Train with it: clipline train labels.csv {output}; then judge the model on other footage than this.",
            soft_wrap=True,
        )
