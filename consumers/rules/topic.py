"""The topic of rules: what was applied, and a worker that hears of it within seconds.

    applied                 12:00:00   12:00:04          12:00:20
    a worker has read it               ▲ at the latest
    holds for windows                                    from here on (event time)

A version holds from an event time on that lies `LEAD_SECONDS` behind the moment at which it is applied. No camera has
filmed what is to come, so whoever has read the topic within that time, as clocks differ, knows the rules of every
window that it classifies. A worker that could not read it for `STALE_SECONDS` classifies nothing until it can.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from consumers.records.fields import RecordError
from consumers.records.prediction import rfc3339
from consumers.settings import SettingsError, TopicSettings
from models import Contract
from stream import Consumer, Partition, Record, Transport

from .book import RuleBook, Rules
from .rule_set import RuleSet
from .version import EARLIEST_US, RulesVersion

log = logging.getLogger(__name__)

#: From when a version is applied until it holds, unless it is said otherwise.
LEAD_SECONDS: Final = 20.0
#: Of these, storing it may take so long. The rest is for workers that cannot read (`STALE_SECONDS`), and for clocks.
SPARE_SECONDS: Final = 4.0
#: After so long without an answer nothing more is classified.
STALE_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 2.0
#: Versions of a group that are kept.
MAX_VERSIONS: Final = 1000


class RulesTopic:
    """All versions of a group's rules."""

    def __init__(self, transport: Transport, topics: TopicSettings, group: str) -> None:
        self._transport, self._group = transport, group
        self.name = topics.rules
        self._partition: Partition = self.name, 0

    def read(self) -> list[RulesVersion]:
        """Those that are on the topic now, by the event time from which they hold; none where there is no topic.

        Raises:
            BrokerError: the broker does not answer.
        """
        if self.name not in self._transport.existing([self.name]):
            return []
        return self._read()[0]

    def apply(self, version: RulesVersion) -> list[RulesVersion]:
        """Store a version, in place of one that holds from the same time; return those that are kept no longer.

        Raises:
            BrokerError: the broker does not answer, or there is no topic.
        """
        producer = self._transport.producer()
        try:
            producer.send(self.name, *version.encode(), 0)
            producer.flush()
            kept = {each.since_us: each for each in self.read()} | {version.since_us: version}
            gone = [kept[since_us] for since_us in sorted(kept)[:-MAX_VERSIONS]]
            for each in gone:
                producer.send(self.name, each.key, [], None, 0)
            producer.flush()
        finally:
            producer.close()
        return gone

    def follow(self) -> tuple[list[RulesVersion], Consumer]:
        """Those that are on the topic now, and what reads on behind them.

        Raises:
            BrokerError: the broker does not answer, or there is no topic.
        """
        found, end = self._read()
        return found, self._transport.follow({self._partition: end})

    def decoded(self, records: Iterable[Record]) -> dict[int, RulesVersion]:
        """The newest of each time; one that cannot be used is said and left out."""
        found: dict[int, RulesVersion] = {}
        for record in records:
            try:
                version = RulesVersion.decode(self._group, record.key, record.value, record.where)
            except RecordError as error:
                log.warning("rules that cannot be used are left out: %s", error)
                continue
            if version is not None:
                found[version.since_us] = version
        return found

    def _read(self) -> tuple[list[RulesVersion], int]:
        first, end = self._transport.offsets(self.name).get(self._partition, (0, 0))
        newest = {record.key: record for record in self._transport.read({self._partition: (first, end)})}
        found = self.decoded(newest.values())
        return [found[since_us] for since_us in sorted(found)], end


class RulesWatch:
    """Keeps a worker's rules as the topic has them. For one thread."""

    def __init__(
        self,
        topic: RulesTopic,
        contract: Contract,
        own: str,
        book: RuleBook,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the first `look` reads the topic.

        Args:
            topic: of the worker's group.
            contract: of its model.
            own: the version that its settings are.
            book: is given the versions.
            clock: seconds.
        """
        self._topic, self._contract, self._own, self._book, self._clock = topic, contract, own, book, clock
        self._consumer: Consumer | None = None
        self._versions: dict[int, RulesVersion] = {}
        self._looked_at = self._answered_at = clock()
        #: Versions that this worker cannot use, by name.
        self.unusable: dict[str, str] = {}

    def look(self) -> bool:
        """Take in what was applied, if it is time to look; whether what is known is recent enough to go by.

        Raises:
            BrokerError: at the first look, the broker does not answer; later, the topic was made anew.
        """
        now = self._clock()
        if self._consumer is None:
            found, self._consumer = self._topic.follow()
            self._answered_at = now
            self._take({version.since_us: version for version in found}, is_first=True)
            self._looked_at = now
        elif now - self._looked_at >= _LOOK_SECONDS:
            if self._read_on(self._consumer):
                self._answered_at = now
            self._looked_at = now
        return now - self._answered_at < STALE_SECONDS

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _read_on(self, consumer: Consumer) -> bool:
        """Read what is there now; False where the broker does not answer."""
        # The embedded broker tells of the last records only who fetches them: those are here at the next look.
        self._take_records(consumer.poll(0).records)
        while (progress := consumer.progress()) is not None:
            if all(at >= end for at, end in progress.values()):
                return True
            if not (records := consumer.poll(_LOOK_SECONDS).records):
                return False
            self._take_records(records)
        return False

    def _take_records(self, records: Sequence[Record]) -> None:
        if found := self._topic.decoded(records):
            self._take(found)

    def _take(self, versions: dict[int, RulesVersion], *, is_first: bool = False) -> None:
        self._versions |= versions
        usable, unusable = usable_rules(self._contract, self._versions.values())
        for name in unusable.keys() - self.unusable.keys():
            log.warning("rules %s cannot be used with this model and are left out: %s", name, unusable[name])
        self.unusable = unusable
        self._book.set(usable)
        times = sorted(versions)
        for since_us in times[-1:] if is_first else times:
            log.info("rules: version %s holds from %s on", versions[since_us].version, since_words(since_us))
        if is_first and times and versions[times[-1]].version != self._own:
            log.warning(
                "rules: those of the settings here (version %s) are not those that were applied last; `clipline rules "
                "apply` applies them",
                self._own,
            )


def usable_rules(contract: Contract, versions: Iterable[RulesVersion]) -> tuple[dict[int, Rules], dict[str, str]]:
    """Versions for a model, by the event time from which they hold; and by name, why others cannot be used with it."""
    usable: dict[int, Rules] = {}
    unusable: dict[str, str] = {}
    for version in versions:
        try:
            usable[version.since_us] = RuleSet(contract, version.tracker, version.tables)
        except SettingsError as error:
            unusable[version.version] = str(error)
    return usable, unusable


def since_words(since_us: int) -> str:
    """From when a version holds, in words."""
    return "the beginning" if since_us == EARLIEST_US else rfc3339(since_us)
