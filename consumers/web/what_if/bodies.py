"""What the route of what-if answers with, as OpenAPI shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from consumers.web.bodies import LabelRule

_TIME = "2026-11-24T08:00:00.000000Z"
_EVENT = "3f0c6a1be29d4c5f8a7b6c5d"


class WhatIfEvent(BaseModel):
    """An event that the scores would make."""

    event: str | None = Field(
        description="The event that was reported of that time; null where none is kept.", examples=[_EVENT]
    )
    start: str = Field(examples=[_TIME])
    end: str = Field(examples=[_TIME])
    peak_score: float = Field(examples=[0.72])
    verdict: Literal["right", "false"] | None = Field(
        description="What people said of what it meets; null where nobody did, or not the same.", examples=["right"]
    )


class WhatIf(BaseModel):
    """What another threshold would have done to one label of a camera, by the scores that are kept."""

    camera: str = Field(examples=["gate-1"])
    label: str = Field(examples=["fight"])
    model: str | None = Field(description="Whose scores they are.", examples=["movenet-views-7e7d60cf"])
    from_: str = Field(
        alias="from",
        serialization_alias="from",
        description="Begin of the oldest window that was looked at; of none, as asked.",
        examples=[_TIME],
    )
    to: str = Field(examples=[_TIME])
    windows: int = Field(description="Whose scores were looked at.", examples=[120_000])
    cut: bool = Field(description="Whether older scores are not among them.")
    goes_on: bool = Field(description="Whether the same question, asked again, is answered by more of them.")
    others: int = Field(description="Windows of other models, left out.", examples=[0])
    left_out: int = Field(description="Records that could not be read.", examples=[0])
    now: LabelRule | None = Field(description="The rule that holds now; null where the label makes no events.")
    then: LabelRule | None = Field(description="The rule that is asked about.")
    before: int = Field(description="Events under the rule of now.", examples=[14])
    after: int = Field(description="Events under the other one.", examples=[9])
    lost_right: int = Field(description="Of those that are lost: people said they were right.", examples=[1])
    lost_false: int = Field(description="They were false alarms.", examples=[4])
    lost: list[WhatIfEvent] = Field(description="Newest first, confirmed ones before all others; 200 at most.")
    gained: list[WhatIfEvent] = Field(description="Newest first; 200 at most.")
    lost_count: int = Field(examples=[5])
    gained_count: int = Field(examples=[0])
    why: str | None = Field(description="Why nothing can be said; null where it can.", examples=[None])
