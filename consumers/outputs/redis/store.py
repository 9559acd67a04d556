"""What Redis shows of the topics: the newest state of each camera, trimmed streams, and events as they come.

    clipline:camera:{ID}:MODEL          hash        newest window of one model: label, score, scores, times; expires
    clipline:predictions:{ID}           stream      of all models; trimmed, expires
    clipline:events                     stream      trimmed
    clipline:events:ID                  pub/sub     the event's JSON
    clipline:seen:{clipline:events}     sorted set  reports that are shown or were, trimmed
    clipline:applied:{ID}               hash        which records the state of a camera reflects; expires
    clipline:applied:{clipline:events}  hash        likewise of the events
    clipline:projection:{N}             hash        how far the topics are shown; one on each primary of a cluster

The braces are part of the names: in a Redis Cluster they put the keys of one script into one slot ("hash tags").

Each write carries the offset of its record: an older or a repeated one changes nothing, whoever comes with it. All that
is shown belongs to one build, a number that grows: what is of an older build is replaced by the first write of a newer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.cluster import RedisCluster

from consumers.records.event import Event
from consumers.records.fields import to_json
from consumers.records.prediction import Prediction, rfc3339
from consumers.settings import RedisSettings
from stream import Record

from .connection import is_passing, open_redis

# Keys of which one is missing or of another type were thrown out or tampered with: what they showed is lost, unless all
# of it is being written anyway (ARGV[2]). An entry's id is the time at which its record was sent, so that a reader
# who remembers one goes on where it was after a rebuild.
_COMMON: Final = """
local function find(types)
  local missing, odd = 0, false
  for i, wanted in ipairs(types) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found == 'none' then missing = missing + 1 elseif found ~= wanted then odd = true end
  end
  if odd or (missing > 0 and missing < #types) then
    redis.call('DEL', unpack(KEYS))
    if ARGV[2] ~= '1' then return 'lost' end
  end
  local build = redis.call('HGET', KEYS[1], 'build')
  if build and tonumber(build) > tonumber(ARGV[1]) then return 'stale' end
  if build ~= ARGV[1] then
    for i = 1, #types do redis.call('DEL', KEYS[i]) end
    redis.call('HSET', KEYS[1], 'build', ARGV[1])
  end
  if tonumber(redis.call('HGET', KEYS[1], ARGV[3]) or -1) >= tonumber(ARGV[4]) then return 'old' end
  redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
  return nil
end
local function append(limit, sent, name, body)
  -- Time and place on the topic: the same ids when it is built again, also of many records of one millisecond.
  local newest, at, number = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1], sent, ARGV[4] + 1
  if newest then
    local last, taken = string.match(newest[1], '(%d+)-(%d+)')
    if tonumber(last) > tonumber(sent) then at = last end
    if tonumber(last) == tonumber(at) then number = math.max(number, taken + 1) end
  end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', limit, at .. '-' .. string.format('%.0f', number), name, body)
end
"""
# A window at or before the newest one of its epoch has been written already: a topic may hold it twice. Several epochs
# are remembered, because a worker that begins again may begin in the epoch before: "epoch:window", the newest first.
_WRITE_PREDICTION: Final = (
    _COMMON
    + """
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'none' and kind ~= 'hash' then
  redis.call('DEL', KEYS[3])
  if ARGV[2] ~= '1' then return 'lost' end
end
local verdict = find({'hash', 'stream'})
if verdict then return verdict end
if redis.call('HGET', KEYS[3], 'build') ~= ARGV[1] then redis.call('DEL', KEYS[3]) end
local position, epochs = ARGV[5] .. ':' .. ARGV[6], 1
for epoch, window in string.gmatch(redis.call('HGET', KEYS[3], 'position') or '', '(%d+):(%d+)') do
  if epoch == ARGV[5] then
    if tonumber(window) >= tonumber(ARGV[6]) then return 'old' end
  elseif epochs < 8 then
    position, epochs = position .. ' ' .. epoch .. ':' .. window, epochs + 1
  end
end
append(ARGV[8], ARGV[9], 'prediction', ARGV[10])
redis.call('HSET', KEYS[3], 'build', ARGV[1], 'position', position, unpack(ARGV, 11))
for i = 1, 3 do redis.call('EXPIREAT', KEYS[i], ARGV[7]) end
return 'new'
"""
)
# Reports are remembered by number, not for a time: a worker may come back to an event after hours.
_WRITE_EVENT: Final = (
    _COMMON
    + """
local verdict = find({'hash', 'stream', 'zset'})
if verdict then return verdict end
local now = redis.call('TIME')
if redis.call('ZADD', KEYS[3], 'NX', now[1] .. string.format('%06d', now[2]), ARGV[5]) == 0 then return 'old' end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - ARGV[6])
append(ARGV[7], ARGV[8], 'event', ARGV[9])
if ARGV[11] == '1' then redis.call('PUBLISH', ARGV[10], ARGV[9]) end
return 'new'
"""
)
_JOIN_BUILD: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[1]) end
local build = redis.call('HGET', KEYS[1], 'build')
if build and tonumber(build) >= tonumber(ARGV[1]) then return build end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'build', ARGV[1])
return ARGV[1]
"""
# Only from where it was left: an earlier position than that means that writes were lost in a failover.
_ADVANCE: Final = """
if redis.call('HGET', KEYS[1], 'build') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 3 do
  local at = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or -1)
  if at < tonumber(ARGV[i + 1]) then return 0 end
  if at < tonumber(ARGV[i + 2]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
end
return 1
"""
#: So many numbers are tried to find a key on each primary of a cluster.
_MOST_TAGS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A prediction or a report of an event, and the record that it was read from."""

    what: Prediction | Event
    record: Record
    #: The record's topic and partition: see `source_name`.
    source: str
    #: Part of a rebuild, which writes all that is to be shown of its camera.
    is_rebuilt: bool = False
    #: Tell those who listen by pub/sub.
    publish: bool = True


@dataclass(slots=True)
class Written:
    """What became of entries that were written."""

    #: Those that Redis did not take, and what it said.
    refused: list[tuple[Entry, str]]
    #: What was shown is gone, and nobody knows how much: build anew.
    is_lost: bool = False
    #: Somebody has begun a newer build.
    is_stale: bool = False


class RedisStore:
    """Writes to a real Redis or Valkey at `url`, or to a cluster of them that it is a node of.

    Every method raises RedisError or OSError where the server is the reason, so that another try may succeed.
    """

    def __init__(self, url: str, limits: RedisSettings, prefix: str = "clipline") -> None:
        """Connect.

        Args:
            url: of the server.
            limits: how much it keeps.
            prefix: what the keys begin with.

        Raises:
            SinkError: nothing answers there.
        """
        self._limits, self._prefix = limits, prefix
        # The vendor types its replies for all of its clients, protocols and encodings at once.
        self._redis: Any = open_redis(url)
        script = self._redis.register_script
        self._write_prediction, self._write_event = script(_WRITE_PREDICTION), script(_WRITE_EVENT)
        self._join_build, self._advance = script(_JOIN_BUILD), script(_ADVANCE)
        self._markers: list[str] = []

    def join_build(self, *, anew: bool = False) -> int:
        """The build that is being shown; where there is none, or `anew`, begin one."""
        self._markers = self._find_markers()
        builds = [int(found) for key in self._markers if (found := self._build(key)) is not None]
        build = max(builds, default=0)
        if anew or not build:
            build = max(build + 1, time.time_ns() // 1000)
        while True:
            joined = [int(self._join_build(keys=[key], args=[build])) for key in self._markers]
            if max(joined) == build:
                return build
            build = max(joined)  # somebody else was quicker

    def positions(self, group: str, sources: Sequence[str]) -> dict[str, int]:
        """The next offset that a group is to show, by source; those of which nothing is known are left out."""
        found: dict[str, int] = {}
        for source in sources:
            places = [self._redis.hget(key, f"{group} {source}") for key in self._markers]
            known = [int(place) for place in places if place is not None]
            # A primary without a position has begun anew.
            if known and len(known) == len(places):
                found[source] = min(known)
        return found

    def place(self, group: str, positions: Mapping[str, int]) -> None:
        """Begin at these positions, by source. What is known of topics that are no more is forgotten."""
        fields = {f"{group} {source}": str(at) for source, at in positions.items()}
        topics = {source.partition("@")[0]: source.rpartition("/")[0] for source in positions}
        for key in self._markers:
            own = [n for name in self._redis.hkeys(key) if (n := name.decode()).startswith(f"{group} ")]
            sources = {n.removeprefix(f"{group} "): n for n in own}
            made = {source: (source.partition("@")[0], source.rpartition("/")[0]) for source in sources}
            gone = [n for source, n in sources.items() if topics.get(made[source][0]) not in {None, made[source][1]}]
            if fields:
                self._redis.hset(key, mapping=fields)
            if gone:
                self._redis.hdel(key, *gone)

    def advance(self, build: int, group: str, moves: Mapping[str, tuple[int, int]]) -> bool:
        """Note that all before the second offset is shown, where it was the first; False where it was not."""
        args = [str(build)]
        for source, (at, to) in moves.items():
            args += [f"{group} {source}", str(at), str(to)]
        advanced = [self._advance(keys=[key], args=args) for key in self._markers]  # each of them, not up to the first
        return all(advanced)

    def write(self, build: int, entries: Sequence[Entry]) -> Written:
        """Write a batch. What was written of it before an error changes nothing when it is written again."""
        results = self._run(build, entries)
        written = Written([])
        for entry, result in zip(entries, results, strict=True):
            if isinstance(result, Exception):
                if is_passing(result):
                    raise result
                written.refused.append((entry, str(result)))
            written.is_lost |= result == b"lost"
            written.is_stale |= result == b"stale"
        return written

    def _run(self, build: int, entries: Sequence[Entry]) -> list[Any]:
        if not entries:
            return []
        if isinstance(self._redis, RedisCluster):
            # Its pipelines run no scripts, and the keys of a batch lie on many nodes.
            return [self._attempt(build, entry) for entry in entries]
        with self._redis.pipeline(transaction=False) as pipe:
            for entry in entries:
                self._script(build, entry, pipe)
            return list(pipe.execute(raise_on_error=False))

    def _attempt(self, build: int, entry: Entry) -> Any:
        try:
            return self._script(build, entry, self._redis)
        except redis.ResponseError as error:
            return error

    def _script(self, build: int, entry: Entry, client: Any) -> Any:
        record, prefix, limits = entry.record, self._prefix, self._limits
        sent_us, body = record.sent_us or time.time_ns() // 1000, record.value or b""
        common: list[Any] = [build, int(entry.is_rebuilt), entry.source, record.offset]
        if isinstance(entry.what, Prediction):
            p = entry.what
            fields: list[Any] = [
                *("label", p.label, "score", p.scores[p.label], "scores", to_json(dict(p.scores))),
                *("window_start", rfc3339(p.start_us), "window_end", rfc3339(p.end_us), "model", p.model),
            ]
            expires = sent_us // 1_000_000 + max(1, round(limits.camera_hours * 3600))
            return self._write_prediction(
                keys=[
                    f"{prefix}:applied:{{{p.camera}}}",
                    f"{prefix}:predictions:{{{p.camera}}}",
                    f"{prefix}:camera:{{{p.camera}}}:{p.model}",
                ],
                args=[
                    *common,
                    *(p.epoch_us, p.window, expires, limits.max_predictions, sent_us // 1000, body, *fields),
                ],
                client=client,
            )
        e = entry.what
        events = f"{prefix}:events"
        return self._write_event(
            keys=[f"{prefix}:applied:{{{events}}}", events, f"{prefix}:seen:{{{events}}}"],
            args=[
                *common,
                *(f"{e.id}-{e.revision}", limits.max_remembered_events, limits.max_events, sent_us // 1000),
                *(body, f"{events}:{e.camera}", int(entry.publish)),
            ],
            client=client,
        )

    def _build(self, key: str) -> bytes | None:
        try:
            found: bytes | None = self._redis.hget(key, "build")
        except redis.ResponseError as error:
            if is_passing(error):
                raise
            return None  # of another type: it is replaced
        return found

    def _find_markers(self) -> list[str]:
        """A key on each primary: whichever of them begins anew is noticed."""
        if not isinstance(self._redis, RedisCluster):
            return [self._marker(0)]
        self._redis.nodes_manager.initialize()
        found: dict[str, str] = {}
        primaries = {node.name for node in self._redis.get_primaries()}  # type: ignore[no-untyped-call]
        for number in range(_MOST_TAGS):
            node = self._redis.get_node_from_key(self._marker(number))  # type: ignore[no-untyped-call]
            if node is not None:
                found.setdefault(node.name, self._marker(number))
            if primaries <= found.keys():
                break
        return list(found.values())

    def _marker(self, number: int) -> str:
        return f"{self._prefix}:projection:{{{number}}}"

    def reconnect(self) -> None:
        """Look the server up anew at the next call: an address may lead to another one after a failover."""
        if isinstance(self._redis, redis.Redis):
            self._redis.connection_pool.disconnect()

    def close(self) -> None:
        self._redis.close()


def source_name(topic: str, id_: str, number: int) -> str:
    """How a partition is named; `id_` is the topic's, which is another one once it was made anew."""
    return f"{topic}@{id_}/{number}"
