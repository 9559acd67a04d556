"""How large pictures are and of which format, as their own bytes tell: it may change amid a stream, in silence.

H.264 and H.265 tell it in parameter sets, which `coding.py` follows; other codecs in the pictures with which decoding
begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

#: In MPEG-1 and -2: the sequence with its size, aspect and rate; what MPEG-2 adds to it.
_SEQUENCE: Final = re.compile(rb"\x00\x00\x01\xb3(.{4})", re.DOTALL)
_EXTENSION: Final = re.compile(rb"\x00\x00\x01\xb5([\x10-\x1f].{2})", re.DOTALL)
#: Of the extension: up to the sizes' highest bits; a bit rate follows, which may change with each sequence.
_EXTENSION_MASK: Final = 0xFFFFE0
#: In MPEG-4: the layer of a video object, up to the next start code.
_LAYER: Final = re.compile(rb"\x00\x00\x01([\x20-\x2f].*?)(?=\x00\x00\x01)", re.DOTALL)
#: Where headers are over: a group or a picture begins.
_PICTURES: Final = {
    "mpeg1video": re.compile(rb"\x00\x00\x01[\xb8\x00]"),
    "mpeg2video": re.compile(rb"\x00\x00\x01[\xb8\x00]"),
    "mpeg4": re.compile(rb"\x00\x00\x01[\xb3\xb6]"),
}
#: Bytes of headers that are looked at.
_HEAD_BYTES: Final = 4096
_FRAME_OF_JPEG: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENCE_OBU: Final = 1
#: H.263: this source format is told further on (5.1.4), and so is whether a picture is intra.
_EXTENDED: Final = 7


def tells_format(codec: str) -> bool:
    """Whether pictures of a codec say it."""
    return codec in _READERS


def told_format(codec: str, data: bytes) -> bytes | None:
    """What a picture says of its size and format, to be compared with the newest before; None if it says nothing."""
    reader = _READERS.get(codec)
    try:
        return None if reader is None else reader(data)
    except IndexError:  # cut short
        return None


def told_headers(codec: str, data: bytes) -> bytes | None:
    """The headers before a picture that a decoder needs for those that follow without; None of other codecs."""
    if (pictures := _PICTURES.get(codec)) is None:
        return None
    found = pictures.search(data)
    return data[: found.start()] if found else None


def is_intra_h263(data: bytes) -> bool:
    """Whether a picture of H.263 refers to no other (5.1.3 and 5.1.4.3); no container has to say it."""
    bits = int.from_bytes(data[:8].ljust(8, b"\0"), "big")
    if bits >> 26 & 7 != _EXTENDED:
        return not bits >> 25 & 1
    has_format = bits >> 23 & 7 == 1
    return not bits >> (2 if has_format else 20) & 7


def _jpeg(data: bytes) -> bytes | None:
    at = data.index(b"\xff\xd8") + 2 if b"\xff\xd8" in data[:_HEAD_BYTES] else len(data)
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:  # fill
            at += 1
            continue
        length = data[at + 2] << 8 | data[at + 3]
        if kind in _FRAME_OF_JPEG:
            return data[at + 1 : at + 2 + length]
        at += 2 + length
    return None


def _vp8(data: bytes) -> bytes | None:
    return data[6:10] if not data[0] & 1 and data[3:6] == b"\x9d\x01\x2a" else None


def _vp9(data: bytes) -> bytes | None:
    """The uncompressed header of a keyframe, from its colours to its size (VP9, 6.2)."""
    profile = data[0] >> 5 & 1 | data[0] >> 3 & 2
    if data[0] >> 6 != 2 or profile == 3 or data[0] & 0b1100 or data[1:4] != b"\x49\x83\x42":
        return None
    # A bit more for the depth, or three for the subsampling.
    count = 36 + (1 if profile == 2 else 3 if profile == 1 else 0)
    return (int.from_bytes(data[4:9], "big") >> 40 - count).to_bytes(5, "big") + bytes([profile])


def _av1(data: bytes) -> bytes | None:
    """The sequence header (AV1, 5.5)."""
    at = 0
    while at < len(data):
        head = data[at]
        at += 2 if head & 4 else 1
        size = len(data) - at
        if head & 2:
            size = shift = 0
            while True:
                byte = data[at]
                size |= (byte & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if not byte & 0x80 or shift > 56:
                    break
        if head >> 3 & 15 == _SEQUENCE_OBU:
            return data[at : at + size]
        at += size
    return None


def _mpeg12(data: bytes) -> bytes | None:
    head = data[:_HEAD_BYTES]
    if (sequence := _SEQUENCE.search(head)) is None:
        return None
    extension = _EXTENSION.search(head, sequence.end())
    more = int.from_bytes(extension[1], "big") & _EXTENSION_MASK if extension else 0
    return sequence[1] + more.to_bytes(3, "big")


def _mpeg4(data: bytes) -> bytes | None:
    layer = _LAYER.search(data[:_HEAD_BYTES])
    return layer[1] if layer else None


def _h263(data: bytes) -> bytes | None:
    return bytes([data[4] >> 2 & 7]) if is_intra_h263(data) else None


def _flv1(data: bytes) -> bytes:
    """The size of H.263 as Flash has it: one of a table, or two numbers of one or two bytes."""
    bits = int.from_bytes(data[:16].ljust(16, b"\0"), "big")
    more = {0: 16, 1: 32}.get(bits >> 95 & 7, 0)
    return (bits >> 95 - more & (1 << 3 + more) - 1).to_bytes(5, "big")


def _png(data: bytes) -> bytes | None:
    return data[16:26] if data[12:16] == b"IHDR" else None


_READERS: Final[dict[str, Callable[[bytes], bytes | None]]] = {
    "mjpeg": _jpeg,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
    "mpeg1video": _mpeg12,
    "mpeg2video": _mpeg12,
    "mpeg4": _mpeg4,
    "h263": _h263,
    "flv1": _flv1,
    "png": _png,
}
