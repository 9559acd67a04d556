"""Put the page together: words, plots and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumers.replaying.footage.sources import Recording
from consumers.replaying.judging.comparison import compare_models
from consumers.replaying.judging.judgement import Judgement
from consumers.replaying.judging.metrics import Matcher
from consumers.replaying.trace import Timeline
from consumers.replaying.verdict import (
    INTERVALS,
    comparison_rows,
    comparison_text,
    figure_rows,
    rule_text,
    source_lines,
    verdict,
    window_rows,
)
from consumers.reports.drawing import Plot
from consumers.reports.page import Header, render
from consumers.reports.wording import moment_text
from consumers.terminal.wording import count, duration

from .plots import draw_plots, draw_timeline
from .strips import film_sections

#: Cameras that are drawn; the eventful ones first.
_MAX_CAMERAS: Final = 24
#: Footage without a recording time begins at the Unix epoch.
_UNDATED_US: Final = 365 * 86_400 * 1_000_000


def write_report(
    content: Mapping[str, Any],
    judgement: Judgement,
    recordings: Sequence[Recording],
    matcher: Matcher,
    other: Judgement | None = None,
    command: str = "",
) -> str:
    """Return the page.

    Args:
        content: what `--json` holds.
        judgement: the same with the traces.
        recordings: where the footage is, for pictures; there are none without.
        matcher: how events are matched, for the curve.
        other: the same footage by another model, with which it is compared.
        command: how it was made.
    """
    judged = content["truth"] is not None
    timelines, left_out = _timelines(judgement, other)
    return render(
        "replay.html",
        _header(content, command),
        model=content["model"],
        matching=content["matching"],
        intervals=INTERVALS,
        figure_rows=figure_rows(content) if judged else [],
        breakdowns=[("label", content["per_label"]), ("camera", content["per_camera"])] if judged else [],
        at_overlap=content.get("at_overlap"),
        second=_second(content) if "against" in content else None,
        timelines=timelines,
        not_drawn=f"{count(left_out, 'more camera')} not drawn." if left_out else "",
        legend=_legend(content, judged=judged),
        sections=film_sections(judgement, recordings, other, judged=judged),
        drawn=draw_plots(judgement, matcher) if judged else [],
        windows=list(_windows(content)),
    )


def _header(content: Mapping[str, Any], command: str) -> Header:
    cameras = count(len(content["cameras"]), "camera")
    clip = content["clip"]
    facts = [
        ("Footage", source_lines(content)),
        ("Model", [f"{content['model']}, run by {content['engine']}"]),
        (
            "Windows",
            [
                f"{content['windows']}, each of {clip['frames']} frames {clip['spacing_seconds']:g} s apart",
                f"a new one every {clip['stride_seconds']:g} s",
            ],
        ),
        ("Thresholds", [rule_text(label, rule) for label, rule in content["rules"].items()] or ["none"]),
    ]
    if content["truth"] is not None:
        facts.append(("Truth", [f"{content['labels']}: {count(len(content['truth']), 'event')} of these labels"]))
    if "against" in content:
        other = content["against"]
        facts.append(("Second model", [other["model"], *(rule_text(n, rule) for n, rule in other["rules"].items())]))
    kept = content["kept_seconds"]
    facts.append(
        (
            "Time taken",
            [
                f"{duration(content['wall_seconds'])} for {duration(content['footage_seconds'])} of footage"
                + (f", of which {duration(kept)} had been classified before" if kept else "")
            ],
        )
    )
    warnings = [*content["warnings"], *(f"left out: {problem}" for problem in content["problems"])]
    return Header(f"Replay of {cameras} by {content['model']}", verdict(content), warnings, facts, command)


def _timelines(judgement: Judgement, other: Judgement | None) -> tuple[list[tuple[str, str, Plot]], int]:
    """Cameras on which models differ first, then those with events, then those with true events; and how many more."""
    found, theirs = ({e.event.camera for e in j.events} if j else set() for j in (judgement, other))
    differing = _differing(judgement, other)
    true = {t.camera for t in judgement.truth}

    def place(timeline: Timeline) -> tuple[bool, ...]:
        return tuple(timeline.camera not in cameras for cameras in (differing, found | theirs, true))

    second = {timeline.camera: timeline for timeline in other.timelines} if other is not None else {}
    timelines = sorted(judgement.timelines, key=place)
    drawn = [
        (t.camera, _facts(t), draw_timeline(judgement, t, other, second.get(t.camera)))
        for t in timelines[:_MAX_CAMERAS]
    ]
    return drawn, len(timelines) - len(drawn)


def _facts(timeline: Timeline) -> str:
    """How long a camera's footage is, and when it begins."""
    dated = timeline.begin_us >= _UNDATED_US
    return f"{duration(timeline.seconds)}, " + (
        f"begins {moment_text(timeline.begin_us)}" if dated else "without a recording time"
    )


def _differing(judgement: Judgement, other: Judgement | None) -> set[str]:
    """Cameras on which only one of two models finds a true event."""
    if other is None:
        return set()
    paired = compare_models(judgement, other)
    return {judgement.truth[index].camera for index in (*paired.only_first, *paired.only_second)}


def _legend(content: Mapping[str, Any], *, judged: bool) -> str:
    text = ""
    if judged:
        text = (
            "True events are green where an event finds them and red where none does; events are blue where they find "
            "one and red where they are false alarms. "
        )
    text += (
        "The mark in an event is its alert. A dashed line is the score at which an event starts, a dotted one that at "
        "which it ends."
    )
    if "against" in content:
        text += f" The second model, {content['against']['model']}, is dashed; true events are coloured by the first."
    return text


def _second(content: Mapping[str, Any]) -> dict[str, Any]:
    other = content["against"]
    return {"model": other["model"], "rows": comparison_rows(content), "sentence": comparison_text(other["paired"])}


def _windows(content: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Figures and confusion matrix of single windows, of each model; no matrix where labels are independent."""
    found = []
    other = content.get("against")
    for model, clips in ((content["model"], content["clips"]), *([(other["model"], other["clips"])] if other else [])):
        if clips is not None:
            note = (
                "How well single windows tell what happens, whatever becomes of them as events. A window counts for a "
                "label that covers half of it; windows at the edges of true events are left out."
            )
            rows = clips["confusion"]
            matrix = None if rows is None else {"labels": list(clips["per_class"]), "rows": rows}
            found.append((f"Single windows, {model}" if other else "Single windows", note, window_rows(clips), matrix))
    return found
