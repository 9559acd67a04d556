"""From a segment to who hears its predictions, while as many cameras are live as keep a worker busy for half the time.

    this process                                           the worker's process, on all cores
    camera 0   ───s───────────s───────────s──▶  ┌────────┐
    camera 1   ─────s───────────s───────────s▶  │ broker │ ─▶ segments ─▶ worker ─▶ predictions ─┐
    subscriber ◀────────────────────────────────└────────┘◀──────────────────────────────────────┘

Segments are sent when a camera would have them: at the time of their last frame. Cameras begin one after another,
evenly over the length of a segment. What comes before everything is warm does not count: a camera of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from consumers.cores import usable_cores
from consumers.live.assemble import clip_spec
from consumers.records.prediction import Prediction
from stream import ClipSpec, Segment, StreamError, Transport

from .desk import Desk
from .figures import Figure
from .measuring import Addresses, Ask, Job, WrongWorkError
from .paths.clipline import camera_name, contract_of, segments_of, topics_of
from .paths.windows import expected_windows
from .rows import CORE, LATENCY, Row

_WARM: Final = "warm-up"
_PERCENTILE: Final = 95
_WARM_SECONDS: Final = 60.0
#: After the last segment was sent.
_LATE_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.02

#: When segments were sent, by camera, begin and end in µs.
_Sent = dict[tuple[str, int, int], float]


@dataclass(slots=True)
class _Heard:
    """When predictions arrived at the subscriber, by camera and window."""

    predictions: list[tuple[Prediction, float]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def of(self, *, warm: bool) -> list[tuple[Prediction, float]]:
        return [each for each in self.predictions if (each[0].camera == _WARM) is warm]

    def wait_for(self, count: int, seconds: float, *, warm: bool) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.of(warm=warm)) >= count, seconds):
                found = len(self.of(warm=warm))
                raise WrongWorkError(f"{found} of {count} predictions arrived within {seconds:g} s")


class Latency:
    """Measures from segments to predictions."""

    def __init__(self, desk: Desk, figures: dict[Row, Figure], services: Callable[[str], Addresses]) -> None:
        self._desk, self._figures, self._services = desk, figures, services

    def run(self) -> None:
        own = [figure for row, figure in self._figures.items() if row.kind == LATENCY]
        with self._desk.task("latency", len(own)) as step:
            for figure in own:
                with figure.noting():
                    self._measure(figure)
                step(1)

    def _measure(self, figure: Figure) -> None:
        row, plan = figure.row, self._desk.plan
        kind = "embedded" if row.variant == "embedded" else "apache"
        job = Job("kafka", row.model, one_core=False, **self._services(kind))
        # One epoch, as a camera has for hours: where one begins, a worker waits for a second segment of it.
        wanted = plan.footage(row.footage)
        wanted = replace(wanted, seconds=plan.latency_repeats * wanted.seconds)
        film = str(self._desk.film(wanted))
        carried = self._cameras_per_core(row)
        cameras = max(1, int(usable_cores() * carried / 2))
        spec = clip_spec(contract_of(row.model), None)
        each = expected_windows(wanted.seconds, contract_of(row.model))
        warm = list(segments_of(film, _WARM))[:2]
        warm_windows = expected_windows(sum(s.seconds for s in warm), contract_of(row.model))
        ask = Ask(film, cameras, gated=True, prefix=row.name.replace("_", "-"), windows=cameras * each + warm_windows)
        transport, segments, predictions = topics_of(job, ask.prefix)
        process = self._desk.start(job)
        done = threading.Event()
        heard = _Heard()
        subscriber = threading.Thread(target=_listen, args=(transport, predictions, heard, done))
        subscriber.start()
        try:
            process.begin(ask)
            _send(transport, segments, warm)
            heard.wait_for(warm_windows, _WARM_SECONDS, warm=True)
            sent = _send_live(transport, segments, film, cameras)
            heard.wait_for(cameras * each, _LATE_SECONDS, warm=False)
            found = process.result()
        except (WrongWorkError, StreamError, KeyboardInterrupt):
            process.kill()
            raise
        finally:
            done.set()
            subscriber.join()
        process.close()
        waited = [1000 * (at - sent[_completing(p, sent, spec)]) for p, at in heard.of(warm=False)]
        figure.take([float(np.percentile(waited, _PERCENTILE))])
        figure.details |= {
            "cameras": cameras,
            "cameras_per_core": round(carried, 2),
            "windows": len(waited),
            "median_ms": round(float(np.median(waited)), 1),
            "max_ms": round(max(waited), 1),
            "worker_cores": round(found.cpu_seconds / found.wall_seconds, 2),
            "cores": usable_cores(),
            "engine": process.engine,
        }

    def _cameras_per_core(self, row: Row) -> float:
        """How many cameras a core carries with this model: as was measured in this run, or by one round now."""
        known = [
            figure.value
            for other, figure in self._figures.items()
            if (other.kind, other.path, other.gates) == (CORE, "direct", "gated")
            if (other.model, other.footage) == (row.model, row.footage) and figure.value is not None
        ]
        if known:
            return known[-1]  # in the precision that a worker takes, which is measured last
        process = self._desk.start(Job("direct", row.model))
        film = self._desk.film(self._desk.plan.footage(row.footage))
        found = process.round(Ask(str(film), gated=True))
        process.close()
        return found.camera_seconds / found.cpu_seconds


def _listen(transport: Transport, topic: str, heard: _Heard, done: threading.Event) -> None:
    consumer = transport.consumer([topic], from_start=True)
    while not done.is_set():
        records = consumer.poll(_POLL_SECONDS).records
        at = time.perf_counter()
        if records:
            with heard.changed:
                heard.predictions += [(Prediction.decode(r.key, r.headers, r.value, r.where), at) for r in records]
                heard.changed.notify_all()
    consumer.close()


def _send(transport: Transport, topic: str, segments: Sequence[Segment]) -> None:
    producer = transport.producer()
    for segment in segments:
        producer.send(topic, *segment.encode())
    producer.flush()
    producer.close()


def _send_live(transport: Transport, topic: str, film: str, cameras: int) -> _Sent:
    """Send a film of each camera as it comes; when each segment was sent, by camera, begin and end in µs."""
    due: list[tuple[float, Segment]] = []
    for number in range(cameras):
        own = [segment for segment in segments_of(film, camera_name(number)) if not segment.is_end]
        behind = number * own[0].seconds / cameras
        due += [(behind + segment.end_us / 1e6, segment) for segment in own]
    producer, sent = transport.producer(), _Sent()
    began = time.perf_counter()
    for at, segment in sorted(due, key=lambda each: each[0]):
        time.sleep(max(0.0, began + at - time.perf_counter()))
        sent[segment.camera, segment.start_us, segment.end_us] = time.perf_counter()
        producer.send(topic, *segment.encode())
        producer.flush()
    producer.close()
    return sent


def _completing(prediction: Prediction, sent: _Sent, spec: ClipSpec) -> tuple[str, int, int]:
    """The segment in which the last sample of a window lies."""
    last_us = prediction.start_us + (spec.frames - 1) * spec.spacing_us
    return next(key for key in sent if key[0] == prediction.camera and key[1] <= last_us < key[2])
