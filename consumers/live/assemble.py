"""Putting a worker together: what a model's contract and the settings mean for clips and events."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from consumers.outputs.outages import watch_kafka, watching
from consumers.outputs.redis_connection import check_redis_url
from consumers.outputs.redis_projection import RedisProjection
from consumers.settings import Settings, SettingsError, TrackerSettings
from models import Classifier, Contract, choose_engine, find, normal_label
from stream import ClipSpec, KafkaTransport

from .snapshot import WorkerSnapshot
from .tracker import Rule
from .worker import Worker


def clip_spec(contract: Contract, stride_seconds: float | None) -> ClipSpec:
    """What a model's contract asks of the clipper.

    Raises:
        SettingsError: the stride does not fit the model's frame spacing.
    """
    spacing_us = round(contract.spacing_seconds * 1e6)
    if stride_seconds is None:
        stride_us = max(1, contract.frames // 2) * spacing_us
    else:
        stride_us = round(stride_seconds * 1e6)
    try:
        shape = contract.height, contract.width
        return ClipSpec(contract.frames, spacing_us, stride_us, *shape, contract.fit, contract.context)
    except ValueError as error:
        raise SettingsError(f"worker.stride_seconds: {error}") from None


def tracker_rules(contract: Contract, settings: TrackerSettings) -> dict[str, Rule]:
    """The rule of each label that makes events: the model's thresholds, overridden by the settings.

    Raises:
        SettingsError: the settings name a label that the model does not have, or thresholds that contradict.
    """
    rules = {}
    given = {normal_label(label): override for label, override in settings.labels.items()}
    for label, override in given.items():
        if label not in contract.labels:
            raise SettingsError(f"tracker.labels.{label}: the model knows {', '.join(contract.labels)}")
        if label not in contract.thresholds and override.start is None:
            raise SettingsError(f"tracker.labels.{label}: the model has no threshold for it, so 'start' is needed")
    for label in contract.labels:
        own = given.get(label)
        model = contract.thresholds.get(label)
        start = own.start if own and own.start is not None else model.start if model else None
        if start is None:
            continue
        end = own.end if own and own.end is not None else min(start, model.end) if model else start / 2
        try:
            rules[label] = Rule(
                start=start,
                end=end,
                min_seconds=_either(own.min_seconds if own else None, settings.min_seconds),
                cooldown_seconds=_either(own.cooldown_seconds if own else None, settings.cooldown_seconds),
                update_seconds=settings.update_seconds,
                smoothing=own.smoothing if own and own.smoothing is not None else settings.smoothing,
            )
        except ValueError as error:
            raise SettingsError(f"tracker.labels.{label}: {error}") from None
    return rules


def _either(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker that is ready to run, and what it serves."""

    worker: Worker
    classifier: Classifier
    #: Shows in Redis what workers publish.
    projection: RedisProjection
    #: Tells whether the broker does not answer.
    awaited: Callable[[], tuple[str, ...]]

    def leave(self) -> None:
        """Leave the groups at once, by another thread: the worker does not end in time."""
        self.projection.leave()
        self.worker.leave()

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment, what is waited for, and how far Redis is behind. May be asked by other threads."""
        shown = self.projection.state
        awaited = (*self.awaited(), *([shown.awaited] if shown.awaited else []))
        return replace(self.worker.snapshot(), awaited=awaited, redis_behind=shown.behind)


@contextlib.contextmanager
def open_worker(settings: Settings) -> Iterator[Serving]:
    """Connect to the broker, load the model, and yield the worker. Redis is written meanwhile, or waited for.

    Raises:
        BrokerError: the broker does not answer.
        SinkError: the address of Redis is not understood.
        ModelError: the checkpoint or engine cannot be used.
        SettingsError: settings and model do not fit.
    """
    # What is quick to ask comes first: is there such a model, can it run here, does the broker answer?
    choose_engine(settings.worker.engine, find(settings.worker.model))
    check_redis_url(settings.redis)
    transport = KafkaTransport(settings.broker)
    classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
    rules = tracker_rules(classifier.contract, settings.tracker)
    spec = clip_spec(classifier.contract, settings.worker.stride_seconds)
    worker = Worker(transport, classifier, spec, rules, settings)
    with (
        watching(watch_kafka(settings.broker)) as awaited,
        RedisProjection(lambda: KafkaTransport(settings.broker, at_once=True), settings) as projection,
    ):
        yield Serving(worker, classifier, projection, awaited)
