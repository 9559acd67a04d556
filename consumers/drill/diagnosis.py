"""Why a drill did not get any further."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from consumers.live.handover.progress import PartitionProgress
from consumers.live.handover.state_topic import StateTopic
from consumers.rules.applying import holding
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet
from consumers.rules.topic import RulesTopic
from consumers.running.overview import DEAD_SECONDS
from consumers.running.state_topics import read_states
from consumers.settings import Settings, SettingsError
from models import ModelError, find, shipped
from stream import Transport, drilled

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


def rules_of(transport: Transport, settings: Settings, course: Course) -> Mapping[str, Rule]:
    """The rules of the camera now, by label; none where they are not to be had, as where workers have another model.

    Raises:
        BrokerError: the broker does not answer.
    """
    camera = drilled(course.id)
    assert camera is not None
    named = settings.worker.model
    if named not in {"default", *shipped()} and not Path(named).is_file():
        return {}  # finding it may fetch it
    try:
        model = find(named)
        applied = holding(RulesTopic(transport, settings.topics, settings.worker.group).read(), time.time_ns() // 1000)
        tracker, tables = (settings.tracker, settings.rules) if applied is None else (applied.tracker, applied.tables)
        rules = RuleSet(model.contract, tracker, tables).of(camera)
    except (ModelError, SettingsError):
        return {}
    return rules if {prediction.model for prediction, _ in course.predictions} == {model.id} else {}


def no_event(course: Course, rules: Mapping[str, Rule]) -> str:
    """Why what was classified raised no event; `rules` are those of the camera, none where they are not known."""
    best = sorted(course.best_scores().items(), key=lambda each: -each[1])
    scores = ", ".join(f"{label} {score:.2f}" for label, score in best)
    reasons = "".join(f"; {reason}" for reason in _reached(course, rules))
    return (
        f"the clip raised no event in {len(course.predictions)} windows (highest scores: {scores}){reasons}: see the "
        "rules of the camera and their hours (`clipline rules show`), or give a clip that alarms (--clip)"
    )


def _reached(course: Course, rules: Mapping[str, Rule]) -> Iterator[str]:
    """Of labels whose scores reached what their rules want: why that was no event."""
    best = course.best_scores()
    for label, rule in rules.items():
        if label not in best or best[label] < rule.start:
            continue
        reached = f"{label} reached {rule.start:.2f}, from which its rule raises events, but"
        if not any(rule.holds_at(prediction.start_us) for prediction, _ in course.predictions):
            yield f"{reached} not within the hours of the rule"
        else:
            mean = f", as the mean of {rule.smoothing} windows" if rule.smoothing > 1 else ""
            yield f"{reached} did not last for its {rule.min_seconds:g} s (min_seconds){mean}"


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
        entry = course.most_tried(name)
        assert entry is not None
        why = "" if entry.why is None else f": {entry.why} ({entry.detail})"
        words.append(f"{name} is {entry.state} after {entry.attempt} tries{why}")
    return "; ".join(words)
