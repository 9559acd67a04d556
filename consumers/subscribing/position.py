"""Where a subscriber stands, in one line that it can keep: the id of a server-sent event.

    5f3a9c1e/0:18            of topic 5f3a9c1e, partition 0: all before offset 18 was handed over
    5f3a9c1e/0:18,1:5,2:0    of a topic with three partitions

Every partition is in every id (docs/adr/0036-the-id-of-a-server-sent-event-is-a-place.md).
"""

from __future__ import annotations

import re
from typing import Final

from consumers.outputs.follower import Place

_OFFSET: Final = r"\d{1,5}:\d{1,19}"
_ID: Final = re.compile(rf"([0-9a-f]{{8}})/({_OFFSET}(?:,{_OFFSET})*)")
_LARGEST_OFFSET: Final = 2**63 - 1


def place_id(place: Place, topic: str) -> str | None:
    """A place in the topic as one line; None where it is not known yet, as before a broker has answered."""
    offsets = sorted((number, at) for (name, number), at in place.offsets.items() if name == topic)
    if not offsets or topic not in place.marks:
        return None
    return f"{place.marks[topic]}/" + ",".join(f"{number}:{at}" for number, at in offsets)


def parse_place(text: str, topic: str) -> Place:
    """The place that a line names.

    Raises:
        ValueError: it names none.
    """
    match = _ID.fullmatch(text.strip())
    pairs = [tuple(map(int, part.split(":"))) for part in match[2].split(",")] if match else []
    offsets = {(topic, number): at for number, at in pairs}
    if match is None or len(offsets) < len(pairs) or max(offsets.values()) > _LARGEST_OFFSET:
        raise ValueError(f"expected the id of an event such as '5f3a9c1e/0:18', found {text[:200]!r}")
    return Place(offsets, {topic: match[1]})
