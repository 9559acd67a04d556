"""Record batches made anew: many small ones made one, or one without some of its records. Offsets stay as they were.

Format: https://kafka.apache.org/documentation/#recordbatch (version 2). What it is read and written with is
kafka-python's; the offset of the first record lies before what its checksum covers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.util import calc_crc32c

_MAGIC: Final = 2
_OFFSET_BYTES: Final = 8
#: Of attributes: that the time is that of the broker, a transaction, a mark of a broker.
_OTHER_THAN_PLAIN: Final = 0b111000
#: Where the checksum, what it covers, and the distance to the last offset lie in a batch.
_CRC: Final = 17
_COVERED: Final = 21
_LAST_DELTA: Final = 23
#: Key, headers, value, and when it was sent, in milliseconds since the Unix epoch.
Condition = Callable[[bytes | None, Sequence[tuple[str, bytes]], bytes | None, int], bool]


def joined(batches: Sequence[tuple[int, bytes]]) -> bytes | None:
    """One batch with the records of several.

    Args:
        batches: of one partition, ascending: the offset of the first record, and the batch.

    Returns:
        None where one of them is no plain batch, or is damaged: they are left as they are.
    """
    base = batches[0][0]
    builder = _builder()
    try:
        for first, data in batches:
            batch = DefaultRecordBatch(data)
            if batch.magic != _MAGIC or batch.attributes & _OTHER_THAN_PLAIN or not batch.validate_crc():
                return None
            for record in batch:
                offset = first + record.offset - batch.base_offset
                builder.append(offset - base, record.timestamp, record.key, record.value, record.headers)
    except Exception:  # noqa: BLE001  whatever is wrong with a batch, it is kept as it came
        return None
    made = bytes(builder.build())
    # As the first one has it: some brokers store the offset there, some nothing.
    whole = batches[0][1][:_OFFSET_BYTES] + made[_OFFSET_BYTES:]
    # Of the last one, records at the end may have been taken out.
    return _ending(whole, batches[-1][0] + last_delta(batches[-1][1]) - base)


def without(data: bytes, goes: Condition) -> tuple[bytes | None, int]:
    """A batch without some of its records, as compaction leaves one: it ends where it ended.

    Args:
        data: the batch.
        goes: whether a record is to go.

    Returns:
        The batch, None where nothing of it is left, and how many went. Where none goes, and of one that is no plain
        batch, or damaged: that batch, and 0.
    """
    kept, gone = [], 0
    try:
        batch = DefaultRecordBatch(data)
        if batch.magic != _MAGIC or batch.attributes & _OTHER_THAN_PLAIN or not batch.validate_crc():
            return data, 0
        for record in batch:
            if goes(record.key, record.headers, record.value, record.timestamp):
                gone += 1
            else:
                kept.append(record)
        if not gone:
            return data, 0
        if not kept:
            return None, gone
        builder = _builder()
        for record in kept:
            delta = record.offset - batch.base_offset
            builder.append(delta, record.timestamp, record.key, record.value, record.headers)
    except Exception:  # noqa: BLE001  as above
        return data, 0
    made = data[:_OFFSET_BYTES] + bytes(builder.build())[_OFFSET_BYTES:]
    return _ending(made, batch.last_offset - batch.base_offset), gone


def parted(data: bytes, first: int) -> tuple[bytes, int, bytes] | None:
    """A batch without its last record, how many offsets behind its first one that lies, and that record's own batch.

    Args:
        data: the batch.
        first: the offset of its first record.

    Returns:
        None where it holds one record only, is no plain batch, or is damaged.
    """
    try:
        batch = DefaultRecordBatch(data)
        if batch.magic != _MAGIC or batch.attributes & _OTHER_THAN_PLAIN or not batch.validate_crc():
            return None
        *records, last = list(batch)
        delta = last.offset - batch.base_offset
        if not records:
            return None
        builder, alone = _builder(), _builder()
        for record in records:
            builder.append(
                record.offset - batch.base_offset, record.timestamp, record.key, record.value, record.headers
            )
        alone.append(0, last.timestamp, last.key, last.value, last.headers)
    except Exception:  # noqa: BLE001  as above
        return None
    head = data[:_OFFSET_BYTES] + bytes(builder.build())[_OFFSET_BYTES:]
    # Some brokers store the offset there, some nothing.
    base = first + delta if batch.base_offset else 0
    tail = base.to_bytes(_OFFSET_BYTES, "big") + bytes(alone.build())[_OFFSET_BYTES:]
    return _ending(head, delta - 1), delta, tail


def ending_at(data: bytes, delta: int) -> bytes | None:
    """A batch that ends so many offsets behind its first one, without records there; None where it is no plain batch.

    Whoever asks for an offset for which there is no batch waits for ever; within one, reading goes on behind it.
    """
    try:
        batch = DefaultRecordBatch(data)
        is_plain = batch.magic == _MAGIC and not batch.attributes & _OTHER_THAN_PLAIN and batch.validate_crc()
    except Exception:  # noqa: BLE001  as above
        return None
    return _ending(data, delta) if is_plain else None


def last_delta(data: bytes) -> int:
    """How many offsets behind its first one a batch ends."""
    return int.from_bytes(data[_LAST_DELTA : _LAST_DELTA + 4], "big")


def record_count(data: bytes) -> int:
    """How many records a batch holds."""
    return int.from_bytes(data[57:61], "big")


def _ending(data: bytes, delta: int) -> bytes:
    made = bytearray(data)
    made[_LAST_DELTA : _LAST_DELTA + 4] = delta.to_bytes(4, "big")
    made[_CRC : _CRC + 4] = int(calc_crc32c(bytes(made[_COVERED:]))).to_bytes(4, "big")
    return bytes(made)


def _builder() -> DefaultRecordBatchBuilder:
    return DefaultRecordBatchBuilder(
        magic=_MAGIC,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**31 - 1,
    )
