"""Pictures are shown as the camera's file says: upright, unmirrored, with square pixels, in the size of their part."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream import Decoder, Feed, Fit, Packet, Picture, Reading, Sample, Segment, Segmenter, SegmentLimits, write_joined
from stream.segment import Display
from tests.videos import write_video

#: Of the corners of a picture: red, green, blue, white.
COLOURS = np.array([[[200, 30, 30], [30, 200, 30]], [[30, 30, 200], [220, 220, 220]]])
PLAIN = Display()
DISPLAYS = [Display(turns, mirrored) for turns in range(4) for mirrored in (False, True)]
#: One group of pictures.
ONE_GROUP = {"gop": 200, "options": {"bf": "2", "sc_threshold": "0"}}


def corners(number: int, width: int, height: int) -> np.ndarray:
    return np.repeat(np.repeat(COLOURS, height // 2, 0), width // 2, 1).astype(np.uint8)


def segmented(path: Path, display: Display = PLAIN) -> list[Segment]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", replace(feed.track, display=display))
        return [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()


def sampled(segments: Sequence[Segment], picture: Picture, step_us: int = 500_000) -> list[Sample]:
    decoder, samples = Decoder(picture), []
    for segment in segments:
        first = -(-segment.start_us // step_us) * step_us
        decoded = decoder.decode(segment, range(first, segment.end_us, step_us))
        samples += decoded.late + decoded.samples
    return samples


def colours_of(image: np.ndarray) -> np.ndarray:
    """Of the corners of a picture, as places in `COLOURS`."""
    height, width, _ = image.shape
    seen = image[height // 4 :: height // 2, width // 4 :: width // 2].astype(int)
    return np.abs(seen[:, :, None] - COLOURS.reshape(4, 3)).sum(-1).argmin(-1)


def upright(display: Display) -> np.ndarray:
    """What is seen of `corners`: mirrored first, then turned clockwise."""
    places = np.arange(4).reshape(2, 2)
    return np.rot90(places[:, ::-1] if display.mirrored else places, -display.quarter_turns)


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("display", DISPLAYS, ids=str)
def test_sampled_pictures_are_upright_and_not_mirrored(tmp_path, display: Display, fit: Fit):
    path = write_video(tmp_path / "a.mp4", 90, size=(96, 64), frame=corners, **ONE_GROUP)
    segments = segmented(path, display)
    assert {s.display for s in segments if s.frames} == {display}
    samples = sampled(segments, Picture(32, 32, fit))
    assert len(samples) == 6
    for sample in samples:
        np.testing.assert_array_equal(colours_of(sample.image), upright(display))


@pytest.mark.parametrize("turns", [0, 1])
def test_a_crop_has_square_pixels(tmp_path, turns: int):
    """Pixels twice as wide as high: 48x64 of them are shown as 96x64."""

    def circle(number: int, width: int, height: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width]
        inside = ((x - width / 2 + 0.5) * 2) ** 2 + (y - height / 2 + 0.5) ** 2 < 24**2
        return np.where(inside[..., None], 230, 20).astype(np.uint8).repeat(3, 2)

    path = write_video(tmp_path / "a.mp4", 10, size=(48, 64), frame=circle)
    [sample, *_] = sampled(segmented(path, Display(turns, pixel_aspect=Fraction(2))), Picture(64, 64, "crop"))
    bright = sample.image.mean(-1) > 128
    assert abs(int(bright.sum(0).max()) - 48) <= 2
    assert abs(int(bright.sum(1).max()) - 48) <= 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("display", [*DISPLAYS, Display(0, pixel_aspect=Fraction(4, 3))], ids=str)
def test_joined_segments_say_how_they_are_shown(tmp_path, display: Display, suffix: str):
    path = write_video(tmp_path / "a.mp4", 90, size=(96, 64), frame=corners, **ONE_GROUP)
    joined = tmp_path / f"joined{suffix}"
    write_joined([s for s in segmented(path, display) if s.frames], joined)
    with av.open(str(joined)) as container:
        stream = container.streams.video[0]
        aspect = stream.sample_aspect_ratio or 1
        frames = list(container.decode(video=0))
    assert len(frames) == 90
    if suffix != ".mkv":
        assert aspect == display.pixel_aspect
    if suffix != ".mkv" or not display.mirrored:
        assert frames[0].rotation % 360 == -90 * display.quarter_turns % 360 or display.mirrored


def told_by_the_container(source: Path, path: Path, colour_range: int, matrix: int) -> Path:
    """The film in a container that tells how colours are coded; its pictures do not."""
    with av.open(str(source)) as film, av.open(str(path), "w", options={"movflags": "+write_colr"}) as out:
        stream = out.add_stream_from_template(film.streams.video[0])
        stream.codec_context.color_range, stream.codec_context.colorspace = colour_range, matrix
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return path


def by_libav(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).reformat(format="rgb24").to_ndarray()


@pytest.mark.parametrize(("colour_range", "matrix"), [(2, 2), (2, 1), (1, 1), (1, 9)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_colours_are_those_that_the_container_tells(tmp_path, suffix: str, colour_range: int, matrix: int):
    plain = write_video(tmp_path / "plain.mp4", 90, size=(96, 64), frame=corners, **ONE_GROUP)
    path = told_by_the_container(plain, tmp_path / f"told{suffix}", colour_range, matrix)
    expected = by_libav(path).astype(int)
    assert np.abs(expected - by_libav(plain)).max() > 5
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    for sample in sampled(segments, Picture(64, 96)):
        assert np.abs(sample.image - expected).max() <= 3
    for joined in (tmp_path / "joined.mp4", tmp_path / "joined.mkv"):
        write_joined([s for s in segments if s.frames], joined)
        assert np.abs(by_libav(joined) - expected).max() <= 3


@pytest.mark.parametrize(("codec", "pixels"), [("png", "rgb24"), ("qtrle", "rgb24"), ("png", "gray")])
def test_what_is_encoded_again_keeps_its_colours(tmp_path, codec: str, pixels: str):
    path = tmp_path / "film.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixels
        for number in range(25):
            picture = av.VideoFrame.from_ndarray(corners(number, 96, 64), "rgb24").reformat(format=pixels)
            picture.pts = number
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    with Feed(str(path), Reading(transcode=True)) as feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    [sample, *_] = sampled(segments, Picture(64, 96))
    middles = np.s_[16::32, 24::48]
    assert np.abs(sample.image[middles] - by_libav(path)[middles].astype(int)).max() <= 4


def one_after_the_other(paths: Sequence[Path], *, in_band: bool) -> list[Segment]:
    """Films as one track whose parameter sets change amid it: in the pictures, or as the container's side data."""
    feeds = [Feed(str(path)) for path in paths]
    packets: list[Packet] = []
    begin = 0
    for feed in feeds:
        found = list(feed.packets())
        extradata = bytes(feed.track.template.codec_context.extradata or b"")
        first = replace(found[0], extradata=None if in_band or not packets else extradata)
        base, tick = min(p.pts for p in found), feed.track.time_base
        ahead = begin - base
        packets += [replace(p, pts=p.pts + ahead, dts=p.dts + ahead) for p in (first, *found[1:])]
        begin += round(len(found) / 30 / tick)
    segmenter = Segmenter("cam", replace(feeds[0].track, zero=packets[0].pts or 0), SegmentLimits(1.0, 2.0))
    segments = [s for p in packets for s in segmenter.push(p)] + segmenter.end()
    for feed in feeds:
        feed.close()
    return segments


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", ".mp4"), ("libx264", ".ts"), ("libx265", ".mp4"), ("libx265", ".ts"), ("mpeg4", ".mp4")],
)
def test_new_parameter_sets_amid_a_film_begin_a_segment_of_their_own(tmp_path, codec: str, suffix: str):
    sizes = [(96, 64), (160, 96), (96, 64)]
    # Less than the shortest segment each, and none of these pictures looks like the others.
    paths = [
        write_video(
            tmp_path / f"{n}{suffix}",
            20,
            codec=codec,
            size=size,
            frame=lambda _, w, h, n=n: np.full((h, w, 3), 60 * n + 40, np.uint8),
            options={"bf": "0"} if codec != "libx265" else None,
        )
        for n, size in enumerate(sizes)
    ]
    segments = one_after_the_other(paths, in_band=suffix == ".ts")
    *footage, end = segments
    assert end.is_end
    assert [(s.width, s.height) for s in footage] == sizes
    assert [s.frames for s in footage] == [20, 20, 20]
    assert len({s.epoch_us for s in segments}) == 1, "time goes on, and so do windows"
    for one, other in itertools.pairwise(footage):
        assert one.end_us == other.start_us
    samples = sampled(segments, Picture(32, 32), 100_000)
    values = [(sample.at_us * 30 // 20_000_000, sample.image.mean()) for sample in samples]
    assert len(values) == 20
    for part, value in values:
        assert abs(value - (60 * part + 40)) < 12
