"""What the index of segments holds of a camera, and where: its table of contents.

Topic `clipline.segments.contents`, key = camera, compacted. Written when a page of the index is full, by the agent that
sends the camera; of two the one with the higher claim counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from consumers.records.fields import RecordError, field, json_object, optional, to_json
from stream import Headers

from .page import FeedRun, IndexPage, camera_of, natural, page_key, run_of, run_parameters

_VERSION: Final = 1
_COLUMNS: Final = 10
_LARGEST: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class PlacedPage:
    """A page of the index that is written no more: where it lies, and what is on it."""

    #: On the index: of its partition that the contents name.
    index_offset: int
    #: Of the agent that wrote it.
    claim: int
    #: Of its first segment.
    number: int
    segments: int
    #: Event times between which its segments lie, and how much of that they cover.
    start_us: int
    end_us: int
    covered_us: int
    #: On the topic of segments: which partition, and the first and last offset there.
    partition: int
    first_offset: int
    last_offset: int

    @classmethod
    def of(cls, page: IndexPage, index_offset: int) -> Self:
        """What the contents say of a page."""
        segments = page.segments
        return cls(
            index_offset,
            page.claim,
            page.first.number,
            len(segments),
            min(s.start_us for s in segments),
            max(s.end_us for s in segments),
            sum(s.duration_us for s in segments),
            page.first.partition,
            min(s.offset for s in segments),
            max(s.offset for s in segments),
        )

    def key(self, camera: str) -> bytes:
        """The key of its record."""
        return page_key(camera, self.claim, self.number)

    def row(self) -> list[int]:
        return [
            *(self.index_offset, self.claim, self.number, self.segments, self.start_us),
            *(self.end_us - self.start_us, self.covered_us),
            *(self.partition, self.first_offset, self.last_offset - self.first_offset),
        ]

    @classmethod
    def of_row(cls, row: object, where: str) -> Self:
        """Read `row` back; raises RecordError."""
        if (
            not isinstance(row, list)
            or len(row) != _COLUMNS
            or not all(type(each) is int and 0 <= each < _LARGEST for each in row)
        ):
            raise RecordError(f"{where}: expected {_COLUMNS} whole numbers of a page, found {str(row)[:80]}")
        index_offset, claim, number, segments, start_us, lasts_us, covered_us, partition, first, span = row
        return cls(
            *(index_offset, claim, number, segments, start_us, start_us + lasts_us, covered_us),
            *(partition, first, first + span),
        )


@dataclass(frozen=True, slots=True)
class IndexContents:
    """Where the pages of one camera lie, and where whoever sends it next goes on."""

    camera: str
    #: Of the agent that wrote them.
    claim: int
    #: Wall clock in microseconds since the Unix epoch.
    time_us: int
    #: Of the topic of segments, where the camera's newest segment lies; those below `next_offset` are indexed, those
    #: below `since_offset` were sent before there was an index, or too many to be looked through.
    partition: int
    since_offset: int
    next_offset: int
    #: What the next segment is counted as.
    next_number: int
    #: Of the newest segment; None where there was none.
    run: FeedRun | None
    #: Of the index: later pages, and the one that is being filled, lie from here on.
    index_partition: int
    index_offset: int
    #: Segments on pages that were too many to be kept in here, and are found no more.
    dropped: int
    #: Whether the agent has ended in order: all that it sent is indexed.
    is_complete: bool
    pages: tuple[PlacedPage, ...]

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        body: dict[str, Any] = {
            "clipline": _VERSION,
            "camera": self.camera,
            "claim": self.claim,
            "time_us": self.time_us,
            "partition": self.partition,
            "since_offset": self.since_offset,
            "next_offset": self.next_offset,
            "next_number": self.next_number,
            "run": None if self.run is None else run_parameters(self.run),
            "index_partition": self.index_partition,
            "index_offset": self.index_offset,
            "dropped": self.dropped,
            "is_complete": self.is_complete,
            "pages": [page.row() for page in self.pages],
        }
        headers = [("content-type", b"application/json"), ("claim", str(self.claim).encode())]
        return self.camera.encode(), headers, to_json(body).encode()

    @classmethod
    def decode(cls, value: bytes | None, where: str) -> Self:
        """The contents that `encode` wrote.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        body = json_object(value, where)
        partition, run = natural(body, "partition", where), optional(body, "run", dict, where)
        return cls(
            camera_of(body, where),
            natural(body, "claim", where),
            natural(body, "time_us", where),
            partition,
            natural(body, "since_offset", where),
            natural(body, "next_offset", where),
            natural(body, "next_number", where),
            None if run is None else run_of(run, partition, where),
            natural(body, "index_partition", where),
            natural(body, "index_offset", where),
            natural(body, "dropped", where),
            field(body, "is_complete", bool, where),
            tuple(PlacedPage.of_row(row, where) for row in field(body, "pages", list, where)),
        )
