"""Pages of lists: how many, where the last one ended, and why there may be more."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from consumers.records.prediction import rfc3339
from consumers.records.states.away import Away

from .memory.newest import Key
from .problems import ProblemError

if TYPE_CHECKING:
    from .memory.view import View

MOST: Final = 500
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
#: Lists in a query: nobody means more.
_MOST_NAMES: Final = 100

CameraId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$")]
CameraPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~*?\[\]!-]{1,128}$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{1,64}$")]
Cameras = Annotated[list[CameraPattern], Field(max_length=_MOST_NAMES)]
Labels = Annotated[list[Label], Field(max_length=_MOST_NAMES)]


def _as_text(value: Any) -> Any:
    """A number is a time for pydantic; here only text of ISO 8601 is."""
    if isinstance(value, str) and not value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        return value
    raise ValueError("expected a time like 2026-11-24T08:00:00Z")


Moment = Annotated[dt.datetime, BeforeValidator(_as_text)]


class Told(BaseModel):
    """What a sentence of this API says, for those who say it in other words: which one it is, and with what in it."""

    code: Literal["away", "reading"] = Field(
        description="away: a service does not answer (`service`, `address`, `since`). reading: what is on a topic is "
        "still being read, just after the start (`topic`).",
        examples=["away"],
    )
    values: dict[str, str] = Field(
        description="By name; `since` is ISO 8601.",
        examples=[{"service": "Kafka", "address": "broker:9092", "since": "2026-11-24T08:00:00.000000Z"}],
    )


class Waits(BaseModel):
    """What may be less than there is."""

    waiting: str | None = Field(
        description="Why there may be more than this: the broker is away, and since when, or its topic is still being "
        "read, just after the start. Else null.",
        examples=["Kafka at broker:9092 since 08:00:00 UTC"],
    )
    waiting_told: Told | None = Field(None, description="The same, as what it is made of.")


class Page(Waits):
    """A part of a list, the newest first."""

    next: str | None = Field(description="`cursor` of the next page; null on the last one.", examples=["WzE3NjM5…"])


def away_told(away: Away | None) -> Told | None:
    """That a service does not answer; None where it does."""
    if away is None:
        return None
    values = {"service": away.service, "address": away.address, "since": rfc3339(away.since_us)}
    return Told(code="away", values=values)


def waits(view: View, *names: str) -> dict[str, Any]:
    """The fields of `Waits`: the first of some feeds, by name, of which not all has been read."""
    found = next((each for name in names if (each := view.feeds()[name]).waiting is not None), None)
    if found is None:
        return {"waiting": None, "waiting_told": None}
    reading = Told(code="reading", values={"topic": found.topics[0]})
    return {"waiting": found.waiting, "waiting_told": away_told(found.outage) or reading}


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    limit: int = Field(50, ge=1, le=MOST, description="How many, at most.")
    cursor: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,400}$",
        description="`next` of the page before; the filters have to be the same. Left out: the first page.",
    )

    @property
    def after(self) -> Key | None:
        """Behind what the page begins.

        Raises:
            ProblemError: the cursor is none of ours.
        """
        return None if self.cursor is None else _key(self.cursor)


class SpanQuery(PageQuery):
    """Likewise, of what happened within a time."""

    from_: Moment | None = Field(
        None,
        alias="from",
        description="What went on at that time or later, ISO 8601.",
        examples=["2026-11-24T08:00:00Z"],
    )
    to: Moment | None = Field(None, description="What began before that time.", examples=["2026-11-24T20:00:00Z"])

    def is_within(self, start_us: int, end_us: int) -> bool:
        """Whether something that lasted from a time to another lies in it, or reaches into it."""
        return (self.from_ is None or end_us >= to_us(self.from_)) and (self.to is None or start_us < to_us(self.to))


def to_us(moment: dt.datetime) -> int:
    """Microseconds since the Unix epoch; UTC where it names no zone."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - _EPOCH) // _MICROSECOND


def cursor(key: Key | None) -> str | None:
    """A place in a list as text."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def _key(text: str) -> Key:
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    match found:
        case [int(at_us), str(id_)] if not isinstance(at_us, bool):
            return at_us, id_
    raise ProblemError(404, "no-such-page", "cursor: expected `next` of a page")
