"""Windows that show what their camera has shown before are not computed: they carry its last calm scores.

    window      0   1   2   3   4   5   6   7   8   9
    pictures    A   A   A   A   A   B   C   C   C   C      as in the view's reference, or not
    view        ●───────────────────●───●───────────▶      its reference is the last picture of its first window
    computed    x   x               x   x   x   x
    scores      calm                    high    calm
    gated               x   x   x                   x

A *view* begins with a window of which some picture differs from the reference, with the first window of an epoch or
behind a gap, and after a while in any case. Pictures are compared with the reference and not with one another, so that
what moves slowly is seen as soon as it has moved far enough. The first window of a view is computed, and so is each
that follows until as many in a row were calm as scores are averaged over: no event is open then, and none begins with
scores like these. From there on windows are *gated*: they carry the scores of the last one that was computed.

All of it follows from the windows of a camera in their order and from their scores, so it is the same live and in
replay, whatever shares a batch; and it is small, so that it goes with the camera's state.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from consumers.rules.rule import Rule
from consumers.settings import GateSettings
from stream import Clip, Image

#: Pictures are compared by the brightness of cells, so many along each side.
CELLS: Final = 48
#: From 0 to 255: by how much a cell's brightness, and that of three by three cells, may differ where nothing moves.
CELL_DIFFERENCE: Final = 10
PATCH_DIFFERENCE: Final = 4
_PATCH: Final = 3
#: Of the bytes of a keyframe, what a picture takes at most in which nothing moves.
STILL_SHARE: Final = 0.006
#: Scores from this on are not calm, whatever the rules: so most changes of rules change no scores.
_NEVER_CALM: Final = 0.25

Cells = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
Row = list[float]


@dataclass(frozen=True, slots=True)
class StillRule:
    """When a window is not computed."""

    #: Scores are calm where each of these labels' is below its number: no event begins or goes on with them.
    calm_below: Mapping[str, float]
    #: How many windows in a row have to be calm.
    calm_windows: int
    #: A view is computed again after so long.
    refresh_us: int
    #: See `stream.decode`; None where every segment is decoded.
    still_share: float | None = None

    @classmethod
    def of(cls, rules: Mapping[str, Rule], settings: GateSettings, context: int = 0) -> Self | None:
        """The rule under which nothing begins or goes on while windows are not computed; None where it is off.

        So it is for a model that goes from picture to picture with a `context`: it must see every one of them.
        """
        if not settings.pictures or context:
            return None
        return cls(
            {label: min(rule.end, _NEVER_CALM) for label, rule in rules.items()},
            max((rule.smoothing for rule in rules.values()), default=1),
            round(settings.refresh_seconds * 1e6),
            STILL_SHARE if settings.segments else None,
        )


@dataclass(frozen=True, slots=True)
class ViewState:
    """What another gate has to know to go on with a camera."""

    #: Epoch and number of the camera's newest window, and the begin of the view's first.
    epoch_us: int
    window: int
    start_us: int
    #: Height and width of the reference in cells, and their brightness in base64.
    shape: tuple[int, int]
    reference: str
    #: Of the newest window that was computed, by label; none before.
    scores: Mapping[str, float] = field(default_factory=dict)
    calm_windows: int = 0


@dataclass(slots=True, eq=False)
class _View:
    """What a camera shows while nothing moves."""

    start_us: int
    reference: Cells
    #: Epoch and number of the camera's newest window.
    newest: tuple[int, int]
    #: Of the newest window that was computed after the first.
    row: Row | None = None
    #: How many were calm in a row.
    calm_windows: int = 0
    #: How many are being computed.
    asked: int = 0

    def shows(self, cells: Cells) -> bool:
        """Whether a picture shows nothing but this view."""
        if cells.shape != self.reference.shape:
            return False
        difference = cells.astype(np.int16) - self.reference
        return bool(np.abs(difference).max() < CELL_DIFFERENCE and _patches(difference) < PATCH_DIFFERENCE)


class StillGate:
    """Decides for each window of any cameras whether it is computed."""

    def __init__(self, rule: StillRule, labels: Sequence[str]) -> None:
        self._rule, self._labels = rule, tuple(labels)
        self._limits = [(i, rule.calm_below[label]) for i, label in enumerate(labels) if label in rule.calm_below]
        self._views: dict[str, _View] = {}

    def score(self, clips: Sequence[Clip], compute: Callable[[Sequence[Clip]], list[Row]]) -> list[tuple[Row, bool]]:
        """Scores of clips, in the order of each camera's, and whether they were not computed but carried on.

        `compute` is called as often as decisions depend on scores; mostly once.
        """
        begins, views = self._sort(clips)
        found: list[tuple[Row, bool]] = [([], False) for _ in clips]
        open_ = list(range(len(clips)))
        while open_:
            asked, left = [], []
            for i in open_:
                view = views[i]
                if begins[i]:
                    asked.append(i)
                elif view.asked == 0 and view.row is not None and view.calm_windows >= self._rule.calm_windows:
                    found[i] = view.row, True
                elif view.calm_windows + view.asked < self._rule.calm_windows:
                    view.asked += 1
                    asked.append(i)
                else:
                    left.append(i)
            for i, row in zip(asked, compute([clips[i] for i in asked]) if asked else (), strict=True):
                found[i] = row, False
                if not begins[i]:
                    self._note(views[i], row)
            open_ = left
        return found

    def state(self, camera: str) -> ViewState | None:
        view = self._views.get(camera)
        if view is None:
            return None
        return ViewState(
            *view.newest,
            view.start_us,
            view.reference.shape,
            base64.b64encode(view.reference.tobytes()).decode(),
            # No number (NaN) is not JSON, and nothing is carried on from one.
            dict(zip(self._labels, view.row, strict=True)) if view.row and all(map(math.isfinite, view.row)) else {},
            view.calm_windows,
        )

    def restore(self, camera: str, state: ViewState) -> None:
        """Go on with a camera of which this model has made the scores.

        Raises:
            ValueError: the state is damaged.
        """
        reference = np.frombuffer(base64.b64decode(state.reference, validate=True), np.uint8).reshape(state.shape)
        view = _View(state.start_us, reference, (state.epoch_us, state.window))
        if set(state.scores) == set(self._labels):
            view.row = [state.scores[label] for label in self._labels]
            # The rules may be others than those that they were calm by.
            view.calm_windows = state.calm_windows if self._is_calm(view.row) else 0
        self._views[camera] = view

    def forget(self, camera: str) -> None:
        self._views.pop(camera, None)

    def _sort(self, clips: Sequence[Clip]) -> tuple[list[bool], list[_View]]:
        """Of each clip, whether a view begins with it, and its view."""
        begins, views, known = [], [], dict[int, Cells]()

        def seen(image: Image) -> Cells:
            if id(image) not in known:
                known[id(image)] = cells_of(image)
            return known[id(image)]

        for clip in clips:
            view = self._views.get(clip.camera)
            is_still = (
                view is not None
                and (not clip.is_first or view.newest == (clip.epoch_us, clip.window - 1))
                and 0 <= clip.start_us - view.start_us < self._rule.refresh_us
                # The newest first: where something moves, it tells.
                and all(view.shows(seen(sample.image)) for sample in reversed(clip.samples))
            )
            if view is None or not is_still:
                reference = seen(clip.samples[-1].exact().image)
                view = self._views[clip.camera] = _View(clip.start_us, reference, (0, 0))
            view.newest = clip.epoch_us, clip.window
            begins.append(not is_still)
            views.append(view)
        return begins, views

    def _note(self, view: _View, row: Row) -> None:
        view.asked -= 1
        view.row = row
        view.calm_windows = view.calm_windows + 1 if self._is_calm(row) else 0

    def _is_calm(self, row: Row) -> bool:
        # A score that is no number is not calm.
        return all(row[i] < limit for i, limit in self._limits)


def cells_of(image: Image) -> Cells:
    """The mean brightness of each cell of a picture (H, W, 3) uint8, at most `CELLS` along each side.

    Cells at the right and at the bottom that the picture does not fill are filled up with its edge.
    """
    height, width = image.shape[:2]
    tall, wide = -(-height // CELLS), -(-width // CELLS)
    if height % tall or width % wide:
        image = np.pad(image, ((0, -height % tall), (0, -width % wide), (0, 0)), mode="edge")
    rows = -(-height // tall)
    sums = image.reshape(rows, tall, -1).sum(axis=1, dtype=np.uint32).reshape(rows, -1, wide * 3).sum(axis=2)
    cells: Cells = (sums // (tall * wide * 3)).astype(np.uint8)
    return cells


def _patches(difference: np.ndarray[Any, np.dtype[np.int16]]) -> float:
    """By how much the brightness of a patch of cells differs, at most."""
    if min(difference.shape) < _PATCH:
        return float(abs(difference.mean()))
    sums = np.cumsum(np.cumsum(np.pad(difference, ((1, 0), (1, 0))), axis=0, dtype=np.int32), axis=1)
    n = _PATCH
    patches = sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]
    return float(np.abs(patches).max()) / n**2
