"""The sections of pictures of events, and of evidence to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from consumers.settings.section import MAX_DAYS, MAX_HOURS, MAX_SECONDS, Section, check_group


class PictureSettings(Section):
    """Pictures of events, which `clipline pictures` makes, and a process of `clipline run`."""

    enabled: bool = Field(
        True,  # noqa: FBT003  a default
        description="Let `clipline run` make them, where it starts workers and Pillow is installed (the extra "
        "`pictures`). false: it starts no process for them.",
    )
    group: Annotated[str, AfterValidator(check_group)] = Field(
        "clipline-pictures",
        min_length=1,
        description="Kafka consumer group of whoever makes them. Sites that share a broker under different prefixes "
        "need different groups.",
    )
    keep_hours: float = Field(24.0, gt=0, le=MAX_HOURS, description="Hours that Redis keeps a picture.")
    max_kilobytes: int = Field(
        512,
        ge=16,
        le=8192,
        description="Kilobytes of one picture, at most. What would be larger is made coarser, then smaller.",
    )
    max_side: int = Field(
        3840,
        ge=64,
        le=8192,
        description="Pixels of the longer side of the frame with the peak, at most. A camera's picture within it is "
        "kept at full size.",
    )
    max_seconds: float = Field(
        30.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds in which the pictures of one report are made. What is not made by then is said to be "
        "missing.",
    )
    max_wait_seconds: float = Field(
        60.0,
        ge=0,
        le=MAX_DAYS,
        description="Seconds for which a Redis that is away holds pictures up. Those that are made while it is away "
        "for longer are said to be missing.",
    )


class EvidenceSettings(Section):
    """Evidence to keep: `clipline evidence EVENT --bundle`, and the button of the dashboard."""

    key: Path = Field(
        Path("~/.local/state/clipline/evidence.key"),
        description="The ed25519 key that signs bundles, PEM without a password. It is made when it is needed, for its "
        "owner alone (0600); `clipline evidence key` makes it, and prints the public key.",
    )
    max_megabytes: float = Field(
        100.0,
        gt=0,
        le=500,
        description="Megabytes of one bundle, at most. Its footage takes 2.7 times its bytes: as it was sent, and as a "
        "clip that browsers play, both in base64.",
    )
