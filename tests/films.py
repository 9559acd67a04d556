"""Films as cameras, phones, browsers and editors write them: made from ordinary ones, byte by byte where need be."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.videos import HEIGHT, WIDTH, picture

RATE = 25
CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


def write_film(
    path: Path,
    frames: int = 60,
    *,
    codec: str = "libx264",
    form: str | None = None,
    options: dict[str, str] | None = None,
    first: Fraction | float = 0,
    sound: bool = False,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    keep: Callable[[int], bool] = lambda _: True,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode numbered pictures at 25 a second from `first` seconds on; `sound` begins at 0. Return `path`."""
    with av.open(str(path), "w", format=form, options=container_options or {}) as out:
        video = out.add_stream(codec, rate=RATE, options={"threads": "1", **(options or {})})
        video.width, video.height, video.pix_fmt, video.gop_size = *size, pix_fmt, 25
        if codec == "libx265":
            video.options = {"x265-params": "log-level=none:pools=1:frame-threads=1", **(options or {})}
        if sound:
            # A programme stream carries no AAC.
            name, rate, count, samples = ("mp2", 32000, 1152, "s16") if form == "vob" else ("aac", 8000, 1024, "fltp")
            audio = out.add_stream(name, rate=rate, layout="mono")
            for number in range(round((frames / RATE + float(first)) * rate / count)):
                zeros = np.zeros((1, count), np.int16 if samples == "s16" else np.float32)
                silence = av.AudioFrame.from_ndarray(zeros, samples, "mono")
                silence.rate, silence.pts = rate, number * count
                out.mux(audio.encode(silence))
            out.mux(audio.encode(None))
        for number in filter(keep, range(frames)):
            image = av.VideoFrame.from_ndarray(picture(number, *size), "rgb24").reformat(format=pix_fmt)
            image.pts, image.time_base = number + round(Fraction(first) * RATE), Fraction(1, RATE)
            out.mux(video.encode(image))
        out.mux(video.encode(None))
    return path


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def edit_boxes(data: bytes, change: Callable[[bytes, bytes], bytes | None]) -> bytes:
    """`data` with each box changed: `change` gets kind and body, and returns a body, or None to leave the box out."""
    out = b""
    for kind, body in boxes(data):
        changed = change(kind, edit_boxes(body, change) if kind in CONTAINERS else body)
        out += b"" if changed is None else box(kind, changed)
    return out


def with_edits(path: Path, edits: Sequence[tuple[float, float]]) -> Path:
    """Give an MP4 file an edit list: (begin, length) of each piece of the film that is shown, in seconds."""

    def change(kind: bytes, body: bytes) -> bytes | None:
        parts = dict(boxes(body)) if kind in (b"trak", b"mdia") else {}
        if kind == b"mvhd":
            change.movie = int.from_bytes(body[12:16], "big")  # type: ignore[attr-defined]
        if kind != b"trak" or b"vide" not in body:
            return body
        ticks = int.from_bytes(dict(boxes(parts[b"mdia"]))[b"mdhd"][12:16], "big")
        begin = _first_ticks(parts.get(b"edts"))
        entries = b"".join(
            struct.pack(">Iihh", round(length * change.movie), begin + round(at * ticks), 1, 0)  # type: ignore[attr-defined]
            for at, length in edits
        )
        edts = box(b"elst", struct.pack(">II", 0, len(edits)) + entries)
        return box(b"edts", edts) + b"".join(box(k, b) for k, b in boxes(body) if k != b"edts")

    path.write_bytes(edit_boxes(path.read_bytes(), change))
    return path


def _first_ticks(edts: bytes | None) -> int:
    """Where the film's own edit list begins: behind the delay of B-frames."""
    return 0 if edts is None else int.from_bytes(dict(boxes(edts))[b"elst"][12:16], "big")


def with_second_description(path: Path, other: Path) -> Path:
    """Append the pictures of `other` to the MP4 file `path`, with a sample description of their own. No B-frames."""
    tables: dict[bytes, bytes] = {}

    def collect(kind: bytes, body: bytes) -> bytes:
        tables[kind] = body
        return body

    edit_boxes(other.read_bytes(), collect)
    more, base = dict(tables), len(path.read_bytes()) + 8
    shift = base - (other.read_bytes().index(b"mdat") + 4)
    own: dict[bytes, bytes] = {}
    edit_boxes(path.read_bytes(), lambda kind, body: own.setdefault(kind, body) or body)

    def joined(kind: bytes, body: bytes) -> bytes | None:
        count = int.from_bytes(body[4:8], "big")
        both = struct.pack(">I", count + int.from_bytes(more.get(kind, bytes(8))[4:8], "big"))
        if kind in (b"stsd", b"stts"):
            return body[:4] + both + body[8:] + more[kind][8:]
        if kind == b"stss":
            samples = int.from_bytes(own[b"stsz"][8:12], "big")
            numbers = struct.unpack(f">{len(more[kind][8:]) // 4}I", more[kind][8:])
            return body[:4] + both + body[8:] + b"".join(struct.pack(">I", n + samples) for n in numbers)
        if kind == b"stsz":
            total = struct.pack(">I", int.from_bytes(body[8:12], "big") + int.from_bytes(more[kind][8:12], "big"))
            return body[:8] + total + body[12:] + more[kind][12:]
        if kind == b"stco":
            offsets = struct.unpack(f">{len(more[kind][8:]) // 4}I", more[kind][8:])
            return body[:4] + both + body[8:] + b"".join(struct.pack(">I", o + shift) for o in offsets)
        if kind == b"stsc":
            chunks = int.from_bytes(own[b"stco"][4:8], "big")
            entries = struct.iter_unpack(">III", more[kind][8:])
            return body[:4] + both + body[8:] + b"".join(struct.pack(">III", c + chunks, n, 2) for c, n, _ in entries)
        return None if kind == b"edts" else body

    old = path.read_bytes()
    index = box(b"moov", edit_boxes(dict(boxes(old))[b"moov"], joined))
    path.write_bytes(old.replace(b"moov", b"free") + box(b"mdat", dict(boxes(other.read_bytes()))[b"mdat"]) + index)
    return path


def packed(path: Path, source: Path) -> Path:
    """The MPEG-4 film `source` as DivX writes it: each B picture in one packet with the picture that it refers to."""
    picture_code, empty = b"\0\0\1\xb6", bytes([0, 0, 1, 0xB6, 0x51, 0x2B, 0x7F])
    with av.open(str(source)) as film, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(film.streams.video[0], opaque=True)
        pictures = [(bytes(p), p.is_keyframe) for p in film.demux(video=0) if p.size]
        data: list[tuple[bytes, bool]] = []
        for picture_data, is_key in pictures:
            at = picture_data.index(picture_code)
            if picture_data[at + 4] >> 6 == 2:
                data[-1] = data[-1][0] + picture_data, data[-1][1]
                data.append((empty, False))
            elif is_key:
                header = picture_data[: picture_data.find(b"\0\0\1\xb2")]
                data.append((header + b"\0\0\1\xb2DivX503b1393p" + picture_data[at:], True))
            else:
                data.append((picture_data, False))
        for number, (bits, is_key) in enumerate(data):
            packet = av.Packet(bits)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, RATE), is_key
            packet.pts = packet.dts = number
            out.mux(packet)
    return path
