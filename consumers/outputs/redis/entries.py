"""What of the topics' records is shown in Redis, and what of that is news to those who listen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenReader
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.records.prediction import Prediction
from consumers.settings import TopicSettings
from stream import Lookup, Partition, Polled, Record

from .plan import Rebuild
from .store import Entry

log = logging.getLogger(__name__)

#: So many records that cannot be shown are named, the others counted.
_NAMED: Final = 10


class Published:
    """Up to where each partition has been published by pub/sub: what the group has committed."""

    def __init__(self) -> None:
        self._told: dict[Partition, int] = {}
        #: Where partitions ended before this process began: what is older is not told as if it were new.
        self.old_ends: Mapping[Partition, int] = {}

    def note(
        self, polled: Polled, progress: Mapping[Partition, tuple[int, int]], firsts: Mapping[Partition, tuple[int, int]]
    ) -> None:
        """Partitions came.

        Args:
            polled: what the call brought.
            progress: where the group is.
            firsts: of partitions of events: the first offset that is kept, and the one after the last.
        """
        # The call that brings a partition may have read on from there.
        read = {(record.topic, record.partition): record.offset for record in reversed(polled.records)}
        for partition in polled.assigned:
            at = min(progress[partition][0], read.get(partition, progress[partition][0]))
            # A group that has committed nothing begins at the start, and was not there when that was new.
            is_new = partition in firsts and at <= firsts[partition][0]
            self._told[partition] = max(at, self.old_ends.get(partition, 0)) if is_new else at

    def is_news(self, record: Record) -> bool:
        """Whether a record has not been published."""
        return record.offset >= self._told.get((record.topic, record.partition), 0)

    def ahead(self, ends: Mapping[Partition, int]) -> dict[Partition, int]:
        """What of these offsets is beyond what was published."""
        return {partition: at for partition, at in ends.items() if at > self._told.get(partition, 0)}

    def commit(self, ends: Mapping[Partition, int]) -> None:
        """All before these offsets has been published."""
        self._told |= ends

    def drop(self, partition: Partition) -> None:
        """Others have it now."""
        self._told.pop(partition, None)


class Entries:
    """Makes entries of records, and counts those that cannot be shown."""

    def __init__(self, topics: TopicSettings, published: Published) -> None:
        self._events, self._published = topics.events, published
        self._forgotten, self._book = ForgottenReader(topics.forgotten), NOTHING_FORGOTTEN
        #: Records that were read and cannot be shown.
        self.left_out = 0

    def look(self, lookup: Lookup) -> None:
        """Hear what is forgotten by now."""
        self._book = self._forgotten.book(lookup)

    def of(self, record: Record, source: str, rebuild: Rebuild | None) -> Entry | None:
        """The entry of a record; None where it is not shown.

        Args:
            record: a prediction or an event.
            source: the name of its partition in Redis.
            rebuild: of that partition, where one is under way.
        """
        if rebuild is not None and rebuild.leaves_out(record):
            return None
        is_event = record.topic == self._events
        try:
            what = (Event if is_event else Prediction).decode(record.key, record.headers, record.value, record.where)
        except OtherRecordError:
            return None
        except RecordError as error:
            self.leave_out(str(error))
            return None
        if self._book.of(what.camera, what.start_us, what.end_us, what.id if is_event else None) is not None:
            return None  # what was deleted of it does not come back
        is_rebuilt = rebuild is not None and record.offset < rebuild.end
        return Entry(what, record, source, is_rebuilt, is_event and self._published.is_news(record))

    def leave_out(self, why: str) -> None:
        """Count a record that cannot be shown."""
        self.left_out += 1
        if self.left_out <= _NAMED:
            log.warning("not shown in Redis: %s", why)
