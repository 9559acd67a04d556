"""Pages of lists: how many, and where the last one ended."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from .newest import Key
from .problems import ProblemError

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
