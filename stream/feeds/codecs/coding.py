"""How a track's pictures are coded, as far as it is told apart from them: it may change amid the film."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stream.feeds.packets import Packet, Track

from .access import Access, read_access
from .nal import (
    Codec,
    framed,
    is_delimiter,
    is_sequence_set,
    parameter_sets,
    prefix_size,
    set_id,
    units,
)
from .picture_format import is_intra_h263, tells_format, told_format, told_headers

#: Codecs whose packets are units behind start codes.
ANNEX_B: Final[dict[str, Codec]] = {"h264": "h264", "hevc": "hevc"}


class Coding:
    """Reads each packet of a track in turn, and keeps the newest parameter sets."""

    def __init__(self, track: Track) -> None:
        self._name, self._codec = track.codec, ANNEX_B.get(track.codec)
        #: New settings of the decoder, of codecs that keep them apart from the pictures; None while the track's hold.
        self.extradata: bytes | None = None
        #: Pictures of intra slices alone are all that this stream has to begin with.
        self.intra_suffices = False
        #: Whether the pictures tell their size, and where it changes.
        self.tells_size = self._codec is not None or tells_format(track.codec)
        #: Whether a decoder has to begin anew with the newest packet.
        self.has_changed = False
        self._format: bytes | None = None
        self._prefix = 0
        self._sets: dict[tuple[int, int], bytes] = {}
        self._take_extradata(bytes(track.template.codec_context.extradata or b""))

    def read(self, packet: Packet) -> tuple[Packet, Access]:
        """Take the next packet; return it as a transport stream carries it, and whether decoding can begin with it."""
        self.has_changed = False
        if packet.extradata is not None:
            self.has_changed = True
            if self._codec is None:
                self.extradata = packet.extradata
            self._take_extradata(packet.extradata)
        if self._codec is None:
            return packet, self._read_format(packet)
        access = read_access(self._codec, packet.data, self._prefix)
        for unit in access.parameter_sets:
            self._note(unit)
        if access.until_clean is None and access.is_intra and (packet.keyframe or self.intra_suffices):
            access = replace(access, until_clean=0)
        if self._prefix:
            packet = replace(packet, data=framed(list(units(packet.data, self._prefix))))
        return packet, access

    def with_sets(self, data: bytes) -> bytes:
        """The data of the newest packet, with the newest parameter sets before its pictures if it has none."""
        if self._codec is None or not self._sets:
            return data
        parts = list(units(data, 0))
        if any(is_sequence_set(self._codec, part) for part in parts):
            return data
        at = int(bool(parts) and is_delimiter(self._codec, parts[0]))
        return framed([*parts[:at], *(unit for _, unit in sorted(self._sets.items())), *parts[at:]])

    def _read_format(self, packet: Packet) -> Access:
        is_key = packet.keyframe
        if self._name == "h263":
            is_key = is_intra_h263(packet.data)  # every picture is a keyframe to some containers
        told = told_format(self._name, packet.data) if is_key else None
        if told is not None:
            if self._format not in (None, told):
                self.has_changed = True
                self.extradata = told_headers(self._name, packet.data) or self.extradata
            self._format = told
        return Access(0 if is_key else None, is_key)

    def _take_extradata(self, extradata: bytes) -> None:
        if self._codec is not None:
            self._prefix = prefix_size(self._codec, extradata)
            for unit in parameter_sets(self._codec, extradata):
                self._note(unit)

    def _note(self, unit: bytes) -> None:
        assert self._codec is not None
        key = set_id(self._codec, unit)
        known = self._sets.get(key)
        self._sets[key] = unit
        if known is not None and known != unit and is_sequence_set(self._codec, unit):
            self.has_changed = True
