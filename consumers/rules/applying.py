"""Having rules hold: a version on the topic of rules, from an event time on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from consumers.records.prediction import rfc3339
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_rules
from models import Contract
from stream import Transport

from .rule_set import RuleSet, check_cameras, version_of
from .topic import LEAD_SECONDS, SPARE_SECONDS, RulesTopic, since_words
from .version import RulesVersion


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of rules that were to hold."""

    version: RulesVersion
    #: Whether they would have held anyway, so that nothing was sent.
    held: bool
    #: Versions that were planned for later, and take over then.
    later: tuple[RulesVersion, ...] = ()
    #: The oldest, which are kept no longer.
    dropped: tuple[RulesVersion, ...] = ()
    #: Whether the broker took so long that workers may have passed that time before they heard of them.
    late: bool = False


def apply_settings(
    transport: Transport, settings: Settings, contract: Contract, since_us: int | None, clock: Callable[[], int]
) -> Applied:
    """Have the rules of the settings hold for the workers of their group.

    Args:
        transport: the broker.
        settings: [tracker], [[rules]], the group, and cameras that are known.
        contract: of the group's model.
        since_us: the event time from which they hold; `LEAD_SECONDS` from now, if None.
        clock: wall clock, microseconds since the Unix epoch.

    Raises:
        SettingsError: they cannot be used with the model, or contradict one another.
        BrokerError: the broker does not answer.
    """
    check_cameras(RuleSet(contract, settings.tracker, settings.rules), settings.cameras)
    ensure_topic_of_rules(transport, settings.topics)
    topic = RulesTopic(transport, settings.topics, settings.worker.group)
    before = topic.read()
    now_us = clock()  # a broker that was slow so far takes nothing of the workers' time
    since = now_us + round(LEAD_SECONDS * 1e6) if since_us is None else since_us
    version = RulesVersion(settings.worker.group, since, now_us, settings.tracker, settings.rules)
    later = tuple(each for each in before if each.since_us > since)
    holds = holding(before, since)
    if holds is not None and holds.version == version.version:
        return Applied(holds, held=True, later=later)
    dropped = tuple(topic.apply(version))
    late = since_us is None and clock() - now_us > round(SPARE_SECONDS * 1e6)
    return Applied(version, held=False, later=later, dropped=dropped, late=late)


def other_rules(transport: Transport, settings: Settings) -> str | None:
    """That others than the rules of the settings were applied last, in words; None where that is not so.

    Raises:
        BrokerError: the broker does not answer.
    """
    applied = RulesTopic(transport, settings.topics, settings.worker.group).read()
    if not applied or applied[-1].version == version_of(settings.tracker, settings.rules):
        return None
    newest = applied[-1]
    return (
        f"version {newest.version} holds from {since_words(newest.since_us)} on, applied at "
        f"{rfc3339(newest.applied_us)}; those of the settings are others: `clipline rules apply` applies them"
    )


def holding(versions: Sequence[RulesVersion], time_us: int) -> RulesVersion | None:
    """The version that holds at an event time, of versions by their time; None before the first."""
    return next((each for each in reversed(versions) if each.since_us <= time_us), None)
