"""Playlists as text (RFC 8216). Pure: segments as the index names them in, in order; `.m3u8` out.

All in them comes from the index, so every server that reads it says the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlencode

from consumers.footage_index import FoundFootage
from consumers.records.index.page import FeedRun, IndexedSegment

#: Codecs that browsers take out of a transport stream.
_PLAYABLE: Final = frozenset({"h264", "hevc"})
#: A live playlist has so much of the newest, and so many segments at least; and of short ones so many at most.
_LIVE_US: Final = 16_000_000
_LEAST: Final = 6
_MOST: Final = 48
#: What is ahead of these is looked through for one with which decoding can begin.
_BACK: Final = 12
#: Players that begin to watch a camera show what is so old.
_BEHIND_US: Final = 3_000_000
#: Of a recording, segments that continue one another are one for players, up to so much: they go back a few segments
#: for one with which decoding can begin, and no more.
_JOINED_US: Final = 30_000_000
_JOINED_BYTES: Final = 32 * 1024 * 1024
_MAX_JOINED: Final = 64
_HEAD: Final = ("#EXTM3U", "#EXT-X-VERSION:3")


class NotPlayableError(Exception):
    """Footage is of a codec that browsers do not play from a playlist."""

    def __init__(self, codec: str) -> None:
        super().__init__(f"{codec} cannot be played from a playlist; H.264 and H.265 can")
        self.codec = codec


def target_seconds(durations_us: Iterable[int], usual: float) -> int:
    """How long segments are at most, in whole seconds.

    Players want it not to change: it is the usual limit, doubled until the longest segment fits.
    """
    target = max(1, -int(-usual // 1))
    longest = max(durations_us, default=0)
    # As players round: 2.4 s is 2.
    while longest >= (2 * target + 1) * 500_000:
        target *= 2
    return target


def newest(window: Sequence[IndexedSegment]) -> list[IndexedSegment]:
    """Of a camera's newest segments those that a live playlist has.

    Raises:
        NotPlayableError: the newest is none that can be played.
    """
    if window and not _is_playable(window[-1].run):
        raise NotPlayableError(window[-1].run.codec)
    found: list[IndexedSegment] = []
    us = 0
    for segment in reversed(window):
        is_enough = us >= _LIVE_US and len(found) >= _LEAST
        if not _is_playable(segment.run) or len(found) >= _MOST + _BACK or (is_enough and found[-1].begins):
            break
        if len(found) >= _MOST and found[-1].begins:
            break
        found.append(segment)
        us += segment.duration_us
    return found[::-1]


def live_playlist(window: Sequence[IndexedSegment], usual_seconds: float, token: str | None = None) -> str:
    """The playlist of a live view.

    Args:
        window: a camera's newest segments, more than a playlist has.
        usual_seconds: how long segments are at most, as a rule.
        token: to be put on their addresses.

    Raises:
        NotPlayableError: the newest is none that can be played.
    """
    shown = newest(window)
    first = shown[0]
    before = next((s for s in window if s.number == first.number - 1), None)
    lines = [
        *_HEAD,
        f"#EXT-X-TARGETDURATION:{target_seconds((s.duration_us for s in window), usual_seconds)}",
        f"#EXT-X-MEDIA-SEQUENCE:{first.number}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.run.discontinuity}",
        *_start(shown),
    ]
    is_first = True
    for segment in shown:
        if not is_first and before is not None and segment.run.discontinuity != before.run.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        lines += _lines([segment], before, "", token)
        before, is_first = segment, False
    return "\n".join(lines) + "\n"


def recorded_playlist(found: FoundFootage, usual_seconds: float, base: str = "") -> str | None:
    """The playlist of a stretch of time; None where there is no footage of it.

    Args:
        found: what the index says of it.
        usual_seconds: how long segments are at most, as a rule.
        base: before the addresses of segments.

    Raises:
        NotPlayableError: there is some, and nothing of it can be played.
    """
    everything = [*found.context, *found.segments]
    shown = [s for s in everything if _is_playable(s.run)]
    if not shown:
        if everything:
            raise NotPlayableError(everything[-1].run.codec)
        return None
    groups = _joined(shown)
    lines = [
        *_HEAD,
        f"#EXT-X-TARGETDURATION:{target_seconds(map(_lasts_us, groups), usual_seconds)}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-MEDIA-SEQUENCE:0",
    ]
    if (ahead_us := found.from_us - shown[0].start_us) > 0:
        lines.append(f"#EXT-X-START:TIME-OFFSET={ahead_us / 1e6:.3f},PRECISE=YES")
    before = None
    for group in groups:
        if before is not None and not _goes_on(before, group[0]):
            lines.append("#EXT-X-DISCONTINUITY")
        lines += _lines(group, before, base, None)
        before = group[-1]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def evidence_playlist(found: FoundFootage, usual_seconds: float) -> str | None:
    """Likewise, as it is served below an event's path."""
    return recorded_playlist(found, usual_seconds, f"../../cameras/{found.camera}/")


def _is_playable(run: FeedRun) -> bool:
    return run.container == "mpegts" and run.codec in _PLAYABLE


def _goes_on(before: IndexedSegment, segment: IndexedSegment) -> bool:
    return before.run == segment.run and before.end_us >= segment.start_us


def _start(shown: Sequence[IndexedSegment]) -> list[str]:
    """Where players are to begin, if they could not begin anywhere."""
    if all(s.begins for s in shown):
        return []
    us = 0
    for segment in reversed(shown):
        us += segment.duration_us
        if segment.begins and us >= _BEHIND_US:
            return [f"#EXT-X-START:TIME-OFFSET=-{us / 1e6:.3f}"]
    return []


def _joined(segments: Iterable[IndexedSegment]) -> list[list[IndexedSegment]]:
    """Segments by what can be decoded by itself."""
    groups: list[list[IndexedSegment]] = []
    for segment in segments:
        group = groups[-1] if groups else []
        if (
            group
            and not segment.begins
            and _goes_on(group[-1], segment)
            and len(group) < _MAX_JOINED
            and _lasts_us(group) + segment.duration_us <= _JOINED_US
            and sum(s.size for s in group) + segment.size <= _JOINED_BYTES
        ):
            group.append(segment)
        else:
            groups.append([segment])
    return groups


def _lasts_us(group: Iterable[IndexedSegment]) -> int:
    return sum(s.duration_us for s in group)


def _lines(group: Sequence[IndexedSegment], before: IndexedSegment | None, base: str, token: str | None) -> list[str]:
    first = group[0]
    time = dt.datetime.fromtimestamp(first.start_us // 1000 / 1000, dt.UTC).isoformat(timespec="milliseconds")
    asked = {"of": f"{first.run.epoch_us}.{first.sequence}"}
    if before is not None and before.run == first.run and before.sequence == first.sequence - 1:
        asked["after"] = str(before.offset)
    if len(group) > 1:
        asked["with"] = ".".join(str(s.offset) for s in group[1:])
    if token is not None:
        asked["token"] = token
    return [
        f"#EXT-X-PROGRAM-DATE-TIME:{time.replace('+00:00', 'Z')}",
        f"#EXTINF:{_lasts_us(group) / 1e6:.6f},",
        f"{base}segments/{first.partition}-{first.offset}.ts?{urlencode(asked)}",
    ]
