"""How cameras were over the last hours, out of what agents and workers say of them. Pure; for one thread at a time.

agent    live ───────────────┐stalled ──┐live ─────────      records of a camera's state
worker   in time ────┐behind ──────┐in time ───────────      what its worker says of it
minutes  watched     │late   │blind    │late│watched         they add up to the time that is known
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from consumers.records.states.camera_state import CameraState
from consumers.records.states.worker_state import WorkerState
from consumers.running.overview import DEAD_SECONDS, MAX_BEHIND_SECONDS

#: Cameras whose past is kept; of further ones nothing is.
_MOST_CAMERAS: Final = 2_000
#: Changes of one camera that are kept, the newest.
_MOST_SPANS: Final = 500
#: How far back, and how often its clock is noted.
KEEP_US: Final = 24 * 3_600_000_000
_CLOCK_US: Final = 120_000_000
_MOST_CLOCKS: Final = KEEP_US // _CLOCK_US
#: Whoever has said nothing for so long is dead: from then on nobody knows.
_SILENT_US: Final = int(DEAD_SECONDS * 1_000_000)

#: What nobody has told of, and what an agent that died left without a word.
UNKNOWN: Final = "unknown"
LOST: Final = "lost"


@dataclass(frozen=True, slots=True)
class Span:
    """A time for which something held; wall clock in microseconds since the Unix epoch."""

    status: str
    from_us: int
    to_us: int
    why: str | None = None
    #: The same in one word.
    code: str | None = None
    #: It stays so until somebody begins anew: nobody tells of it any more.
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class ClockReading:
    """How far the end of the newest footage, in event time, was behind its arrival."""

    at_us: int
    offset_us: int


@dataclass(frozen=True, slots=True)
class Past:
    """How one camera was between two times."""

    #: Without a hole between them, oldest first.
    spans: tuple[Span, ...]
    #: When it was live, and classified late or by nobody.
    late: tuple[Span, ...]
    clock: tuple[ClockReading, ...]
    #: Seconds of the stretch; together they are as long as it is.
    watched_seconds: float
    late_seconds: float
    blind_seconds: float
    unknown_seconds: float
    #: Its film was over, or its agent was stopped: nobody was to see anything.
    ended_seconds: float = 0.0


@dataclass(slots=True)
class _Course:
    spans: deque[Span] = field(default_factory=lambda: deque(maxlen=_MOST_SPANS))
    #: What workers say: `in time` or `late`.
    judged: deque[Span] = field(default_factory=lambda: deque(maxlen=_MOST_SPANS))
    clock: deque[ClockReading] = field(default_factory=lambda: deque(maxlen=_MOST_CLOCKS))


class StateHistory:
    """Keeps it for all cameras."""

    def __init__(self, now_us: int) -> None:
        """Begin to listen, at a time of the wall clock."""
        self._courses: dict[str, _Course] = {}
        self._begun_us = now_us
        #: When workers were heard before that: who is silent meanwhile says something, before it nobody knows.
        self._heard: deque[Span] = deque(maxlen=_MOST_SPANS)

    def note_camera(self, state: CameraState) -> None:
        """Take what an agent says of a camera."""
        course = self._course(state.feed.camera)
        if course is None:
            return
        feed = state.feed
        began_us = min(feed.since_us, state.time_us)
        _extend(course.spans, Span(feed.shown, began_us, state.time_us, feed.why, feed.code, feed.status == "ended"))
        is_due = not course.clock or state.time_us - course.clock[-1].at_us >= _CLOCK_US
        if feed.status == "live" and feed.end_us and feed.data_us is not None and is_due:
            course.clock.append(ClockReading(state.time_us, feed.data_us - feed.end_us))

    def note_worker(self, state: WorkerState) -> None:
        """Take what a worker says of its cameras."""
        if state.status != "working":
            return
        time_us = state.time_us
        _go_on(self._heard, "heard", time_us)
        for each in state.cameras:
            if each.behind_seconds is None or (course := self._course(each.camera)) is None:
                continue
            status = "late" if each.behind_seconds > MAX_BEHIND_SECONDS else "in time"
            _go_on(course.judged, status, time_us)

    def forget(self, now_us: int) -> None:
        """Drop what is older than what is kept."""
        before_us = now_us - KEEP_US
        for camera, course in list(self._courses.items()):
            for kept in (course.spans, course.judged):
                while kept and kept[0].to_us < before_us:
                    kept.popleft()
            while course.clock and course.clock[0].at_us < before_us:
                course.clock.popleft()
            if not course.spans and not course.judged:
                del self._courses[camera]

    def past(self, camera: str, from_us: int, to_us: int, now_us: int) -> Past:
        """How a camera was within `[from_us, to_us)`, as far as it is known at `now_us`; wall clock."""
        course = self._courses.get(camera) or _Course()
        spans = tuple(_whole(course.spans, from_us, min(to_us, now_us), now_us))
        live = [span for span in spans if span.status == "live"]
        in_time = list(_until(course.judged, now_us, "in time"))
        heard = [
            *(each for each in self._heard if each.from_us < self._begun_us),
            Span("heard", self._begun_us, now_us),
        ]
        open_ones = [piece for span in live for piece in _without(Span("late", span.from_us, span.to_us), in_time)]
        unheard = [piece for span in open_ones for piece in _without(span, heard)]
        late = [piece for span in open_ones for piece in _without(span, unheard)]
        late_us, unheard_us = (sum(span.to_us - span.from_us for span in each) for each in (late, unheard))
        seconds = dict.fromkeys(("live", UNKNOWN, "ended", "other"), 0)
        for span in spans:
            key = span.status if span.status in seconds else "other"
            seconds[key] += span.to_us - span.from_us
        return Past(
            spans,
            tuple(late),
            tuple(each for each in course.clock if from_us <= each.at_us < to_us),
            watched_seconds=(seconds["live"] - late_us - unheard_us) / 1e6,
            late_seconds=late_us / 1e6,
            blind_seconds=seconds["other"] / 1e6,
            unknown_seconds=(seconds[UNKNOWN] + unheard_us) / 1e6,
            ended_seconds=seconds["ended"] / 1e6,
        )

    def _course(self, camera: str) -> _Course | None:
        found = self._courses.get(camera)
        if found is None and len(self._courses) < _MOST_CAMERAS:
            found = self._courses[camera] = _Course()
        return found


def _go_on(spans: deque[Span], status: str, time_us: int) -> None:
    """Something holds at a time: since it was heard of last, unless that is too long ago."""
    is_near = bool(spans) and time_us - spans[-1].to_us <= _SILENT_US
    _extend(spans, Span(status, min(spans[-1].to_us, time_us) if is_near else time_us, time_us))


def _extend(spans: deque[Span], new: Span) -> None:
    """Put what holds now behind what held before; what was said before that is no news."""
    if not spans:
        spans.append(new)
        return
    last = spans[-1]
    if new.to_us <= last.to_us:
        return
    if new.status == last.status and new.from_us <= last.to_us:
        said = new if new.why else last
        spans[-1] = replace(last, to_us=new.to_us, why=said.why, code=said.code, is_over=new.is_over)
        return
    begin = max(new.from_us, last.to_us)
    if begin - last.to_us <= _SILENT_US:
        # Nobody said anything between: it was as before until then.
        spans[-1] = replace(last, to_us=begin)
    spans.append(replace(new, from_us=begin))


def _whole(spans: Iterable[Span], from_us: int, to_us: int, now_us: int) -> Iterator[Span]:
    """The spans of a stretch, with what is not known between them."""
    at_us, silent = from_us, UNKNOWN
    for span in _until(spans, now_us):
        begin, end = max(span.from_us, at_us), min(span.to_us, to_us)
        if begin >= to_us:
            break
        if end > from_us:
            if begin > at_us:
                yield Span(silent, at_us, begin)
            if end > begin:
                yield replace(span, from_us=begin, to_us=end)
            at_us = max(at_us, end)
        # Whoever said so fell silent then, unless it was over.
        silent = span.status if span.is_over else LOST
    if at_us < to_us:
        yield Span(silent, at_us, to_us)


def _until(spans: Iterable[Span], now_us: int, status: str | None = None) -> Iterator[Span]:
    """Spans of a status; the last of all holds until now, if it is for good, or was heard of a moment ago."""
    found = list(spans)
    if found and (found[-1].is_over or now_us - found[-1].to_us <= _SILENT_US):
        found[-1] = replace(found[-1], to_us=max(now_us, found[-1].to_us))
    return (span for span in found if status is None or span.status == status)


def _without(span: Span, others: Iterable[Span]) -> Iterator[Span]:
    """What of a span lies in none of others, which are in order."""
    at_us = span.from_us
    for other in others:
        if other.to_us <= at_us or other.from_us >= span.to_us:
            continue
        if other.from_us > at_us:
            yield replace(span, from_us=at_us, to_us=other.from_us)
        at_us = max(at_us, other.to_us)
    if at_us < span.to_us:
        yield replace(span, from_us=at_us)
