"""What tests wait for: that something comes true, that records come."""

from __future__ import annotations

import time
from collections.abc import Callable

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stream import Consumer, Record


def eventually(holds: Callable[[], bool], seconds: float = 40.0) -> bool:
    """Whether something holds within a time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


def read(consumer: Consumer, count: int, seconds: float = 40.0) -> list[Record]:
    """At least `count` records, and whatever else is there at once."""
    records: list[Record] = []
    deadline = time.monotonic() + seconds
    while len(records) < count and time.monotonic() < deadline:
        records += consumer.poll(0.2).records
    return records + list(consumer.poll(0.0).records)


def has_begun(address: str, group: str) -> bool:
    """Whether a group has a place on each partition that it reads: what is sent from now on reaches it."""
    admin = KafkaAdminClient(bootstrap_servers=address)
    try:
        return any(admin.list_group_offsets(group).values())
    except KafkaError:  # its coordinator is being found
        return False
    finally:
        admin.close()
