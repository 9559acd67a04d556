"""Why a drill did not get any further."""

from __future__ import annotations

import time

from consumers.live.handover.progress import PartitionProgress
from consumers.live.handover.state_topic import StateTopic
from consumers.running.overview import DEAD_SECONDS
from consumers.running.state_topics import read_states
from consumers.settings import Settings
from stream import Transport

from .course import Course


def no_prediction(transport: Transport, settings: Settings, course: Course, partition: int, end_before: int) -> str:
    """Why no window of the clip was classified.

    Args:
        transport: the broker.
        settings: topics and the group of the workers.
        course: of the drill.
        partition: on which the clip lies.
        end_before: the partition's end before the drill.

    Raises:
        BrokerError: the broker does not answer.
    """
    if course.letters:
        return f"the clip became a dead letter: {course.letters[0]} (are the workers of an older version?)"
    group, now_us = settings.worker.group, time.time_ns() // 1000
    workers = [
        worker
        for worker in read_states(transport, settings.topics).workers.values()
        if worker.group == group and worker.status == "working" and now_us - worker.time_us < DEAD_SECONDS * 1e6
    ]
    where = f"{settings.topics.segments}[{partition}]"
    if not workers:
        return f"no worker takes {where}: none of group {group} says that it works (`clipline work`, `clipline run`)"
    known, _ = StateTopic(transport, settings.topics, group).read([(settings.topics.segments, partition)])
    taken = max((each.taken for each in known if isinstance(each, PartitionProgress)), default=0)
    names = ", ".join(worker.name for worker in workers)
    if taken <= end_before:
        return f"no worker of group {group} has come to the clip on {where}: at work are {names}"
    return f"workers took the clip ({names}) and made no window of it: is it shorter than a window of their model?"


def no_event(course: Course) -> str:
    """Why what was classified raised no event."""
    best = sorted(course.best_scores().items(), key=lambda each: -each[1])
    scores = ", ".join(f"{label} {score:.2f}" for label, score in best)
    return (
        f"the clip raised no event in {len(course.predictions)} windows (highest scores: {scores}): see the rules of "
        "the camera and their hours (`clipline rules show`), or give a clip that alarms (--clip)"
    )


def not_told(course: Course) -> str:
    """Why channels that are to be told were not."""
    silent = [name for name in course.awaited() if course.newest(name) is None]
    if silent:
        return (
            f"nothing in the ledger for {', '.join(silent)}: no notifier is at work (`clipline notify`, "
            "`clipline run`), or its settings are others"
        )
    words = []
    for name in course.awaited():
        entry = course.newest(name)
        assert entry is not None
        why = "" if entry.why is None else f": {entry.why} ({entry.detail})"
        words.append(f"{name} is {entry.state} after {entry.attempt} tries{why}")
    return "; ".join(words)
