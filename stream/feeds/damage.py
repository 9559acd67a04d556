"""Files that are cut off, unfinished or still being written: what can be told of them."""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av

#: Formats that say in their header how long they are; for others libav measures or guesses.
_TELL_DURATION: Final = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf"})
#: Less than this is a matter of rounding, or of how long the last picture stays.
_TOLERANCE_SECONDS: Final = Fraction(1, 2)
_MAX_BOXES: Final = 10_000
_ASF_PROPERTIES: Final = uuid.UUID("8CABDCA1-A947-11CF-8EE4-00C00C205365").bytes_le
_ASF_HEAD_BYTES: Final = 64 * 1024
#: Bytes of a transport packet: bare, behind a time (Blu-ray, cameras), before a check sum.
_TS_PACKETS: Final = (188, 192, 204)
_TS_SYNC: Final = b"\x47"
_TS_HEAD_BYTES: Final = 8 * 1024
_TS_SEEN: Final = 8
_OGG_PAGE_BYTES: Final = 65_307
_OGG_LAST: Final = 4


class Ending:
    """Watches a file being read, and tells whether it ends before the end that its header announces."""

    def __init__(self, container: Any, film: Any) -> None:
        self._format, self._film = container.format.name, film
        self._path = Path(container.name.removeprefix("file:"))
        #: The tracks to read: all, where only the end of the longest is announced.
        self.tracks: Sequence[Any] = (film,)
        self._announced: Fraction | None = None
        self._begin = Fraction(container.start_time or 0, av.time_base)
        if self._format in _TELL_DURATION:
            if film.duration:
                self._announced = (film.start_time or 0) * film.time_base + film.duration * film.time_base
            elif container.duration:
                self._announced = self._begin + Fraction(container.duration, av.time_base)
                self.tracks = tuple(s for s in container.streams if s.type in ("video", "audio"))
        if self._format == "asf" and (seconds := _asf_seconds(self._path)) is not None:
            self._announced = self._begin + seconds
        self._ends: dict[int, int] = {}  # in ticks, by track
        self._longest_step = 0  # of the film, in its ticks

    def saw(self, packet: Any) -> None:
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or packet.is_discard:
            return
        track, end = packet.stream_index, time + (packet.duration or 0)
        before = self._ends.get(track)
        if before is None or end > before:
            self._ends[track] = end
            if before is not None and track == self._film.index:
                self._longest_step = max(self._longest_step, end - before)

    @property
    def seconds(self) -> Fraction | None:
        """How far the file was read, from its begin; None where packets have no times."""
        ends = [self._ends[track.index] * track.time_base for track in self.tracks if track.index in self._ends]
        return max(ends) - self._begin if ends else None

    def cuts_off(self, last: Any) -> bool:
        """Whether a file's last packet is half of one."""
        if self._format == "mpegts":
            return False  # decoded all the same: what was lost is concealed
        # libav fills up what an ASF file lacks, and does not say so.
        return bool(last.is_corrupt) or (self._format == "asf" and self.note(None) is not None)

    def note(self, failure: str | None) -> str | None:
        """What to tell a user once all packets were read; `failure` is why no more could be."""
        failure = failure or self._cut_off()
        reached = self.seconds
        announced = None if self._announced is None else self._announced - self._begin
        tolerance = max(_TOLERANCE_SECONDS, 2 * self._longest_step * self._film.time_base)
        if reached is None or announced is None or announced - reached <= tolerance:
            return None if failure is None else f"ends early: {failure}"
        where = f"after {float(reached):.1f} s of {float(announced):.1f} s"
        return f"ends early: {where}" if failure is None else f"ends early, {where}: {failure}"

    def _cut_off(self) -> str | None:
        """What the last bytes tell, of formats that do not announce their end."""
        tell = {"mpegts": _is_cut_in_transport_packet, "ogg": _is_cut_ogg}.get(self._format)
        try:
            return tell(self._path) if tell is not None else None
        except OSError:
            return None


def _is_cut_in_transport_packet(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_TS_HEAD_BYTES)
        size = file.seek(0, os.SEEK_END)
        for length in _TS_PACKETS:
            begin = next((at for at in range(length) if _are_ts(head[at::length][:_TS_SEEN])), None)
            if begin is None:
                continue
            rest = (size - begin) % length
            file.seek(size - rest)
            # Something else may have been put behind the packets.
            is_cut = 0 < rest < _TS_PACKETS[0] and file.read(1) == _TS_SYNC
            return "its last packet is cut off" if is_cut else None
    return None


def _are_ts(bytes_of_sync: bytes) -> bool:
    return len(bytes_of_sync) == _TS_SEEN and bytes_of_sync == _TS_SYNC * _TS_SEEN


def _is_cut_ogg(path: Path) -> str | None:
    """Pages tell their length, and the last one of a stream that it is (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * _OGG_PAGE_BYTES))
        tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    page = tail[at:]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 or len(page) < 27 + page[26] + sum(segments):
        return "its last page is cut off"
    return None if page[5] & _OGG_LAST else "its last page is not marked as the end"


def _asf_seconds(path: Path) -> Fraction | None:
    """How long the header of an ASF file (WMV) says that it is; libav does not believe it where the file is shorter."""
    with path.open("rb") as file:
        head = file.read(_ASF_HEAD_BYTES)
    at = head.find(_ASF_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return None
    tenth_microseconds, preroll_ms = struct.unpack_from("<Q8xQ", head, at + 64)
    is_broadcast = head[at + 88] & 1
    return None if is_broadcast else Fraction(tenth_microseconds, 10_000_000) - Fraction(preroll_ms, 1000)


def why_unreadable(path: Path) -> str | None:
    """Why libav does not know the file, where more can be said than that its data is invalid."""
    try:
        size = path.stat().st_size
        if size == 0:
            return "the file is empty"
        with path.open("rb") as file:
            kinds: set[bytes] = set()
            at = 0
            for _ in range(_MAX_BOXES):
                file.seek(at)
                head = file.read(16)
                length, kind = int.from_bytes(head[:4], "big"), head[4:8]
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                if not at and kind not in (b"ftyp", b"styp", b"moof", b"mdat", b"wide", b"free"):
                    return None
                kinds.add(kind)
                at += length
                if length < 8 or at >= size:
                    break
    except OSError:
        return None
    if b"moov" in kinds:
        return None
    return "its index, the moov box, is missing: the recording was not finished, or the file is cut off"
