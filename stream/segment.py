"""The unit that travels on the wire: a playable piece of one camera's encoded video, and where it lies in time.

All times are event time in integer microseconds since the Unix epoch: integers, so that a window's place does not
depend on rounding, on the machine, or on how the footage was cut.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal

from .camera_ids import check_sent_id, drilled
from .errors import SegmentError
from .headers import Headers
from .tracing import segment_trace, trace_headers

WIRE_VERSION: Final = 2
#: Version 1 repeated the pictures since the keyframe in each segment of a long group of pictures, and told nothing of
#: how pictures are to be shown.
READABLE_VERSIONS: Final = ("1", "2")
#: Beyond these a record is foreign or damaged. Without them a wrong interval would ask for billions of samples, and a
#: wrong epoch could not be written as a date.
MAX_SECONDS: Final = 3600
MAX_TIME_US: Final = 253_370_764_800_000_000  # the year 9999
MAX_SEQUENCE: Final = (1 << 31) - 1  # of half a second each: 34 years
MAX_SIDE: Final = 1 << 16
#: Of one record: more than a day at 100 pictures a second.
MAX_SKIPPED: Final = 10_000_000
_MAX_TICK: Final = 1 << 62
#: Pixels that are wider or narrower than this are a damaged header: stretched, a picture would not fit into memory.
MAX_ASPECT: Final = 100
FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,19}")
_REASON: Final = re.compile(r"[a-z_]{1,32}")
#: What a frame takes in each container at least: a packet of the transport stream, or the head of a block.
_FRAME_BYTES: Final[Mapping[str, int]] = MappingProxyType({"mpegts": 188, "matroska": 7, "nut": 2})

#: Matrices between YUV and RGB that pictures can be converted by, by their number in ISO/IEC 23091-2.
COLOUR_MATRICES: Final = frozenset({1, 4, 5, 6, 7, 9})

Container = Literal["mpegts", "matroska", "nut"]
ColourRange = Literal["limited", "full"]
#: Timestamp resolution of each container, in ticks per second.
TICKS_PER_SECOND: Final[Mapping[str, int]] = MappingProxyType({"mpegts": 90_000, "matroska": 1_000, "nut": 90_000})

_TS_WRAP: Final = 1 << 33  # MPEG-TS timestamps are 33 bits wide


def ticks_to_us(ticks: int, container: Container) -> int:
    """The one rounding from container ticks to microseconds; every time of a frame comes through here."""
    rate = TICKS_PER_SECOND[container]
    return (2 * ticks * 1_000_000 + rate) // (2 * rate)


@dataclass(frozen=True, slots=True)
class Display:
    """How a decoded picture is to be shown: first mirrored, then turned, its pixels stretched to squares."""

    #: Clockwise, 0 to 3.
    quarter_turns: int = 0
    #: Left and right are exchanged.
    mirrored: bool = False
    #: Width of a pixel divided by its height, before turning.
    pixel_aspect: Fraction = Fraction(1)
    #: Which values stand for black and white, and of `COLOUR_MATRICES` how colours are coded: what the file said, for
    #: pictures that do not say it themselves. None where it did not.
    colour_range: ColourRange | None = None
    colour_matrix: int | None = None

    def __post_init__(self) -> None:
        if self.quarter_turns not in range(4):
            raise ValueError(f"{self.quarter_turns} quarter turns: expected 0 to 3")
        if not Fraction(1, MAX_ASPECT) <= self.pixel_aspect <= MAX_ASPECT:
            raise ValueError(f"pixels of {float(self.pixel_aspect):g}:1: expected at most {MAX_ASPECT} times as wide")
        if self.colour_range not in (None, "limited", "full"):
            raise ValueError(f"colour range {self.colour_range!r}: expected 'limited' or 'full'")
        if self.colour_matrix is not None and self.colour_matrix not in COLOUR_MATRICES:
            raise ValueError(f"colour matrix {self.colour_matrix}: expected one of {sorted(COLOUR_MATRICES)}")


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames of one camera with `start_us <= time < end_us`, as encoded by the camera.

    Most segments begin where decoding can begin. One that is cut inside a long group of pictures *continues* the
    segment before it: whoever decodes it goes on with the decoder that decoded that one. `decode_from_us` tells where
    such a decoder has to begin.

    `data` may hold more than those frames: the packet at which the next segment begins, where frames before it refer to
    it, or packets before the first picture that can be shown. What lies outside the interval is only context for the
    decoder. A segment with bytes and without frames is all context.

    `data` with `frames == 0` and no bytes is the end of an epoch: the feed said that nothing follows.
    """

    camera: str
    #: Event time of the first frame of the epoch; names the epoch, and is the origin of its window grid.
    epoch_us: int
    #: 0, 1, 2, … within the epoch; a hole means that a segment was lost. An epoch that begins amid a group of pictures
    #: goes on with the numbers of the one before.
    sequence: int
    start_us: int
    end_us: int
    container: Container
    codec: str
    width: int
    height: int
    #: How many frames the interval holds.
    frames: int
    #: Presentation time of the first packet in `data`, in container ticks after `epoch_us`.
    first_tick: int
    data: bytes = field(repr=False)
    #: Frames that the segmenter had to leave out since the segment before, by reason.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Event time at which the segment begins with which decoding has to begin; None if that is this one.
    decode_from_us: int | None = None
    #: Whether the next segment continues this one.
    continued: bool = False
    #: For how long, in the interval, a picture stood still because the camera sent no other.
    held_us: int = 0
    display: Display = Display()
    #: Number of the agent's claim on the camera: of two agents that send under one id, the higher one counts. 0 where
    #: the agent made none.
    claim: int = 0
    #: Fingerprint of the codec and first picture of the feed, in hexadecimal; empty where the agent does not tell.
    feed: str = ""

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_times()
        self._check_feed()

    def _check_numbers(self) -> None:
        check_sent_id(self.camera)
        if self.container not in TICKS_PER_SECOND:
            raise ValueError(f"container {self.container!r}: expected one of {sorted(TICKS_PER_SECOND)}")
        if self.sequence < 0 or self.frames < 0:
            raise ValueError(f"sequence {self.sequence} and frames {self.frames} must not be negative")
        if self.sequence > MAX_SEQUENCE:
            raise ValueError(f"sequence {self.sequence}: expected at most {MAX_SEQUENCE}")
        if not (0 <= self.width <= MAX_SIDE and 0 <= self.height <= MAX_SIDE):
            raise ValueError(f"pictures of {self.width}x{self.height}: expected at most {MAX_SIDE} each way")
        if abs(self.first_tick) > _MAX_TICK:
            raise ValueError(f"first tick {self.first_tick}: expected at most {_MAX_TICK}")
        if self.frames > len(self.data):
            raise ValueError(f"{self.frames} frames in {len(self.data)} bytes: expected at least a byte each")
        if any(n < 0 for n in self.skipped.values()) or sum(self.skipped.values()) > MAX_SKIPPED:
            raise ValueError(f"skipped {dict(self.skipped)}: expected counts, of at most {MAX_SKIPPED} frames")

    def _check_times(self) -> None:
        if self.decode_from_us is not None and not 0 <= self.decode_from_us <= self.start_us:
            raise ValueError(f"decoding from {self.decode_from_us} µs: expected at most the start, {self.start_us} µs")
        if not 0 <= self.held_us <= max(0, self.end_us - self.start_us):
            raise ValueError(f"held for {self.held_us} µs: expected at most as long as the segment")
        if not 0 <= self.epoch_us <= self.start_us <= self.end_us <= MAX_TIME_US:
            raise ValueError(
                f"interval {self.start_us}..{self.end_us} µs: expected 0 <= epoch ({self.epoch_us}) <= start <= end "
                "<= the year 9999"
            )
        if self.end_us - self.start_us > MAX_SECONDS * 1_000_000:
            raise ValueError(f"interval of {self.seconds:.0f} s: expected at most {MAX_SECONDS} s")

    def _check_feed(self) -> None:
        if not 0 <= self.claim < 1 << 63:
            raise ValueError(f"claim {self.claim}: expected 0 to 2^63 - 1")
        if self.feed and not FINGERPRINT.fullmatch(self.feed):
            raise ValueError(f"feed {self.feed[:40]!r}: expected {FINGERPRINT.pattern}")

    @property
    def is_end(self) -> bool:
        return self.frames == 0 and not self.data

    @property
    def continues(self) -> bool:
        """Whether it can only be decoded after the segment before it, by the same decoder."""
        return self.decode_from_us is not None

    @property
    def seconds(self) -> float:
        return (self.end_us - self.start_us) / 1e6

    def packet_times_us(self, pts: Sequence[int]) -> list[int]:
        """Return the event time in µs of each packet in `data`, given their presentation times in container ticks."""
        first, times = pts[0], []
        for value in pts:
            ticks = value - first
            if self.container == "mpegts":
                ticks = (ticks + _TS_WRAP // 2) % _TS_WRAP - _TS_WRAP // 2
            times.append(self.epoch_us + ticks_to_us(self.first_tick + ticks, self.container))
        return times

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value; the value is playable as it is."""
        values: dict[str, object] = {
            "clipline": WIRE_VERSION,
            "epoch-us": self.epoch_us,
            "sequence": self.sequence,
            "start-us": self.start_us,
            "end-us": self.end_us,
            "container": self.container,
            "codec": self.codec,
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "first-tick": self.first_tick,
            "size": len(self.data),
            "crc32": zlib.crc32(self.data),
        }
        if self.decode_from_us is not None:
            values["decode-from-us"] = self.decode_from_us
        if self.continued:
            values["continued"] = 1
        if self.skipped:
            values["skipped"] = json.dumps(dict(self.skipped), sort_keys=True)
        if self.held_us:
            values["held-us"] = self.held_us
        if self.display != Display():
            values["quarter-turns"] = self.display.quarter_turns
            values["mirrored"] = int(self.display.mirrored)
            values["pixel-aspect"] = self.display.pixel_aspect
        if self.display.colour_range is not None:
            values["colour-range"] = self.display.colour_range
        if self.display.colour_matrix is not None:
            values["colour-matrix"] = self.display.colour_matrix
        if self.claim:
            values["claim"] = self.claim
        if self.feed:
            values["feed"] = self.feed
        trace = trace_headers(segment_trace(self.camera, self.epoch_us, self.sequence))
        headers = [*((name, str(value).encode()) for name, value in values.items()), *_mark(self.camera), *trace]
        return self.camera.encode(), headers, self.data

    @classmethod
    def decode(cls, key: bytes | None, headers: Headers, value: bytes | None, where: str) -> Segment:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            SegmentError: the record is foreign, of another version, truncated or damaged.
        """
        fields = dict(headers)
        if "clipline" not in fields:
            found = sorted(fields) or "none"
            raise SegmentError(where, f"not a Clipline segment: no 'clipline' header among {found}", "foreign")
        version = fields["clipline"].decode(errors="replace")
        if version not in READABLE_VERSIONS:
            raise SegmentError(
                where,
                f"wire version {version!r}: this Clipline reads versions {' and '.join(READABLE_VERSIONS)}",
                "foreign",
            )
        data = value or b""
        try:
            numbers = {
                name: _number(fields[name])
                for name in (
                    *("epoch-us", "sequence", "start-us", "end-us", "width", "height"),
                    *("frames", "first-tick", "size", "crc32"),
                )
            }
            container, codec = fields["container"].decode(), fields["codec"].decode()
            camera = (key or b"").decode()
            skipped = _skipped(fields.get("skipped", b"{}"))
            decode_from_us = _number(fields["decode-from-us"]) if "decode-from-us" in fields else None
            continued, held_us = _number(fields.get("continued", b"0")), _number(fields.get("held-us", b"0"))
            display = _display(fields)
            # Agents of earlier versions make no claims.
            claim, feed = _number(fields.get("claim", b"0")), fields.get("feed", b"").decode()
        except KeyError as missing:
            raise SegmentError(where, f"header {missing} is missing", "malformed") from None
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError, ZeroDivisionError) as bad:
            # Four of them are values that are none of ours: null, 1e999, a thousand brackets, 4/0.
            raise SegmentError(where, f"a header cannot be read: {bad}", "malformed") from None
        if len(data) != numbers["size"]:
            raise SegmentError(where, f"truncated: {len(data)} bytes of {numbers['size']}", "damaged")
        if numbers["frames"] and not data:
            raise SegmentError(where, f"empty: {numbers['frames']} frames announced, no bytes", "damaged")
        if zlib.crc32(data) != numbers["crc32"]:
            raise SegmentError(where, f"corrupted: {len(data)} bytes do not match their checksum", "damaged")
        try:
            return cls(
                camera=camera,
                epoch_us=numbers["epoch-us"],
                sequence=numbers["sequence"],
                start_us=numbers["start-us"],
                end_us=numbers["end-us"],
                container=container,  # type: ignore[arg-type]  # checked in __post_init__
                codec=codec,
                width=numbers["width"],
                height=numbers["height"],
                frames=numbers["frames"],
                first_tick=numbers["first-tick"],
                data=data,
                skipped=skipped,
                decode_from_us=decode_from_us,
                continued=bool(continued),
                held_us=held_us,
                display=display,
                claim=claim,
                feed=feed,
            )
        except ValueError as bad:
            raise SegmentError(where, str(bad), "malformed") from None


def fingerprint(codec: str, first: bytes) -> str:
    """What tells a feed from others: of its codec and the bytes of its first picture."""
    return hashlib.blake2b(first, digest_size=8, person=codec.encode()[:16]).hexdigest()


def _mark(camera: str) -> Headers:
    """What says of a drill for which camera it is."""
    of = drilled(camera)
    return [] if of is None else [("drill", of.encode())]


def _number(text: bytes) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r}: expected a whole number in digits")
    return int(text)


def _skipped(text: bytes) -> dict[str, int]:
    skipped: dict[str, int] = json.loads(text)
    for reason, count in skipped.items():
        if not _REASON.fullmatch(reason) or type(count) is not int:
            raise ValueError(f"skipped {reason[:40]!r}: {str(count)[:40]!r}: expected a reason and a count")
    return skipped


def _display(fields: Mapping[str, bytes]) -> Display:
    width, _, height = fields.get("pixel-aspect", b"1").partition(b"/")
    return Display(
        _number(fields.get("quarter-turns", b"0")),
        bool(_number(fields.get("mirrored", b"0"))),
        Fraction(_number(width), _number(height or b"1")),
        fields["colour-range"].decode() if "colour-range" in fields else None,  # type: ignore[arg-type]  # checked there
        _number(fields["colour-matrix"]) if "colour-matrix" in fields else None,
    )


def announced_frames(headers: Headers, value: bytes | None) -> int:
    """How many frames a record says that it has, whatever else of it can be read; 0 where it does not say.

    No more than so many bytes can hold: the header may be as wrong as the rest.
    """
    fields = dict(headers)
    try:
        frames = max(0, _number(fields.get("frames", b"0")))
    except ValueError:
        return 0
    each = _FRAME_BYTES.get(fields.get("container", b"").decode(errors="replace"), min(_FRAME_BYTES.values()))
    return min(frames, len(value or b"") // each)
