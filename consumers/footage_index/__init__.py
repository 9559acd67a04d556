"""Where the footage of a time lies on the topic of segments, so that nobody reads footage to find it.

`FootageIndex.find` asks the broker; `CameraWriter` is what an agent's index of a camera consists of.
"""

from .lookup import FootageIndex
from .timeline import FoundFootage, Interval, Stretch, stretches
from .writer import CameraWriter, SegmentFacts, Standing

__all__ = [
    "CameraWriter",
    "FootageIndex",
    "FoundFootage",
    "Interval",
    "SegmentFacts",
    "Standing",
    "Stretch",
    "stretches",
]
