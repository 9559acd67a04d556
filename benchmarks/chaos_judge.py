"""What a run of chaos.py should have published, what it has published, and how they differ.

What should be there is computed from the segments on the topic by the code of `clipline replay`, and of recorded files
also from the files themselves. What is there is read with Kafka's own client, committed records only.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from consumers.live.assemble import clip_spec, tracker_rules
from consumers.live.progress import CameraProgress, decode_progress
from consumers.outputs.redis_check import redis_differences
from consumers.records.event import Event
from consumers.replaying.replay import Replayed, replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.sources import find_recordings
from consumers.replaying.store import TraceStore
from consumers.settings import Settings
from models import Classifier
from stream import KafkaTransport

#: camera, epoch, number, model
WindowKey = tuple[str, int, int, str]


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
    frames_mismatch: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """Each difference as a number."""
        return {
            name: value if isinstance(value, int) else len(value)
            for name in self.__slots__
            for value in [getattr(self, name)]
        }

    @property
    def is_clean(self) -> bool:
        return not any(count for name, count in self.figures().items() if name not in {"windows", "events"})


def committed(address: str, topic: str) -> list[Any]:
    """Every committed record of a topic, in the order of its partitions."""
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


def expected(settings: Settings, classifier: Classifier, sources: Sequence[str], folder: Path) -> Replayed:
    """What `clipline replay` makes of recordings."""
    setup = ScoringSetup(classifier, clip_spec(classifier.contract, settings.worker.stride_seconds))
    recordings, _ = find_recordings(
        sources, None, None, settings.segments.limits, lambda: KafkaTransport(settings.kafka)
    )
    found = replay(recordings, setup, classifier.engine, TraceStore(folder))
    assert found is not None
    return found


def judge(settings: Settings, cameras: Sequence[str], folder: Path) -> Verdict:
    """Compare what is on the topics with what the segments on the topic give."""
    verdict = Verdict()
    classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
    rules = tracker_rules(classifier.contract, settings.tracker)
    wanted: dict[WindowKey, dict[str, float]] = {}
    reports: dict[tuple[str, int], Event] = {}
    sources = [f"kafka://{settings.topics.segments}?camera={camera}" for camera in cameras]
    for timeline in expected(settings, classifier, sources, folder).timelines:
        for prediction in timeline.predictions():
            key = prediction.camera, prediction.epoch_us, prediction.window, prediction.model
            wanted[key] = dict(prediction.scores)
        for report in timeline.play(rules):
            reports[report.event.id, report.event.revision] = report.event
    _compare_windows(verdict, wanted, committed(settings.kafka, settings.topics.predictions))
    _compare_events(verdict, reports, committed(settings.kafka, settings.topics.events))
    verdict.redis_mismatch += redis_differences(KafkaTransport(settings.kafka), settings)
    verdict.frames_mismatch += _unaccounted(settings)
    return verdict


def _unaccounted(settings: Settings) -> list[str]:
    """Cameras whose frames have no fate: each frame that came in is classified, skipped or dead-lettered."""
    newest = {record.key: record for record in committed(settings.kafka, settings.topics.state)}
    found = []
    for record in newest.values():
        if record.value is None:
            continue
        where = f"{record.topic}[{record.partition}]@{record.offset}"
        progress = decode_progress(settings.worker.group, record.key, record.value, where)
        if isinstance(progress, CameraProgress) and progress.counts.pending:
            found.append(f"{progress.camera}: {progress.counts.summary()}")
    return found


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
    events = [Event.decode(r.key, r.headers, r.value, f"{r.topic}[{r.partition}]@{r.offset}") for r in records]
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
