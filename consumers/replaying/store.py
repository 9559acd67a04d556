"""Traces on disk, named by what they depend on: a second replay, a sweep or a resumed run decodes nothing twice.

    KEY.npz             a finished trace
    KEY.0000.part.npz   a part of an unfinished one, a new file every few seconds

Each file is written under another name and then renamed, so a kill leaves whole files only. The oldest traces are
removed when the folder reaches its limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from consumers.files import replacing, trim_folder
from consumers.live.effort.stillness import ViewState
from stream import Segment

from .errors import StoreError
from .trace import EPOCH, WINDOW, Trace

#: Goes up with each change to decoding or windowing: traces made before it are no longer right.
VERSION: Final = 4
DEFAULT_BYTES: Final = 2 * 1024**3
_MAX_PROBLEMS: Final = 20
_ARRAYS: Final = ("places", "scores", "closes", "gated", "spans")


def trace_key(facts: Mapping[str, Any]) -> str:
    """Return the key of a trace, made of everything that it depends on; it is a camera id, too, that no camera has."""
    story = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    return hashlib.sha256(story.encode()).hexdigest()[:32]


@dataclass(slots=True)
class TraceDraft:
    """A trace in the making, or a part of one."""

    places: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    closes: list[int] = field(default_factory=list)
    gated: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    frames: int = 0
    #: Left out by the segmenter, by reason.
    skipped: Counter[str] = field(default_factory=Counter)
    #: Frames that are the only ones of their epoch: no window has them.
    alone: int = 0
    held_us: int = 0
    #: In segments that could not be decoded.
    undecoded: int = 0
    problems: list[str] = field(default_factory=list)
    #: The newest epoch, and how many frames it has.
    epoch: tuple[int, int] = (-1, 0)

    def note(self, segment: Segment) -> None:
        """Count a segment in."""
        self.frames += segment.frames + sum(segment.skipped.values())
        self.skipped.update(segment.skipped)
        self.held_us += segment.held_us
        self.cover(segment.start_us, segment.end_us)
        before = self.epoch[1] if self.epoch[0] == segment.epoch_us else 0
        self.epoch = segment.epoch_us, before + segment.frames
        self.alone += (self.epoch[1] == 1) - (before == 1)

    def cover(self, start_us: int, end_us: int) -> None:
        """Note that there is footage in this interval."""
        if self.spans and self.spans[-1][1] == start_us:
            self.spans[-1] = (self.spans[-1][0], end_us)
        elif end_us > start_us:
            self.spans.append((start_us, end_us))

    def lose(self, frames: int, why: str) -> None:
        self.undecoded += frames
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(why)


@dataclass(frozen=True, slots=True)
class UnfinishedTrace:
    """How far a trace has come."""

    #: Epoch and number of each window that is in parts.
    windows: frozenset[tuple[int, int]]
    #: How many of the piece's items are done: what they gave is in parts.
    done: int
    #: The number of the first item that has to be looked at again, for windows that were not complete; `done` or less.
    needed: int
    undecoded: int
    problems: tuple[str, ...]
    #: What the footage showed when nothing moved, see `Pipeline.view`.
    view: ViewState | None


class TraceStore:
    """The traces in a folder."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._locks: dict[str, IO[str]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{folder}: cannot be made, to keep predictions in ({error.strerror})") from None

    def load(self, key: str) -> Trace | None:
        """The finished trace, if there is one."""
        path = self._folder / f"{key}.npz"
        found = _read(path)
        if found is None:
            return None
        os.utime(path)
        arrays, facts = found
        return Trace(
            facts["model"],
            tuple(facts["labels"]),
            arrays["places"],
            arrays["scores"],
            arrays["closes"],
            arrays["spans"],
            facts["frames"],
            facts["lost_frames"],
            tuple(facts["problems"]),
            facts["skipped"],
            facts["alone"],
            facts["held_seconds"],
            arrays["gated"],
        )

    def save(self, key: str, model: str, labels: tuple[str, ...], draft: TraceDraft, windows: int) -> None:
        """Keep the whole trace: what the parts hold and what `draft` adds to it.

        Parts are those of the process that has claimed the trace; another one neither reads nor removes them.

        Args:
            key: names the trace.
            model: what said it.
            labels: what it scores.
            draft: all `spans`, frame counts and problems, and the windows since the newest part.
            windows: how many the trace has, those in parts included.

        Raises:
            StoreError: it cannot be written, or parts went while they were needed.
        """
        claimed = key in self._locks
        parts = [part for path in self._parts(key) if (part := _read(path))] if claimed else []
        arrays = _arrays(draft, len(labels))
        for name in ("places", "scores", "closes", "gated"):
            arrays[name] = np.concatenate([*(part[name] for part, _ in parts), arrays[name]])
        if len(arrays["places"]) != windows:
            self.drop_parts(key)
            raise StoreError(
                f"{self._folder}: of {windows} predictions {len(arrays['places'])} are left, the others were removed "
                "while they were needed: the same command makes them anew"
            )
        facts = {
            "model": model,
            "labels": labels,
            "frames": draft.frames,
            "lost_frames": draft.skipped.total() + draft.undecoded,
            "problems": draft.problems,
            "skipped": dict(draft.skipped),
            "alone": draft.alone,
            "held_seconds": draft.held_us / 1e6,
        }
        self._write(self._folder / f"{key}.npz", arrays, facts, np.savez_compressed)
        if claimed:
            self.drop_parts(key)

    def save_part(
        self, key: str, labels: int, draft: TraceDraft, done: int, needed: int, view: ViewState | None
    ) -> None:
        """Keep what was classified since the part before, and where to go on: see `UnfinishedTrace`.

        Items are counted, not times: a topic may hold footage twice, or an archive behind what is newer.
        """
        facts = {
            "done": done,
            "needed": needed,
            "undecoded": draft.undecoded,
            "problems": draft.problems,
            "view": None if view is None else asdict(view),
        }
        # Soon read and removed: packing it would cost more than the room it takes meanwhile.
        self._write(self._part(key, len(self._parts(key))), _arrays(draft, labels), facts, np.savez)

    def resume(self, key: str) -> UnfinishedTrace | None:
        """How far an earlier run came with this trace, if it was cut off."""
        windows, facts = set[tuple[int, int]](), None
        for number, path in enumerate(self._parts(key)):
            part = _read(path) if path == self._part(key, number) else None
            if part is None:  # without one, the others are of no use
                self.drop_parts(key)
                return None
            arrays, facts = part
            windows.update(map(tuple, arrays["places"][:, (EPOCH, WINDOW)].tolist()))
        if facts is None:
            return None
        view = facts["view"]
        return UnfinishedTrace(
            frozenset(windows),
            facts["done"],
            facts["needed"],
            facts["undecoded"],
            tuple(facts["problems"]),
            None if view is None else ViewState(**view | {"shape": tuple(view["shape"])}),
        )

    def claim(self, key: str) -> bool:
        """Whether this process may write parts of the trace: two runs at once would mix theirs."""
        path = self._folder / f"{key}.lock"
        while True:
            lock = path.open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                return False
            if _is_open(lock, path):
                self._locks[key] = lock
                return True
            lock.close()  # its owner removed it after it was opened here: the next comer would lock another file

    def release(self, key: str) -> None:
        lock = self._locks.pop(key, None)
        if lock is not None:
            (self._folder / f"{key}.lock").unlink(missing_ok=True)
            lock.close()

    def drop_parts(self, key: str) -> None:
        for path in self._parts(key):
            path.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what was used longest ago until the rest is within the bound: whole traces, and all parts of one.

        What somebody works on stays.
        """
        trim_folder(self._folder, "*.npz", self._max_bytes, unit=lambda path: path.name.split(".")[0], held=self._held)

    @contextlib.contextmanager
    def _held(self, key: str) -> Iterator[bool]:
        claimed = self.claim(key)
        try:
            yield claimed
        finally:
            if claimed:
                self.release(key)

    def _part(self, key: str, number: int) -> Path:
        return self._folder / f"{key}.{number:04d}.part.npz"

    def _parts(self, key: str) -> list[Path]:
        # By number: there may be more than four digits of them.
        return sorted(self._folder.glob(f"{key}.*.part.npz"), key=lambda path: (len(path.name), path.name))

    def _write(
        self, path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], savez: Callable[..., None]
    ) -> None:
        try:
            with replacing(path) as unfinished, unfinished.open("wb") as file:
                savez(file, facts=np.array(json.dumps(facts)), **arrays)
        except OSError as error:
            raise StoreError(
                f"{path.parent}: predictions cannot be kept there ({error.strerror}): "
                "make room, or set XDG_CACHE_HOME to a folder that has it"
            ) from None


def _is_open(file: IO[str], path: Path) -> bool:
    """Whether the path still leads to this open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def draft_trace(model: str, labels: tuple[str, ...], draft: TraceDraft) -> Trace:
    """The trace of a draft that has everything."""
    arrays = _arrays(draft, len(labels))
    return Trace(
        model,
        labels,
        arrays["places"],
        arrays["scores"],
        arrays["closes"],
        arrays["spans"],
        draft.frames,
        draft.skipped.total() + draft.undecoded,
        tuple(draft.problems),
        dict(draft.skipped),
        draft.alone,
        draft.held_us / 1e6,
        arrays["gated"],
    )


def _arrays(draft: TraceDraft, labels: int) -> dict[str, np.ndarray]:
    return {
        "places": np.array(draft.places, np.int64).reshape(-1, 5),
        "scores": np.array(draft.scores, np.float64).reshape(-1, labels),
        "closes": np.array(draft.closes, np.int64),
        "gated": np.array(draft.gated, np.int64),
        "spans": np.array(draft.spans, np.int64).reshape(-1, 2),
    }


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return {name: kept[name] for name in _ARRAYS}, json.loads(str(kept["facts"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # damaged: made anew
        path.unlink(missing_ok=True)
        return None
