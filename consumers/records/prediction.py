"""The scores of one window, as they travel."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Final, Self

from stream import Headers, drilled, trace_headers, trace_of

from .fields import OtherRecordError, RecordError, field, json_object, time_us, to_json

#: Decimal places of a published score: below that engines and processors differ anyway.
SCORE_DIGITS: Final = 6
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


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
    #: Its place in a trace, see `stream.child_trace`; None where it belongs to none. Not a part of what it says.
    trace: str | None = dataclass_field(default=None, compare=False)
    #: "keyframes" where a worker that could not keep up decoded no other pictures: a replay gives other scores.
    degraded: str | None = None
    #: Whether nothing moved, so that the scores are the camera's last calm ones and the window was not computed.
    gated: bool = False
    #: Of a drill: when the pictures of its last segment were decoded, and when it was classified; wall clock of the
    #: worker, in microseconds since the Unix epoch.
    stations_us: tuple[int, int] | None = dataclass_field(default=None, compare=False)

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
        if self.degraded is not None:
            body["degraded"] = self.degraded
        if self.gated:
            body["gated"] = True
        headers = [("content-type", b"application/json"), *trace_headers(self.trace)]
        if (camera := drilled(self.camera)) is not None:
            headers.append(("drill", camera.encode()))
            if self.stations_us is not None:
                names = ("drill-decoded-us", "drill-classified-us")
                headers += [(n, str(us).encode()) for n, us in zip(names, self.stations_us, strict=True)]
        return self.camera.encode(), headers, to_json(body).encode()

    @classmethod
    def decode(
        cls, key: bytes | None, headers: Headers, value: bytes | None, where: str, *, drills: bool = False
    ) -> Self:
        """Read a record back; all of a prediction but its place in a trace is in its value.

        Args:
            key: the camera, which the value names, too.
            headers: the value's content type, and the trace.
            value: the JSON.
            where: names the record in errors (topic, partition, offset).
            drills: whether those of drills are wanted.

        Raises:
            OtherRecordError: it is a drill's, unless `drills`.
            RecordError: the record is no prediction, or damaged.
        """
        if not drills and drilled((key or b"").decode(errors="replace")) is not None:
            raise OtherRecordError(f"{where}: a drill, which says nothing about a camera")
        body = json_object(value, where)
        scores = field(body, "scores", dict, where)
        found = cls(
            camera=field(body, "camera", str, where),
            epoch_us=field(body, "epoch_us", int, where),
            window=field(body, "window", int, where),
            start_us=time_us(body, "start", where),
            end_us=time_us(body, "end", where),
            model=field(body, "model", str, where),
            scores={label: field(scores, label, float, f"{where}: scores") for label in scores},
            degraded=field(body, "degraded", str, where) if "degraded" in body else None,
            gated=field(body, "gated", bool, where) if "gated" in body else False,
            trace=trace_of(headers),
            stations_us=_stations(headers),
        )
        if not scores:
            raise RecordError(f"{where}: expected a score for each label, found none")
        if key != found.camera.encode():
            raise RecordError(f"{where}: expected its camera {found.camera!r} as key, found {key!r}")
        if (id_ := field(body, "id", str, where)) != found.id:
            raise RecordError(
                f"{where}: expected id {found.id!r} of its camera, epoch, window and model, found {id_!r}"
            )
        return found


def _stations(headers: Headers) -> tuple[int, int] | None:
    context = dict(headers)
    told = [context.get(f"drill-{station}-us", b"") for station in ("decoded", "classified")]
    return (int(told[0]), int(told[1])) if all(map(_DIGITS.fullmatch, told)) else None
