"""Windows on a grid of presentation time.

    spec: frames = 4, spacing = s, stride = 2 s           epoch (first frame of the feed)
                                                          │
    sample      n        0   1   2   3   4   5   6   7    │ n-th sample lies at epoch + n * spacing
    window 0             f   f   f   f                    │ window k begins at epoch + k * stride
    window 1                     f   f   f   f            │ and lasts frames * spacing
    window 2                             f   f   f …

The sample at a time is the frame shown then. Nothing else enters: not where the footage was cut, not when a consumer
joined, not the nominal frame rate. So live, replayed and restarted runs see the same clips.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from stream.segment import Segment

from .decoding import Decoded, Fit, Image, Picture

Frames = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """What a model wants to see, and how often."""

    frames: int
    spacing_us: int
    stride_us: int
    height: int
    width: int
    fit: Fit = "stretch"

    def __post_init__(self) -> None:
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

    def sample_times_us(self, segment: Segment) -> list[int]:
        """The times in a segment at which some window samples, ascending."""
        first = -((segment.epoch_us - segment.start_us) // self.spacing_us)
        last = -((segment.epoch_us - segment.end_us) // self.spacing_us)
        return [
            segment.epoch_us + n * self.spacing_us
            for n in range(first, last)
            if n % self.samples_per_stride < self.frames
        ]


@dataclass(frozen=True, slots=True)
class Clip:
    """One window of one camera."""

    camera: str
    epoch_us: int
    #: Number of the window on the grid of its epoch.
    window: int
    start_us: int
    end_us: int
    #: (T, H, W, 3) uint8 RGB.
    frames: Frames = field(repr=False)
    #: Event times of the frames; `start_us + i * spacing` is when frame i was sampled, at or after its own time.
    times_us: tuple[int, ...] = field(repr=False)
    #: How many of the feed's frames this is the first window to span: what becomes "classified" with it.
    frames_spanned: int


class Clipper:
    """Assembles one camera's clips from its decoded segments, pushed in the order of the topic.

    Frames that no window will ever span are counted in `skipped`: "head" before the first whole window, "tail" after
    the last, "gap" where a segment is missing between two, "between" where the stride is longer than a window,
    "duplicate" in a segment that was seen before, "absent" where a segment announces more frames than it has room for.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self.spec = spec
        self.skipped: Counter[str] = Counter()
        self._epoch_us: int | None = None
        self._next_sequence = 0
        self._end_us = 0  # up to where the epoch is known without a hole
        self._window = 0  # next to emit
        self._samples: deque[tuple[int, int, Image]] = deque()  # (sample number, frame time, picture)
        self._waiting: deque[int] = deque()  # times of frames not yet spanned by an emitted window

    @property
    def epoch_us(self) -> int | None:
        """The epoch that is open, if one is."""
        return self._epoch_us

    @property
    def needed_from_us(self) -> int | None:
        """Event time from which footage is still needed; None when nothing is (no epoch is open)."""
        if self._epoch_us is None:
            return None
        return self._epoch_us + self._window * self.spec.stride_us

    def is_new(self, segment: Segment) -> bool:
        """Whether the segment continues or begins an epoch, rather than repeating what was pushed before."""
        return segment.epoch_us != self._epoch_us or segment.sequence >= self._next_sequence

    def push(self, segment: Segment, decoded: Decoded) -> list[Clip]:
        """Take the next segment, decoded at `spec.sample_times_us(segment)`; return the windows that it completes."""
        if not self.is_new(segment):
            self.skipped["duplicate"] += segment.frames
            return []
        if segment.epoch_us != self._epoch_us:
            self.close()
            self._open(segment, "head")
        elif segment.sequence > self._next_sequence:
            self._leave_out("gap")
            self._open(segment, "gap")
        self._next_sequence = segment.sequence + 1
        if segment.is_end:
            self.close()
            return []
        self._end_us = segment.end_us
        if absent := max(0, segment.frames - len(decoded.frame_times_us)):
            self.skipped["absent"] += absent
        self._waiting.extend(decoded.frame_times_us)
        numbers = [(t - segment.epoch_us) // self.spec.spacing_us for t in self.spec.sample_times_us(segment)]
        for number, (time_us, image) in zip(numbers, decoded.samples, strict=True):
            self._samples.append((number, time_us, image))
        clips = []
        while (clip := self._next_clip(segment)) is not None:
            clips.append(clip)
        return clips

    def close(self) -> None:
        """The epoch is over: what no window spans is the tail."""
        self._leave_out("tail")
        self._samples.clear()
        self._epoch_us = None

    def _open(self, segment: Segment, lead_reason: str) -> None:
        self._epoch_us = segment.epoch_us
        self._lead_reason = lead_reason
        self._samples.clear()
        # The first window that lies wholly in what we have.
        self._window = -(-(segment.start_us - segment.epoch_us) // self.spec.stride_us)

    def _window_start(self, window: int) -> int:
        assert self._epoch_us is not None
        return self._epoch_us + window * self.spec.stride_us

    def _next_clip(self, segment: Segment) -> Clip | None:
        spec, first = self.spec, self._window * self.spec.samples_per_stride
        start_us = self._window_start(self._window)
        self._leave_out(self._lead_reason, before_us=start_us)
        while self._samples and self._samples[0][0] < first:
            self._samples.popleft()
        if len(self._samples) < spec.frames:
            return None
        chosen = [self._samples[i] for i in range(spec.frames)]
        # The frames between the last sample and the window's end may still be on their way; they belong to it too.
        end_us = start_us + spec.span_us
        if self._end_us < end_us:
            return None
        spanned = self._drop_waiting(end_us)
        self._window += 1
        self._lead_reason = "between"
        return Clip(
            camera=segment.camera,
            epoch_us=segment.epoch_us,
            window=self._window - 1,
            start_us=start_us,
            end_us=end_us,
            frames=np.stack([image for _, _, image in chosen]),
            times_us=tuple(time_us for _, time_us, _ in chosen),
            frames_spanned=spanned,
        )

    def _drop_waiting(self, before_us: int | None = None) -> int:
        dropped = 0
        while self._waiting and (before_us is None or self._waiting[0] < before_us):
            self._waiting.popleft()
            dropped += 1
        return dropped

    def _leave_out(self, reason: str, before_us: int | None = None) -> None:
        if dropped := self._drop_waiting(before_us):
            self.skipped[reason] += dropped
