"""The object store under the embedded broker: keeps record batches in this process' memory, the oldest go first.

Tansu holds no limit: what is produced stays. It can, however, keep its data in a store that speaks Amazon's S3
protocol, one object for each record batch, and it asks the store for everything again and again. So the store decides
what is kept. This one speaks as much of S3 as Tansu asks for, over a loopback port:

    clusters/ID/topics/TOPIC/partitions/0000000003/records/00…0042.batch          a record batch by its first offset
    clusters/ID/groups/consumers/GROUP/offsets/TOPIC/partitions/0000000003.json   where a group reads on
    …

Beyond `max_bytes` it removes the oldest batch of the topic that holds most. Tansu lists the batches of a partition
whenever it reads: the partition then begins at the oldest that is left, and a reader that is behind goes on there.
So that these lists stay short for as long as it runs, small batches that are no longer among the newest are joined.
See docs/adr/0016-a-bounded-embedded-broker.md.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from types import TracebackType
from typing import Final, Self, TypeAlias
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape, unescape

from stream.errors import ServiceError

from .groups import subscribes, without_lost_leader
from .joining import Condition, ending_at, joined, last_delta, parted, record_count, without
from .processes import HOST

BUCKET: Final = "clipline"
_BATCH: Final = re.compile(r".*/topics/([^/]+)/partitions/(\d+)/records/(\d+)\.batch")
_GROUP: Final = re.compile(r".*/groups/consumers/[^/]+\.json")
_START_SECONDS: Final = 10.0
_HEAD_BYTES: Final = 64 * 1024
_BODY_BYTES: Final = 64 * 1024 * 1024
#: Batches of a partition that are left as they came, the newest; so many more are joined at a time.
_LEFT_ALONE: Final = 200
_JOINED_AT_ONCE: Final = 300
#: What weighs less than the one is joined with its neighbours up to the other.
_SMALL_BYTES: Final = 64 * 1024
_JOINED_BYTES: Final = 512 * 1024
#: Status, header fields, body.
_Answer: TypeAlias = tuple[int, dict[str, str], bytes]


@dataclass(slots=True)
class _Object:
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
    """S3 on a loopback port, for one Tansu. Runs in a thread between entering and leaving it."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` of record batches are kept."""
        self._max_bytes = max_bytes
        self._folders: dict[str, dict[str, _Object]] = defaultdict(dict)
        self._written = 0
        #: Batches of each topic in the order in which they came, and their bytes.
        self._batches: dict[str, dict[str, int]] = defaultdict(dict)
        self._topic_bytes: Counter[str] = Counter()
        #: How many batches of a partition came since some were joined.
        self._loose: Counter[str] = Counter()
        self._evicted_bytes = self._evicted_records = 0
        self._unread: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="object store", daemon=True)
        self._listening = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            raise ServiceError("the object store of the embedded broker does not get a port on 127.0.0.1")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
        self._thread.join()

    def tansu(self) -> tuple[str, dict[str, str]]:
        """What Tansu is to be told: its storage engine, and the environment in which that finds this store."""
        return f"s3://{BUCKET}/", {
            "AWS_ENDPOINT": f"http://{HOST}:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_DEFAULT_REGION": "local",
            # Tansu signs its requests. They come from this machine only, and nobody checks.
            "AWS_ACCESS_KEY_ID": "clipline",
            "AWS_SECRET_ACCESS_KEY": "clipline",
        }

    def kept(self) -> Kept:
        with self._lock:
            return Kept(
                sum(self._topic_bytes.values()),
                self._max_bytes,
                self._evicted_bytes,
                self._evicted_records,
                dict(self._unread),
            )

    # -- what is kept

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
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
        self._folders[folder][name] = _Object(data, tag, formatdate(usegmt=True), stamp, entry)
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

    def _get(self, key: str) -> _Object | None:
        with self._lock:
            folder, _, name = key.rpartition("/")
            return self._folders.get(folder, {}).get(name)

    def _delete(self, key: str) -> None:
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

    def _listing(self, prefix: str, delimiter: str) -> bytes:
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

    # -- how it is asked

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopping.set)
        server = await asyncio.start_server(self._connection, HOST, 0, limit=_HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await stopping.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.rstrip("\r\n").split("\r\n")
                method, target, _ = request.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                size = int(headers.get("content-length", "0"))
                if size > _BODY_BYTES:
                    return
                body = await reader.readexactly(size) if size else b""
                status, fields, data = self._answer(method, target, headers, body)
                lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(data)}"]
                lines += [f"{name}: {value}" for name, value in fields.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
                writer.write(data)
                await writer.drain()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
            pass  # the store stops, Tansu has hung up, or it is no HTTP
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        path, _, query = target.partition("?")
        asked = parse_qs(query, keep_blank_values=True)
        key = unquote(path).removeprefix(f"/{BUCKET}").lstrip("/")
        if method == "GET" and key:
            return self._object(key, headers)
        if method == "GET":
            return 200, {}, self._listing(asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0])
        if method == "PUT":
            tag = self._put(key, body, headers)
            return (412, {}, b"") if tag is None else (200, {"ETag": tag}, b"")
        if method == "POST" and "delete" in asked:
            keys = [unescape(each) for each in re.findall(r"<Key>(.*?)</Key>", body.decode())]
            for each in keys:
                self._delete(each)
            done = "".join(f"<Deleted><Key>{escape(each)}</Key></Deleted>" for each in keys)
            return 200, {}, f"<DeleteResult>{done}</DeleteResult>".encode()
        return 405, {}, b""

    def _object(self, key: str, headers: Mapping[str, str]) -> _Answer:
        found = self._get(key)
        if found is None:
            return 404, {}, b""
        fields = {"ETag": found.tag, "Last-Modified": found.modified}
        if headers.get("if-none-match") == found.tag:
            return 304, fields, b""
        return 200, fields, found.data
