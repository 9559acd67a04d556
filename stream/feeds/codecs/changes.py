"""Where a transport stream goes on in another codec: told by what the bytes hold, as libav goes on in silence.

libav changes to the other codec's parser when it reads the new table of tracks. The picture that the old parser was
gathering is thrown away then, and the last one may come in pieces, or with the first one of the other codec behind it:

    pictures    … P7 P8 P9 | Q0 Q1 …
    packets     … P7    P9   Q0 Q1 …        P8 is in none; P9 is whole, or in one packet with Q0, or in pieces
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from stream.feeds.packets import Packet

_START: Final = b"\0\0\1"
#: An access unit delimiter and nothing else before the next unit, or a sequence's parameter set.
_H264: Final = rb"(?P<h264>\x09[\x10-\xf0]\x00\x00|\x67)"
#: The same of H.265, or its first parameter set. A slice of MPEG-2 has no second byte like that.
_HEVC: Final = rb"(?P<hevc>[\x40\x46]\x01)"
_MPEG2: Final = rb"(?P<mpeg2video>\xb3)"
_MPEG4: Final = rb"(?P<mpeg4>[\xb0\xb6])"
#: In MPEG-4 the same code begins a time, which is over after three bytes.
_MPEG2_IN_MPEG4: Final = rb"(?P<mpeg2video>\xb3(?!.{3}\x00\x00\x01))"


#: Of all codecs that are told apart.
MARKS: Final = (_H264, _HEVC, _MPEG2, _MPEG4)


def any_of(*marks: bytes) -> re.Pattern[bytes]:
    """What finds one of the marks behind a start code; its last group is named as the codec."""
    return re.compile(_START + b"(?:" + b"|".join(marks) + b")", re.DOTALL)


#: By codec: what none of its packets holds, and of which codec it is.
FOREIGN: Final = {
    "h264": any_of(_HEVC, _MPEG2, _MPEG4),
    "hevc": any_of(_H264, _MPEG2, _MPEG4),
    "mpeg1video": any_of(_H264, _HEVC, _MPEG4),
    "mpeg2video": any_of(_H264, _HEVC, _MPEG4),
    "mpeg4": any_of(_H264, _HEVC, _MPEG2_IN_MPEG4),
}
#: Fewer bytes are a delimiter and no picture.
_LEAST_PICTURE_BYTES: Final = 12
_SLICE_OF_MPEG2: Final = re.compile(rb"\x00*" + _START + rb"[\x01-\xaf]")
#: A picture is not cut into more pieces: where there are more, no change is at hand.
_MAX_PIECES: Final = 256


def can_tell(codec: str) -> bool:
    """Whether another codec is told apart from this one."""
    return codec in FOREIGN


class CodecChange:
    """Looks for the change in one stream."""

    def __init__(self, codec: str, *, loses_one: bool) -> None:
        """Begin with a stream of `codec`, which must be one that others are told apart from.

        Args:
            codec: libav's name.
            loses_one: whether libav throws away the picture that it was gathering.
        """
        self._codec, self._loses_one = codec, loses_one
        #: Of what follows, once it has come.
        self.other = ""

    def before(self, packets: Iterator[Packet]) -> Iterator[Packet]:
        """Yield the packets up to the change; none if it has come."""
        if self.other:
            return
        pieces: list[Packet] = []
        for packet in packets:
            found = FOREIGN[self._codec].search(packet.data)
            if found is not None:
                self.other = str(found.lastgroup)
                # libav's parser did not see where the last picture ended.
                if found.start() > _LEAST_PICTURE_BYTES and not self._is_piece(packet):
                    yield replace(packet, data=packet.data[: found.start()].rstrip(b"\0"))
                return
            if self._is_piece(packet) and len(pieces) < _MAX_PIECES:
                pieces.append(packet)
                continue
            yield from pieces
            yield packet
            pieces.clear()
        yield from pieces

    @property
    def lost(self) -> int:
        """How many pictures the packet with the change tells to be lost: the first one of the other codec, at least."""
        return 1 + self._loses_one

    def _is_piece(self, packet: Packet) -> bool:
        """Whether a packet begins amid a picture, as another codec's parser cuts it; it has no time then."""
        if packet.pts is not None or self._codec not in {"mpeg1video", "mpeg2video"}:
            return False
        return _SLICE_OF_MPEG2.match(packet.data) is not None
