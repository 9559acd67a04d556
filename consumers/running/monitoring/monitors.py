"""What the port of a worker or agent tells: made of the accounts that they keep anyway, when somebody asks.

Series have a label for the camera where they are about one: those that are here, and no more than 4096; the others are
counted together. A counter belongs to the process that shows it. It goes on where a camera moves from one worker to
another, so that `sum by (camera) (rate(…))` is right over any number of workers, and `sum` of the counters is not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from consumers.live.assemble import Serving
from consumers.live.drills import without_drills
from consumers.live.figures.accounts import MAX_ACCOUNTS, OTHERS, CameraCounts
from consumers.records.states.process import ProcessInfo
from consumers.running.sending.courier import Courier
from consumers.running.supervising.liveness import Liveness
from consumers.settings import Settings
from stream import FeedState, FeedStatus

from .spans import Spans

#: Skipped frames have a dozen reasons, but a record may name any: those beyond so many are counted as "other".
_MAX_REASONS: Final = 32


class WorkerMonitor:
    """Of a worker; `serving` is what works now."""

    def __init__(
        self, settings: Settings, process: ProcessInfo, kafka_away: Callable[[], str | None] = lambda: None
    ) -> None:
        """Prepare.

        Args:
            settings: group and port.
            process: who we are.
            kafka_away: since when the broker is away, in words, while nothing is served; None where it is not.
        """
        self._group, self._process, self._kafka_away = settings.worker.group, process, kafka_away
        self._live = Liveness(settings.metrics.stuck_seconds)
        self._serving: Serving | None = None
        self._shown = _Monotonic()
        self.spans: Spans | None = None

    @property
    def serving(self) -> Serving | None:
        return self._serving

    @serving.setter
    def serving(self, serving: Serving | None) -> None:
        self._live.begin()
        self._serving = serving

    def stuck(self) -> str | None:
        return self._live.stuck(self._age_seconds(), "working" if self._serving else "loading the model")

    def awaited(self) -> Iterator[str]:
        serving = self._serving
        if (away := self._away()) is not None:
            yield f"waiting for {away}"
        if serving is None:
            yield "loading the model"
        elif not serving.worker.partitions:
            yield (
                f"waiting for partitions of group {self._group} (more workers than partitions: one waits until "
                "another leaves)"
            )

    def notes(self) -> Iterator[str]:
        if (serving := self._serving) is not None and (away := serving.projection.state.awaited) is not None:
            yield f"waiting for {away}: what it misses is written when it is back"

    def collect(self) -> Iterator[Metric]:
        serving = self._serving
        facts = {"group": self._group}
        if serving is not None:
            facts |= {"model": serving.classifier.id, "engine": serving.classifier.engine}
        yield _info("worker", self._process, facts)
        yield from _health(self._age_seconds(), self._away(), self.awaited())
        yield from _sent_spans(self.spans)
        if serving is None:
            return
        yield from serving.worker.measures.registry.collect()
        snapshot, shown = serving.snapshot(), serving.projection.state
        yield _gauge("lag_records", "Records stored and not yet committed by this worker.", snapshot.lag)
        yield _gauge("waiting_records", "Records that nobody has worked on yet.", snapshot.waiting)
        yield _gauge("partitions", "Partitions that the group has given this worker.", serving.worker.partitions)
        yield _gauge("redis_behind_records", "Records that Redis does not show yet.", shown.behind)
        yield _gauge("redis_away", "1 while Redis is waited for.", shown.awaited is not None)
        yield _counter("redis_left_out", "Records that Redis cannot show.", shown.left_out)
        yield _by_camera(
            "camera_silent_seconds",
            "Seconds since the newest segment of a camera was taken.",
            {c.camera: c.silent_seconds for c in snapshot.cameras},
        )
        yield _by_camera(
            "camera_degraded_level",
            "How much less than all of a camera's footage is classified because it is behind; 0 is all.",
            {c.camera: c.degraded for c in snapshot.cameras},
        )
        behind = {c.camera: c.behind_seconds for c in snapshot.cameras if c.behind_seconds is not None}
        yield _by_camera(
            "camera_behind_seconds", "Seconds from the arrival of a camera's newest segment to its predictions.", behind
        )
        yield from self._shown(_accounts(without_drills(dict(serving.worker.counts))))

    def _away(self) -> str | None:
        serving = self._serving
        return self._kafka_away() if serving is None else next(map(str, serving.awaited()), None)

    def _age_seconds(self) -> float:
        turned_at = self._serving.worker.turned_at if self._serving is not None else None
        return self._live.age_seconds(turned_at, is_excused=self._away() is not None)


class AgentMonitor:
    """Of an agent; `courier` brings its segments."""

    def __init__(
        self,
        settings: Settings,
        process: ProcessInfo,
        feeds: Callable[[], Sequence[FeedState]],
        kafka_away: Callable[[], str | None],
    ) -> None:
        """Prepare.

        Args:
            settings: of the port.
            process: who we are.
            feeds: how the cameras are now.
            kafka_away: since when the broker is away, in words; None where it is not.
        """
        self._process, self._feeds, self._kafka_away = process, feeds, kafka_away
        self._live = Liveness(settings.metrics.stuck_seconds)
        self._turned_at = time.monotonic()
        self.courier: Courier | None = None
        self.spans: Spans | None = None

    def turn(self) -> None:
        """The main loop turns."""
        self._turned_at = time.monotonic()

    def stuck(self) -> str | None:
        return self._live.stuck(self._age_seconds(), "reading")

    def awaited(self) -> Iterator[str]:
        if (away := self._kafka_away()) is not None:
            yield f"waiting for {away}"
        elif self.courier is None or not self.courier.is_linked:
            yield "connecting to Kafka"

    def notes(self) -> Iterator[str]:
        for feed in self._feeds():
            if feed.status in {"failed", "stalled", "connecting", "opening"}:
                yield f"camera {feed.camera}: {feed.status}{f' ({feed.why})' if feed.why else ''}"

    def collect(self) -> Iterator[Metric]:
        yield _info("agent", self._process, {})
        yield from _health(self._age_seconds(), self._kafka_away(), self.awaited())
        yield from _sent_spans(self.spans)
        yield from _feeds(self._feeds(), time.time_ns() // 1000)
        if (courier := self.courier) is not None:
            yield from _spool(courier)

    def _age_seconds(self) -> float:
        return self._live.age_seconds(self._turned_at, is_excused=self._kafka_away() is not None)


def _feeds(feeds: Sequence[FeedState], now_us: int) -> Iterator[Metric]:
    for name, text in (
        ("segments", "Segments that an agent cut from a camera's stream."),
        ("frames", "Frames in them."),
        ("bytes", "Bytes in them."),
    ):
        yield _by_camera(f"feed_{name}", text, {f.camera: getattr(f, name) for f in feeds}, CounterMetricFamily)
    yield _by_camera("feed_frames_per_second", "Frames a second, now.", {f.camera: f.frames_per_second for f in feeds})
    yield _by_camera(
        "feed_quiet_seconds",
        "Seconds since a camera's newest segment; since its state began, where there was none.",
        {f.camera: max(0.0, (now_us - (f.data_us or f.since_us)) / 1e6) for f in feeds},
    )
    yield _by_camera(
        "feed_clock_drift_ppm",
        "How much too slow a camera's clock is, in millionths.",
        {f.camera: f.drift_ppm for f in feeds},
    )
    status = GaugeMetricFamily("clipline_feed_status", "1 for the state a camera is in.", labels=["camera", "status"])
    for feed, each in itertools.product(feeds, get_args(FeedStatus)):
        status.add_metric([feed.camera, each], feed.shown == each)
    yield status


def _spool(courier: Courier) -> Iterator[Metric]:
    yield _gauge("spool_bytes", "Bytes of segments that wait on disk for the broker.", courier.disk_bytes)
    yield _gauge("spool_segments", "Segments that wait on disk for the broker.", courier.on_disk)
    yield _gauge("unsent_bytes", "Bytes of segments that wait in memory for the broker.", courier.memory_bytes)
    yield _counter("sent_segments", "Segments that the broker has stored.", courier.sent)
    dropped = CounterMetricFamily(
        "clipline_spool_dropped_frames", "Frames that waited and were dropped.", labels=["camera", "reason"]
    )
    for camera, reasons in courier.dropped().items():
        for reason, frames in reasons.items():
            dropped.add_metric([camera, reason], frames)
    yield dropped


def _accounts(counts: Mapping[str, CameraCounts]) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
    """What became of each camera's frames: in = classified + skipped + dead-lettered + pending."""
    shown = dict(counts)
    if len(counts) > MAX_ACCOUNTS:
        shown = dict(itertools.islice(counts.items(), MAX_ACCOUNTS - 1))
        others = CameraCounts()
        shown.pop(OTHERS, None)
        for name in counts.keys() - shown.keys():
            others.add(counts[name])
        shown[OTHERS] = others
    for name, text in (
        ("segments", "Segments that came from a camera."),
        ("still_segments", "Of them: those of which only keyframes were decoded at first, as nothing moved."),
        ("windows", "Windows of a camera that were classified."),
        ("events", "Events of a camera that have started."),
    ):
        yield _by_camera(name, text, {n: getattr(c, name) for n, c in shown.items()}, CounterMetricFamily)
    frames = CounterMetricFamily(
        "clipline_frames", "Frames of a camera, by what became of them.", labels=["camera", "fate"]
    )
    skipped = CounterMetricFamily(
        "clipline_frames_skipped", "Frames of a camera that no window spans, by why.", labels=["camera", "reason"]
    )
    known: set[str] = set()
    for name, account in shown.items():
        frames.add_metric([name, "classified"], account.classified)
        frames.add_metric([name, "skipped"], account.skipped.total())
        frames.add_metric([name, "dead_lettered"], account.dead_lettered)
        other = 0
        for reason, many in sorted(account.skipped.items()):
            if reason in known or len(known) < _MAX_REASONS:
                known.add(reason)
                skipped.add_metric([name, reason], many)
            else:
                other += many
        if other:
            skipped.add_metric([name, "other"], other)
    yield frames
    yield skipped
    yield _by_camera(
        "frames_pending", "Frames of a camera whose window is not complete.", {n: c.pending for n, c in shown.items()}
    )


class _Monotonic:
    """Keeps counters from going back.

    What a transaction held that was aborted is read and counted again within seconds. Prometheus would take a counter
    that goes back for one that began at 0, and count all of it once more.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], float] = {}

    def __call__(self, families: Iterable[CounterMetricFamily | GaugeMetricFamily]) -> Iterator[Metric]:
        now: dict[tuple[str, ...], float] = {}
        for family in families:
            if isinstance(family, CounterMetricFamily):
                for number, sample in enumerate(family.samples):
                    series = (sample.name, *sample.labels.values())
                    now[series] = max(sample.value, self._last.get(series, 0.0))
                    family.samples[number] = sample._replace(value=now[series])
            yield family
        self._last = now


def _info(role: str, process: ProcessInfo, facts: Mapping[str, str]) -> Metric:
    labels = {"role": role, "id": process.id, "host": process.host, "version": process.version, **facts}
    family = GaugeMetricFamily("clipline_info", "1: which process this is.", labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _health(age_seconds: float, kafka_away: str | None, awaited: Iterable[str]) -> Iterator[Metric]:
    yield _gauge("turn_age_seconds", "Seconds since the main loop turned, but for waiting for the broker.", age_seconds)
    yield _gauge("broker_away", "1 while the broker is waited for.", kafka_away is not None)
    yield _gauge("ready", "1 while nothing is waited for, as /readyz says.", not list(awaited))


def _sent_spans(spans: Spans | None) -> Iterator[Metric]:
    if spans is not None:
        family = CounterMetricFamily(
            "clipline_spans", "Spans for a collector, by what became of them.", labels=["fate"]
        )
        for fate, number in spans.counts().items():
            family.add_metric([fate], number)
        yield family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"clipline_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"clipline_{name}", text, value=value)


def _by_camera(
    name: str,
    text: str,
    values: Mapping[str, float],
    kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily,
) -> GaugeMetricFamily | CounterMetricFamily:
    family = kind(f"clipline_{name}", text, labels=["camera"])
    for camera, value in itertools.islice(values.items(), MAX_ACCOUNTS):
        family.add_metric([camera], value)
    return family
