"""Film strips of everything that happened or was taken for it, from the footage that was replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.replaying.footage.sources import Recording
from consumers.replaying.judging.comparison import compare_models
from consumers.replaying.judging.judgement import Judgement, events_json, truth_json
from consumers.replaying.verdict import event_text, outcome_text
from consumers.reports.drawing import FilmStrip, Frame, StripSection, jpeg

from .pictures import Interval, take_pictures

#: Film strips of a section; the rest are counted.
MAX_STRIPS: Final = 40


@dataclass(frozen=True, slots=True)
class _Moment:
    """Something to show in pictures."""

    camera: str
    start_us: int
    end_us: int
    title: str
    detail: str
    kind: str


def film_sections(
    judgement: Judgement, recordings: Sequence[Recording], other: Judgement | None, *, judged: bool
) -> list[StripSection]:
    """Every miss, false alarm and event that was found; without truth, every event."""
    events = events_json(judgement, judged=judged)
    everything = range(len(events))
    if not judged:
        wanted = [("Events", [_event(judgement, n, events[n], "") for n in everything], "There are none.")]
    else:
        wrong = sorted((n for n in everything if judgement.matched[n] is None), key=lambda n: -events[n]["peak_score"])
        right = [n for n in everything if judgement.matched[n] is not None]
        wanted = [
            ("Missed", _missed(judgement, judgement.missed), "Nothing was missed."),
            ("False alarms", [_event(judgement, n, events[n], "bad") for n in wrong], "There are none."),
            ("Found", [_event(judgement, n, events[n], "good") for n in right], "Nothing was found."),
        ]
    if other is not None:
        paired = compare_models(judgement, other)
        first, second = (j.timelines[0].pieces[0].trace.model for j in (judgement, other))
        theirs = events_json(other, judged=True)
        false = [n for n, match in enumerate(other.matched) if match is None]
        wanted += [
            (f"Found by {first}, missed by {second}", _missed(judgement, paired.only_first), "Nothing."),
            (f"Found by {second}, missed by {first}", _missed(judgement, paired.only_second), "Nothing."),
            (f"False alarms of {second}", [_event(other, n, theirs[n], "bad") for n in false], "There are none."),
        ]
    shown = [moments[:MAX_STRIPS] for _, moments, _ in wanted]
    drawn = iter(_strips(judgement, recordings, [moment for moments in shown for moment in moments]))
    return [
        StripSection(title, [next(drawn) for _ in few], len(moments), nothing)
        for (title, moments, nothing), few in zip(wanted, shown, strict=True)
    ]


def _missed(judgement: Judgement, indices: Sequence[int]) -> list[_Moment]:
    """True events, the longest first."""
    rows = truth_json(judgement)
    moments = []
    for index in sorted(indices, key=lambda i: judgement.truth[i].start_us - judgement.truth[i].end_us):
        true = judgement.truth[index]
        title, date = event_text(rows[index]), _date(rows[index])
        moments.append(_Moment(true.camera, true.start_us, true.end_us, title, date, "bad"))
    return moments


def _event(judgement: Judgement, number: int, row: Mapping[str, Any], kind: str) -> _Moment:
    event = judgement.events[number].event
    outcome = f"{outcome_text(row)}; " if "outcome" in row else ""
    detail = f"{outcome}alert at {row['alert_seconds']:.1f} s; {_date(row)}"
    return _Moment(event.camera, event.start_us, event.end_us, event_text(row), detail, kind)


def _date(row: Mapping[str, Any]) -> str:
    return f"{row['start'][:10]} {row['start'][11:19]} UTC"


def _strips(judgement: Judgement, recordings: Sequence[Recording], moments: Sequence[_Moment]) -> list[FilmStrip]:
    footage = {recording.camera: recording.pieces for recording in recordings}
    if not footage:
        return [FilmStrip(moment.title, moment.detail, kind=moment.kind) for moment in moments]
    timelines = {timeline.camera: timeline for timeline in judgement.timelines}
    intervals = []
    for moment in moments:
        pieces = timelines[moment.camera].pieces
        number = max((n for n, piece in enumerate(pieces) if piece.first_us <= moment.start_us), default=0)
        placed = pieces[number]
        start_us, end_us = max(moment.start_us, placed.first_us), min(moment.end_us, placed.end_us)
        intervals.append(Interval(footage[moment.camera][number], placed, start_us, end_us))
    strips = []
    for moment, interval, pictures in zip(moments, intervals, take_pictures(intervals), strict=True):
        begin_us = timelines[moment.camera].begin_us
        frames = [Frame(f"{(time_us - begin_us) / 1e6:.1f} s", jpeg(image)) for time_us, image in pictures]
        file = interval.footage.file
        seconds = (interval.start_us - interval.placed.first_us) / 1e6
        link = "" if file is None else f"{file.resolve().as_uri()}#t={seconds:.1f}"
        strips.append(FilmStrip(moment.title, moment.detail, frames, link, moment.kind))
    return strips
