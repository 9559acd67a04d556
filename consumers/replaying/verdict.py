"""The result of a replay in words, the same in the terminal and in the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumers.reports.wording import figure_text, interval_text
from consumers.terminal.wording import count, duration

#: Figures that people read, by their names in JSON and in --fail-if.
FIGURE_NAMES: Final[Mapping[str, str]] = {
    "truth_events": "true events",
    "detected": "found",
    "misses": "missed",
    "false_alarms": "false alarms",
    "repeats": "of these, repeats",
    "false_alarms_per_hour": "false alarms per camera-hour",
    "time_to_alert_p50": "time to alert, median, s",
    "time_to_alert_p95": "time to alert, 95th percentile, s",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "mean_average_precision": "how well events are placed (mAP, IoU 0.5 to 0.95)",
}
INTERVALS: Final = (
    "counts are known and have none; for rate, precision and recall the wider of an exact one (Poisson, "
    "Clopper-Pearson) and 95 % of 1,000 draws of whole files; for the others these draws"
)
_WINDOW_FIGURES: Final = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mean_average_precision": "mean average precision",
    "auc": "AUC",
    "calibration_error": "calibration error",
}
Row = tuple[str, str, str]


def verdict(content: Mapping[str, Any]) -> str:
    """The result in a few sentences; `content` is what --json writes."""
    return _events_verdict(content) + _incidents_text(content["incidents"])


def _incidents_text(incidents: Sequence[Mapping[str, Any]]) -> str:
    """What groups of cameras saw, where there are any."""
    if not incidents:
        return ""
    events = sum(len(row["events"]) for row in incidents)
    false = sum(row.get("outcome") == "false_alarm" for row in incidents)
    text = f" {count(events, 'event')} of cameras in groups {'is' if events == 1 else 'are'} "
    return text + count(len(incidents), "incident") + (f", {false} of them false." if false else ".")


def _events_verdict(content: Mapping[str, Any]) -> str:
    footage = f"{duration(content['footage_seconds'])} of footage"
    if len(content["cameras"]) > 1:
        footage += f" from {len(content['cameras'])} cameras"
    events = content["events"]
    if content["truth"] is None:
        labels = Counter(row["label"] for row in events)
        said = ", ".join(count(many, f"{label} event") for label, many in labels.most_common()) or "no event"
        return _sentence(f"{said} in {footage}")
    alarms, bound = content["false_alarms"], content["high"].get("false_alarms_per_hour")
    if alarms:
        false = f"{count(alarms, 'false alarm')} in {footage}"
    else:
        false = f"no false alarm in {footage}"
        if bound is not None:
            false += f" (compatible with up to {figure_text(bound)} per camera-hour, 95 %)"
    if not content["truth_events"]:
        return _sentence(f"no true event of a label that raises events; {false}")
    labels = Counter(row["label"] for row in content["truth"])
    found = f"{content['detected']} of {count(content['truth_events'], 'true event')} found"
    if len(labels) > 1:
        rows = content["per_label"]
        each = ", ".join(f"{rows[label]['detected']} of {many} {label}" for label, many in labels.most_common())
        found += f" ({each})"
    else:
        found = f"{content['detected']} of {count(content['truth_events'], f'{next(iter(labels))} event')} found"
    delay = content["time_to_alert_p50"]
    if delay is None:
        alert = ""
    else:
        when = f"{figure_text(abs(delay))} s {'after' if delay >= 0 else 'before'} the onset"
        alert = f"; alert {when}" + (" (median)" if content["detected"] > 1 else "")
    return _sentence(f"{found}, {false}{alert}")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def figure_rows(content: Mapping[str, Any]) -> list[Row]:
    """Name, value and 95 % interval of each figure."""
    return [
        (words, figure_text(content[name]), interval_text(content["low"].get(name), content["high"].get(name)))
        for name, words in FIGURE_NAMES.items()
    ]


def window_rows(clips: Mapping[str, Any]) -> list[Row]:
    """The same of single windows."""
    return [
        ("windows", str(clips["clips"]), ""),
        *(
            (words, figure_text(clips[name]), interval_text(clips["low"].get(name), clips["high"].get(name)))
            for name, words in _WINDOW_FIGURES.items()
            if clips.get(name) is not None
        ),
    ]


def event_text(row: Mapping[str, Any]) -> str:
    """What an event is and when, by the seconds of its camera's footage."""
    return f"{row['label']} on {row['camera']}, {row['start_seconds']:.1f} s to {row['end_seconds']:.1f} s" + (
        f", peak {row['peak_score']:.2f}" if "peak_score" in row else ""
    )


def outcome_text(row: Mapping[str, Any]) -> str:
    """What became of a true event or of an event: found (and how soon), missed or a false alarm."""
    delay = row.get("time_to_alert")
    if delay is None:
        return str(row["outcome"]).replace("_", " ").replace("detected", "found")
    return f"found, alert {abs(delay):.1f} s {'after' if delay >= 0 else 'before'} the onset"


def rule_text(label: str, rule: Mapping[str, Any]) -> str:
    """When a label raises an event."""
    text = (
        f"{label}: starts at a score of {rule['start']:g}, held for {rule['min_seconds']:g} s; "
        f"ends below {rule['end']:g}; then {rule['cooldown_seconds']:g} s without a new one"
    )
    return text + (f"; score averaged over {rule['smoothing']} windows" if rule["smoothing"] > 1 else "")


def comparison_text(paired: Mapping[str, Any]) -> str:
    """Which of two models finds more, and whether the difference is significant."""
    first, second = len(paired["only_first"]), len(paired["only_second"])
    p_value = paired["p_value"]
    verb = "is" if p_value < 0.05 else "is not"
    return (
        f"Only the first finds {count(first, 'true event')}, only the second {second}; the difference in recall "
        f"{verb} significant (exact McNemar test, p = {p_value:.3g}, events taken as independent)."
    )


def comparison_rows(content: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Name, first, second, second minus first, and its 95 % interval."""
    other = content["against"]
    paired = other["paired"]
    return [
        (
            words,
            figure_text(content[name]),
            figure_text(other[name]),
            figure_text(paired["difference"][name]) if name in paired["difference"] else "",
            interval_text(paired["low"].get(name), paired["high"].get(name)),
        )
        for name, words in FIGURE_NAMES.items()
    ]


def source_lines(content: Mapping[str, Any], most: int = 12) -> Sequence[str]:
    """Each camera with its files."""
    lines = [f"{camera}: {', '.join(files)}" for camera, files in content["cameras"].items()]
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more cameras"]
