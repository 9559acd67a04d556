"""The object store under the embedded broker: keeps record batches in this process' memory, the oldest go first.

Tansu holds no limit: what is produced stays. It can, however, keep its data in a store that speaks Amazon's S3
protocol, one object for each record batch, and it asks the store for everything again and again (`object_server.py`).
So the store decides what is kept. The keys of its objects:

    clusters/ID/topics/TOPIC/partitions/0000000003/records/00…0042.batch          a record batch by its first offset
    clusters/ID/groups/consumers/GROUP/offsets/TOPIC/partitions/0000000003.json   where a group reads on
    …

Beyond `max_bytes` it removes the oldest batch of the topic that holds most. Tansu lists the batches of a partition
whenever it reads: the partition then begins at the oldest that is left, and a reader that is behind goes on there.
So that these lists stay short for as long as it runs, small batches that are no longer among the newest are joined.
See docs/adr/0016-a-bounded-embedded-broker.md.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final
from xml.sax.saxutils import escape

from .groups import subscribes, without_lost_leader
from .joining import Condition, ending_at, joined, last_delta, parted, record_count, without

_BATCH: Final = re.compile(r".*/topics/([^/]+)/partitions/(\d+)/records/(\d+)\.batch")
_GROUP: Final = re.compile(r".*/groups/consumers/[^/]+\.json")
#: Batches of a partition that are left as they came, the newest; so many more are joined at a time.
_LEFT_ALONE: Final = 200
_JOINED_AT_ONCE: Final = 300
#: What weighs less than the one is joined with its neighbours up to the other.
_SMALL_BYTES: Final = 64 * 1024
_JOINED_BYTES: Final = 512 * 1024


@dataclass(slots=True)
class StoredObject:
    """What lies under a key."""

    data: bytes
    tag: str
    modified: str
    #: When it was written, as listings say it.
    stamp: str
    #: Its entry in a listing, made once: listings are asked for ten times a second.
    entry: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds and what it let go, since it was started."""

    bytes: int
    max_bytes: int
    evicted_bytes: int
    evicted_records: int
    #: Records that went before a consumer group had committed them, by group.
    unread_records: Mapping[str, int] = field(default_factory=dict)


class ObjectStore:
    """Objects by their keys, bounded. Any thread may ask it."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` of record batches are kept."""
        self._max_bytes = max_bytes
        self._folders: dict[str, dict[str, StoredObject]] = defaultdict(dict)
        self._written = 0
        #: Batches of each topic in the order in which they came, and their bytes.
        self._batches: dict[str, dict[str, int]] = defaultdict(dict)
        self._topic_bytes: Counter[str] = Counter()
        #: How many batches of a partition came since some were joined.
        self._loose: Counter[str] = Counter()
        self._evicted_bytes = self._evicted_records = 0
        self._unread: Counter[str] = Counter()
        self._lock = threading.Lock()

    def kept(self) -> Kept:
        with self._lock:
            return Kept(
                sum(self._topic_bytes.values()),
                self._max_bytes,
                self._evicted_bytes,
                self._evicted_records,
                dict(self._unread),
            )

    def put(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
        """Store and return the entity tag; None where the condition does not hold."""
        with self._lock:
            folder, _, name = key.rpartition("/")
            before = self._folders.get(folder, {}).get(name)
            wanted = condition.get("if-match")
            if (wanted is not None and (before is None or before.tag != wanted)) or (
                condition.get("if-none-match") == "*" and before is not None
            ):
                return None
            tag = self._write(key, data)
            if _GROUP.fullmatch(key) and (mended := without_lost_leader(data)) is not None:
                # Under another tag, as if a second broker had written it: Tansu sees that, and reads it again.
                self._write(key, mended)
            if match := _BATCH.fullmatch(key):
                topic = match[1]
                self._topic_bytes[topic] += len(data) - self._batches[topic].pop(key, 0)
                self._batches[topic][key] = len(data)
                self._loose[folder] += 1
                if self._loose[folder] >= _LEFT_ALONE + _JOINED_AT_ONCE:
                    self._join(folder, topic)
                while sum(self._topic_bytes.values()) > self._max_bytes and self._evict():
                    pass
            return tag

    def _join(self, folder: str, topic: str) -> None:
        """Make few batches of the many small ones of a partition that came before the newest."""
        self._loose[folder] = _LEFT_ALONE
        objects = self._folders[folder]
        run: list[str] = []
        size = 0
        for name in [*sorted(objects)[:-_LEFT_ALONE], None]:
            length = _JOINED_BYTES if name is None else len(objects[name].data)
            if length < _SMALL_BYTES and size + length <= _JOINED_BYTES:
                run.append(str(name))
                size += length
                continue
            self._join_run(folder, topic, run)
            run, size = ([name], length) if name is not None and length < _SMALL_BYTES else ([], 0)

    def _join_run(self, folder: str, topic: str, names: list[str]) -> None:
        if len(names) < 2:
            return
        objects = [self._folders[folder][name] for name in names]
        data = joined([(int(name.partition(".")[0]), each.data) for name, each in zip(names, objects, strict=True)])
        if data is None:  # one of them is damaged, or of another kind: only that one is left as it is
            half = len(names) // 2
            self._join_run(folder, topic, names[:half])
            self._join_run(folder, topic, names[half:])
            return
        for name in names[1:]:
            self._remove(f"{folder}/{name}")
        first = f"{folder}/{names[0]}"
        # Whoever asks for what was sent since a moment is given some of what was sent before it.
        self._replace(topic, first, data, objects[-1].stamp)

    def take_out(self, topic: str, goes: Condition) -> int:
        """Take records out of a topic for good; all others keep their offsets. Return how many went. Any thread may.

        The newest record of a partition stays, in a batch of its own: by the newest batch Tansu knows where the
        partition ends, and one with fewer records than offsets it sends again and again in one answer.
        """
        with self._lock:
            folders = sorted({key.rpartition("/")[0] for key in self._batches.get(topic, ())})
        return sum(self._take_out_of(folder, topic, goes) for folder in folders)

    def _take_out_of(self, folder: str, topic: str, goes: Condition) -> int:
        gone, before = 0, None
        with self._lock:
            names = sorted(self._folders.get(folder, ()))
        for name in names:
            # Between two batches others may be stored, joined and removed.
            with self._lock:
                objects = self._folders.get(folder, {})
                if (found := objects.get(name)) is None:
                    continue
                data, count = without(found.data, goes)
                if count and name == max(objects):
                    if not self._part(folder, topic, name):
                        continue
                    data, count = without(objects[name].data, goes)
                if data is not None:
                    before = name
                elif not self._cover(folder, topic, name, before):
                    continue
                gone += count
                if count and data is not None:
                    self._replace(topic, f"{folder}/{name}", data, found.stamp)
        return gone

    def _part(self, folder: str, topic: str, name: str) -> bool:
        """Store the last record of a batch as one of its own. Whether that can be."""
        found, first = self._folders[folder][name], int(name.partition(".")[0])
        parts = parted(found.data, first)
        if parts is None:
            return False
        head, delta, tail = parts
        self._replace(topic, f"{folder}/{name}", head, found.stamp)
        self._replace(topic, f"{folder}/{first + delta:0{name.index('.')}}.batch", tail, found.stamp)
        return True

    def _cover(self, folder: str, topic: str, name: str, before: str | None) -> bool:
        """Remove a batch of which nothing is left; the one before it ends where that ended. Whether that can be."""
        objects = self._folders[folder]
        key = f"{folder}/{name}"
        if name != min(objects):
            if before is None or before not in objects:
                return False
            end = int(name.partition(".")[0]) + last_delta(objects[name].data)
            data = ending_at(objects[before].data, end - int(before.partition(".")[0]))
            if data is None:
                return False
            self._replace(topic, f"{folder}/{before}", data, objects[before].stamp)
        self._remove(key)
        return True

    def _replace(self, topic: str, key: str, data: bytes, stamp: str) -> None:
        self._topic_bytes[topic] += len(data) - self._batches[topic].get(key, 0)
        self._batches[topic][key] = len(data)
        self._write(key, data, stamp)

    def _write(self, key: str, data: bytes, stamp: str | None = None) -> str:
        self._written += 1
        tag = f'"{self._written}"'
        # To the microsecond: by these times Tansu finds the records that were sent since a moment.
        stamp = stamp or dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        entry = (
            f"<Contents><Key>{escape(key)}</Key><LastModified>{stamp}</LastModified><ETag>{escape(tag)}</ETag>"
            f"<Size>{len(data)}</Size></Contents>"
        ).encode()
        folder, _, name = key.rpartition("/")
        self._folders[folder][name] = StoredObject(data, tag, formatdate(usegmt=True), stamp, entry)
        return tag

    def _evict(self) -> bool:
        """Remove the oldest batch of the topic that holds most. False where only the newest of partitions are left.

        A partition keeps its newest batch: asked where an empty one begins, Tansu says 0, whatever was on it.
        """
        topic = max(self._topic_bytes, key=self._topic_bytes.__getitem__)
        for key in self._batches[topic]:
            folder, _, name = key.rpartition("/")
            if len(self._folders[folder]) > 1:
                break
        else:
            return False
        match = _BATCH.fullmatch(key)
        assert match is not None
        first = int(match[3])
        records = record_count(self._folders[folder][name].data)
        self._evicted_bytes += self._batches[topic][key]
        self._evicted_records += records
        self._remove(key)
        for group, committed in self._readers(topic, match[2]).items():
            if first + records > committed:
                self._unread[group] += min(records, first + records - committed)
        return True

    def _readers(self, topic: str, partition: str) -> dict[str, int]:
        """The groups that read a partition, and the offset at which each reads on: 0 before it has committed one."""
        readers: dict[str, int] = {}
        offsets = f"/offsets/{topic}/partitions"
        for folder, objects in self._folders.items():
            if folder.endswith("/groups/consumers"):
                joined = {name.removesuffix(".json"): found for name, found in objects.items()}
                readers |= {group: 0 for group, found in joined.items() if subscribes(found.data, topic)} | readers
            elif folder.endswith(offsets) and "/groups/consumers/" in folder:
                found = objects.get(f"{partition}.json")
                group = folder.removesuffix(offsets).rpartition("/")[2]
                readers[group] = json.loads(found.data)["offset"] if found is not None else 0
        return readers

    def get(self, key: str) -> StoredObject | None:
        """What lies under a key."""
        with self._lock:
            folder, _, name = key.rpartition("/")
            return self._folders.get(folder, {}).get(name)

    def delete(self, key: str) -> None:
        """Remove what lies under a key, if there is something."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        objects = self._folders.get(folder, {})
        objects.pop(name, None)
        if not objects:
            self._folders.pop(folder, None)
        if match := _BATCH.fullmatch(key):
            topic = match[1]
            self._topic_bytes[topic] -= self._batches[topic].pop(key, 0)
            if not self._batches[topic]:
                del self._batches[topic], self._topic_bytes[topic]

    def listing(self, prefix: str, delimiter: str) -> bytes:
        """Objects whose keys begin with `prefix`, as S3 lists them; folders below it, where there is a delimiter."""
        entries, below = [], set()
        with self._lock:
            for folder, objects in self._folders.items():
                if folder.startswith(prefix) or f"{folder}/" == prefix:
                    deeper = f"{folder}/".removeprefix(prefix)
                    if delimiter and deeper:
                        below.add(prefix + deeper.partition(delimiter)[0] + delimiter)
                    else:
                        entries += [each.entry for each in objects.values()]
                elif prefix.startswith(f"{folder}/"):
                    rest = prefix.removeprefix(f"{folder}/")
                    entries += [each.entry for name, each in objects.items() if name.startswith(rest)]
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(below)
        )
        return b"<ListBucketResult><IsTruncated>false</IsTruncated>%b%b</ListBucketResult>" % (
            b"".join(entries),
            prefixes.encode(),
        )
