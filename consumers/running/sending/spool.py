"""Segments on disk that wait for the broker: a folder of an agent, in it one for each camera, a file for each segment.

    spool/clipline/hub-4711/gate/000000000017.segment     facts as JSON, and the bytes
                                /dropped.json             frames that had to be dropped and that nobody was told of yet

A file is written under another name and renamed, without fsync: it outlives a killed process, not a power failure. An
agent holds its folder with a lock. What lies in folders that nobody holds was left by agents that died or were stopped.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
import struct
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from consumers.files import hold_folder, is_held
from stream import Headers, check_camera_id

log = logging.getLogger(__name__)

_LENGTH: Final = struct.Struct(">I")
_MAX_FACTS: Final = 1 << 20
_DROPPED: Final = "dropped.json"

#: Epoch, number and whether it is the end mark: names a segment among those of a camera.
Place = tuple[int, int, bool]


@dataclass(slots=True, eq=False)
class Waiting:
    """A segment that is not known to be stored by the broker."""

    camera: str
    topic: str
    headers: Headers
    #: None where it lies on disk.
    value: bytes | None
    size: int
    #: When it was made: wall clock in microseconds since the Unix epoch.
    at_us: int
    #: Of the agent that made it; 0 where it had none yet.
    claim: int = 0
    path: Path | None = None
    #: It may be stored: it was on its way when the broker went away, or another agent left it.
    was_sent: bool = False
    #: Number of the partition, and offset, once the broker has stored it.
    place_on_topic: tuple[int, int] | None = None
    facts: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.facts = dict(self.headers)

    @property
    def place(self) -> Place:
        return place_of(self.headers)

    def stored(self, partition: int, offset: int) -> None:
        """The broker has stored it there."""
        self.place_on_topic = partition, offset

    @property
    def frames(self) -> int:
        return int(self.facts.get("frames", b"0"))

    @property
    def skipped(self) -> Counter[str]:
        """Frames that it tells of as left out, by reason."""
        return Counter(json.loads(self.facts.get("skipped", b"{}")))

    def tell(self, skipped: Counter[str]) -> None:
        """Let it tell of more frames that are left out."""
        self.facts["skipped"] = json.dumps(dict(self.skipped + skipped), sort_keys=True).encode()
        self.headers = list(self.facts.items())


def place_of(headers: Headers) -> Place:
    """The place of a segment's record.

    Raises:
        ValueError, KeyError: it is no segment's.
    """
    facts = dict(headers)
    return int(facts["epoch-us"]), int(facts["sequence"]), facts["frames"] == facts["size"] == b"0"


class Spool:
    """The folder of one agent. Use as a context manager."""

    def __init__(self, root: Path, agent: str) -> None:
        """Hold the agent's folder below `root`.

        Raises:
            OSError: it cannot be made or written, or another process holds it.
        """
        self._root, self._folder = root, root / re.sub(r"[^A-Za-z0-9._-]", "_", agent)
        self._hold = contextlib.ExitStack()
        self._hold.enter_context(hold_folder(self._folder))
        #: What an earlier process of our name has left.
        self._own = {each.name: _left_in(each, each.name) for each in self._folder.iterdir() if each.is_dir()}
        self._number = max((int(p.stem) for p in self._folder.glob("*/*.segment") if p.stem.isdecimal()), default=0)

    def write(self, waiting: Waiting) -> None:
        """Put a segment's bytes on disk.

        Raises:
            OSError: they cannot be written.
        """
        assert waiting.value is not None
        folder = self._folder / waiting.camera
        folder.mkdir(exist_ok=True)
        self._number += 1
        path = folder / f"{self._number:012d}.segment"
        facts = {
            "topic": waiting.topic,
            "at_us": waiting.at_us,
            "claim": waiting.claim,
            "headers": [[name, content.decode("latin-1")] for name, content in waiting.headers],
        }
        head = json.dumps(facts).encode()
        unfinished = path.with_suffix(".unfinished")
        try:
            with unfinished.open("wb") as file:
                file.write(_LENGTH.pack(len(head)) + head)
                file.write(waiting.value)
            unfinished.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        waiting.path, waiting.value = path, None

    @staticmethod
    def value(waiting: Waiting) -> bytes:
        """The bytes of a segment, from disk where they lie there.

        Raises:
            OSError, ValueError: the file is gone or damaged.
        """
        return waiting.value if waiting.path is None and waiting.value is not None else _read(waiting.path)[1]

    @staticmethod
    def remove(waiting: Waiting) -> None:
        """Nobody needs it any more."""
        if waiting.path is not None:
            with contextlib.suppress(OSError):
                waiting.path.unlink(missing_ok=True)

    def note_dropped(self, camera: str, dropped: Counter[str]) -> None:
        """Keep, for whoever sends this camera next, what nobody was told of."""
        path = self._folder / camera / _DROPPED
        with contextlib.suppress(OSError):
            if dropped:
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(dropped), "utf-8")
            else:
                path.unlink(missing_ok=True)

    def left_behind(self, cameras: Collection[str]) -> Iterator[tuple[list[Waiting], str, Counter[str]]]:
        """What agents that are gone have left of these cameras: segments in order, the camera, and frames dropped.

        Files stay where they are until they are removed.
        """
        for camera in sorted(set(cameras) & set(self._own)):
            yield self._own[camera][0], camera, self._own[camera][1]
        for folder in sorted(each for each in self._root.iterdir() if each.is_dir()):
            if folder == self._folder or is_held(folder):
                continue
            for camera in sorted(cameras):
                found, dropped = _left_in(folder / camera, camera)
                if dropped:
                    self.note_dropped(camera, dropped)
                if found or dropped:
                    yield found, camera, dropped

    def close(self) -> None:
        """Let go of the folder; one in which nothing waits is removed."""
        for folder in self._folder.iterdir():
            if folder.is_dir():
                with contextlib.suppress(OSError):
                    folder.rmdir()
        if not any(each.is_dir() for each in self._folder.iterdir()):
            with contextlib.suppress(OSError):
                (self._folder / ".lock").unlink()
                self._folder.rmdir()
        self._hold.close()


def _read(path: Path | None) -> tuple[dict[str, Any], bytes]:
    assert path is not None
    stored = path.read_bytes()
    if len(stored) < _LENGTH.size:
        raise ValueError(f"{path}: too short")
    (length,) = _LENGTH.unpack_from(stored)
    if length > min(_MAX_FACTS, len(stored) - _LENGTH.size):
        raise ValueError(f"{path}: not a segment that waits")
    end = _LENGTH.size + length
    return json.loads(stored[_LENGTH.size : end]), stored[end:]


def _left_in(folder: Path, camera: str) -> tuple[list[Waiting], Counter[str]]:
    found = [waiting for path in sorted(folder.glob("*.segment")) if (waiting := _left(camera, path)) is not None]
    return found, _take_dropped(folder / _DROPPED)


def _left(camera: str, path: Path) -> Waiting | None:
    try:
        facts, value = _read(path)
        headers = [(str(name), str(content).encode("latin-1")) for name, content in facts["headers"]]
        waiting = Waiting(
            check_camera_id(camera), str(facts["topic"]), headers, None, len(value), int(facts["at_us"]),
            int(facts["claim"]), path, was_sent=True,
        )  # fmt: skip
        _ = waiting.place, waiting.frames, waiting.skipped
    except OSError as error:
        log.warning("%s: the segment that waits there cannot be read (%s)", path, error)
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        # As after a power failure. It would lie there for ever.
        log.warning("%s: the segment that waited there is damaged and is lost (%s)", path, error)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return waiting


def _take_dropped(path: Path) -> Counter[str]:
    try:
        dropped = Counter({str(reason): int(n) for reason, n in json.loads(path.read_text("utf-8")).items()})
        path.unlink()
    except (OSError, ValueError, AttributeError, TypeError):
        return Counter()
    return dropped


class WaitingQueue:
    """What waits, the oldest first; the first few of it are on their way."""

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self.in_flight = 0
        self.memory_bytes = self.disk_bytes = self.on_disk = 0

    def add(self, waiting: Waiting, *, first: bool = False) -> None:
        self._count(waiting, 1)
        (self.waiting.appendleft if first else self.waiting.append)(waiting)

    def remove(self, waiting: Waiting) -> None:
        """It is the first, or near it."""
        self.waiting.remove(waiting)
        self._count(waiting, -1)
        Spool.remove(waiting)

    def write(self, spool: Spool) -> bool:
        """Put what waits in memory on disk; return whether there was any. It is the newest of all that waits.

        Raises:
            OSError: as `Spool.write`.
        """
        found = list(itertools.takewhile(lambda w: w.path is None, reversed(self.waiting)))
        for each in reversed(found):
            self._count(each, -1)
            try:
                spool.write(each)
            finally:
                self._count(each, 1)
        return bool(found)

    def _count(self, waiting: Waiting, sign: int) -> None:
        if waiting.path is None:
            self.memory_bytes += sign * waiting.size
        else:
            self.disk_bytes += sign * waiting.size
            self.on_disk += sign
