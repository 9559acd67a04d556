"""What has to be read of H.264 itself: parameter sets, IDR pictures, and pictures that no other refers to.

An access unit comes in one of two forms: Annex B, where start codes separate its units, or length-prefixed (ISO/IEC
14496-15, 5.3.3.1), where the container keeps the parameter sets apart in `extradata`.
"""

from __future__ import annotations

from typing import Any, Final

_START_CODE: Final = b"\x00\x00\x01"
#: How far into an access unit its headers are looked for.
_HEAD_BYTES: Final = 256


def missing_parameter_sets(extradata: bytes, data: bytes) -> bytes:
    """The parameter sets that a decoder needs before the keyframe `data` and that libav's muxer would not write.

    It writes them before IDR pictures only, and a segment may begin with another keyframe. They are returned in the
    form of `data`; empty where nothing is missing.
    """
    if len(extradata) < 7:
        return b""
    if extradata[0] != 1:  # Annex B
        return b"" if _START_CODE + b"\x67" in data[:_HEAD_BYTES] else extradata
    prefix = (extradata[4] & 3) + 1
    if _has_idr(data, prefix):
        return b""
    sets, at = [], 5
    for count_mask in (0x1F, 0xFF):  # sequence parameter sets, then picture parameter sets
        count, at = extradata[at] & count_mask, at + 1
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2], "big")
            sets.append(extradata[at + 2 : at + 2 + size])
            at += 2 + size
    return b"".join(len(s).to_bytes(prefix, "big") + s for s in sets)


def _has_idr(data: bytes, prefix: int) -> bool:
    """Whether a length-prefixed access unit holds an IDR slice."""
    at = 0
    while at + prefix < len(data):
        if data[at + prefix] & 0x1F == 5:
            return True
        at += prefix + int.from_bytes(data[at : at + prefix], "big")
    return False


def is_unreferenced(packet: Any) -> bool:
    """Whether no picture refers to this Annex B access unit: every slice has `nal_ref_idc` 0 (H.264, 7.4.1).

    Args:
        packet: anything that gives its bytes as a buffer; only the first of them are read.
    """
    head = bytes(memoryview(packet)[:_HEAD_BYTES])
    at = head.find(_START_CODE)
    while 0 <= at < len(head) - 3:
        header = head[at + 3]
        if header & 0x1F in (1, 5):  # a coded slice; all slices of a picture agree
            return header & 0x60 == 0
        at = head.find(_START_CODE, at + 3)
    return False
