"""What a checkpoint promises and demands, stored in the metadata of its safetensors file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from .errors import CheckpointError
from .labels import UNKNOWN, normal_label
from .windows.views import MULTIPLE

CONTRACT_VERSION: Final = 1
_KEY: Final = "clipline"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Scores at which an event of a label may start, and below which it ends."""

    start: float
    end: float

    def __post_init__(self) -> None:
        if not 0 <= self.end <= self.start <= 1:
            raise ValueError(f"threshold start {self.start}, end {self.end}: expected 0 <= end <= start <= 1")


@dataclass(frozen=True, slots=True)
class Platt:
    """How a label's logit becomes a score of its own (Platt, 1999): sigmoid(logit / temperature + offset)."""

    temperature: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.temperature < math.inf and math.isfinite(self.offset)):
            raise ValueError(
                f"calibration temperature {self.temperature}, offset {self.offset}: expected a positive number and a "
                "finite one"
            )


@dataclass(frozen=True, slots=True)
class Unknown:
    """When a window is like nothing that was learnt (Sun et al., ICML 2022): by its distance from what was.

    Descriptors are compared at unit length. `rows` of them, of footage that was learnt from, lie beside the weights;
    the distance is that from the nearest but so many `neighbours`. At the threshold the score of the label is one half,
    and it rises over some times `softness`.
    """

    rows: int
    neighbours: int
    threshold: float
    softness: float

    def __post_init__(self) -> None:
        if not 1 <= self.neighbours <= self.rows:
            raise ValueError(f"unknown by {self.neighbours} neighbours of {self.rows} rows: expected 1 to all of them")
        if not (0 < self.threshold < math.inf and 0 < self.softness < math.inf):
            raise ValueError(f"unknown from {self.threshold}, softness {self.softness}: expected positive numbers")


@dataclass(frozen=True, slots=True)
class Contract:
    """How clips are to be made for a model, and what its scores mean."""

    architecture: str
    labels: tuple[str, ...]
    #: Frames of a clip, T.
    frames: int
    #: Seconds from one frame to the next.
    spacing_seconds: float
    height: int
    width: int
    #: "stretch": the whole picture squeezed to the size. "crop": short side scaled, centre cut out.
    fit: Literal["stretch", "crop"]
    #: Per channel R, G, B, of pixels scaled to 0..1.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    #: In how many views the network sees a picture: 2, of half its size, are the whole and where most moves (views.py).
    views: int = 1
    #: Of two views, where the likeliest label of the whole picture alone is so many times as likely as any other, at a
    #: temperature of 1, it decides; 0: the close view always does, too.
    settling_odds: float = 0.0
    #: What logits are divided by before softmax, so that a score means how often it is right.
    temperature: float = 1.0
    #: Whether a clip may have several labels: each score is a sigmoid of its own, and they need not sum to one.
    multi_label: bool = False
    #: With `multi_label`, in place of the temperature: by label, all of them; without, logits are taken as they are.
    calibration: Mapping[str, Platt] = field(default_factory=dict)
    #: How it knows what it does not know: then the last label is `UNKNOWN`, and takes its score from all others.
    unknown: Unknown | None = None
    #: So many frames before a clip count, too, where they are known: a continual model's memory.
    context: int = 0
    #: By label; a label without one makes no events.
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    #: What it was trained on and how.
    training: Mapping[str, Any] = field(default_factory=dict)
    #: What was measured on held-out data.
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {self.labels}: expected at least two different ones")
        if min(self.frames, self.height, self.width) < 1 or not 0 < self.spacing_seconds < math.inf:
            raise ValueError(
                f"clip {self.frames}x{self.height}x{self.width} every {self.spacing_seconds} s: "
                "expected positive numbers"
            )
        if self.views not in {1, 2} or (self.views == 2 and (self.height % MULTIPLE or self.width != self.height)):
            raise ValueError(
                f"{self.views} views of {self.height}x{self.width}: expected 1, or 2 of square pictures whose size is "
                f"a multiple of {MULTIPLE}"
            )
        if self.settling_odds and not (self.views == 2 and 1 < self.settling_odds < math.inf):
            raise ValueError(f"settling odds {self.settling_odds}: expected 0, or with two views more than 1")
        if self.context < 0:
            raise ValueError(f"context of {self.context} frames: expected none or more")
        if self.fit not in {"stretch", "crop"}:
            raise ValueError(f"fit {self.fit!r}: expected 'stretch' or 'crop'")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"mean {self.mean}, std {self.std}: expected three numbers each, std positive")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature}: expected a positive number")
        self._check_calibration()
        if unknown := set(self.thresholds) - set(self.labels):
            raise ValueError(f"thresholds for {sorted(unknown)}: the labels are {self.labels}")

    def _check_calibration(self) -> None:
        if self.multi_label and self.settling_odds:
            raise ValueError(f"settling odds {self.settling_odds}: of independent labels none settles the others")
        if self.multi_label and self.temperature != 1:
            raise ValueError(f"temperature {self.temperature}: labels that are independent have a calibration each")
        if self.unknown is not None and (self.labels[-1] != UNKNOWN or len(self.taught_labels) < 2):
            raise ValueError(f"labels {self.labels}: expected at least two, and {UNKNOWN!r} as the last")
        if self.calibration and (not self.multi_label or set(self.calibration) != set(self.taught_labels)):
            raise ValueError(
                f"calibration of {sorted(self.calibration)}: expected one of each label of a multi-label model, or none"
            )

    @property
    def taught_labels(self) -> tuple[str, ...]:
        """The labels that it has learnt: all but `UNKNOWN`, where that is no label of footage."""
        return self.labels if self.unknown is None else self.labels[:-1]

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, 3)"""
        return self.frames, self.height, self.width, 3

    def encode(self) -> dict[str, str]:
        """Return the metadata of a safetensors file."""
        values = {"version": CONTRACT_VERSION, **asdict(self)}
        for name in ("context", "settling_odds", "multi_label", "calibration", "unknown"):
            # As before there was any. A program that does not know of it refuses the file of a model that has some.
            if not values[name]:
                del values[name]
        return {_KEY: json.dumps(values, sort_keys=True)}

    @classmethod
    def decode(cls, metadata: Mapping[str, str] | None, where: str) -> Contract:
        """Read metadata back; `where` names the file in errors.

        Raises:
            CheckpointError: the metadata is absent, of another version, or does not hold together.
        """
        if not metadata or _KEY not in metadata:
            raise CheckpointError(f"{where}: not a Clipline checkpoint (its metadata has no contract)")
        try:
            values = json.loads(metadata[_KEY])
            version = values.pop("version")
            if version != CONTRACT_VERSION:
                raise CheckpointError(f"{where}: contract version {version}; this Clipline reads {CONTRACT_VERSION}")
            # Labels of older checkpoints are as their data had them.
            values["labels"] = [normal_label(label) for label in values["labels"]]
            values["thresholds"] = {normal_label(k): Threshold(**v) for k, v in values.get("thresholds", {}).items()}
            values["calibration"] = {normal_label(k): Platt(**v) for k, v in values.get("calibration", {}).items()}
            if (unknown := values.get("unknown")) is not None:
                values["unknown"] = Unknown(**unknown)
            for name in ("labels", "mean", "std"):
                values[name] = tuple(values[name])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{where}: its contract cannot be read: {error}") from None
