"""What `clipline drill` shows: the stations of a drill with their times, and who was told."""

from __future__ import annotations

from typing import Final

from rich.console import Console

from consumers.drill.course import INTENDED, Course, Station
from consumers.drill.run import DrillResult
from consumers.printable import printable
from consumers.records.prediction import rfc3339

_WORDS: Final = {"segment": "segment on the topic"}


def waiting_words(course: Course) -> str:
    """What is waited for."""
    if not course.segments:
        return "waiting for the clip to be on the topic"
    if not course.predictions:
        return "waiting for a worker"
    if not course.reports:
        return f"waiting for an event, {len(course.predictions)} windows classified"
    return f"waiting for {', '.join(course.awaited() or course.unacknowledged()) or 'its end'}"


def print_drill(out: Console, result: DrillResult) -> None:
    """Print the stations that were reached, the seconds to every recipient, and where it ended."""
    course = result.course
    stations = course.stations()
    out.print(f"drill {course.id}, partition {result.partition}", soft_wrap=True, markup=False, highlight=False)
    for station in stations:
        out.print(_line(station, stations[0].time_us), soft_wrap=True, markup=False, highlight=False)
    for line, style in _outcome(result):
        out.print(line, style=style, soft_wrap=True, markup=False, highlight=False)


def _line(station: Station, first_us: int) -> str:
    what = _WORDS.get(station.name, station.name) + ("" if station.channel is None else f" {station.channel}")
    detail = "" if station.detail is None else f"  {printable(station.detail)}"
    time = rfc3339(station.time_us)[11:23]
    return f"{time} UTC  {(station.time_us - first_us) / 1e6:+8.3f} s  {what}{detail}"


def _outcome(result: DrillResult) -> list[tuple[str, str]]:
    course, lines = result.course, []
    for channel in dict.fromkeys(entry.channel for entry in course.entries):
        seconds = course.seconds_to(channel)
        if seconds is not None:
            text = f"{channel}: {seconds[0]:.1f} s after the action began, {seconds[1]:.1f} s after its segment"
            lines.append((text, "green"))
            continue
        entry = course.newest(channel)
        if entry is not None and entry.why == "drill":
            lines.append((f"{channel}: would have been told (drill = true tells it of drills)", "yellow"))
        elif entry is not None and entry.why in INTENDED:
            lines.append((f"{channel}: would have been told later, as it is {entry.why} now", "yellow"))
    others = [name for name in course.channels if name not in course.wanting()] if course.reports else []
    lines += [(f"{name}: is not told of such events, by its settings", "yellow") for name in others]
    if course.reports and not course.channels:
        lines.append(("no channels in the settings: nobody is told of events", "yellow"))
    lines += [(f"{name}: an alarm would not get through", "red") for name in result.refused]
    if result.missing is not None:
        lines.append((f"no {result.missing}: {printable(result.why or '')}", "red"))
    if result.stopped:
        lines.append(("stopped before its end", "yellow"))
    return lines
