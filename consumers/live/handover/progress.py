"""What a worker knows of its partitions and cameras, as it lies on the state topic for the next one.

    key                      value
    GROUP/CAMERA             a camera's windows, events and account; without a value where it is forgotten
    GROUP//NUMBER            up to where the records of a partition are accounted for
    GROUP//NUMBER/hand       who has the partition in hand, see in_hand.py
    GROUP//start             where the group began, see starting.py

Ids of cameras hold no slash; where the name of a group does, see records/group_keys.py. All that is known of a
partition lies on one partition of the state topic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from consumers.live.feed_guard import GuardState
from consumers.live.figures.accounts import CameraCounts
from consumers.live.pipeline import PipelineState
from consumers.records.fields import RecordError, what_is_wrong
from consumers.records.group_keys import group_key, name_of
from stream import CAMERA_ID, drilled

from .locating import LocatorState
from .marks import Mark


@dataclass(frozen=True, slots=True)
class FeedProgress:
    """A camera whose footage was taken."""

    pipeline: PipelineState
    guard: GuardState
    locator: LocatorState
    #: It has fallen silent: nothing of it is open.
    is_silent: bool
    #: The newest segment was the end of the feed.
    ended: bool


@dataclass(frozen=True, slots=True)
class CameraProgress:
    """A camera."""

    camera: str
    #: Number of the partition that its records are on.
    partition: int
    #: After its newest record that is accounted for.
    next_offset: int
    counts: CameraCounts
    #: None where all of its records were unusable.
    feed: FeedProgress | None = None
    #: Of the segments topic that the offsets are of.
    topic_id: str = ""
    version: Literal[1] = 1


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """A partition of the segments topic."""

    partition: int
    #: The offset after the newest record that is accounted for.
    taken: int = 0
    #: The account of records that are of no camera.
    no_camera: CameraCounts = field(default_factory=CameraCounts)
    #: Records that the broker had deleted before anybody took them.
    lost_to_retention: int = 0
    #: Records that were taken and are not there any more, though nobody deleted them.
    lost_by_broker: int = 0
    #: By which it is seen whether they are.
    marks: tuple[Mark, ...] = ()
    #: Of the segments topic that the offsets are of.
    topic_id: str = ""
    version: Literal[1] = 1


#: The end of the year 9998, and the largest number of a segment.
_LATEST_US: Final = 253_370_764_800_000_000
_LARGEST: Final = (1 << 63) - 1
_CAMERA: Final = TypeAdapter(CameraProgress)
_PARTITION: Final = TypeAdapter(PartitionProgress)


def encode_progress(group: str, progress: CameraProgress | PartitionProgress) -> tuple[bytes, bytes]:
    """Return key and value of the record."""
    if isinstance(progress, CameraProgress):
        return progress_key(group, progress.camera), _CAMERA.dump_json(progress)
    return group_key(group, f"/{progress.partition}"), _PARTITION.dump_json(progress)


def progress_key(group: str, camera: str) -> bytes:
    """The key of a camera's record."""
    return group_key(group, camera)


def _check_numbers(value: Any, where: str, name: str = "") -> None:
    """Refuse numbers that nothing can be counted or timed with.

    Raises:
        RecordError: there is one.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            _check_numbers(each, where, key)
    elif isinstance(value, list):
        for each in value:
            _check_numbers(each, where, name)
    elif isinstance(value, int) and not -1 <= value <= (_LATEST_US if name.endswith("_us") else _LARGEST):
        raise RecordError(f"{where}: {name} = {value}: expected a number of this size or time before 9999")


def decode_progress(
    group: str, key: bytes | None, value: bytes, where: str
) -> CameraProgress | PartitionProgress | None:
    """Read a record back; None where it is of another group.

    Raises:
        RecordError: the record is of this group and cannot be used.
    """
    name = name_of(group, key)
    if name is None:
        return None
    adapter: TypeAdapter[Any] = _CAMERA
    if name.startswith("/") and name[1:].isdecimal():
        adapter = _PARTITION
    elif not CAMERA_ID.fullmatch(name) and drilled(name) is None:
        return None
    try:
        _check_numbers(json.loads(value), where)
        found = adapter.validate_json(value)
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise RecordError(f"{where}: Invalid JSON: {error}") from None
        raise RecordError(f"{where}: {what_is_wrong(error)}") from None
    told = found.camera if isinstance(found, CameraProgress) else f"/{found.partition}"
    if told != name:
        raise RecordError(f"{where}: expected the progress of {name!r}, found that of {told!r}")
    assert isinstance(found, CameraProgress | PartitionProgress)
    return found
