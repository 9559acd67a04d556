"""The plots of a replay: timelines, misses against false alarms, times to alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from consumers.replaying.judging.judgement import Judgement
from consumers.replaying.judging.metrics import Matcher
from consumers.replaying.trace import END, START, PlacedTrace, Timeline
from consumers.replaying.tuning.search import Trial, sweep_start
from consumers.reports.drawing import BAD, EVENT, GOOD, INK, MUTED, SERIES, Plot, draw, in_legend

MAX_LABELS: Final = len(SERIES)
#: A row of bars above the scores, and a bar in it, in units of the score's axis.
_ROW: Final = 0.18
_BAR: Final = 0.11
#: Scores are thinned to so many points: the highest of each stretch is kept.
_MAX_POINTS: Final = 2000
#: Of fewer, each is told beside its pictures.
_LEAST_TIMES: Final = 5


def draw_timeline(judgement: Judgement, timeline: Timeline, other: Judgement | None, theirs: Timeline | None) -> Plot:
    """Truth and events as bars over time, and the scores of the labels that raise events, with their thresholds.

    A second model's scores are dashed, and its events a row of their own.
    """
    unit, scale = _time_unit(timeline)

    def paint(axes: Axes) -> None:
        _draw_scores(axes, judgement, timeline, scale, "-")
        rows = [("events", judgement)]
        if other is not None and theirs is not None:
            _draw_scores(axes, other, theirs, scale, (0, (4, 2)))
            rows = [("events of the second", other), ("events of the first", judgement)]
        heights = [1.12 + number * _ROW for number in range(len(rows) + 1)]
        for height, (_, one) in zip(heights, rows, strict=False):
            _draw_events(axes, one, timeline.camera, height, scale)
        found = set(judgement.matched)
        for index, true in enumerate(judgement.event_set.truth):
            if true.camera == timeline.camera:
                colour = GOOD if index in found else BAD
                bar = (true.start / scale, (true.end - true.start) / scale)
                axes.broken_barh([bar], (heights[-1], _BAR), color=colour)
        names = [*(name for name, _ in rows), *(["truth"] if judgement.truth else [])]
        axes.set(xlabel=f"{unit} from the camera's first frame", ylim=(0, heights[len(names) - 1] + _ROW))
        axes.set_yticks(
            [0, 0.5, 1, *(height + _BAR / 2 for height in heights[: len(names)])],
            ["score 0", "0.5", "1", *names],
        )
        axes.set_xlim(0, max((timeline.end_us - timeline.begin_us) / 1e6 / scale, 1e-3))
        if judgement.rules:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=10)  # beside: scores may be anywhere

    return draw(f"Timeline of camera {timeline.camera}", paint, 10.5, 2.3 if other is None else 2.7)


def _time_unit(timeline: Timeline) -> tuple[str, float]:
    """The unit of a timeline's axis, and its seconds."""
    seconds = (timeline.end_us - timeline.begin_us) / 1e6
    if seconds <= 600:
        return "seconds", 1.0
    return ("minutes", 60.0) if seconds <= 3 * 3600 else ("hours", 3600.0)


def _draw_scores(axes: Axes, judgement: Judgement, timeline: Timeline, scale: float, line: Any) -> None:
    first = line == "-"
    for colour, (label, rule) in zip(SERIES, judgement.rules.items(), strict=False):
        for piece in timeline.pieces:
            middles, scores = _thinned(piece, label, timeline.begin_us)
            name = (f"score of {label}" if first else f"{label}, second") if piece is timeline.pieces[0] else None
            axes.plot(
                middles / scale,
                scores,
                color=colour,
                linestyle=line,
                lw=1.2,
                alpha=1 if first else 0.7,
                label=name and in_legend(name),
            )
        if first:
            axes.axhline(rule.start, color=colour, linestyle="--", lw=0.8, label=f"start, {rule.start:g}")
            axes.axhline(rule.end, color=colour, linestyle=":", lw=0.8, label=f"end, {rule.end:g}")


def _draw_events(axes: Axes, judgement: Judgement, camera: str, height: float, scale: float) -> None:
    for detection, match in zip(judgement.event_set.detections, judgement.matched, strict=True):
        if detection.camera == camera:
            colour = BAD if match is None and judgement.truth else EVENT
            bar = (detection.start / scale, (detection.end - detection.start) / scale)
            axes.broken_barh([bar], (height, _BAR), color=colour)
            axes.plot([detection.alert / scale], [height + _BAR / 2], marker="|", markersize=11, color=INK)


def _thinned(piece: PlacedTrace, label: str, begin_us: int) -> tuple[np.ndarray, np.ndarray]:
    places, scores = piece.trace.places, piece.trace.scores[:, piece.trace.labels.index(label)]
    middles = ((places[:, START] + places[:, END]) / 2 + piece.begin_us - begin_us) / 1e6
    if len(scores) <= _MAX_POINTS:
        return middles, scores
    chosen = [part[scores[part].argmax()] for part in np.array_split(np.arange(len(scores)), _MAX_POINTS)]
    return middles[chosen], scores[chosen]


def draw_plots(judgement: Judgement, matcher: Matcher) -> list[Plot]:
    """What another start threshold would give, and how soon alerts come."""
    plots = []
    trials = {
        label: sweep_start(judgement.timelines, label, rule, judgement.truth, matcher)
        for label, rule in list(judgement.rules.items())[:MAX_LABELS]
        if any(t.label == label for t in judgement.truth)
    }
    if trials:
        current = {label: next(t for t in row if t.rule == judgement.rules[label]) for label, row in trials.items()}
        plots.append(draw_tradeoff(trials, current))
    times = [
        d.alert - judgement.event_set.truth[m].start
        for d, m in zip(judgement.event_set.detections, judgement.matched, strict=True)
        if m is not None
    ]
    if len(times) >= _LEAST_TIMES:

        def paint(axes: Axes) -> None:
            axes.hist(times, bins=min(20, len(times)), color=EVENT)
            axes.set(xlabel="seconds from the true onset to the alert", ylabel="events")
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))

        plots.append(draw("Time from onset to alert, in event time; waiting for a segment's end is included", paint))
    return plots


def draw_tradeoff(
    trials: Mapping[str, Sequence[Trial]], marked: Mapping[str, Trial], budget_per_hour: float | None = None
) -> Plot:
    """Share of misses over false alarms an hour, a line a label: the best that is to be had at each rate.

    Args:
        trials: what was tried, by label.
        marked: the one with a ring around it: in use, or recommended.
        budget_per_hour: false alarms that are allowed.
    """

    def paint(axes: Axes) -> None:
        for colour, (label, row) in zip(SERIES, trials.items(), strict=False):
            swept = sorted({_rates(trial) for trial in row})
            best = [(0.0, 1.0)]
            for rate, misses in swept:
                if misses < best[-1][1]:
                    best.append((rate, misses))
            best.append((swept[-1][0], best[-1][1]))
            axes.scatter([rate for rate, _ in swept], [share for _, share in swept], color=colour, s=8, alpha=0.5, lw=0)
            axes.step(
                [rate for rate, _ in best],
                [share for _, share in best],
                where="post",
                color=colour,
                label=in_legend(label),
            )
            # Also where it lies on an axis.
            axes.plot(
                *_rates(marked[label]), marker="o", ms=9, mfc="none", mew=2, color=colour, clip_on=False, zorder=3
            )
        if budget_per_hour is not None:
            axes.axvline(budget_per_hour, color=MUTED, linestyle=":", label="budget")
        axes.set(xlabel="false alarms per camera-hour", ylabel="share of true events missed", ylim=(-0.03, 1.03))
        axes.set_xlim(left=0)
        axes.legend()

    words = "recommended settings" if budget_per_hour is not None else "settings in use"
    return draw(f"Misses against false alarms as the settings change; the ring marks the {words}", paint)


def _rates(trial: Trial) -> tuple[float, float]:
    counts = trial.counts(range(len(trial.seconds)))
    return counts.false_alarms * 3600 / counts.seconds, counts.misses / max(1, counts.truth)
