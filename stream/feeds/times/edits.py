"""Films of which a player shows pieces only, as edit lists say: in any order, and some of them twice.

    the film          I0 P1 P2 P3 P4 I5 P6 P7 P8 P9
    pieces            7..9, then 2..3
    libav gives       I5 P6 P7 P8 P9         I0 P1 P2 P3 P4 I5 P6 …
    not to be shown   I5 P6                  I0 P1       P4 I5 P6 …
    what is needed    I5 P6 P7 P8 P9         I0 P1 P2 P3

What comes before a piece has the times that it has in the film, which are those of the piece before. It gets times
between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from stream.feeds.packets import Packet

from .timestamps import MAX_REORDER

#: A piece may begin far behind its keyframe. More than this is passed on without knowing whether anything refers to it.
_MAX_HELD_BYTES: Final = 64 * 1024 * 1024


def played(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Leave out packets to which no picture that is shown refers, and join pieces so that times ascend.

    Args:
        packets: in decoding order, with their times.
    """
    joint = _Joint()
    head: list[Packet] = []  # of a piece that follows another, until it is known when its first picture is shown
    for packet in _needed(packets):
        if not head and not (packet.discard and packet.keyframe and joint.shown_until is not None):
            yield joint.place(packet)
            continue
        head.append(packet)
        if sum(not p.discard for p in head) >= MAX_REORDER:
            yield from joint.join(head)
            head = []
    yield from joint.join(head)


def _needed(packets: Iterable[Packet]) -> Iterator[Packet]:
    """All but those that are followed by a keyframe, or by nothing, before a picture is shown."""
    held: list[Packet] = []
    size = 0
    for packet in packets:
        if packet.discard and packet.keyframe:
            held, size = [], 0
        held.append(packet)
        size += len(packet.data)
        if not packet.discard or size > _MAX_HELD_BYTES:
            yield from held
            held, size = [], 0


class _Joint:
    """Where the piece before ended, and how far the one that follows is moved for it."""

    def __init__(self) -> None:
        #: The latest time at which a picture is shown, of those placed.
        self.shown_until: int | None = None
        self._last_dts: int | None = None
        self._step, self._shift, self._follows = 1, 0, False

    def join(self, head: list[Packet]) -> Iterator[Packet]:
        """Place the first packets of a piece that follows another."""
        begin = min((p.pts for p in head if p.pts is not None and not p.discard), default=None)
        self._follows, self._shift = True, 0
        if begin is not None and self.shown_until is not None:
            # libav lets pieces overlap by a picture where pictures are reordered.
            self._shift = max(self.shown_until + self._step - begin, 0)
        for packet in head:
            yield self.place(packet)

    def place(self, packet: Packet) -> Packet:
        if packet.pts is None or packet.dts is None:
            return packet
        pts, dts = packet.pts + self._shift, packet.dts + self._shift
        if self._follows and self._last_dts is not None:
            dts = max(dts, self._last_dts + 1)
        if not packet.discard:
            if self.shown_until is not None and pts > self.shown_until:
                self._step = packet.duration or pts - self.shown_until
            self.shown_until = pts if self.shown_until is None else max(self.shown_until, pts)
        else:
            pts = max(pts, dts)  # outside its piece all the same
        self._last_dts = dts
        return replace(packet, pts=pts, dts=dts) if (pts, dts) != (packet.pts, packet.dts) else packet
