"""From a report of an event to its two pictures, or to why there are none."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumers.forgetting import read_forgotten
from consumers.records.event import Event
from consumers.records.event_pictures import Missing
from consumers.settings import Settings
from stream import Image, Transport

from .footage import EventFootage, NoFramesError
from .strip import PAIR_US, Drawn, brightness, draw_peak, draw_strip, moments, moving_region, peak_moment

#: The longer side of a frame out of which a part is cut for the strip.
_STRIP_SIDE: Final = 1440


@dataclass(frozen=True, slots=True)
class MadePictures:
    """The pictures of one report."""

    peak: Drawn | Missing
    strip: Drawn | Missing


class PictureMaker:
    """Makes pictures of events from the segments that they name."""

    def __init__(self, settings: Settings) -> None:
        """Prepare; `settings` say how large pictures may be, and how long one report may take."""
        self._limits, self._pictures, self._topics = settings.worker.decode_limits, settings.pictures, settings.topics

    def make(self, transport: Transport, event: Event) -> MadePictures:
        """Make both.

        Raises:
            BrokerError: the broker is away.
        """
        deadline = time.monotonic() + self._pictures.max_seconds
        forgotten = read_forgotten(transport, self._topics).of(event.camera, event.start_us, event.end_us, event.id)
        if forgotten is not None:
            missing = Missing("no_footage", forgotten.described())
            return MadePictures(missing, missing)
        try:
            footage = EventFootage(transport, event, self._limits, deadline, self._topics.segments)
        except NoFramesError as error:
            missing = Missing(error.reason, str(error))
            return MadePictures(missing, missing)
        return MadePictures(self._peak(footage, event), self._strip(footage, event))

    def _peak(self, footage: EventFootage, event: Event) -> Drawn | Missing:
        moment = peak_moment(event.peak_us, event.end_us)
        try:
            for at_us, image in footage.frames([moment], footage.fitting(self._pictures.max_side)):
                return self._checked(draw_peak(at_us, image, self._max_bytes))
        except NoFramesError as error:
            return Missing(error.reason, str(error))
        return _none_of(footage)

    def _strip(self, footage: EventFootage, event: Event) -> Drawn | Missing:
        first = moments(event.start_us, event.end_us)
        second = {moment + PAIR_US: moment for moment in first}
        frames: dict[int, Image] = {}
        cells: dict[int, np.ndarray] = {}
        too_slow: NoFramesError | None = None
        try:
            for at_us, image in footage.frames(sorted({*first, *second}), footage.fitting(_STRIP_SIDE)):
                cells[at_us] = brightness(image)
                if at_us in first:
                    frames[at_us] = image
        except NoFramesError as error:
            too_slow = error
        if not frames:
            return _none_of(footage) if too_slow is None else Missing(too_slow.reason, str(too_slow))
        pairs = [(cells[one], cells[other]) for other, one in second.items() if one in cells and other in cells]
        region = moving_region([b - a for a, b in pairs])
        return self._checked(draw_strip(sorted(frames.items()), region, self._max_bytes))

    @property
    def _max_bytes(self) -> int:
        return self._pictures.max_kilobytes * 1024

    def _checked(self, drawn: Drawn | None) -> Drawn | Missing:
        return drawn or Missing("too_large", f"does not fit into {self._pictures.max_kilobytes} kilobytes")


def _none_of(footage: EventFootage) -> Missing:
    if footage.damage is not None:
        return Missing("undecodable", footage.damage[:500])
    return Missing("no_footage", "no frame of that time is there")
