"""Up to where each camera is accounted for on its partition, and what of that a successor does not know yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stream import Partition


@dataclass(slots=True)
class CameraOffset:
    """Where the records of a camera are, and up to where they are accounted for."""

    partition: Partition
    next_offset: int = 0


class CameraOffsets:
    """By camera. What changes is kept until `told`."""

    def __init__(self) -> None:
        self._offsets: dict[str, CameraOffset] = {}
        self._changed: dict[str, None] = {}
        self._gone: dict[tuple[Partition, str], None] = {}

    @property
    def has_changed(self) -> bool:
        """Whether there is something that a successor does not know yet."""
        return bool(self._changed or self._gone)

    @property
    def changed(self) -> Iterable[str]:
        """Cameras of which there is something new."""
        return self._changed

    @property
    def gone(self) -> Iterable[tuple[Partition, str]]:
        """Where cameras were that are not there any more."""
        return self._gone

    def told(self) -> None:
        """A successor will know all that has changed so far."""
        self._changed, self._gone = {}, {}

    def __getitem__(self, name: str) -> CameraOffset:
        return self._offsets[name]

    def get(self, name: str) -> CameraOffset | None:
        """Of a camera; None of one that is not known."""
        return self._offsets.get(name)

    def next_offset(self, name: str, partition: Partition) -> int:
        """Up to where a camera is accounted for on a partition: 0 where it is not known there."""
        known = self._offsets.get(name)
        return known.next_offset if known is not None and known.partition == partition else 0

    def on(self, partitions: frozenset[Partition]) -> list[str]:
        """The cameras of these partitions."""
        return [name for name, known in self._offsets.items() if known.partition in partitions]

    def account(self, name: str, partition: Partition, offset: int, home: Partition) -> None:
        """A record of a camera is accounted for, or held back; `home` is the partition that the camera is on."""
        known = self._offsets.setdefault(name, CameraOffset(partition))
        if known.partition != home:
            # Keys are distributed anew where a topic is given more partitions.
            self.forget(name, known.partition)
            known.partition, known.next_offset = home, 0
        if home == partition:
            known.next_offset = max(known.next_offset, offset + 1)
        self.touch(name)

    def restore(self, name: str, partition: Partition, next_offset: int) -> None:
        """Take a camera as a predecessor left it."""
        self._offsets[name] = CameraOffset(partition, next_offset)

    def touch(self, name: str) -> None:
        """There is something new of a camera."""
        self._changed[name] = None

    def forget(self, name: str, partition: Partition) -> None:
        """A camera is on this partition no more: a successor has to hear of it."""
        self._gone[partition, name] = None

    def remove(self, name: str) -> None:
        """Know nothing of a camera any more."""
        self._offsets.pop(name, None)
        self._changed.pop(name, None)

    def lose(self, name: str) -> None:
        """There are too many cameras: one that is gone, or never was, is not kept by itself any more."""
        if (known := self._offsets.pop(name, None)) is not None:
            self.forget(name, known.partition)
            self._changed.pop(name, None)

    def drop(self, partitions: frozenset[Partition]) -> None:
        """Others have these partitions now, and tell of what was on them."""
        self._gone = {each: None for each in self._gone if each[0] not in partitions}
