"""Where a file goes on in another codec, of formats that are read by one parser to their end.

Of a programme stream, or a stream without a container, libav keeps the parser that it began with: of what the other
codec wrote nothing comes, or pieces that are no pictures. So such a file is searched for the change beforehand, read
up to there, and what follows is counted by itself.

    file      … P8 P9 │ Q0 Q1 … │ R0 …
    film      … P8 P9 ┘                   read up to the first change
    the rest            2 …       1 …     counted piece by piece, each by the parser of its own codec
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import av
import av.error

from .changes import FOREIGN, MARKS, any_of

#: Formats that are searched, and the codec that a stream without a container is of.
_FORMATS: Final = {
    "h264": "h264",
    "hevc": "hevc",
    "mpeg1video": "mpegvideo",
    "mpeg2video": "mpegvideo",
    "mpeg4": "m4v",
    "mjpeg": "mjpeg",
    "av1": "obu",
}
_PROGRAMME: Final = "mpeg"
#: How a JPEG picture begins, with what hardly any bytes of another codec are by chance.
_JPEG: Final = rb"(?P<mjpeg>\xff\xd8\xff(?:\xe0\x00\x10JFIF|\xe1..Exif|\xdb\x00[\x43\x84]\x00|\xfe\x00.Lavc))"
#: A delimiter and a sequence header of AV1. No stream with start codes holds so many zeros but before one.
_AV1: Final = rb"(?P<av1>\x12\x00\x0a[\x05-\x30]\x00\x00\x00(?!\x01))"
_BEGIN: Final = re.compile(b"|".join((_JPEG, _AV1, rb"\x00?" + any_of(*MARKS).pattern)), re.DOTALL)
_EOI: Final = b"\xff\xd9"
#: By codec. Patterns that begin with fixed bytes are found fast, each by itself.
_FOREIGN: Final = {
    **{codec: (marks, re.compile(_JPEG, re.DOTALL), re.compile(_AV1, re.DOTALL)) for codec, marks in FOREIGN.items()},
    # Behind the end of a picture: within one, any bytes may be.
    "mjpeg": (re.compile(re.escape(_EOI) + rb"(?:" + _AV1 + rb"|\x00?" + any_of(*MARKS).pattern + b")", re.DOTALL),),
    # Units tell their length, and so where the last one ends.
    "av1": (),
}
#: What libav may take a stream for that begins as one codec and goes on as another, from whose bytes it judges.
WITHOUT_CONTAINER: Final = frozenset(_FORMATS.values()) | {"vvc", "evc", "cavsvideo", "avs2", "avs3"}
_UNIT_HEAD_BYTES: Final = 10
_BLOCK_BYTES: Final = 8 * 1024 * 1024
#: A mark lies in so many bytes, with what is looked at before and behind it.
_MARK_BYTES: Final = 64
#: Where a file goes on in another track, too, none of the first one comes for so long.
_BESIDE_BYTES: Final = 1024 * 1024
_VIDEO: Final = range(0xE0, 0xF0)
_PACK: Final = b"\0\0\1\xba"
#: Packets of a programme stream: which track they are of, and how long they are (ISO/IEC 13818-1, 2.4.3.6).
_PES: Final = re.compile(rb"\x00\x00\x01([\xbb-\xef])(..)", re.DOTALL)
_MAX_PES_BYTES: Final = 6 + 0xFFFF


@dataclass(frozen=True, slots=True)
class Rest:
    """What follows a change of codec."""

    path: Path
    #: libav's name of the container that it is in.
    format: str
    #: The codec that follows.
    codec: str
    #: In bytes.
    begin: int
    #: Of the film in a programme stream.
    track: int = 0

    def pictures(self) -> int:
        """How many there are, at least one."""
        count, piece = 0, self
        while True:
            after = find_rest(piece.path, piece.format, piece.codec, piece.begin, piece.track)
            count += max(1, piece._packets(None if after is None else after.begin))
            if after is None:
                return count
            piece = after

    def _packets(self, end: int | None) -> int:
        count = 0
        try:
            with av.open(part_of(self.path, self.begin, end), format=self.format) as container:
                tracks = container.streams.video
                film = next((track for track in tracks if track.id == self.track), tracks[0])
                for packet in container.demux(film):
                    count += bool(packet.size)
        except (av.error.FFmpegError, OSError, ValueError, LookupError):
            pass  # damaged there, or cut off: what came before counts
        return count


def part_of(path: Path, begin: int, end: int | None) -> str:
    """The address under which libav reads these bytes of a file."""
    size = path.stat().st_size if end is None else end
    return f"subfile,,start,{begin},end,{size},,:file:{path}"


def format_at_begin(path: Path) -> str | None:
    """Of which stream without a container the first bytes are, by libav's name; None if they do not tell."""
    with path.open("rb") as file:
        found = _BEGIN.match(file.read(_MARK_BYTES))
    return _FORMATS[str(found.lastgroup)] if found else None


def find_rest(path: Path, format_name: str, codec: str, begin: int = 0, track: int = 0) -> Rest | None:
    """What follows the first change of codec behind `begin`; None if there is none, or it cannot be told.

    Args:
        path: the file.
        format_name: libav's name of its container.
        codec: libav's name of that which it begins with.
        begin: in bytes.
        track: libav's number of the film's track in a programme stream.
    """
    is_programme = format_name == _PROGRAMME
    if codec not in _FOREIGN or not (is_programme or format_name == _FORMATS[codec]):
        return None
    with path.open("rb") as file:
        if codec == "av1":
            begin = _end_of_units(file, begin)
            file.seek(begin)
            is_other = _BEGIN.match(file.read(_MARK_BYTES))
            return _rest(path, format_name, is_other, begin, track) if is_other else None
        beside: set[int] = set()  # other tracks of a programme, along the film
        for at, block in _blocks(file, begin):
            # A programme stream carries codecs with start codes, whose marks come first.
            for found in _found(_FOREIGN[codec][: 1 if is_programme else None], block):
                place = found.start() + (len(_EOI) if codec == "mjpeg" else 0)
                if is_programme:
                    number, place = _packet_at(block, place)
                    if number not in _VIDEO or number in beside:
                        continue
                    if number != track & 0xFF and _comes_soon(file, at + found.start(), track & 0xFF):
                        beside.add(number)
                        continue
                    track = 0x100 | number
                if at + place > begin:
                    return _rest(path, format_name, found, at + place, track)
    return None


def _found(patterns: Sequence[re.Pattern[bytes]], block: bytes) -> Iterator[re.Match[bytes]]:
    """What any of the patterns finds, in its order."""
    return heapq.merge(*(pattern.finditer(block) for pattern in patterns), key=re.Match.start)


def _rest(path: Path, format_name: str, found: re.Match[bytes], begin: int, track: int) -> Rest:
    codec = str(found.lastgroup)
    return Rest(path, format_name if format_name == _PROGRAMME else _FORMATS[codec], codec, begin, track)


def _end_of_units(file: BinaryIO, begin: int) -> int:
    """Where the units of AV1 end that follow one another from `begin` on (AV1, 5.3)."""
    while True:
        file.seek(begin)
        head = file.read(_UNIT_HEAD_BYTES)
        at = 2 if head and head[0] & 4 else 1
        # One of a raw stream tells its length, and leaves two bits 0.
        if len(head) <= at or head[0] & 0x83 != 2:
            return begin
        size = shift = 0
        while at < len(head):
            size |= (head[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not head[at - 1] & 0x80:
                break
        begin += at + size


def _blocks(file: BinaryIO, begin: int) -> Iterator[tuple[int, bytes]]:
    """The file from `begin` on, in blocks that overlap by what a mark in them needs."""
    at = begin
    file.seek(at)
    held = b""
    while block := file.read(_BLOCK_BYTES):
        held += block
        yield at, held
        kept = min(len(held), _MAX_PES_BYTES + _MARK_BYTES)
        at, held = at + len(held) - kept, held[-kept:]


def _packet_at(block: bytes, place: int) -> tuple[int, int]:
    """The number of the track that `place` is of, -1 if it is of none, and where the pack with it begins."""
    nearest = None
    for packet in _PES.finditer(block, max(0, place - _MAX_PES_BYTES), place):
        if packet.start() + 6 + int.from_bytes(packet[2], "big") > place:
            nearest = packet
    if nearest is None:
        return -1, -1
    pack = block.rfind(_PACK, 0, nearest.start())
    return nearest[1][0], nearest.start() if pack < 0 else pack


def _comes_soon(file: BinaryIO, place: int, number: int) -> bool:
    """Whether a packet of the track of this number follows soon, as tracks of one programme are beside each other."""
    back = file.tell()
    file.seek(place)
    is_there = b"\0\0\1" + bytes([number]) in file.read(_BESIDE_BYTES)
    file.seek(back)
    return is_there
