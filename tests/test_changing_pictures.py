"""Pictures whose size or format changes amid a film: each is classified as what it is, whatever the codec."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import Decoder, Footage, Picture, SegmentLimits, decode, sample_file
from tests.videos import number_of, numbered

LARGE, SMALL, LOWER = (176, 144), (128, 96), (176, 96)
PICTURE = Picture(24, 48)


@dataclass(frozen=True, eq=False)
class Coding:
    """How films of one codec are made."""

    encoder: str
    options: dict[str, str]
    #: The forms of pictures that it takes.
    formats: tuple[str, ...]
    #: Containers, as libav names them.
    forms: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...] = (LARGE, SMALL, LOWER)


QUICK = {"preset": "ultrafast", "bf": "0"}
WEB = {"deadline": "realtime", "cpu-used": "8"}
CHEAP = {
    "mjpeg": Coding("mjpeg", {}, ("yuvj420p", "yuvj422p"), ("mjpeg", "avi", "matroska", "mov", "mpjpeg")),
    "h264": Coding("libx264", QUICK, ("yuv420p", "yuv422p"), ("h264", "mpegts", "matroska", "avi", "vob", "flv")),
    "mpeg4": Coding("mpeg4", {}, ("yuv420p",), ("m4v", "avi", "mpegts", "mp4")),
    "mpeg4, B-frames": Coding("mpeg4", {"bf": "2"}, ("yuv420p",), ("m4v", "avi")),
    "mpeg2": Coding("mpeg2video", {}, ("yuv420p", "yuv422p"), ("mpeg2video", "mpegts", "vob", "matroska")),
    "mpeg1": Coding("mpeg1video", {}, ("yuv420p",), ("mpeg1video", "mpeg", "matroska")),
    "vp8": Coding("libvpx", WEB, ("yuv420p",), ("ivf", "webm")),
    "png": Coding("png", {}, ("rgb24", "gray"), ("avi",)),
    "flv1": Coding("flv", {}, ("yuv420p",), ("flv", "avi")),
    "h263": Coding("h263", {"qmin": "8"}, ("yuv420p",), ("avi", "h263", "3gp"), (LARGE, SMALL)),
}
DEAR = {
    "h264, B-frames": Coding("libx264", {"bf": "2"}, ("yuv420p", "yuv422p"), ("h264", "matroska")),
    "hevc": Coding(
        "libx265",
        {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"},
        ("yuv420p", "yuv422p"),
        ("hevc", "mpegts"),
    ),
    "vp9": Coding("libvpx-vp9", WEB, ("yuv420p", "yuv444p"), ("ivf", "mp4")),
    "av1": Coding(
        "libsvtav1",
        {"preset": "8", "crf": "20", "svtav1-params": "lp=1:pred-struct=1"},
        ("yuv420p", "yuv420p10le"),
        ("obu", "matroska"),
    ),
}
CODINGS = CHEAP | DEAR
Part = tuple[int, tuple[int, int], str]
Encode = Callable[[Coding, Part, int], list[av.Packet]]
LIMITS = SegmentLimits(0.3, 0.7)


@functools.cache
def encoded(coding: Coding, part: Part, first: int) -> list[av.Packet]:
    """Numbered pictures from `first` on."""
    frames, size, pixels = part
    context = av.CodecContext.create(coding.encoder, "w")
    (context.width, context.height), context.pix_fmt = size, pixels
    context.framerate, context.time_base, context.gop_size = 25, Fraction(1, 25), 12
    context.thread_count, context.options = 1, coding.options
    packets = []
    for number in range(first, first + frames):
        image = av.VideoFrame.from_ndarray(numbered(number, *size), "rgb24").reformat(format=pixels)
        image.pts, image.time_base = number, Fraction(1, 25)
        packets += context.encode(image)
    return packets + context.encode(None)


def write_parts(path: Path, coding: Coding, form: str, parts: Sequence[Part], encode: Encode = encoded) -> Path:
    """One track of which each part was encoded by itself: so many frames, of a size and a format."""
    with av.open(str(path), "w", format=form) as out:
        track = out.add_stream(coding.encoder, rate=25, options=coding.options)
        _, (track.width, track.height), track.pix_fmt = parts[0]
        first = 0
        for part in parts:
            for packet in encode(coding, part, first):
                copy = av.Packet(bytes(packet))
                copy.stream, copy.time_base = track, Fraction(1, 25)
                copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
                out.mux(copy)
            first += part[0]
    return path


def assert_each_picture_is_its_own(path: Path, parts: Sequence[Part]) -> None:
    footage, decoder = Footage([path], "gate", LIMITS, start_us=0), Decoder(PICTURE)
    segments, samples = [], []
    for segment in footage.segments():
        segments.append(segment)
        times = () if segment.is_end else decode(segment, [], PICTURE).frame_times_us
        decoded = decoder.decode(segment, times)
        samples += decoded.late + decoded.samples
    samples += decoder.end()
    frames = sum(count for count, _, _ in parts)
    skipped = sum((Counter(s.skipped) for s in segments), footage.skipped)
    assert (sum(s.frames for s in segments), skipped, footage.failures) == (frames, Counter(), [])
    # A programme stream has no time for pictures that begin in one packet: libav gives them that of the one before.
    times = [sample.at_us for sample in samples]
    shown = [len(times) - 1 - times[::-1].index(at_us) for at_us in times]
    assert [number_of(sample.image) for sample in samples] == shown
    assert len(samples) == frames
    sizes = [size for count, size, _ in parts for _ in range(count)]
    assert [(s.width, s.height) for s in segments for _ in range(s.frames)] == sizes


def shapes(coding: Coding) -> list[list[Part]]:
    large, small = coding.sizes[:2]
    pixels, other = coding.formats[0], coding.formats[-1]
    return [
        [(20, large, pixels), (20, small, pixels), (5, large, pixels), (15, small, other)],
        [(20, small, pixels), (20, small, other), (20, coding.sizes[-1], pixels)],
    ]


@pytest.mark.parametrize(("name", "form"), [(name, form) for name, c in CODINGS.items() for form in c.forms])
def test_every_picture_is_classified_at_its_own_size(tmp_path, name, form):
    for number, parts in enumerate(shapes(CODINGS[name])):
        path = write_parts(tmp_path / f"{number}.{form}", CODINGS[name], form, parts)
        assert_each_picture_is_its_own(path, parts)


@st.composite
def films(draw: st.DrawFn) -> tuple[Coding, str, list[Part]]:
    coding = CHEAP[draw(st.sampled_from(sorted(CHEAP)))]
    part = st.tuples(st.integers(4, 30), st.sampled_from(coding.sizes), st.sampled_from(coding.formats))
    return coding, draw(st.sampled_from(coding.forms)), draw(st.lists(part, min_size=2, max_size=5))


@pytest.mark.slow
@given(films())
@settings(max_examples=30, deadline=None)
def test_films_that_change_in_any_way_lose_no_picture(tmp_path_factory, film):
    coding, form, parts = film
    path = write_parts(tmp_path_factory.getbasetemp() / f"changing.{form}", coding, form, parts)
    assert_each_picture_is_its_own(path, parts)


@pytest.mark.parametrize(
    ("name", "form", "pictures"),
    [
        ("mpeg4", "avi", rb"\x00\x00\x01[\xb3\xb6]"),
        ("mpeg4", "m4v", rb"\x00\x00\x01[\xb3\xb6]"),
        ("mpeg2", "mpegts", rb"\x00\x00\x01[\xb8\x00]"),
        ("mpeg2", "matroska", rb"\x00\x00\x01[\xb8\x00]"),
    ],
)
def test_headers_that_come_once_hold_for_the_segments_that_follow(tmp_path, name, form, pictures):
    def encoded_with_headers_once(coding: Coding, part: Part, first: int) -> list[av.Packet]:
        begin, *rest = encoded(coding, part, first)
        bare = []
        for packet in rest:
            data = bytes(packet)
            copy = av.Packet(data[re.search(pictures, data).start() :])
            copy.pts, copy.dts, copy.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
            bare.append(copy)
        return [begin, *bare]

    parts: list[Part] = [(30, LARGE, "yuv420p"), (30, SMALL, "yuv420p"), (30, LOWER, "yuv420p")]
    path = write_parts(tmp_path / f"a.{form}", CODINGS[name], form, parts, encoded_with_headers_once)
    assert_each_picture_is_its_own(path, parts)


def test_training_sees_pictures_that_become_smaller(tmp_path):
    parts: list[Part] = [(30, LARGE, "yuvj420p"), (30, SMALL, "yuvj420p")]
    path = write_parts(tmp_path / "a.avi", CODINGS["mjpeg"], "avi", parts)
    [run] = sample_file(path, spacing_seconds=0.04, height=24, width=48)
    assert [number_of(image) for image in np.asarray(run)] == list(range(60))


@pytest.mark.parametrize(("pictures", "size"), [(1, SMALL), (2, (SMALL[0], 2 * SMALL[1]))])
def test_jpegs_of_half_the_announced_height_are_fields_if_there_are_two(tmp_path, pictures, size):
    coding, path = CODINGS["mjpeg"], tmp_path / "a.avi"
    with av.open(str(path), "w") as out:
        track = out.add_stream("mjpeg", rate=25)
        track.width, track.height, track.pix_fmt = SMALL[0], 2 * SMALL[1], "yuvj420p"
        for packet in encoded(coding, (20, SMALL, "yuvj420p"), 0):
            copy = av.Packet(bytes(packet) * pictures)
            copy.stream, copy.time_base, copy.is_keyframe = track, Fraction(1, 25), True
            copy.pts = copy.dts = packet.pts
            out.mux(copy)
    assert_each_picture_is_its_own(path, [(20, size, "yuvj420p")])
