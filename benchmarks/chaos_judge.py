"""What a run of chaos.py should have published, what it has published, and how they differ.

What should be there is computed from the segments on the topic by the code of `clipline replay`, and of recorded films
also from the films themselves: what an agent never sent is missed too. What is there is given by a reader of committed
records, which `committed` is with Kafka's own client.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from consumers.live.handover.progress import CameraProgress, decode_progress
from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.replay import Replayed, replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.store import TraceStore
from consumers.rules.rule import Rule
from consumers.settings import Settings
from stream import Transport, announced_frames

#: camera, epoch, number, model
WindowKey = tuple[str, int, int, str]
#: Every committed record of a topic in the order of its partitions: topic, partition, offset, key, headers and value.
Reader = Callable[[str], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Film:
    """Recorded footage that was sent whole."""

    camera: str
    path: Path
    start_us: int


@dataclass(slots=True)
class Verdict:
    """How what was published differs from what should have been."""

    windows: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    wrong_scores: list[str] = field(default_factory=list)
    events: int = 0
    events_lost: list[str] = field(default_factory=list)
    events_doubled: list[str] = field(default_factory=list)
    events_foreign: list[str] = field(default_factory=list)
    events_wrong: list[str] = field(default_factory=list)
    redis_mismatch: list[str] = field(default_factory=list)
    frames: int = 0
    frames_mismatch: list[str] = field(default_factory=list)
    segments_lost: list[str] = field(default_factory=list)
    segments_doubled: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """Each difference as a number, beside how many windows, events and frames there were."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name in self.__slots__
            for value in [getattr(self, name)]
        }

    @property
    def differences(self) -> dict[str, list[str]]:
        """What differs, by kind; empty where nothing does."""
        kinds = {name: getattr(self, name) for name in self.__slots__}
        return {name: found for name, found in kinds.items() if isinstance(found, list) and found}


def committed(address: str, topic: str) -> list[Any]:
    """Every committed record of a topic, as Kafka's own client gives it."""
    consumer = KafkaConsumer(
        bootstrap_servers=address.split(","), isolation_level="read_committed", enable_auto_commit=False
    )
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        found: list[Any] = []
        while any(consumer.position(p) < end for p, end in ends.items()):
            for records in consumer.poll(500).values():
                found += records
        return found
    finally:
        consumer.close()


@dataclass(frozen=True, slots=True)
class Judge:
    """Compares what is on the topics with what the footage gives."""

    settings: Settings
    setup: ScoringSetup
    rules: Mapping[str, Rule]
    #: Gives the segments to replay.
    transport: Transport
    read: Reader
    #: Of traces.
    folder: Path
    engine: str = "engine"

    def judge(self, cameras: Iterable[str], films: Iterable[Film] = ()) -> Verdict:
        """Compare windows, events, frames and segments; Redis is for `redis_differences` to compare."""
        verdict, topics = Verdict(), self.settings.topics
        wanted: dict[WindowKey, Mapping[str, float]] = {}
        reports: dict[tuple[str, int], Event] = {}
        for timeline in self._replay([f"kafka://{topics.segments}?camera={camera}" for camera in cameras]).timelines:
            wanted |= _windows(timeline)
            reports |= {(r.event.id, r.event.revision): r.event for r in timeline.play(self.rules)}
        for film in films:
            for timeline in self._replay([str(film.path)], film.camera, film.start_us).timelines:
                wanted |= _windows(timeline)
        _compare_windows(verdict, wanted, self.read(topics.predictions))
        _compare_events(verdict, reports, self.read(topics.events))
        segments = self.read(topics.segments)
        self._compare_frames(verdict, segments)
        _compare_segments(verdict, segments)
        return verdict

    def _replay(self, sources: Sequence[str], camera: str | None = None, start_us: int | None = None) -> Replayed:
        """What `clipline replay` makes of recordings."""
        limits = self.settings.segments.limits
        recordings, _ = find_recordings(sources, camera, start_us, limits, lambda: self.transport)
        found = replay(recordings, self.setup, self.engine, TraceStore(self.folder))
        assert found is not None
        return found

    def _compare_frames(self, verdict: Verdict, segments: Sequence[Any]) -> None:
        """Each frame that came in is classified, skipped for a reason, or in one dead letter."""
        letters = Counter(
            DeadLetter.decode(r.key, r.headers, r.value, _where(r)).origin
            for r in self.read(self.settings.topics.deadletter)
        )
        came: Counter[str] = Counter()
        for record in segments:
            told = 0 if _where(record) in letters else _told(record).total()
            came[_camera(record)] += announced_frames(record.headers, record.value) + told
        verdict.frames = came.total()
        verdict.frames_mismatch += [f"{origin}: {n} dead letters" for origin, n in letters.items() if n > 1]
        accounts = self._accounts()
        for camera, frames in came.items():
            if (account := accounts.get(camera)) is None:
                verdict.frames_mismatch.append(f"{camera}: {frames} frames, and no account")
            elif account.counts.pending or account.counts.frames != frames:
                verdict.frames_mismatch.append(f"{camera}: {frames} came in; {account.counts.summary()}")

    def _accounts(self) -> dict[str, CameraProgress]:
        found = {}
        for record in {record.key: record for record in self.read(self.settings.topics.state)}.values():
            if record.value is not None:
                progress = decode_progress(self.settings.worker.group, record.key, record.value, _where(record))
                if isinstance(progress, CameraProgress):
                    found[progress.camera] = progress
        return found


def _windows(timeline: Any) -> dict[WindowKey, Mapping[str, float]]:
    return {(p.camera, p.epoch_us, p.window, p.model): p.scores for p in timeline.predictions()}


def _compare_windows(verdict: Verdict, wanted: Mapping[WindowKey, Mapping[str, float]], records: Sequence[Any]) -> None:
    told: dict[WindowKey, list[dict[str, float]]] = defaultdict(list)
    for record in records:
        body = json.loads(record.value)
        told[body["camera"], body["epoch_us"], body["window"], body["model"]].append(body["scores"])
    verdict.windows = len(wanted)
    for key, scores in wanted.items():
        if key not in told:
            verdict.lost.append(f"{key}")
        elif any(each != scores for each in told[key]):
            verdict.wrong_scores.append(f"{key}: {told[key]} instead of {scores}")
    verdict.doubled += [f"{key}: {len(times)} times" for key, times in told.items() if len(times) > 1]
    verdict.foreign += [f"{key}" for key in told if key not in wanted]


def _compare_events(verdict: Verdict, reports: Mapping[tuple[str, int], Event], records: Sequence[Any]) -> None:
    events = [Event.decode(r.key, r.headers, r.value, _where(r)) for r in records]
    told = Counter((event.id, event.revision) for event in events)
    for event in events:
        wanted = reports.get((event.id, event.revision))
        # Where its footage lies is known on the topic only.
        if wanted is not None and replace(event, segments=wanted.segments) != wanted:
            verdict.events_wrong.append(f"{event} instead of {wanted}")
    verdict.events = len(reports)
    verdict.events_lost += [f"{key}: {reports[key]}" for key in reports if key not in told]
    verdict.events_doubled += [f"{key}: {times} times" for key, times in told.items() if times > 1]
    verdict.events_foreign += [f"{key}" for key in told if key not in reports]


def _compare_segments(verdict: Verdict, records: Sequence[Any]) -> None:
    """Of each feed that an agent sent, every segment is there once, but for what it told that it had to drop."""
    feeds: dict[tuple[str, int, int], Counter[int]] = defaultdict(Counter)
    dropped: Counter[str] = Counter()
    for record in records:
        camera, headers = _camera(record), dict(record.headers)
        dropped[camera] += sum(frames for reason, frames in _told(record).items() if reason.startswith("spool_"))
        # An end mark has the number of the segment that does not come any more.
        if int(headers.get("size", b"0")):
            place = camera, int(headers.get("claim", b"0")), int(headers["epoch-us"])
            feeds[place][int(headers["sequence"])] += 1
    for (camera, claim, epoch_us), numbers in sorted(feeds.items()):
        feed = f"{camera}, claim {claim}, epoch {epoch_us}"
        verdict.segments_doubled += [f"{feed}: {n} is there {times} times" for n, times in numbers.items() if times > 1]
        missing = sorted(set(range(min(numbers), max(numbers))) - set(numbers))
        if missing and not dropped[camera]:
            verdict.segments_lost.append(f"{feed}: {missing} of {min(numbers)} to {max(numbers)}")


def _camera(record: Any) -> str:
    return (record.key or b"").decode(errors="replace")


def _told(record: Any) -> Counter[str]:
    """Frames that were left out before a segment, by reason."""
    return Counter(json.loads(dict(record.headers).get("skipped", b"{}")))


def _where(record: Any) -> str:
    return f"{record.topic}[{record.partition}]@{record.offset}"
