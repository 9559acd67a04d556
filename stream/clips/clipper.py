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

import itertools
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np

from stream.segment import Segment

from .decoding import Decoded
from .effort import Thinning
from .grid import ClipSpec
from .samples import Sample

#: More of them than lie within a window.
_GROUPS_KNOWN: Final = 1024
#: Epochs of a camera of which it is known up to which window they were told.
_EPOCHS_KNOWN: Final = 32

Frames = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Clip:
    """One window of one camera."""

    camera: str
    epoch_us: int
    #: Number of the window on the grid of its epoch.
    window: int
    start_us: int
    end_us: int
    #: Its T pictures, of which windows that overlap share some.
    samples: tuple[Sample, ...] = field(repr=False)
    #: How many of the feed's frames this is the first window to span: what becomes "classified" with it.
    frames_spanned: int
    #: The samples before the first, without a hole: as many as are known, `ClipSpec.context` at most.
    context: tuple[Sample, ...] = field(default=(), repr=False)
    #: Whether it is the first of its epoch, or behind a gap: nothing is known of what was just before.
    is_first: bool = False

    @property
    def frames(self) -> Frames:
        """(T, H, W, 3) uint8 RGB, put together anew each time."""
        return np.stack([sample.image for sample in self.samples])

    def exact(self) -> Clip:
        """The clip with the pictures of its own frames, where keyframes' stand in for some; see `Sample.exact`."""
        if all(sample.rest is None for sample in self.samples):
            return self
        return replace(self, samples=tuple(sample.exact() for sample in self.samples))

    @property
    def times_us(self) -> tuple[int, ...]:
        """Event times of the frames; `start_us + i * spacing` is when frame i was sampled, at or after its own time."""
        return tuple(sample.frame_us for sample in self.samples)

    @property
    def has_held_frames(self) -> bool:
        """Whether some pictures are earlier ones than were to be shown, see `Effort.keyframes_only`."""
        return any(sample.is_held for sample in self.samples)


@dataclass(frozen=True, slots=True)
class ClipperState:
    """All that a clipper knows but the pictures: those are decoded again, from `Clipper.needed_from_us` on."""

    #: The grid: frames, spacing and stride of the windows.
    grid: tuple[int, int, int]
    epoch_us: int | None
    next_sequence: int
    lead_reason: str
    epoch_frames: int
    end_us: int
    window: int
    newest_sample: int
    #: Of frames that no window spanned yet: the first one's time, and from each to the next.
    waiting_us: tuple[int, ...]
    #: See `Clipper._groups`; a group whose end is not known has none.
    groups: tuple[tuple[int, int | None], ...]
    #: By epoch: the window after the last that was made.
    made: Mapping[int, int]
    #: See `Thinning.changes`.
    thinned: tuple[tuple[int, int], ...] = ()
    #: From where on samples follow each other without a hole.
    unbroken_from_us: int = 0
    #: See `Clip.is_first`.
    is_first: bool = True


class Clipper:
    """Assembles one camera's clips from its decoded segments, pushed in the order of the topic.

    No window of an epoch is made twice, whatever comes again of it. `state` and `restored` hand a camera over: who has
    the state and `refill`s the pictures makes the windows that the first clipper would have made.

    Frames that no window will ever span are counted in `skipped`: "head" before the first whole window, "tail" after
    the last, "gap" where a segment is missing between two, "between" where the stride is longer than a window,
    "duplicate" in a segment that was seen before or before the first window that is new, "absent" where a segment
    announces more frames than it has room for, "sparse" for a frame that is the only one of its epoch, "no_keyframe"
    where what a segment continues is missing, "degraded" in windows that are left out for lack of time. A segment of
    which nothing is made names its own reason, see `Effort.skipped`.
    """

    def __init__(self, spec: ClipSpec) -> None:
        self.spec = spec
        self.skipped: Counter[str] = Counter()
        self._epoch_us: int | None = None
        self._next_sequence = 0
        self._lead_reason = "head"
        self._epoch_frames = 0  # since the epoch's begin, or more where that was not seen
        self._end_us = 0  # up to where the epoch is known without a hole
        self._unbroken_from_us = 0  # and from where on
        self._window = 0  # next to emit
        self._newest_sample = -1
        self._samples: deque[tuple[int, Sample]] = deque()  # by sample number
        self._waiting: deque[int] = deque()  # times of frames not yet spanned by an emitted window
        #: Groups of pictures that lie in several segments: begin, and end as far as it is known.
        self._groups: deque[tuple[int, float]] = deque(maxlen=_GROUPS_KNOWN)
        self._made: dict[int, int] = {}
        self._wanted = Thinning()
        self._is_first = True  # the next clip
        self._is_refilling = False

    @classmethod
    def restored(cls, spec: ClipSpec, state: ClipperState) -> Self:
        """Go on from a state, with the pictures that `refill` is given until the next `push`.

        The grid may be another one: then windows go on behind those that were made.
        """
        clipper = cls(spec)
        frames, spacing_us, stride_us = state.grid
        clipper._epoch_us, clipper._next_sequence = state.epoch_us, state.next_sequence
        clipper._lead_reason, clipper._epoch_frames = state.lead_reason, state.epoch_frames
        clipper._end_us, clipper._window, clipper._newest_sample = state.end_us, state.window, state.newest_sample
        clipper._waiting.extend(itertools.accumulate(state.waiting_us))
        clipper._groups.extend((from_us, math.inf if end_us is None else end_us) for from_us, end_us in state.groups)
        clipper._made, clipper._wanted = dict(state.made), Thinning(state.thinned)
        clipper._unbroken_from_us = state.unbroken_from_us
        clipper._is_first = state.is_first
        clipper._is_refilling = True
        if (frames, spacing_us, stride_us) != clipper._grid:
            clipper._made = {epoch: -(-n * stride_us // spec.stride_us) for epoch, n in state.made.items()}
            clipper._window = -(-state.window * stride_us // spec.stride_us)
            clipper._newest_sample = -((clipper._epoch_us or 0) - state.end_us) // spec.spacing_us - 1
            clipper._wanted = Thinning()
        return clipper

    @property
    def state(self) -> ClipperState:
        """What another clipper has to know to go on."""
        waiting = tuple(self._waiting)
        return ClipperState(
            grid=self._grid,
            epoch_us=self._epoch_us,
            next_sequence=self._next_sequence,
            lead_reason=self._lead_reason,
            epoch_frames=self._epoch_frames,
            end_us=self._end_us,
            window=self._window,
            newest_sample=self._newest_sample,
            waiting_us=(*waiting[:1], *(after - before for before, after in itertools.pairwise(waiting))),
            groups=tuple((from_us, None if end_us == math.inf else int(end_us)) for from_us, end_us in self._groups),
            made=dict(self._made),
            thinned=self._wanted.changes,
            unbroken_from_us=self._unbroken_from_us,
            is_first=self._is_first,
        )

    def refill(self, segment: Segment, decoded: Decoded) -> None:
        """Take the pictures of a segment once more that had been pushed when the state was taken."""
        if self._epoch_us is None or segment.epoch_us != self._epoch_us:
            return
        for sample in (*decoded.late, *decoded.samples):
            number = (sample.at_us - self._epoch_us) // self.spec.spacing_us
            newest = self._samples[-1][0] if self._samples else self._first_needed - 1
            if newest < number <= self._newest_sample:
                self._samples.append((number, sample))

    @property
    def _grid(self) -> tuple[int, int, int]:
        return self.spec.frames, self.spec.spacing_us, self.spec.stride_us

    @property
    def epoch_us(self) -> int | None:
        """The epoch that is open, if one is."""
        return self._epoch_us

    @property
    def needed_from_us(self) -> int | None:
        """Event time from which footage is still needed; None when nothing is (no epoch is open)."""
        if self._epoch_us is None:
            return None
        return max(self._unbroken_from_us, self._window_start(self._window) - self.spec.context * self.spec.spacing_us)

    @property
    def _first_needed(self) -> int:
        """Number of the first sample that a window to come is made of, or remembers."""
        assert self._epoch_us is not None
        assert self.needed_from_us is not None
        return -((self._epoch_us - self.needed_from_us) // self.spec.spacing_us)

    def decode_from_us(self, time_us: int) -> int:
        """Event time with which a consumer has to begin that needs what is shown from `time_us` on."""
        for from_us, end_us in self._groups:
            if time_us < end_us:
                return min(time_us, from_us)
        return time_us

    def is_new(self, segment: Segment) -> bool:
        """Whether the segment continues or begins an epoch, rather than repeating what was pushed before.

        Its time tells, not its number: one number too high would make repetitions of all that follow.
        """
        is_newest = segment.sequence == self._next_sequence - 1
        return segment.epoch_us != self._epoch_us or (segment.start_us >= self._end_us and not is_newest)

    def push(self, segment: Segment, decoded: Decoded) -> list[Clip]:
        """Take the next segment, decoded at `spec.sample_times_us(segment)`; return the windows that it completes."""
        if self._is_refilling:
            self._end_refilling()
        clips = self._take(segment.camera, decoded.late) if self._epoch_us is not None else []
        if not self.is_new(segment):
            self.skipped["duplicate"] += segment.frames
            return clips
        if segment.epoch_us != self._epoch_us:
            self.close()
            self._open(segment.epoch_us, segment.start_us, "head")
            self._groups.clear()
            self._wanted = Thinning()
            self._newest_sample = -1
            self._epoch_frames = 0 if segment.start_us == segment.epoch_us else 2
        elif segment.sequence != self._next_sequence:
            self._leave_out("gap")
            self._open(segment.epoch_us, segment.start_us, "gap")
        self._next_sequence = segment.sequence + 1
        if segment.is_end:
            self.close()
            return clips
        if decoded.missing is not None:
            # As good as lost: windows go on behind it.
            why = decoded.effort.skipped or "gap"
            self._leave_out(why)
            self.skipped[decoded.missing] += segment.frames
            self._open(segment.epoch_us, segment.end_us, "head" if self._lead_reason == "head" else why)
            return clips
        self._wanted.forget_before(self._window)
        self._wanted.note(self.spec.first_window(segment), decoded.effort.every)
        self._note_group(segment)
        self._end_us = segment.end_us
        if absent := max(0, segment.frames - len(decoded.frame_times_us)):
            self.skipped["absent"] += absent
        self._waiting.extend(decoded.frame_times_us)
        self._epoch_frames += len(decoded.frame_times_us)
        return clips + self._take(segment.camera, decoded.samples)

    def close(self) -> None:
        """The epoch is over: what no window spans is the tail."""
        self._leave_out("sparse" if self._epoch_frames == 1 else "tail")
        self._samples.clear()
        self._epoch_us = None

    def _open(self, epoch_us: int, from_us: int, lead_reason: str) -> None:
        self._epoch_us, self._end_us, self._lead_reason = epoch_us, from_us, lead_reason
        self._unbroken_from_us = from_us
        self._samples.clear()
        self._is_first = True
        # The first window that lies wholly in what we have.
        self._window = -(-(from_us - epoch_us) // self.spec.stride_us)
        if (made := self._made.get(epoch_us, 0)) > self._window:
            self._window, self._lead_reason = made, "duplicate"

    def _end_refilling(self) -> None:
        """Go on, behind a gap where pictures are not there any more."""
        self._is_refilling = False
        if self._epoch_us is None:
            return
        there = {number for number, _ in self._samples}
        begin = self._window * self.spec.samples_per_stride
        if any(self._is_wanted(number) and number not in there for number in range(begin, self._newest_sample + 1)):
            self._leave_out("gap")
            self._open(self._epoch_us, self._end_us, "gap")

    def _is_wanted(self, sample: int) -> bool:
        """Whether a window that is still to be made needs a sample."""
        return any(window >= self._window and self._wanted.wants(window) for window in self.spec.windows_with(sample))

    def _note_group(self, segment: Segment) -> None:
        if segment.continues and self._groups:
            self._groups.pop()
        while self._groups and self._groups[0][1] <= (self.needed_from_us or 0):
            self._groups.popleft()
        if segment.continues or segment.continued:
            from_us = segment.start_us if segment.decode_from_us is None else segment.decode_from_us
            self._groups.append((from_us, math.inf if segment.continued else segment.end_us))

    def _take(self, camera: str, samples: Sequence[Sample]) -> list[Clip]:
        """Take the next samples of the epoch; return the windows that are complete."""
        assert self._epoch_us is not None
        for sample in samples:
            number = (sample.at_us - self._epoch_us) // self.spec.spacing_us
            if number > self._newest_sample:  # else it is late, and of a segment that came twice
                self._newest_sample = number
                self._samples.append((number, sample))
        clips = []
        while (clip := self._next_clip(camera, self._epoch_us)) is not None:
            clips.append(clip)
        return clips

    def _window_start(self, window: int) -> int:
        assert self._epoch_us is not None
        return self._epoch_us + window * self.spec.stride_us

    def _next_clip(self, camera: str, epoch_us: int) -> Clip | None:
        spec = self.spec
        while True:
            first, start_us = self._window * spec.samples_per_stride, self._window_start(self._window)
            self._leave_out(self._lead_reason, before_us=start_us)
            while self._samples and self._samples[0][0] < self._first_needed:
                self._samples.popleft()
            if self._end_us <= start_us:
                return None  # nobody has decided yet whether it is wanted
            chosen = list(itertools.islice((s for s in self._samples if s[0] >= first), spec.frames))
            # Samples come in their order: where a later one is, an earlier one will not come any more.
            has_hole = any(number != first + i for i, (number, _) in enumerate(chosen))
            if self._wanted.wants(self._window) and not has_hole:
                break
            self._go_on(epoch_us, "degraded")
        # The frames between the last sample and the window's end may still be on their way; they belong to it too.
        end_us = start_us + spec.span_us
        if len(chosen) < spec.frames or self._end_us < end_us:
            return None
        clip = Clip(
            camera=camera,
            epoch_us=epoch_us,
            window=self._window,
            start_us=start_us,
            end_us=end_us,
            samples=tuple(sample for _, sample in chosen),
            frames_spanned=self._drop_waiting(end_us),
            context=self._context(first),
            is_first=self._is_first,
        )
        self._is_first = False
        self._go_on(epoch_us, "between")
        return clip

    def _context(self, first: int) -> tuple[Sample, ...]:
        """The samples before the first one of a window, as far as they follow each other without a hole."""
        before = [each for each in self._samples if each[0] < first]
        while before and before[-1][0] - before[0][0] >= len(before):
            before.pop(0)
        return tuple(sample for _, sample in before) if before and before[-1][0] == first - 1 else ()

    def _go_on(self, epoch_us: int, lead_reason: str) -> None:
        """The window is made, or left out for good; frames before the next one are skipped for a reason."""
        self._window += 1
        self._lead_reason = lead_reason
        if epoch_us not in self._made and len(self._made) == _EPOCHS_KNOWN:
            del self._made[next(iter(self._made))]
        self._made[epoch_us] = self._window

    def _drop_waiting(self, before_us: int | None = None) -> int:
        dropped = 0
        while self._waiting and (before_us is None or self._waiting[0] < before_us):
            self._waiting.popleft()
            dropped += 1
        return dropped

    def _leave_out(self, reason: str, before_us: int | None = None) -> None:
        if dropped := self._drop_waiting(before_us):
            self.skipped[reason] += dropped
