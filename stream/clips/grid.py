"""Where windows and their samples lie in an epoch; clipper.py draws it."""

from __future__ import annotations

from dataclasses import dataclass

from stream.segment import Segment

from .effort import Thinning
from .pictures import Fit, Picture


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What a model wants to see, and how often."""

    frames: int
    spacing_us: int
    stride_us: int
    height: int
    width: int
    fit: Fit = "stretch"
    #: So many samples before a window are given with it where they are known without a hole: what a model remembers.
    context: int = 0

    def __post_init__(self) -> None:
        if self.context < 0:
            raise ValueError(f"context of {self.context} samples: expected none or more")
        if self.frames < 1 or self.spacing_us < 1 or self.stride_us < 1:
            raise ValueError(
                f"clip of {self.frames} frames, {self.spacing_us} µs apart, every {self.stride_us} µs: "
                "expected all positive"
            )
        if self.stride_us % self.spacing_us:
            raise ValueError(
                f"stride {self.stride_us / 1e6:g} s: expected a multiple of the model's frame spacing, "
                f"{self.spacing_us / 1e6:g} s, so that windows share their frames"
            )
        Picture(self.height, self.width, self.fit)

    @property
    def picture(self) -> Picture:
        return Picture(self.height, self.width, self.fit)

    @property
    def span_us(self) -> int:
        return self.frames * self.spacing_us

    @property
    def samples_per_stride(self) -> int:
        return self.stride_us // self.spacing_us

    def first_window(self, segment: Segment) -> int:
        """The first window that begins with the segment, or after its begin."""
        return -((segment.epoch_us - segment.start_us) // self.stride_us)

    def windows_with(self, sample: int) -> range:
        """The windows that a sample of the grid is in."""
        return range(
            max(0, -((self.frames - 1 - sample) // self.samples_per_stride)), sample // self.samples_per_stride + 1
        )

    def sample_times_us(self, segment: Segment, wanted: Thinning | None = None) -> list[int]:
        """The times in a segment at which some window samples, of those that are wanted; ascending.

        Where windows have context, all of them: whether a later window is wanted is not known yet.
        """
        first = -((segment.epoch_us - segment.start_us) // self.spacing_us)
        last = -((segment.epoch_us - segment.end_us) // self.spacing_us)
        return [
            segment.epoch_us + n * self.spacing_us
            for n in range(first, last)
            if (
                n % self.samples_per_stride < self.frames
                if wanted is None or self.context
                else any(map(wanted.wants, self.windows_with(n)))
            )
        ]
