"""What a classifier said of one window, as it travels."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream import Headers

#: Decimal places of a published score: below that engines and processors differ anyway.
SCORE_DIGITS: Final = 6


def rfc3339(time_us: int) -> str:
    """Event time as text, always with six decimals so that it sorts as text."""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=time_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def content_id(*parts: object) -> str:
    """An id that says what it names: equal parts give an equal id, wherever and whenever it is made."""
    return hashlib.sha256("/".join(str(p) for p in parts).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores by label for the window `[start_us, end_us)` of a camera."""

    camera: str
    epoch_us: int
    window: int
    start_us: int
    end_us: int
    model: str
    scores: Mapping[str, float]

    @property
    def id(self) -> str:
        return content_id(self.camera, self.epoch_us, self.window, self.model)

    @property
    def label(self) -> str:
        return max(self.scores, key=lambda label: self.scores[label])

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        body = {
            "id": self.id,
            "camera": self.camera,
            "epoch_us": self.epoch_us,
            "window": self.window,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "model": self.model,
            "label": self.label,
            "scores": dict(self.scores),
        }
        return self.camera.encode(), [("content-type", b"application/json")], json.dumps(body).encode()
