"""Many small record batches made one: the same records at the same offsets, in a tenth of the objects and less.

Format: https://kafka.apache.org/documentation/#recordbatch (version 2). What it is read and written with is
kafka-python's; the offset of the first record lies before what its checksum covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

_MAGIC: Final = 2
_OFFSET_BYTES: Final = 8
#: Of attributes: that the time is that of the broker, a transaction, a mark of a broker.
_OTHER_THAN_PLAIN: Final = 0b111000


def joined(batches: Sequence[tuple[int, bytes]]) -> bytes | None:
    """One batch with the records of several.

    Args:
        batches: of one partition, ascending: the offset of the first record, and the batch.

    Returns:
        None where one of them is no plain batch, or is damaged: they are left as they are.
    """
    base = batches[0][0]
    builder = DefaultRecordBatchBuilder(
        magic=_MAGIC,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**31 - 1,
    )
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
    return batches[0][1][:_OFFSET_BYTES] + made[_OFFSET_BYTES:]
