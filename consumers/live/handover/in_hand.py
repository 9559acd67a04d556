"""A record that ends whoever decodes it is found out, and set aside.

A picture may bring down the decoder, and with it the process. The next worker would read the same record, and die of
it, too. So a worker notes on the state topic that it has a partition in hand, and that it has given it up again:

    nobody   ─ first record ─▶ in hand ─ given up ─▶ nobody
                                  │ found so by a worker that takes the partition over: somebody has died
                                  ▼
                  one record after the other: noted, decoded, committed ─ enough of them ─▶ in hand
                                  │ several workers in a row have died with the same record in hand
                                  ▼
                  it goes to the dead letters undecoded, and all goes on behind it

Workers die of other things, too. Then nothing comes of it but some records that are taken one by one.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from consumers.records.fields import RecordError, what_is_wrong
from consumers.records.group_keys import group_key, name_of
from stream import Partition, Producer, Record, Segment, SegmentError

log = logging.getLogger(__name__)

#: So many workers in a row that died with one record in hand are no accident.
FATAL_TRIES: Final = 3
#: How many records are taken one by one after somebody died; four times as many each time that somebody died again,
#: as a worker reads ahead.
_ALONE: Final = 64
_MOST_ALONE: Final = 1024
#: Records of a partition that ended workers and are remembered, the newest.
_MAX_FATAL: Final = 32
#: A worker that goes on with what it had in hand itself has not died.
_OURSELVES: Final = uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class InHand:
    """A partition of the segments topic, as the worker that had it last has noted it."""

    partition: int
    #: The worker that has it in hand; empty where it was given up.
    by: str = ""
    #: How many workers in a row have died with it.
    deaths: int = 0
    #: The record that is in hand alone, and how many workers in a row have had it so.
    alone: int | None = None
    tries: int = 0
    #: Records that are not to be decoded any more.
    fatal: tuple[int, ...] = ()
    #: Of the segments topic that the offsets are of.
    topic_id: str = ""
    version: Literal[1] = 1


_IN_HAND: Final = TypeAdapter(InHand)


def encode_in_hand(group: str, note: InHand) -> tuple[bytes, bytes]:
    """Return key and value of the record."""
    return group_key(group, f"/{note.partition}/hand"), _IN_HAND.dump_json(note)


def decode_in_hand(group: str, key: bytes | None, value: bytes, where: str) -> InHand | None:
    """Read a record back; None where it is of another group, or about something else.

    Raises:
        RecordError: the record is of this group and cannot be used.
    """
    name = name_of(group, key) or ""
    if not (name.startswith("/") and name.endswith("/hand")):
        return None
    try:
        found = _IN_HAND.validate_json(value)
    except ValidationError as error:
        raise RecordError(f"{where}: {what_is_wrong(error)}") from None
    if name != f"/{found.partition}/hand":
        raise RecordError(f"{where}: expected what is in hand of {name!r}, found that of /{found.partition}")
    return found


class InHandNotes:
    """Of one worker: what it notes of its partitions, and the records that wait to be taken one by one."""

    def __init__(self, write: Callable[[Producer, InHand], None], producer: Producer) -> None:
        """`write` sends a note."""
        self._write, self._producer = write, producer
        self._notes: dict[Partition, InHand] = {}
        #: How many records are still to be taken one by one.
        self._careful: dict[Partition, int] = {}
        #: Records that wait for their turn, in the order in which they came.
        self.waiting: deque[Record] = deque()
        #: The one that was noted and is not yet committed.
        self.alone: Record | None = None

    def restore(self, partitions: Iterable[Partition], found: Mapping[int, InHand]) -> None:
        """Go on with partitions as they were noted last, by their numbers."""
        for partition in partitions:
            note = found.get(partition[1], InHand(partition[1]))
            if note.by == _OURSELVES:
                # What is in hand alone is taken once more, and nobody has died of it.
                note = replace(note, tries=max(0, note.tries - 1))
            elif note.by:
                note = self._suspected(partition, note)
            self._notes[partition] = replace(note, by="")
            if note.deaths:
                self._careful[partition] = min(_ALONE * 4 ** (note.deaths - 1), _MOST_ALONE)

    def _suspected(self, partition: Partition, note: InHand) -> InHand:
        """Of a partition that a worker had in hand that has died."""
        note = replace(note, deaths=min(note.deaths + 1, _MOST_ALONE))
        if note.alone is None or note.tries < FATAL_TRIES:
            log.warning(
                "%s[%d]: the worker that had it has died; its records are taken one by one for a while, in case one of "
                "them was why",
                *partition,
            )
            return note
        return replace(note, alone=None, tries=0, fatal=(*note.fatal, note.alone)[-_MAX_FATAL:])

    def waits(self, partition: Partition) -> bool:
        """Whether records of a partition are to wait for their turn."""
        return partition in self._careful

    @property
    def paused(self) -> set[Partition]:
        """Partitions of which enough records wait."""
        return {(record.topic, record.partition) for record in self.waiting}

    def next(self) -> Record | None:
        """The record whose turn it is, to be decoded now; None while another one is in hand, or none waits."""
        if self.alone is not None or not self.waiting:
            return None
        self.alone = record = self.waiting.popleft()
        partition = record.topic, record.partition
        note = self._notes[partition]
        if record.offset not in note.fatal:
            tries = note.tries + 1 if note.alone == record.offset else 1
            self._note(partition, replace(note, by=_OURSELVES, alone=record.offset, tries=tries))
        return record

    def reading(self, record: Record) -> Callable[[], Segment]:
        """How a record is read: as what it is, or not at all."""
        note = self._notes[record.topic, record.partition]
        return functools.partial(_refuse if record.offset in note.fatal else _segment, record)

    def begin(self, partition: Partition) -> None:
        """Note, before its first record is decoded, that a partition is in hand."""
        if not self._notes[partition].by:
            self._note(partition, replace(self._notes[partition], by=_OURSELVES))

    def committed(self) -> None:
        """What was in hand alone is done with."""
        if self.alone is None:
            return
        partition, self.alone = (self.alone.topic, self.alone.partition), None
        self._careful[partition] -= 1
        # What waits already comes before what is read next.
        if self._careful[partition] <= 0 and partition not in self.paused:
            del self._careful[partition]
            log.info("%s[%d]: records are taken side by side again", *partition)

    def give_up(self, partitions: Iterable[Partition]) -> None:
        """Note that all that was taken of partitions is committed, and nothing is in hand."""
        for partition in partitions:
            note = self._notes.get(partition)
            if note is not None and note.by and partition not in self._careful:
                self._notes[partition] = replace(note, by="", deaths=0, alone=None, tries=0)
                self._write(self._producer, self._notes[partition])
        self._producer.flush()

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions: somebody else has them, or they are read once more from what is committed."""
        gone = set(partitions)
        for partition in gone:
            self._notes.pop(partition, None)
            self._careful.pop(partition, None)
        kept = [record for record in self.waiting if (record.topic, record.partition) not in gone]
        self.waiting = deque(kept)
        if self.alone is not None and (self.alone.topic, self.alone.partition) in gone:
            self.alone = None

    def close(self) -> None:
        self._producer.close()

    def _note(self, partition: Partition, note: InHand) -> None:
        self._notes[partition] = note
        self._write(self._producer, note)
        # Before anything is done that may be the end of us.
        self._producer.flush()


def _segment(record: Record) -> Segment:
    if record.unreadable is not None:
        raise SegmentError(record.where, record.unreadable, "unreadable")
    return Segment.decode(record.key, record.headers, record.value, record.where)


def _refuse(record: Record) -> Segment:
    why = f"{FATAL_TRIES} workers in a row died or hung with it in hand, and nothing else"
    raise SegmentError(record.where, why, "fatal")
