"""The rules that were applied for workers: those of the time of footage, or those of now for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from consumers.rules.applying import holding
from consumers.rules.book import Rules
from consumers.rules.topic import RulesTopic, since_words, usable_rules
from consumers.rules.version import EARLIEST_US
from consumers.settings import Settings
from models import Classifier
from stream import Transport


def applied_rules(
    transport: Transport,
    settings: Settings,
    classifier: Classifier,
    which: Literal["now", "then"],
    now_us: int,
    warn: Callable[[str], None],
) -> dict[int, Rules]:
    """The versions that were applied for the group's workers, by the event time from which they are to hold.

    Args:
        transport: the broker.
        settings: names the group, and holds where nothing was applied.
        classifier: the model that has to know the rules' labels.
        which: `then`: each version for its time. `now`: the one that holds at `now_us`, for all footage.
        now_us: wall clock in microseconds.
        warn: told what cannot be had.

    Raises:
        BrokerError: the broker does not answer.
    """
    versions = RulesTopic(transport, settings.topics, settings.worker.group).read()
    if which == "now":
        found = holding(versions, now_us)
        versions = [] if found is None else [replace(found, since_us=EARLIEST_US)]
    usable, unusable = usable_rules(classifier.contract, versions)
    for name, why in unusable.items():
        warn(f"rules {name} cannot be used with {classifier.id} and are left out: {why}")
    group, first = settings.worker.group, min(usable, default=None)
    if first is None:
        warn(f"--rules {which}: none were applied in group {group}; those of the settings hold")
    elif first > EARLIEST_US:
        warn(f"--rules then: before {since_words(first)} none were applied; those of the settings hold")
    return usable
