"""The pictures that windows are made of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from stream.errors import SegmentError

from .pictures import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Sample:
    """The picture shown at a time. Windows that overlap share the object: what is computed of it can be kept by it."""

    #: The time asked for, event time in µs.
    at_us: int
    #: Event time of the frame shown then, at or before it.
    frame_us: int
    #: (H, W, 3) uint8 RGB.
    image: Image = field(repr=False)
    #: Whether it is an earlier one than was to be shown, see `Effort.keyframes_only`.
    is_held: bool = False
    #: Where a keyframe's picture stands in for that of its frame, which is not decoded unless somebody asks for it.
    rest: Undecoded | None = field(default=None, repr=False)

    def exact(self) -> Sample:
        """The sample with the picture of its own frame."""
        return self if self.rest is None else self.rest.exact(self)


class Undecoded:
    """A segment of which only keyframes were decoded, since so little changes in it."""

    def __init__(self, decode: Callable[[], Sequence[Sample]]) -> None:
        self._decode: Callable[[], Sequence[Sample]] | None = decode
        self._found: dict[int, Sample] = {}

    @property
    def is_decoded(self) -> bool:
        """Whether somebody has asked."""
        return self._decode is None

    def exact(self, sample: Sample) -> Sample:
        """Decode the segment, the first time; of a damaged one keyframes are held for what is between them."""
        if self._decode is not None:
            decode, self._decode = self._decode, None  # it holds the segment's bytes
            try:
                self._found = {each.at_us: each for each in decode()}
            except SegmentError as error:
                log.warning("%s: its keyframes stand for what is between them", error)
            except Exception:  # as where it is decoded at once: a record ends no worker, whatever it does
                log.warning("a segment cannot be decoded: its keyframes stand for what is between", exc_info=True)
        if sample.at_us not in self._found:
            # Not the sample itself: it holds on to this.
            self._found[sample.at_us] = replace(sample, is_held=True, rest=None)
        return self._found[sample.at_us]
