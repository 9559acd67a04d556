"""`clipline redis rebuild`: what Redis shows is replaced by what the topics hold, while workers run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final

from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import Transport

from .projection import RedisProjection
from .store import RedisStore, source_name

_LOOK_SECONDS: Final = 0.25
#: So many offsets may hold no record.
_FEW: Final = 1000


def rebuild_redis(
    transport: Transport, settings: Settings, progress: Callable[[int, int], None], stop: Callable[[], bool]
) -> bool:
    """Replace what Redis shows by what the topics hold, together with the workers that run; False if `stop()` came.

    Args:
        transport: the broker.
        settings: name topics, group and Redis, and say how much is kept.
        progress: told how many offsets of the topics are dealt with, and of how many.
        stop: asked a few times a second.

    Raises:
        BrokerError, SinkError, RedisError, OSError: one of them is away.
    """
    topics = settings.topics
    ensure_topics(transport, topics)
    store = RedisStore(settings.redis, settings.redis_limits, topics.prefix)
    store.join_build(anew=True)
    existing = transport.existing([topics.predictions, topics.events])
    bounds = {p: b for name in existing for p, b in transport.offsets(name).items()}
    sources = {p: source_name(p[0], existing[p[0]].id, p[1]) for p in bounds}
    total, told = sum(end - first for first, end in bounds.values()), 0
    with contextlib.closing(store), RedisProjection(lambda: transport, settings) as projection:
        while not stop():
            shown = store.positions(projection.group, list(sources.values()))
            left = {p: (max(first, shown.get(sources[p], first)), end) for p, (first, end) in bounds.items()}
            missing = {p: ends for p, ends in left.items() if ends[0] < ends[1]}
            done = total - sum(end - at for at, end in missing.values())
            if done != told:
                progress(done, total)
                told = done
            # The last offsets of a partition may hold no record.
            if all(end - at < _FEW for at, end in missing.values()) and not any(True for _ in transport.read(missing)):
                return True
            time.sleep(_LOOK_SECONDS)
    return False
