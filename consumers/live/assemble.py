"""Putting a worker together: what a model's contract and the settings mean for clips and events."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from consumers.outputs.outages import watch_kafka, watching
from consumers.outputs.redis.connection import check_redis_url
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.states.away import Away
from consumers.rules.book import RuleBook
from consumers.rules.rule_set import RuleSet, check_cameras
from consumers.rules.topic import RulesTopic, RulesWatch
from consumers.settings import Settings, SettingsError
from models import Classifier, Contract, choose_engine, find
from stream import ClipSpec, Gpu, GpuError, KafkaTransport, check_gpu, open_gpu

from .figures.snapshot import WorkerSnapshot
from .worker import Worker

_log: Final = logging.getLogger(__name__)


#: What to do where the settings ask for a GPU that cannot be had.
WITHOUT_GPU: Final = "set worker.decoder to auto or cpu"


def check_decoder(decoder: str) -> None:
    """Refuse a GPU that is asked for and not there, before anything is waited for. Takes seconds, where one is asked.

    Raises:
        GpuError: `decoder` asks for the GPU, and something for it is missing.
    """
    if decoder != "cuda":
        return
    try:
        check_gpu()
    except GpuError as error:
        raise _refused(error) from None


def _refused(error: GpuError) -> GpuError:
    return GpuError(f"worker.decoder is cuda: {error}; {WITHOUT_GPU}")


def open_decoding(decoder: str, engine: str) -> Gpu | None:
    """What decodes beside an engine that was opened; None for the processor.

    "auto" is the GPU on which torch computes, if that decodes as the processor does; else it is said why not.

    Raises:
        GpuError: `decoder` asks for the GPU, and it cannot be had.
    """
    if decoder == "cpu" or (decoder == "auto" and engine != "torch-cuda"):
        return None
    try:
        return open_gpu()
    except GpuError as error:
        if decoder != "auto":
            raise _refused(error) from None
        _log.warning("decoding on the processor: %s", error)
        return None


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


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker that is ready to run, and what it serves."""

    worker: Worker
    classifier: Classifier
    #: Shows in Redis what workers publish.
    projection: RedisProjection
    #: Tells whether the broker does not answer.
    awaited: Callable[[], tuple[Away, ...]]
    #: What decodes, if not the processor.
    gpu: Gpu | None = None

    def leave(self) -> None:
        """Leave the groups at once, by another thread: the worker does not end in time."""
        self.projection.leave()
        self.worker.leave()

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment, what is waited for, and how far Redis is behind. May be asked by other threads."""
        shown = self.projection.state
        awaited = (*self.awaited(), *([shown.away] if shown.away else []))
        return replace(self.worker.snapshot(), awaited=awaited, redis_behind=shown.behind)


@contextlib.contextmanager
def open_worker(settings: Settings) -> Iterator[Serving]:
    """Connect to the broker, load the model, and yield the worker. Redis is written meanwhile, or waited for.

    Raises:
        BrokerError: the broker does not answer.
        SinkError: the address of Redis is not understood.
        ModelError: the checkpoint or engine cannot be used.
        SettingsError: settings and model do not fit.
        GpuError: `worker.decoder` asks for a GPU, and it cannot be had.
    """
    # What is quick to ask comes first: is there such a model, can it run and decode here, does the broker answer?
    choose_engine(settings.worker.engine, find(settings.worker.model))
    check_redis_url(settings.redis)
    check_decoder(settings.worker.decoder)
    transport = KafkaTransport(settings.broker)
    classifier = Classifier.load(settings.worker.model, engine=settings.worker.engine)
    gpu = open_decoding(settings.worker.decoder, classifier.engine)
    rules = RuleSet(classifier.contract, settings.tracker, settings.rules)
    check_cameras(rules, settings.cameras)
    spec = clip_spec(classifier.contract, settings.worker.stride_seconds)
    book = RuleBook(rules)
    watch = RulesWatch(
        RulesTopic(transport, settings.topics, settings.worker.group), classifier.contract, rules.version, book
    )
    worker = Worker(transport, classifier, spec, book, settings, watch, gpu)
    with (
        watching(watch_kafka(settings.broker)) as awaited,
        RedisProjection(lambda: KafkaTransport(settings.broker, at_once=True), settings) as projection,
    ):
        yield Serving(worker, classifier, projection, awaited, gpu)
