"""Members of a group that have a name (KIP-345, static membership): what kafka-python 3.0.12 leaves to be done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaConsumer as VendorConsumer
from kafka import errors as kafka_errors
from kafka.protocol.admin import DescribeGroupsRequest
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import ConsumerGroupMetadata

from stream.errors import FencedError


class Named:
    """Looks after a consumer that is a member of its group under a name.

    Two things would go wrong in silence:

    - Where a heartbeat is told that another process has joined under the name, kafka-python sends no more of them and
      goes on reading.
    - That a topic was given partitions is the leader's to notice. A leader that comes back does not learn that it leads
      (that is KIP-814), so nobody would hand them out. Each member with a name looks therefore, and asks to join again;
      the broker listens to the one that leads, and has the others go on.
    """

    def __init__(self, consumer: VendorConsumer, topics: Sequence[str], look_seconds: float) -> None:
        self._consumer, self._topics, self._look_seconds = consumer, topics, look_seconds
        self._look_at = 0.0
        self.is_fenced = False
        coordinator = self._coordinator
        handle = coordinator._handle_heartbeat_response  # noqa: SLF001  the vendor gives no other way in

        def heed(response: Any, send_time: float) -> Any:
            self.is_fenced |= response.error_code == kafka_errors.FencedInstanceIdError.errno
            return handle(response, send_time)

        coordinator._handle_heartbeat_response = heed  # noqa: SLF001

    @property
    def _coordinator(self) -> Any:
        return self._consumer._coordinator  # noqa: SLF001

    def look(self) -> None:
        """Have the group hand out partitions that it has not; asks the broker now and then."""
        if time.monotonic() < self._look_at or self._coordinator.generation_if_stable() is None:
            return
        self._look_at = time.monotonic() + self._look_seconds
        there = {topic: len(self._consumer._cluster.partitions_for_topic(topic) or ()) for topic in self._topics}  # noqa: SLF001
        with contextlib.suppress(kafka_errors.KafkaError):  # `poll` tells of a broker that is away
            handed_out = self._handed_out()
            if handed_out is not None and any(handed_out.get(topic, 0) < count for topic, count in there.items()):
                self._coordinator.request_rejoin()

    def _handed_out(self) -> dict[str, int] | None:
        """How many partitions of each topic the members have together; None where that is changing."""
        coordinator = self._coordinator
        request = DescribeGroupsRequest(groups=[coordinator.group_id], include_authorized_operations=False)

        async def ask() -> Any:
            return await coordinator._manager.send(request, node_id=coordinator.coordinator_id)  # noqa: SLF001

        (group,) = coordinator._net.run(ask).groups  # noqa: SLF001
        if group.error_code or group.group_state != "Stable":
            return None
        counts: dict[str, int] = {}
        for member in group.members:
            if member.member_assignment:
                for topic, _ in ConsumerProtocolAssignment.decode(member.member_assignment).partitions():
                    counts[topic] = counts.get(topic, 0) + 1
        return counts


class _Join:
    """A join that is waited for also where it is over when the next poll comes."""

    is_done = False

    def __init__(self, task: Any) -> None:
        self.add_callback, self.add_errback = task.add_callback, task.add_errback


def keep_join(coordinator: Any) -> None:
    """Have the next poll take what the join under way has come to."""
    task = coordinator._join_task  # noqa: SLF001
    if task is not None and not isinstance(task, _Join):
        coordinator._join_task = _Join(task)  # noqa: SLF001


def leave(consumer: VendorConsumer, seconds: float) -> None:
    """Leave a group for good. Of members with a name, the vendor thinks that they always come back."""
    coordinator = consumer._coordinator  # noqa: SLF001
    coordinator.is_dynamic_member = lambda: True
    with contextlib.suppress(Exception):
        coordinator.maybe_leave_group(timeout_ms=int(seconds * 1000))


def fenced(member: ConsumerGroupMetadata | None) -> FencedError:
    """What to say where another process has joined a group under our name."""
    group, name = ("", "ours") if member is None else (f" {member.group_id}", repr(member.group_instance_id))
    return FencedError(f"another process has joined the group{group} as {name}: this one ends")
