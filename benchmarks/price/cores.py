"""Cameras a core: all paths of one model on one footage take turns, so that what else the machine does meets all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from consumers.live.assemble import clip_spec

from .agreement import OWN_DIFFERENCE, PEER_DIFFERENCE, judge, judge_pictures
from .desk import Desk
from .figures import Figure
from .measuring import Addresses, Ask, Job, Measuring, MissingError, Round, WrongWorkError
from .paths.clipline import contract_of, fill_topic
from .paths.parts import CLOSE
from .paths.windows import expected_windows
from .rows import CORE, GPU, PROFILE, Row

#: By how much scores of windows before a still view differ at most.
_STILL_SPREAD: Final = 0.1
#: Of a second: by how much the footage that was worked off may differ from what there is, for each camera.
_HAIR_SECONDS: Final = 0.1


@dataclass(slots=True)
class _Case:
    """A figure to measure, and what came of it so far."""

    figure: Figure
    process: Measuring
    ask: Ask
    windows: int
    seconds: float
    rounds: list[Round] = field(default_factory=list)

    @property
    def row(self) -> Row:
        return self.figure.row

    def measure(self) -> None:
        found = self.process.round(self.ask)
        if found.windows != self.windows or abs(found.camera_seconds - self.seconds) > _HAIR_SECONDS * self.ask.cameras:
            raise WrongWorkError(
                f"{found.windows} windows of {found.camera_seconds:.1f} camera-seconds, expected {self.windows} of "
                f"{self.seconds:g}"
            )
        self.rounds.append(found)


class Cores:
    """Measures cameras per core and per GPU, and the parts of the direct path."""

    def __init__(self, desk: Desk, figures: dict[Row, Figure], services: Callable[[str], Addresses]) -> None:
        """Begin; `services` gives the addresses of a broker and a Redis, or says what is missing."""
        self._desk, self._figures, self._services = desk, figures, services
        self._own = [figure for row, figure in figures.items() if row.kind in {CORE, GPU, PROFILE}]

    def run(self) -> None:
        steps = len(self._own) * self._desk.plan.rounds
        with self._desk.task("cameras per core", steps) as step:
            for model in dict.fromkeys(figure.row.model for figure in self._own):
                self._measure_model([figure for figure in self._own if figure.row.model == model], step)

    def _measure_model(self, figures: Sequence[Figure], step: Callable[[int], None]) -> None:
        with ExitStack() as stack:
            processes: dict[Job, Measuring | str] = {}
            for footage in dict.fromkeys(figure.row.footage for figure in figures):
                cases = []
                for figure in (f for f in figures if f.row.footage == footage):
                    with figure.noting():
                        cases.append(self._prepared(figure, processes, stack))
                    if figure.reason is not None:
                        step(self._desk.plan.rounds)
                self._measure(cases, step)

    def _prepared(self, figure: Figure, processes: dict[Job, Measuring | str], stack: ExitStack) -> _Case:
        row, plan = figure.row, self._desk.plan
        job = self._job(row)
        if job not in processes:
            try:
                processes[job] = self._desk.start(job)
            except MissingError as error:
                processes[job] = str(error)
            else:
                stack.callback(processes[job].close)  # type: ignore[union-attr]
        process = processes[job]
        if isinstance(process, str):
            raise MissingError(process)
        wanted = plan.footage(row.footage, still=row.gates == "still")
        cameras = plan.broker_cameras if row.path == "kafka" else 1
        ask = Ask(
            str(self._desk.film(wanted)),
            cameras,
            gated=row.gates != "ungated",
            scores=str(self._desk.scratch / f"{row.name}.npy"),
            prefix=row.name.replace("_", "-"),
        )
        if row.path == "kafka":
            fill_topic(job, ask)
        windows = cameras * expected_windows(wanted.seconds, contract_of(row.model))
        return _Case(figure, process, ask, windows, cameras * wanted.seconds)

    def _job(self, row: Row) -> Job:
        engine = "openvino-f32" if row.precision == "f32" else "openvino"
        if row.kind == PROFILE:
            return Job("parts", row.model, engine)
        if row.kind == GPU:
            return Job(row.path, row.model, "torch") if self._desk.has_gpu else _no_gpu()
        if row.path == "kafka":
            guarantee = "at-least-once" if row.variant == "at-least-once" else "exactly-once"
            kind = "embedded" if row.variant == "embedded" else "apache"
            return Job("kafka", row.model, engine, guarantee=guarantee, **self._services(kind))
        return Job(row.path, row.model, engine)

    def _measure(self, cases: Sequence[_Case], step: Callable[[int], None]) -> None:
        for _ in range(self._desk.plan.rounds):
            for case in cases:
                if not case.figure.is_wrong:
                    with case.figure.noting():
                        case.measure()
                step(1)
        for case in cases:
            if not case.figure.is_wrong:
                _take(case)
        _compare([case for case in cases if case.figure.value is not None])


def _no_gpu() -> Job:
    raise MissingError("no GPU found")


def _take(case: _Case) -> None:
    figure, rounds = case.figure, case.rounds
    stride_us = clip_spec(contract_of(case.row.model), None).stride_us
    figure.details |= {
        "engine": case.process.engine,
        "windows_per_round": case.windows,
        "stride_seconds": stride_us / 1e6,
    }
    if case.row.kind == PROFILE:
        figure.take([1000 * r.cpu_seconds / r.camera_seconds for r in rounds])
        figure.details |= _parts(rounds)
        return
    if case.row.kind == GPU:
        figure.take([r.camera_seconds / r.wall_seconds for r in rounds])
        return
    figure.take([r.camera_seconds / r.cpu_seconds for r in rounds])
    if case.row.gates in {"gated", "still"}:
        figure.details["windows_computed"] = round(1 - rounds[-1].gated_windows / case.windows, 3)


def _parts(rounds: Sequence[Round]) -> dict[str, Any]:
    """Core-milliseconds of a second of footage by part; of the round that is in the middle."""
    middle = sorted(rounds, key=lambda r: r.cpu_seconds / r.camera_seconds)[len(rounds) // 2]
    parts = dict(middle.parts)
    close = parts.pop(CLOSE) / middle.windows
    return {
        "parts": {part: round(1000 * spent / middle.camera_seconds, 2) for part, spent in parts.items()},
        "windows_looked_at_close_up": round(close, 3),
    }


def _compare(cases: Sequence[_Case]) -> None:
    """Fail figures whose paths did not see the same windows through the same network as Clipline does ungated."""
    own = [case for case in cases if case.row.path == "direct" and case.row.gates == "ungated"]
    for case in cases:
        scores = np.load(case.ask.scores)
        if case.row.gates == "still":
            _check_still(case, scores)
            continue
        details, wrong = judge_pictures(case.rounds[0].parts) if case.row.is_peer else ({}, None)
        if own and case is not own[0]:
            most = PEER_DIFFERENCE if case.row.is_peer else OWN_DIFFERENCE
            alike, unlike = judge(np.load(own[0].ask.scores), scores, most)
            details |= {"agreement_with": own[0].row.name, **alike}
            wrong = wrong or unlike
        case.figure.details |= details
        if wrong is not None:
            case.figure.fail(wrong)


def _check_still(case: _Case, scores: np.ndarray) -> None:
    """Before a still view all windows have about the same scores, whether they were computed or not."""
    spread = float(np.ptp(scores, axis=0).max())
    case.figure.details["score_spread"] = round(spread, 3)
    if spread > _STILL_SPREAD:
        case.figure.fail(f"scores of a still view differ by {spread:.2f}, expected {_STILL_SPREAD} at most")
