"""The section of what is not computed while nothing moves."""

from __future__ import annotations

from pydantic import Field

from consumers.settings.section import MAX_DAYS, Section


class GateSettings(Section):
    """What is not computed while nothing moves before a camera."""

    pictures: bool = Field(
        True,  # noqa: FBT003  a default
        description="Do not run the model on windows in which no picture differs from what the camera showed when it "
        "last was calm. They carry its last calm scores, marked `gated`. false: run it on every window.",
    )
    segments: bool = Field(
        True,  # noqa: FBT003  a default
        description="Decode nothing but keyframes of a segment whose other pictures are so small in bytes that nothing "
        "moves in them; the rest is decoded when a window is computed. Only with `pictures`. false: decode all.",
    )
    refresh_seconds: float = Field(
        30.0,
        gt=0,
        le=MAX_DAYS,
        description="Seconds after which the model is run again although nothing moves.",
    )
