"""The begin of an epoch: from the first packet that can be decoded to the first picture that can be shown.

    I     P B B P …          an ordinary stream: both are the same
    i i i P P …              intra refresh: pictures become clean little by little; the first ones are not
    I P P | P P …            an edit list begins inside a group of pictures; what lies before it is not footage

What comes between is context: decoders need it, nobody sees it. The epoch's first frame is known when no frame can
come any more that is shown before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from stream.feeds.codecs.access import Access
from stream.feeds.packets import Packet

#: No codec shows a picture later than so many after it in decoding order.
MAX_REORDER: Final = 16
#: A stream that has given so many pictures, and none with which decoding can surely begin, has none.
_PATIENCE: Final = 250


class Beginning:
    """Takes packets until the first frame of an epoch is known."""

    def __init__(self, waiting_since: str, max_bytes: int) -> None:
        """Begin.

        Args:
            waiting_since: why frames are left out that cannot be decoded.
            max_bytes: of context; the begin of a stream that needs more is left out.
        """
        self.reason, self._max_bytes = waiting_since, max_bytes
        self._packets: list[tuple[Packet, bool]] = []
        self._bytes = 0
        self._until_clean = 0
        self._point_pts = self._top_pts = 0  # of the picture that tells, and the latest since
        self._clean_pts: int | None = None
        self._left_out = 0
        self._skipped: Counter[str] = Counter()

    @property
    def has_shown(self) -> bool:
        return any(is_shown for _, is_shown in self._packets)

    @property
    def wants_intra(self) -> bool:
        """Whether it is time to make do with any picture that refers to no other."""
        return self._left_out >= _PATIENCE

    def take_skipped(self) -> Counter[str]:
        """Frames left out since this was asked before, by reason."""
        skipped, self._skipped = self._skipped, Counter()
        return skipped

    def take(self) -> tuple[int, list[tuple[Packet, bool]]]:
        """The presentation time of the epoch's first frame, and the packets so far, each with whether it is shown."""
        packets, self._packets = self._packets, []
        return min(p.pts for p, is_shown in packets if is_shown and p.pts is not None), packets

    def push(self, packet: Packet, access: Access, with_sets: Callable[[bytes], bytes]) -> bool:
        """Take the next packet, which has a presentation time; return whether the epoch can begin.

        Args:
            packet: the next one in decoding order.
            access: whether decoding can begin with it.
            with_sets: adds what a decoder needs to the packet with which decoding begins.
        """
        if access.until_clean is not None and (not self._packets or (access.until_clean == 0 and not self.has_shown)):
            self._packets, self._bytes, self._clean_pts = [], 0, None
            self._until_clean = access.until_clean
            self._point_pts = self._top_pts = packet.pts or 0
            packet = replace(packet, data=with_sets(packet.data))
        elif not self._packets:
            self._leave_out(packet, self.reason)
            self._left_out += 1
            return False
        assert packet.pts is not None
        self._top_pts = max(self._top_pts, packet.pts)
        counts = packet.pts >= self._point_pts if access.counts_shown else access.is_reference
        if self._until_clean == 0 and self._clean_pts is None:
            # Of what is counted as it is shown, some may be shown before this picture and be decoded after it.
            self._clean_pts = self._top_pts if access.counts_shown else packet.pts
        self._until_clean -= self._until_clean > 0 and counts
        is_clean = self._clean_pts is not None and packet.pts >= self._clean_pts
        if not is_clean:
            self._leave_out(packet, "not_clean")
        self._packets.append((packet, is_clean and not packet.discard))
        self._bytes += len(packet.data)
        if self.has_shown:
            return self._is_first_known(packet)
        if self._bytes > self._max_bytes:
            self._packets = []
            self.reason = "no_keyframe"
        return False

    def _is_first_known(self, newest: Packet) -> bool:
        shown = [p.pts for p, is_shown in self._packets if is_shown and p.pts is not None]
        if len(self._packets) == 1:
            return True  # what is shown before the picture at which decoding begins cannot be decoded
        return len(shown) > MAX_REORDER or (newest.dts is not None and newest.dts >= min(shown))

    def _leave_out(self, packet: Packet, reason: str) -> None:
        if not packet.discard:
            self._skipped[reason] += 1
