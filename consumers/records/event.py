"""What subscribers receive: a label that held long enough on one camera, as CloudEvents 1.0.

Kafka's binary mode: the context attributes are `ce_…` headers, the value is the JSON body, the key is the camera.
The body's schema is docs/event.schema.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from stream import Headers

from .prediction import content_id, rfc3339

State = Literal["started", "updated", "ended"]
Ending = Literal["below_threshold", "gap", "feed_ended"]
STATES: Final = frozenset(get_args(State))
#: What every body holds.
BODY_KEYS: Final = frozenset(
    {
        *("event", "state", "camera", "label", "model", "start", "end", "seconds"),
        *("peak_score", "peak", "windows", "ending"),
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One report about an event; several with the same `id` tell its course."""

    camera: str
    model: str
    label: str
    state: State
    #: 0 for started, then counting up: with the id it names this report.
    revision: int
    epoch_us: int
    #: Begin of the first window in which the label held.
    start_us: int
    #: End of the newest window in which it held.
    end_us: int
    peak_score: float
    #: Begin of the window with the peak score.
    peak_us: int
    #: How many windows held it so far.
    windows: int
    #: Why it ended; None while it goes on.
    ending: Ending | None = None
    #: Where the footage of it lies, "topic[partition]@first-last"; None where it comes from no topic. Not a part of
    #: what the event is: the same footage recorded again has other offsets.
    segments: str | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return content_id(self.camera, self.epoch_us, self.label, self.start_us, self.model)

    @property
    def time_us(self) -> int:
        """The event time at which this report became true."""
        return self.end_us

    def body(self) -> dict[str, Any]:
        return {
            "event": self.id,
            "state": self.state,
            "camera": self.camera,
            "label": self.label,
            "model": self.model,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "seconds": round((self.end_us - self.start_us) / 1e6, 6),
            "peak_score": round(self.peak_score, 6),
            "peak": rfc3339(self.peak_us),
            "windows": self.windows,
            "ending": self.ending,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{self.id}-{self.revision}",
            "ce_type": f"clipline.event.{self.state}",
            "ce_source": self.camera,
            "ce_subject": self.label,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        if self.segments is not None:
            headers["ce_segments"] = self.segments
        return (
            self.camera.encode(),
            [(k, v.encode()) for k, v in headers.items()],
            json.dumps(self.body()).encode(),
        )
