"""Damaged segments: real ones of every codec, and what may become of them. The same seed and number give the same."""

from __future__ import annotations

import io
import os
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np

from stream import Feed, Headers, Segmenter, SegmentLimits

#: Codec by encoder, and what else the encoder is told.
ENCODERS: Final = {
    "libx264": {"preset": "ultrafast", "bf": "2"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "mjpeg": {},
    "mpeg4": {},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}
SIZE: Final = (64, 48)
#: Other ones that parameter sets are made to tell.
_SIZES: Final = [
    *((1, 1), (16, 16), (80, 64), (8192, 4096), (16000, 16000), (16384, 16384), (65535, 65535)),
    *((16384, 2), (2, 16384)),
]
_FRAMES: Final = 15
_GROUP: Final = 5
_RATE: Final = 10

Parts = tuple[bytes | None, Headers, bytes | None]


@dataclass(frozen=True, slots=True)
class Whole:
    """A segment as it came out of the segmenter, as a record, and the packets within."""

    codec: str
    container: str
    key: bytes
    headers: Headers
    value: bytes


def corpus(folder: Path) -> list[list[Whole]]:
    """Films in whole segments, one film of each codec that can be encoded here, and long groups of pictures."""
    os.environ.setdefault("SVT_LOG", "0")  # it tells of itself on stderr
    films = []
    for encoder, options in ENCODERS.items():
        try:
            path = _film(folder / f"{encoder}.mkv", encoder, options, _GROUP)
        except (av.error.FFmpegError, ValueError):
            continue  # this libav has no such encoder
        films.append(_segments(path))
    # One group of pictures in several segments: the decoder goes from each to the next.
    films.append(_segments(_film(folder / "long.mkv", "libx264", ENCODERS["libx264"], 300), 0.3))
    return films


def _film(path: Path, encoder: str, options: dict[str, str], group: int) -> Path:
    width, height = SIZE
    with av.open(str(path), "w") as out:
        stream = out.add_stream(encoder, rate=_RATE, options={"threads": "1"} | options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.gop_size = group
        y, x = np.mgrid[0:height, 0:width]
        for number in range(_FRAMES):
            image = np.stack([x * 3 + number * 9, y * 5, (x + y) * 2 + number * 4], -1).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _segments(path: Path, seconds: float = 0.5) -> list[Whole]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("gate", feed.track, SegmentLimits(seconds, seconds))
        found = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    return [Whole(s.codec, s.container, *s.encode()) for s in found if s.data]


class Damage:
    """Gives damaged films: the records of one, one or all of which are damaged."""

    def __init__(self, films: list[list[Whole]], seed: int) -> None:
        self._films, self._seed = films, seed
        self._all = [segment for film in films for segment in film]

    def of(self, number: int) -> tuple[str, list[Parts]]:
        """What was done, in words, and the records to read."""
        chance = random.Random(f"{self._seed}:{number}")  # noqa: S311  no secret
        film = self._films[number % len(self._films)]
        hit = chance.randrange(len(film))
        segment = film[hit]
        value, headers, honest = segment.value, list(segment.headers), True
        done: list[str] = []
        case = _Case(chance, segment, chance.choice(self._all))
        for _ in range(1 + (chance.random() < 0.3)):
            if chance.random() < 0.15:
                headers = _forged(chance, headers, chance.choice(self._all).headers)
                honest = honest and chance.random() < 0.9
                done.append("forged")
            else:
                kind, value = case.change(value)
                done.append(kind)
        if honest:
            # Damage behind the checksum: a sender that is wrong itself.
            headers = [(n, c) for n, c in headers if n not in {"size", "crc32"}]
            headers += [("size", str(len(value)).encode()), ("crc32", str(zlib.crc32(value)).encode())]
        # Long groups whole, so that the decoder has state; of others the neighbours say nothing.
        records: list[Parts] = [(each.key, each.headers, each.value) for each in film]
        records[hit] = (segment.key, headers, value)
        is_long = number % len(self._films) == len(self._films) - 1
        return f"{segment.codec} {'+'.join(done)}", records if is_long else records[hit : hit + 1]


@dataclass(frozen=True, slots=True)
class _Case:
    """What can be done to the bytes of a segment."""

    _chance: random.Random
    #: The segment as it was, and another one.
    _own: Whole
    _other: Whole

    def change(self, data: bytes) -> tuple[str, bytes]:
        """What was done, in a word, and what came of it."""
        kind = self._chance.choice([getattr(self, name) for name in _KINDS])
        return kind.__name__, kind(data)

    def bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._chance.choice([1, 1, 2, 8, 64, 500])):
            if changed:
                changed[self._chance.randrange(len(changed))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def truncated(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        return data[:at] if self._chance.random() < 0.7 else data[at:]

    def spliced(self, data: bytes) -> bytes:
        if self._chance.random() < 0.2:
            return self._other.value
        a, b = self._chance.randrange(len(data) + 1), self._chance.randrange(len(self._other.value) + 1)
        if self._chance.random() < 0.5:  # at the borders of packets of the transport stream
            a, b = a // 188 * 188, b // 188 * 188
        return data[:a] + self._other.value[b:]

    def noise(self, data: bytes) -> bytes:
        if self._chance.random() < 0.1:
            return self._chance.randbytes(self._chance.choice([0, 1, 4, 188, 5000]))
        a = self._chance.randrange(len(data) + 1)
        size = self._chance.choice([1, 4, 16, 188, 1000])
        filling = self._chance.choice([self._chance.randbytes(size), bytes(size), b"\xff" * size])
        return data[:a] + filling + data[a + (size if self._chance.random() < 0.7 else 0) :]

    def repeated(self, data: bytes) -> bytes:
        a, b = sorted(self._chance.randrange(len(data) + 1) for _ in range(2))
        return (
            data[:b] + data[a:b] * self._chance.choice([1, 2, 50]) + data[b:]
            if self._chance.random() < 0.6
            else data[:a] + data[b:]
        )

    def resized(self, data: bytes) -> bytes:
        """Another picture size in parameter sets and frame headers."""
        size = self._chance.choice(_SIZES)
        if self._own.codec in _NAL_CODECS:
            return _repacked(data, self._own, lambda packet: _with_size(packet, self._own.codec, size))
        width, height = SIZE
        bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
        w, h = (min(side, 65535) for side in size)
        for old, new in (
            (f"{0x498342:024b}{0:04b}", None),  # VP9: the sync code, colours, then both sides less one
            (f"1{width:013b}1{height:013b}1", f"1{min(w, 8191):013b}1{min(h, 8191):013b}1"),  # MPEG-4
            (f"{height:016b}{width:016b}", f"{h:016b}{w:016b}"),  # JPEG
        ):
            if new is not None:
                bits = bits.replace(old, new)
                continue
            at = bits.find(old)
            while at >= 0 and at + len(old) + 32 <= len(bits):
                a = at + len(old)
                bits = f"{bits[:a]}{w - 1:016b}{h - 1:016b}{bits[a + 32 :]}"
                at = bits.find(old, a + 32)
        changed = int(bits, 2).to_bytes(len(data), "big")
        old8, new8 = b"\x9d\x01\x2a" + _vp8(width, height), b"\x9d\x01\x2a" + _vp8(w, h)
        return changed.replace(old8, new8)

    def packets(self, data: bytes) -> bytes:
        """Damage within the coded pictures, in a container that is whole."""
        kind = self._chance.choice([self.bits, self.bits, self.truncated, self.noise, self.repeated])
        share = self._chance.choice([0.2, 1.0])
        return _repacked(data, self._own, lambda p: kind(p) if p and self._chance.random() < share else p)


#: Those that find most are tried most.
_KINDS: Final = [
    *("bits", "bits", "truncated", "spliced", "noise", "repeated", "resized", "resized"),
    *("packets", "packets", "packets"),
]


def _vp8(width: int, height: int) -> bytes:
    return (width & 0x3FFF).to_bytes(2, "little") + (height & 0x3FFF).to_bytes(2, "little")


_NAL_CODECS: Final = ("h264", "hevc")


def _repacked(data: bytes, own: Whole, change: Callable[[bytes], bytes]) -> bytes:
    """The segment with each packet changed, in a container of the same kind."""
    buffer = io.BytesIO()
    # What is looked at here may be a bomb already.
    careful: dict[str, Any] = {}
    if own.container == "mpegts":
        careful["stream_options"] = [{"skip_frame": "all", "max_pixels": "1000000"}]
    try:
        with (
            av.open(io.BytesIO(data), "r", format=own.container, **careful) as source,
            av.open(buffer, "w", own.container, options={"fflags": "+bitexact"}) as out,
        ):
            stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
            for packet in source.demux(video=0):
                if packet.size:
                    changed = av.Packet(change(bytes(packet)))
                    changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                    changed.is_keyframe, changed.stream = packet.is_keyframe, stream
                    out.mux(changed)
    except (av.error.FFmpegError, ValueError, IndexError, OverflowError):
        return data  # it was damaged before, so that libav cannot repack it
    return buffer.getvalue() or data


class _Bits:
    """Reads and changes the bits of a NAL unit's payload."""

    def __init__(self, data: bytes) -> None:
        self.bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
        self.at = 0

    def skip(self, count: int) -> None:
        self.at += count

    def ue(self, new: int | None = None) -> int:
        zeros = self.bits.index("1", self.at) - self.at
        end = self.at + 2 * zeros + 1
        value = int(self.bits[self.at + zeros : end], 2) - 1
        if new is not None:
            coded = f"{new + 1:b}"
            coded = "0" * (len(coded) - 1) + coded
            self.bits = self.bits[: self.at] + coded + self.bits[end:]
            end = self.at + len(coded)
        self.at = end
        return value

    def data(self) -> bytes:
        bits = self.bits + "0" * (-len(self.bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _with_size(packet: bytes, codec: str, size: tuple[int, int]) -> bytes:
    """An access unit of Annex B whose sequence parameter sets speak of another size."""
    units = packet.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01")
    return b"".join(b"\x00\x00\x00\x01" + _resized_unit(u, codec, size) for u in units if u)


def _resized_unit(unit: bytes, codec: str, size: tuple[int, int]) -> bytes:
    if codec == "h264" and unit[0] & 31 == 7:  # a sequence parameter set
        head, change = 1, _resize_h264
    elif codec == "hevc" and unit[0] >> 1 & 63 == 33:  # likewise
        head, change = 2, _resize_hevc
    else:
        return unit
    bits = _Bits(unit[head:].replace(b"\x00\x00\x03", b"\x00\x00"))
    try:
        change(bits, size)
    except ValueError:
        return unit
    data = bits.data()
    for byte in range(4):
        data = data.replace(bytes([0, 0, byte]), bytes([0, 0, 3, byte]))
    return unit[:head] + data


def _resize_h264(bits: _Bits, size: tuple[int, int]) -> None:
    profile = int(bits.bits[:8], 2)
    bits.skip(24)
    bits.ue()
    if profile in {100, 110, 122, 244}:
        for _ in range(3):
            bits.ue()
        bits.skip(2)
    bits.ue()
    if bits.ue() == 0:
        bits.ue()
    bits.ue()
    bits.skip(1)
    bits.ue(max(0, size[0] // 16 - 1))
    bits.ue(max(0, size[1] // 16 - 1))


def _resize_hevc(bits: _Bits, size: tuple[int, int]) -> None:
    bits.skip(8 + 96)
    bits.ue()
    bits.ue()
    bits.ue(size[0])
    bits.ue(size[1])


_VALUES: Final = [
    b"", b"0", b"1", b"-1", b"2", b"65536", b"16384", b"1e9", b"nan", b"9" * 18, b"9" * 19, b"9" * 30, b"-" + b"9" * 18,
    b"\xff\xfe", b"null", b"{}", b"[" * 5000, b'{"tail": 99999999}', b"x" * 100_000, b"4/0", b"100/1", b"0" * 19 + b"1",
    b"9223372036854775807", b"h264", b"hevc", b"mjpeg", b"av1", b"mpegts", b"matroska", b"nut", b"avi", b" 1", b"1\n",
]  # fmt: skip
_OPTIONAL: Final = [
    "decode-from-us", "continued", "skipped", "held-us", "quarter-turns", "mirrored", "pixel-aspect", "colour-range",
    "colour-matrix", "claim", "feed",
]  # fmt: skip


def _forged(chance: random.Random, headers: Headers, others: Headers) -> Headers:
    forged = dict(headers)
    for _ in range(chance.choice([1, 1, 1, 3])):
        name = chance.choice([*forged, *_OPTIONAL]) if forged else "clipline"
        if name == "clipline" and chance.random() < 0.8:
            continue
        how = chance.random()
        if how < 0.1:
            forged.pop(name, None)
        elif how < 0.4:
            forged[name] = chance.choice(_VALUES)
        elif how < 0.6:
            forged[name] = dict(others).get(name, b"7")
        else:
            number = int(forged[name]) if forged.get(name, b"").isdigit() and len(forged[name]) < 20 else 0
            forged[name] = str(number + chance.choice([-1, 1, 10, 100_000, 3_000_000, 3_599_000_000])).encode()
    return list(forged.items())
