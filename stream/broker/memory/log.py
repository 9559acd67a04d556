"""A partition of the in-memory twin, with the transactions that send to it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import Final

from stream.broker.records import Partition, Record
from stream.headers import Headers


class Transaction:
    """Records of several partitions that are stored all or not at all."""

    def __init__(self) -> None:
        self.began_at: Final = time.monotonic()
        self.is_committed = False
        #: Those that it has sent to.
        self.logs: set[Log] = set()

    def end(self, *, is_committed: bool) -> None:
        self.is_committed = is_committed
        for log in self.logs:
            log.end(self)
        self.logs.clear()


class Log:
    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        #: A record, or the end of a transaction (None), with the transaction that it belongs to.
        self._entries: list[tuple[Record | None, Transaction | None]] = []
        #: Open transactions, with the offset of their first record.
        self._open: dict[Transaction, int] = {}

    @property
    def high_watermark(self) -> int:
        """The offset after the last that is stored."""
        return len(self._entries)

    @property
    def end_offset(self) -> int:
        """The offset after the last that can be read: where the first open transaction begins."""
        return min(self._open.values(), default=len(self._entries))

    def append(
        self, key: bytes | None, headers: Headers, value: bytes | None, transaction: Transaction | None = None
    ) -> int:
        """Store a record; return its offset."""
        offset = len(self._entries)
        record = Record(*self._partition, offset, key, list(headers), value, time.time_ns() // 1000)
        self._entries.append((record, transaction))
        if transaction is not None:
            transaction.logs.add(self)
            self._open.setdefault(transaction, offset)
        return offset

    def end(self, transaction: Transaction) -> None:
        del self._open[transaction]
        self._entries.append((None, transaction))

    def read(self, first: int, end: int, most: int | None = None) -> tuple[Sequence[Record], int]:
        """Committed records with `first <= offset < end`, `most` of them, and the offset to go on at."""
        records: list[Record] = []
        at = first
        for record, transaction in self._entries[first : min(end, self.end_offset)]:
            if most is not None and len(records) == most:
                break
            at += 1
            if record is not None and (transaction is None or transaction.is_committed):
                records.append(record)
        return records, at


def partition_of(key: bytes | None, count: int) -> int:
    return zlib.crc32(key or b"") % count
