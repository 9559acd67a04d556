"""What routes of models and reports answer with, as OpenAPI shows it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from consumers.web.cameras.bodies import ClipBody


class Figure(BaseModel):
    """A share or an area that was measured, with its interval of 95 %, where one was computed."""

    value: float = Field(examples=[0.8856])
    low: float | None = Field(examples=[0.8255])
    high: float | None = Field(examples=[0.9357])


class UnseenBody(BaseModel):
    """What it reached on clips that had no part in making or choosing it."""

    accuracy: Figure
    auc: Figure
    clips: int = Field(examples=[64])
    sources: int = Field(examples=[9])


class ThresholdBody(BaseModel):
    """By which scores a label is an event, as the model itself says; rules may say otherwise."""

    label: str = Field(examples=["fight"])
    start: float = Field(examples=[0.627])
    end: float = Field(examples=[0.376])


class ModelBody(BaseModel):
    """A model."""

    name: str = Field(examples=["movenet-views"])
    id: str = Field(description="As predictions name it.", examples=["movenet-views-7e7d60cf"])
    is_shipped: bool = Field(description="Whether it comes with Clipline.")
    is_served: bool = Field(description="Whether the settings of this server name it.")
    workers: int | None = Field(
        description="How many workers say that they serve it; null for who sees some cameras only.", examples=[2]
    )
    architecture: str = Field(examples=["movenet_views"])
    labels: list[str] = Field(examples=[["normal", "fight"]])
    multi_label: bool = Field(description="Whether labels are independent of one another.")
    knows_unknown: bool = Field(description="Whether it says that something is like nothing that it has learnt.")
    clip: ClipBody
    thresholds: list[ThresholdBody] = Field(description="Labels without one make no events by themselves.")
    temperature: float = Field(description="What logits are divided by.", examples=[0.9163])
    megabytes: float = Field(examples=[4.4])
    accuracy: Figure | None = Field(description="On clips that were held out; it was chosen by them, so too high.")
    videos: int | None = Field(description="Held-out clips.", examples=[236])
    sources: int | None = Field(description="Sources that they are of; intervals are by source.", examples=[37])
    metrics: dict[str, float] = Field(description="All that was measured of them.", examples=[{"auc": 0.9524}])
    unseen: UnseenBody | None = Field(description="null where that was not measured.")
    data: list[str] = Field(description="What it was trained on.", examples=[["scenes", "surveillance-fight"]])
    held_out: str | None = Field(description="How clips were held out.", examples=["5 of 5 folds by group"])
    command: str | None = Field(description="What made it.", examples=["clipline train labels.csv"])


class Models(BaseModel):
    """Models that are here, by name."""

    items: list[ModelBody]
    elsewhere: list[str] = Field(
        description="Models that workers say they serve, and that are not here.", examples=[["mine-0a1b2c3d"]]
    )
    baseline: str = Field(description="What something plain reaches.", examples=["A logistic regression reaches …"])
    notes: list[str] = Field(description="What cannot be read.", examples=[[]])


class ModelCard(BaseModel):
    """A model and what was written of it."""

    model: ModelBody
    text: str | None = Field(description="Its card, Markdown; null where there is none.", examples=["# movenet-views"])


class ReportBody(BaseModel):
    """A report in the folder of reports."""

    name: str = Field(examples=["yard.html"])
    href: str = Field(examples=["/api/v1/reports/yard.html"])
    title: str | None = Field(description="What it calls itself.", examples=["Replay of yard, 2026-11-24"])
    bytes: int = Field(examples=[250_000])
    time: str = Field(description="When it was written.", examples=["2026-11-24T08:00:00.000000Z"])


class Reports(BaseModel):
    """Reports of replays and evaluations, the newest first."""

    items: list[ReportBody]
    is_named: bool = Field(description="Whether the settings name a folder, `dashboard.reports`.")
    why: str | None = Field(description="Why there may be more; null where these are all.", examples=[None])
