"""Batches of records that kafka-python cannot read: each becomes a record that says so, and reading goes on behind it.

    batch of offsets     5 6 7    8 9        10 11 12
                         good     unknown    11 is damaged
                                  codec
    what is returned     5 6 7    9 (!)      10 11 (!) 12       (!) `Unreadable`, with the bytes as they are stored

kafka-python 3.0.12 raises from `poll` instead, and again from each further one, at the same offset: one such batch
would end every member of a group, one after the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

import lz4.frame
import zstandard
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint

#: A batch that is larger when it is uncompressed is not read: a few megabytes can hold gigabytes of zeros.
MAX_UNCOMPRESSED_BYTES: Final = 64 * 1024 * 1024


class Unreadable(bytes):
    """Stored bytes in place of a record's value, where the record cannot be read."""

    reason: str

    @classmethod
    def of(cls, stored: bytes | bytearray, reason: str) -> Unreadable:
        found = cls(stored)
        found.reason = reason
        return found


def keep_reading(consumer: KafkaConsumer) -> None:
    """Make a consumer return `Unreadable` values where it would raise."""
    consumer._fetcher.PartitionRecords = _Records  # noqa: SLF001  the vendor gives no other way in


def fetch_what_was_resumed(consumer: KafkaConsumer) -> None:
    """Give a partition that was paused amid what had been fetched of it back its turn. To be called before each poll.

    kafka-python 3.0.12 sets such records aside, and takes them up again only while it has nothing else in hand; what it
    has in hand is a fetch without records as long as other partitions are quiet, so that it would never be.
    """
    fetcher = consumer._fetcher  # noqa: SLF001  as above
    if not fetcher._next_partition_records:  # noqa: SLF001  drained: false, but not None
        fetcher._next_partition_records = None  # noqa: SLF001


class _Records(Fetcher.PartitionRecords):  # type: ignore[misc]  # the vendor's base class is untyped
    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Any:
        return super()._unpack_records(tp, _Batches(records), *deserializers)


class _Batches:
    """A fetched piece of a partition, for the one method that the vendor calls on it."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return _Batch(batch) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """A batch that yields what can be read of it. All else about it is the vendor's."""

    def __init__(self, batch: DefaultRecordBatch) -> None:
        self._batch = batch
        self._is_whole = batch.validate_crc()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    @property
    def is_control_batch(self) -> bool:
        return self._is_whole and bool(self._batch.is_control_batch)

    def validate_crc(self) -> bool:
        return True

    def __next__(self) -> DefaultRecord:
        """The vendor asks what a control batch says: whether a transaction was aborted."""
        return next(self._batch)

    def __iter__(self) -> Iterator[DefaultRecord]:
        batch = self._batch
        if not self._is_whole:
            yield self._rest(batch.base_offset, "its checksum does not match")
            return
        try:
            _uncompress(batch)
        except Exception as error:  # noqa: BLE001  each codec has errors of its own
            yield self._rest(batch.base_offset, f"cannot be uncompressed: {type(error).__name__}: {error}")
            return
        next_offset = batch.base_offset
        for _ in range(batch.records_count):
            begin = batch._pos  # noqa: SLF001
            try:
                record = batch._read_msg()  # noqa: SLF001
                if not next_offset <= record.offset <= batch.last_offset:
                    raise ValueError(f"offset {record.offset} in a batch up to {batch.last_offset}")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001  as above
                reason = f"{type(error).__name__}: {error}"
                found = self._damaged(begin, next_offset, reason)
                if found is None:
                    yield self._rest(next_offset, f"damaged: {reason}")
                    return
                record, batch._pos = found  # noqa: SLF001
            next_offset = record.offset + 1
            yield record

    def _damaged(self, begin: int, next_offset: int, reason: str) -> tuple[DefaultRecord, int] | None:
        """The record that begins at a position and cannot be read, and where the next one begins."""
        batch, stored = self._batch, self._batch._buffer  # noqa: SLF001
        try:
            size, at = decode_varint(stored, begin)
            end = at + size
            for _ in range(2):  # attributes, time
                _, at = decode_varint(stored, at)
            delta, at = decode_varint(stored, at)
        except (IndexError, ValueError):
            return None
        offset = batch.base_offset + delta
        if not (at <= end <= len(stored) and next_offset <= offset <= batch.last_offset):
            return None
        return self._stand_in(offset, stored[begin:end], f"the record cannot be read: {reason}"), end

    def _rest(self, first: int, reason: str) -> DefaultRecord:
        """Stands for all of the batch from an offset on. It has the last offset: reading goes on behind it."""
        batch = self._batch
        named = f"offset {first}" if first == batch.last_offset else f"offsets {first} to {batch.last_offset}"
        return self._stand_in(batch.last_offset, batch._buffer, f"{named}: the batch is lost, {reason}")  # noqa: SLF001

    def _stand_in(self, offset: int, stored: bytes | bytearray, reason: str) -> DefaultRecord:
        batch = self._batch
        value = Unreadable.of(stored, reason)
        return DefaultRecord(len(stored), offset, batch.first_timestamp, batch.timestamp_type, None, value, [])


def _uncompress(batch: DefaultRecordBatch) -> None:
    """Uncompress a batch in its place.

    Raises:
        ValueError: it is too large.
        Exception: of the codec, where the bytes are not what they should be.
    """
    stored = memoryview(batch._buffer)[batch._pos :]  # noqa: SLF001
    match batch.compression_type:
        case DefaultRecordBatch.CODEC_GZIP:
            plain = zlib.decompressobj(wbits=31).decompress(stored, MAX_UNCOMPRESSED_BYTES + 1)
        case DefaultRecordBatch.CODEC_LZ4:
            plain = lz4.frame.LZ4FrameDecompressor().decompress(stored, MAX_UNCOMPRESSED_BYTES + 1)
        case DefaultRecordBatch.CODEC_ZSTD:
            with zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True) as reader:
                plain = reader.read(MAX_UNCOMPRESSED_BYTES + 1)
        case _:  # Snappy makes no more than some twenty bytes of one.
            batch._maybe_uncompress()  # noqa: SLF001
            return
    if len(plain) > MAX_UNCOMPRESSED_BYTES:
        raise ValueError(f"more than {MAX_UNCOMPRESSED_BYTES} bytes")
    batch._buffer, batch._pos, batch._decompressed = bytearray(plain), 0, True  # noqa: SLF001
