"""What routes of reviewing answer with, as OpenAPI shows it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from consumers.web.bodies import VerdictBody
from consumers.web.paging import Waits

_EVENT = "3f0c6a1be29d4c5f8a7b6c5d"


class LeftOut(BaseModel):
    """An event of a batch to which nothing was done."""

    event: str = Field(examples=[_EVENT])
    why: str = Field(examples=["it is not kept"])


class VerdictBatch(BaseModel):
    """What was said of several events at once."""

    items: list[VerdictBody]
    left_out: list[LeftOut]


class DayBody(BaseModel):
    """What began on one day."""

    day: str = Field(examples=["2026-11-24"])
    alerts: int = Field(examples=[3])
    detections: int = Field(examples=[12])
    unjudged: int = Field(description="Of these, events that nobody has judged.", examples=[5])


class Calendar(Waits):
    """Events of a month by the day on which they began, days without any left out."""

    month: str = Field(examples=["2026-11"])
    time_zone: str = Field(examples=["Europe/Berlin"])
    days: list[DayBody]
