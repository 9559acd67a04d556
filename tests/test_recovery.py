"""H.265 with intra refresh: decoding begins at a recovery point, and what is not clean yet is not shown."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from stream import Decoder, Feed, Picture, Segmenter
from stream.feeds.codecs.nal import framed, unit_kind, units
from tests.videos import number_of, numbered, write_video

SIZE = (128, 64)
GOP = 20


def recovery_point(pictures: int) -> bytes:
    """A message of H.265 (D.2.8) that all is clean so many pictures later."""
    code = f"{2 * pictures:b}" if pictures else "1"
    bits = "0" * (len(code) - 1) + code + "101"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes([39 << 1, 1, 6, len(payload)]) + payload + b"\x80"


def refreshed(path: Path, begin: int, after: int, b_frames: int) -> Path:
    """60 pictures of which each 20th begins a refresh; x265 does not say so. What is before `begin` is cut off."""
    params = f"log-level=none:pools=1:frame-threads=1:intra-refresh=1:keyint={GOP}:bframes={b_frames}:b-adapt=0"
    whole = write_video(
        path.with_name("whole.ts"), 60, codec="libx265", size=SIZE, frame=numbered, options={"x265-params": params}
    )
    with av.open(str(whole)) as film, av.open(str(path), "w") as out:
        video = film.streams.video[0]
        stream = out.add_stream_from_template(video)
        packets = [packet for packet in film.demux(video) if packet.size]
        sets = [unit for unit in units(bytes(packets[0]), 0) if unit_kind("hevc", unit) in {32, 33, 34}]
        for number, packet in enumerate(packets[begin:], begin):
            pictures = list(units(bytes(packet), 0))
            tells = [*sets, recovery_point(after)] if number == begin or number % GOP == 0 else []
            copy = av.Packet(framed([*pictures[:1], *tells, *pictures[1:]]))
            copy.stream, copy.time_base, copy.pts, copy.dts = stream, packet.time_base, packet.pts, packet.dts
            out.mux(copy)
    return path


def by_libav(path: Path) -> list[int]:
    """Times of the pictures that it shows, in ticks."""
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0) if frame.pts is not None]


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("begin", [20, 21, 22, 23])
def test_no_picture_is_counted_that_the_decoder_does_not_give(tmp_path, begin: int, b_frames: int):
    path = refreshed(tmp_path / "cut.ts", begin, GOP - 1, b_frames)
    shown = by_libav(path)
    with Feed(str(path)) as feed:
        segmenter, decoder = Segmenter("cam", feed.track), Decoder(Picture(SIZE[1], SIZE[0]))
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    numbers: list[int] = []
    for segment in segments:
        decoded = decoder.decode(segment, range(segment.start_us, segment.end_us, 16_667))
        if b_frames == 0 and begin == GOP:
            numbers += [number_of(sample.image) for sample in (*decoded.late, *decoded.samples)]
    frames = sum(segment.frames for segment in segments)
    skipped = sum(sum(segment.skipped.values()) for segment in segments)
    assert frames + skipped == 60 - begin
    if b_frames:
        assert len(shown) - 8 < frames <= len(shown)  # where order is not known yet, some more are left out
    else:
        assert frames == len(shown)
    if numbers:
        assert sorted(set(numbers)) == list(range(60 - frames, 60))
