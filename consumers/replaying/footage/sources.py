"""From the SOURCE arguments of `clipline replay` to cameras, and the footage of each in order.

gate.mp4                        a camera named by the file
footage/                        each file a camera, named by its path below the folder
footage/ --camera gate          all files one camera, one after another as `clipline attach` sends them
kafka://clipline.segments?camera=gate&from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z
kafka://clipline.segments?camera=gate&from=1200&to=1800           by offset
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from consumers.files import content_digest
from stream import (
    Feed,
    Footage,
    Reading,
    Recorded,
    SegmentLimits,
    SourceError,
    Transport,
    cameras_of,
    find_files,
    recorded_order,
)

from .topic_pieces import Item, TopicPiece, check_camera, topic_pieces

_SCHEME: Final = "kafka://"


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A file, read as one feed that begins at 0."""

    path: Path
    #: When it was recorded.
    recorded_us: int
    seconds: float
    limits: SegmentLimits
    reading: Reading

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def file(self) -> Path | None:
        return self.path

    def facts(self) -> dict[str, Any]:
        """Everything that its segments depend on."""
        return {
            "sha256": content_digest(self.path),
            "limits": asdict(self.limits),
            "reading": asdict(self.reading),
        }

    def segments(self, camera: str) -> Iterator[Item]:
        """Yield its segments, the same ones in the same order each time.

        Raises:
            SourceError: reading fails halfway, after the segments before.
        """
        yield from Footage([self.path], camera, self.limits, start_us=0, strict=True, reading=self.reading).segments()


Piece = FilePiece | TopicPiece


@dataclass(frozen=True, slots=True)
class Recording:
    """One camera and its footage, in order."""

    camera: str
    pieces: tuple[Piece, ...]
    #: Event time of its first frame; when it was recorded, if None.
    start_us: int | None = None

    def begins(self, ends_us: Sequence[int]) -> Iterator[int]:
        """Yield the event time at which each piece begins, given how long each is, as `stream.Footage` places files."""
        next_us = self.start_us or 0
        for piece, end_us in zip(self.pieces, ends_us, strict=True):
            begin_us = next_us if self.start_us is not None else max(next_us, piece.recorded_us)
            yield begin_us if isinstance(piece, FilePiece) else 0
            next_us = begin_us + end_us


def find_recordings(
    sources: Sequence[str],
    camera: str | None,
    start_us: int | None,
    limits: SegmentLimits,
    connect: Callable[[], Transport],
    reading: Reading | None = None,
) -> tuple[list[Recording], list[str]]:
    """Return the cameras that `sources` name, and why files are left out that cannot be opened.

    Args:
        sources: as the module's docstring shows them.
        camera: one camera for all files, or the one to take from a topic.
        start_us: event time of the first frame of each camera's files.
        limits: how long and large segments of files are.
        connect: opens the broker, where a source is a topic.
        reading: what the user says about how files are read.

    Raises:
        SourceError: a source is absent or holds no video, or two files would be one camera.
        BrokerError: a topic cannot be read.
    """
    check_camera(camera, "--camera")
    recordings: list[Recording] = []
    files: list[tuple[str, Path]] = []
    left_out: list[str] = []
    for source in sources:
        if source.startswith(_SCHEME):
            recordings += [Recording(name, (piece,)) for name, piece in topic_pieces(source, camera, connect())]
        elif "://" in source and not Path(source).exists():
            raise SourceError(f"{source}: expected a file, a folder or {_SCHEME}topic?camera=…")
        else:
            root = Path(source)
            found = find_files(root, left_out)
            files += zip(cameras_of(found, root), found, strict=True)
    names: dict[str, list[Path]] = defaultdict(list)
    for name, path in files:
        names[camera or name].append(path)
    for name, paths in names.items():
        if camera is None and len(paths) > 1:
            raise SourceError(
                f"{' and '.join(map(str, paths[:2]))} would both be camera {name!r}: rename one, or replay them apart"
            )
        if pieces := _file_pieces(paths, limits, reading or Reading(), left_out, single=len(files) == 1):
            recordings.append(Recording(name, pieces, start_us))
    if not recordings:
        raise SourceError(f"{', '.join(sources)}: nothing can be read ({'; '.join(left_out) or 'no footage'})")
    if twice := [name for name, count in Counter(r.camera for r in recordings).items() if count > 1]:
        raise SourceError(f"camera {twice[0]!r} is in more than one source: replay them apart")
    return recordings, left_out


def _file_pieces(
    paths: Sequence[Path], limits: SegmentLimits, reading: Reading, left_out: list[str], *, single: bool
) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    known: list[tuple[Path, Recorded | None]] = []
    for path in paths:
        try:
            with Feed(str(path), reading) as feed:
                begin_us = feed.recorded.begin_us if feed.recorded else 0
                pieces.append(FilePiece(path, begin_us, feed.seconds or 0.0, limits, reading))
                known.append((path, feed.recorded))
        except SourceError as error:
            if single:
                raise
            left_out.append(str(error))
    return tuple(pieces[index] for index in recorded_order(known))
