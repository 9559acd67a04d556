"""What `clipline drill` shows: the stations of a drill with their times, and who was told."""

from __future__ import annotations

from typing import Final

from rich.console import Console

from consumers.drill.course import INTENDED, Course, Station
from consumers.drill.run import Drill, DrillResult
from consumers.printable import printable
from consumers.records.delivery import Delivery
from consumers.records.prediction import rfc3339
from consumers.settings.sections.notifying import ChannelSettings

_WORDS: Final = {"segment": "segment on the topic"}


def opening_words(drill: Drill, seconds: float | None) -> str:
    """What is about to happen, for whoever sees nothing else of it for a while; `seconds` is how long the clip is."""
    clip = "a clip" if seconds is None else f"a clip of {seconds:.0f} s"
    pace = "at its own pace" if drill.pace == "realtime" else "as fast as it goes"
    ends = "until all are told" if drill.acknowledge_seconds is None else "until somebody acknowledges it"
    return f"drill of {drill.camera}: {clip}, {pace}, {ends}; {drill.timeout_seconds:g} s at most for each station"


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


def _would_be_told(entry: Delivery, channel: ChannelSettings | None) -> str:
    """When an alarm would be told, in words, through a channel that was not told of the drill on purpose.

    The order is that of the notifier. What people have snoozed is known only of channels that are told of drills.
    """
    if channel is not None:
        zone = "" if channel.time_zone == "UTC" else f" ({channel.time_zone})"
        if channel.unanswered_minutes is not None:
            return f"would be told if nobody answers within {channel.unanswered_minutes:g} min"
        if entry.why != "snoozed" and channel.digest is not None:
            return f"would stand in the digest of {channel.digest}{zone}"
        if entry.why != "snoozed" and channel.quiet_until_us(entry.time_us) is not None:
            return f"would be told after its quiet hours, {channel.quiet}{zone}"
    if entry.why == "drill":
        return "would have been told (drill = true tells it of drills)"
    return f"would have been told later, as it is {entry.why} now"


def _outcome(result: DrillResult) -> list[tuple[str, str]]:
    course, lines = result.course, []
    for channel in dict.fromkeys(entry.channel for entry in course.entries):
        seconds = course.seconds_to(channel)
        if seconds is not None:
            text = f"{channel}: {seconds[0]:.1f} s after the action began, {seconds[1]:.1f} s after its segment"
            lines.append((text, "green"))
            continue
        entry = course.newest(channel)
        if entry is not None and entry.why in INTENDED:
            lines.append((f"{channel}: {_would_be_told(entry, course.channels.get(channel))}", "yellow"))
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
