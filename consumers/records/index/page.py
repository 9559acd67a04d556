"""Where segments of a camera lie: a page of the index, in the order in which they were stored.

Topic `clipline.segments.index`, key = camera/claim/number of the first segment, compacted. A page is written again as
it fills; its newest record counts. What segments in a row have in common stands once, before them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from consumers.records.fields import RecordError, field, json_object
from stream import Headers, check_camera_id

_VERSION: Final = 1
#: More than an hour of segments of half a second.
MAX_SEGMENTS: Final = 10_000
_BEGINS, _CONTINUED = 1, 2
_COLUMNS: Final = 6
_LARGEST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class FeedRun:
    """What segments in a row have in common: of one feed, without a break between them."""

    #: Of the topic of segments.
    partition: int
    epoch_us: int
    #: Of the agent that sent them; 0 where it made none.
    claim: int
    #: Fingerprint of the feed; empty where the agent does not tell.
    feed: str
    container: str
    codec: str
    width: int
    height: int
    #: Counts a camera's reconnects, epochs and changes of parameters: HLS's discontinuity sequence.
    discontinuity: int

    def continues(self, other: FeedRun) -> bool:
        """Whether a player goes on from `other` to this one without being told."""
        return (
            (self.epoch_us, self.claim, self.feed) == (other.epoch_us, other.claim, other.feed)
            and (self.container, self.codec) == (other.container, other.codec)
            and (self.width, self.height) == (other.width, other.height)
        )


@dataclass(frozen=True, slots=True)
class IndexedSegment:
    """Where one segment lies, and what is to be known before it is read. Times are event time, microseconds."""

    run: FeedRun
    #: Counts a camera's segments over all epochs and agents: HLS's media sequence.
    number: int
    #: Within the epoch, as the segment says.
    sequence: int
    start_us: int
    #: 0 where it only holds what later ones need to be decoded.
    duration_us: int
    offset: int
    size: int
    #: Decoding can begin with it; else it continues the segment before it.
    begins: bool
    #: The next segment of the epoch continues it.
    continued: bool

    @property
    def end_us(self) -> int:
        return self.start_us + self.duration_us

    @property
    def partition(self) -> int:
        return self.run.partition


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Segments of one camera and partition, in the order of their numbers: at least one, or those asked for."""

    camera: str
    #: Of the agent that wrote the page.
    claim: int
    segments: tuple[IndexedSegment, ...]

    @property
    def first(self) -> IndexedSegment:
        return self.segments[0]

    @property
    def key(self) -> bytes:
        return page_key(self.camera, self.claim, self.first.number)

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        body = {
            "clipline": _VERSION,
            "camera": self.camera,
            "claim": self.claim,
            "partition": self.first.partition,
            "number": self.first.number,
            "runs": [_run_body(run, list(group)) for run, group in itertools.groupby(self.segments, lambda s: s.run)],
        }
        value = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        return self.key, [("content-type", b"application/json")], value

    @classmethod
    def decode(cls, value: bytes | None, where: str, near_us: tuple[int, int] | None = None) -> Self:
        """The page that `encode` wrote; with `near_us`, only its segments between these event times, if there are any.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        body = json_object(value, where)
        camera = camera_of(body, where)
        partition, number = natural(body, "partition", where), natural(body, "number", where)
        segments: list[IndexedSegment] = []
        count = 0
        for run in field(body, "runs", list, where):
            if not isinstance(run, dict):
                raise RecordError(f"{where}: expected runs to be objects, found {str(run)[:40]!r}")
            rows = field(run, "segments", list, where)
            segments += _segments(run_of(run, partition, where), rows, number + count, where, near_us)
            count += len(rows)
            if count > MAX_SEGMENTS:
                raise RecordError(f"{where}: expected {MAX_SEGMENTS} segments at most")
        if not count:
            raise RecordError(f"{where}: expected a segment at least")
        return cls(camera, natural(body, "claim", where), tuple(segments))


def page_key(camera: str, claim: int, number: int) -> bytes:
    """The key of a page, by its writer's claim and its first segment's number."""
    return f"{camera}/{claim}/{number}".encode()


def run_parameters(run: FeedRun) -> dict[str, Any]:
    """The JSON of a run, but for its partition."""
    return {
        "epoch_us": run.epoch_us,
        "claim": run.claim,
        "feed": run.feed,
        "container": run.container,
        "codec": run.codec,
        "width": run.width,
        "height": run.height,
        "discontinuity": run.discontinuity,
    }


def run_of(body: Mapping[str, Any], partition: int, where: str) -> FeedRun:
    """Read `run_parameters` back; raises RecordError."""
    return FeedRun(
        partition,
        natural(body, "epoch_us", where),
        natural(body, "claim", where),
        field(body, "feed", str, where),
        field(body, "container", str, where),
        field(body, "codec", str, where),
        natural(body, "width", where),
        natural(body, "height", where),
        natural(body, "discontinuity", where),
    )


def camera_of(body: Mapping[str, Any], where: str) -> str:
    """The camera that a body names; raises RecordError."""
    try:
        return check_camera_id(field(body, "camera", str, where))
    except ValueError as error:
        raise RecordError(f"{where}: {error}") from None


def natural(body: Mapping[str, Any], name: str, where: str) -> int:
    """As `field`, for a whole number from 0 on."""
    found = field(body, name, int, where)
    if not 0 <= found < _LARGEST:
        raise RecordError(f"{where}: expected {name} to be 0 to 2^62, found {str(found)[:40]}")
    return found


def _run_body(run: FeedRun, segments: Iterable[IndexedSegment]) -> dict[str, Any]:
    rows = [
        [
            s.sequence,
            s.start_us - run.epoch_us,
            s.duration_us,
            s.offset,
            s.size,
            _BEGINS * s.begins + _CONTINUED * s.continued,
        ]
        for s in segments
    ]
    return {**run_parameters(run), "segments": rows}


def _segments(
    run: FeedRun, rows: list[Any], number: int, where: str, near_us: tuple[int, int] | None
) -> list[IndexedSegment]:
    for row in rows:
        if not _is_row(row):
            raise RecordError(f"{where}: expected {_COLUMNS} whole numbers of a segment, found {str(row)[:80]}")
    first, last = (-_LARGEST, _LARGEST) if near_us is None else (time - run.epoch_us for time in near_us)
    return [
        IndexedSegment(
            *(run, number + place, sequence, run.epoch_us + after_us, duration_us, offset, size),
            bool(flags & _BEGINS),
            bool(flags & _CONTINUED),
        )
        for place, (sequence, after_us, duration_us, offset, size, flags) in enumerate(rows)
        if after_us < last and after_us + duration_us > first
    ]


def _is_row(row: object) -> bool:
    # Of an hour there are thousands.
    return (
        isinstance(row, list)
        and len(row) == _COLUMNS
        and set(map(type, row)) == {int}
        and min(row) >= 0
        and max(row) < _LARGEST
    )
