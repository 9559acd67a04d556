"""Where partitions end for a consumer that reads what is committed.

kafka-python 3.0.12 tells the high watermark only: the end of all that is stored, that of open transactions included.
Such a consumer gets no further than the last stable offset, where the first open transaction begins, and would wait for
the watermark. Both come with each fetch.
"""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer, TopicPartition


class Ends:
    """The ends of a consumer's partitions, as of what it fetched last."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        """Watch a consumer. From now on its `highwater` is where reading ends."""
        fetcher = consumer._fetcher  # noqa: SLF001  the vendor gives no other way in
        self._parse = fetcher._parse_fetched_data  # noqa: SLF001
        fetcher._parse_fetched_data = self._note  # noqa: SLF001
        #: Behind all that is stored, by partition.
        self.stored: dict[TopicPartition, int] = {}

    def _note(self, fetched: Any) -> Any:
        found = fetched.partition_data
        if found.error_code == 0 and found.high_watermark >= 0:
            self.stored[fetched.topic_partition] = found.high_watermark
            if found.last_stable_offset is not None and found.last_stable_offset >= 0:
                found.high_watermark = min(found.high_watermark, found.last_stable_offset)
        return self._parse(fetched)
