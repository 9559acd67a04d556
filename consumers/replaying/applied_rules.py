"""The rules of the time of footage, as they were applied."""

from __future__ import annotations

from collections.abc import Callable

from consumers.rules.book import Rules
from consumers.rules.topic import RulesTopic, since_words, usable_rules
from consumers.rules.version import EARLIEST_US
from consumers.settings import Settings
from models import Classifier
from stream import Transport


def applied_rules(
    transport: Transport, settings: Settings, classifier: Classifier, warn: Callable[[str], None]
) -> dict[int, Rules]:
    """The versions that were applied for the group's workers, by the event time from which they hold.

    Raises:
        BrokerError: the broker does not answer.
    """
    versions = RulesTopic(transport, settings.topics, settings.worker.group).read()
    usable, unusable = usable_rules(classifier.contract, versions)
    for name, why in unusable.items():
        warn(f"rules {name} cannot be used with {classifier.id} and are left out: {why}")
    group, first = settings.worker.group, min(usable, default=None)
    if first is None:
        warn(f"--rules then: none were applied in group {group}; those of the settings hold")
    elif first > EARLIEST_US:
        warn(f"--rules then: before {since_words(first)} none were applied; those of the settings hold")
    return usable
