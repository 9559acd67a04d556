"""What a feed gives of a film is what a player shows of it: these pictures, in this order, at these times."""

from __future__ import annotations

import io
import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream import Feed, Footage, Packet, Reading, Segment, Segmenter, SourceError, sample_file
from stream.feeds.packets import for_decoder
from stream.segment import Display
from tests.cameras import camera, need_rtsp
from tests.films import RATE, packed, with_edits, with_second_description, write_film
from tests.videos import HEIGHT, WIDTH, picture

B_FRAMES = {"bf": "3", "b_strategy": "0", "b-pyramid": "normal", "preset": "ultrafast"}
NO_B_FRAMES = {"bf": "0", "preset": "ultrafast"}


def read(path: Path, reading: Reading | None = None) -> tuple[Feed, list[Packet]]:
    with Feed(str(path), reading) as feed:
        return feed, list(feed.packets())


def times(feed: Feed, packets: list[Packet]) -> list[float]:
    """When pictures are shown, in seconds after the container's time 0."""
    assert all(p.pts is not None for p in packets)
    assert all(p.dts is None or p.dts <= p.pts for p in packets)
    shown = sorted(p.pts - feed.track.zero for p in packets if not p.discard)
    return [round(float(ticks * feed.track.time_base), 3) for ticks in shown]


def numbers(path: Path) -> list[int]:
    """Which pictures are shown, in the order of their times: decoded from a feed's packets alone."""
    with Feed(str(path)) as feed:
        packets = list(feed.packets())
        context = feed.track.template.codec_context
        context.flush_buffers()
        images = {}
        for index, packet in enumerate(packets):
            encoded = for_decoder(packet.data)
            encoded.pts = encoded.dts = index
            images |= {f.pts: f.reformat(format="rgb24").to_ndarray() for f in context.decode(encoded)}
        images |= {f.pts: f.reformat(format="rgb24").to_ndarray() for f in context.decode(None)}
    shown = sorted((packet.pts, index) for index, packet in enumerate(packets) if not packet.discard)
    return [number_of(images[index]) for _, index in shown if index in images]


PICTURES = np.stack([picture(n)[::4, ::4] for n in range(110)]).astype(int)


def number_of(image: np.ndarray) -> int:
    return int(np.abs(PICTURES - image[::4, ::4]).mean(axis=(1, 2, 3)).argmin())


def every(count: int, first: float = 0) -> list[float]:
    return [round(first + n / RATE, 3) for n in range(count)]


def film(path: Path, **more) -> Path:
    return write_film(path, **{"options": B_FRAMES, **more})


def raw(path: Path, codec: str, form: str, options: dict[str, str]) -> Path:
    return write_film(path, codec=codec, form=form, options=options)


def cut(path: Path, begin: int) -> Path:
    path.write_bytes(path.read_bytes()[begin - begin % 188 :])
    return path


#: name: (how it is made, when its pictures are shown, which they are)
FILMS: dict[str, tuple[Callable[[Path], Path], list[float], list[int]]] = {
    "mp4": (lambda p: film(p / "a.mp4"), every(60), list(range(60))),
    "video after audio, mp4": (lambda p: film(p / "a.mp4", first=2, sound=True), every(60, 2), list(range(60))),
    "video after audio, mkv": (lambda p: film(p / "a.mkv", first=2, sound=True), every(60, 2), list(range(60))),
    # Here the sound begins with the 1024 samples by which its encoder lags.
    "video after audio, ts": (
        lambda p: film(p / "a.ts", first=2, sound=True),
        every(60, 2 + 1024 / 8000),
        list(range(60)),
    ),
    "trimmed": (lambda p: with_edits(film(p / "a.mp4"), [(1.2, 1.0)]), every(25), list(range(30, 55))),
    "two pieces, the later one first": (
        lambda p: with_edits(film(p / "a.mp4", frames=100), [(2.4, 1.0), (0.2, 0.8)]),
        every(45),
        [*range(60, 85), *range(5, 25)],
    ),
    "the same piece twice": (
        lambda p: with_edits(film(p / "a.mp4"), [(0.4, 0.4), (0.4, 0.4)]),
        every(20),
        [*range(10, 20)] * 2,
    ),
    "fragments": (
        lambda p: film(p / "a.mp4", container_options={"movflags": "frag_keyframe+empty_moov+delay_moov"}),
        every(60),
        list(range(60)),
    ),
    "raw h264": (lambda p: raw(p / "a.h264", "libx264", "h264", B_FRAMES), every(60), list(range(60))),
    "raw h264, deep": (
        lambda p: raw(p / "a.h264", "libx264", "h264", {"bf": "15", "b_strategy": "0", "b-pyramid": "normal"}),
        every(60),
        list(range(60)),
    ),
    "raw h265": (lambda p: raw(p / "a.h265", "libx265", "hevc", {}), every(60), list(range(60))),
    "raw h265, whatever it is called": (lambda p: raw(p / "film", "libx265", "hevc", {}), every(60), list(range(60))),
    "avi h264": (lambda p: film(p / "a.avi"), every(60), list(range(60))),
    "avi mpeg4": (
        lambda p: write_film(p / "a.avi", codec="mpeg4", options={"bf": "0", "qmin": "2", "qmax": "2"}),
        every(60),
        list(range(60)),
    ),
    # As libav has it: a player has to decode one picture more before it can show the first.
    "avi mpeg4, B-frames": (
        lambda p: write_film(p / "a.avi", codec="mpeg4", options={"bf": "2", "b_strategy": "0", "qmax": "3"}),
        every(60, 1 / RATE),
        list(range(60)),
    ),
    "DivX": (
        lambda p: packed(
            p / "a.avi", write_film(p / "b.avi", codec="mpeg4", options={"bf": "1", "b_strategy": "0", "qmax": "3"})
        ),
        every(60),
        list(range(60)),
    ),
    "raw mpeg2": (
        lambda p: write_film(p / "a.m2v", codec="mpeg2video", form="mpeg2video", options={"bf": "2"}),
        every(60),
        list(range(60)),
    ),
    "program stream": (
        lambda p: write_film(p / "a.mpg", codec="mpeg2video", options={"bf": "2"}),
        every(60),
        list(range(60)),
    ),
    "h264 in a program stream": (lambda p: film(p / "a.vob", form="vob"), every(60), list(range(60))),
    "flv": (lambda p: film(p / "a.flv"), every(60), list(range(60))),
    "past the clock of MPEG-TS": (
        lambda p: film(p / "a.ts", container_options={"output_ts_offset": "95442"}),
        every(60),
        list(range(60)),
    ),
    "a browser's": (
        lambda p: write_film(
            p / "a.webm", codec="libvpx", options={"deadline": "realtime"}, container_options={"live": "1"}
        ),
        every(60),
        list(range(60)),
    ),
    "mjpeg stream": (
        lambda p: write_film(p / "a.mjpeg", codec="mjpeg", form="mjpeg", pix_fmt="yuvj420p"),
        every(60),
        list(range(60)),
    ),
    "y4m": (
        lambda p: write_film(p / "a.y4m", 30, codec="wrapped_avframe", form="yuv4mpegpipe"),
        every(30),
        list(range(30)),
    ),
    "gif": (lambda p: write_film(p / "a.gif", 30, codec="gif", pix_fmt="rgb8"), every(30), list(range(30))),
}


@pytest.mark.parametrize("name", FILMS)
def test_pictures_and_times_are_those_that_a_player_shows(tmp_path, name):
    make, shown_at, shown = FILMS[name]
    path = make(tmp_path)
    assert times(*read(path)) == pytest.approx(shown_at, abs=0.0011)
    assert numbers(path) == shown


#: Frames that libav's own player shows, and what is said of the file.
AWKWARD_FILMS = {
    "trimmed.mp4": (165, None),
    "bframes.avi": (250, None),
    "av1.mp4": (75, None),
    "rot90.mp4": (250, None),
    "timelapse_1fps.mp4": (120, None),
    "raw.h264": (250, "25 pictures a second"),
    "gdr.mp4": (250, None),
    "trunc_fs.mp4": (148, "ends early, after 5.9 s of 10.0 s: its last picture is incomplete"),
    "codec_wmv1.wmv": (25, None),
    "codec_theora.ogv": (25, None),
    "codec_flv1.flv": (25, None),
    "cover_first.mkv": (250, None),
    "nat/10.mp4": (250, None),
}


@pytest.mark.parametrize("name", AWKWARD_FILMS)
def test_awkward_films_give_what_a_player_shows(name, shared_data):
    count, note = AWKWARD_FILMS[name]
    feed, packets = read(shared_data / "awkward" / name)
    shown_at = times(feed, packets)
    step = 1.0 if name.startswith("timelapse") else 1 / RATE
    assert shown_at == pytest.approx([n * step for n in range(count)], abs=0.0011)
    assert [note is None or note in said for said in feed.notes] == [True] * (note is not None)


@pytest.mark.parametrize("rate", [12.5, 50])
def test_a_stream_without_times_has_the_rate_that_the_user_says(tmp_path, rate):
    path = raw(tmp_path / "a.h264", "libx264", "h264", B_FRAMES)
    assert times(*read(path, Reading(rate))) == pytest.approx([n / rate for n in range(60)], abs=0.0011)


def test_a_cut_inside_a_group_of_pictures_keeps_what_cannot_be_decoded(tmp_path):
    whole = film(tmp_path / "a.ts")
    data = whole.read_bytes()
    part = tmp_path / "part.ts"
    part.write_bytes(data[len(data) // 4 // 188 * 188 :])
    feed, packets = read(part)
    assert not packets[0].keyframe
    assert numbers(whole)[-10:] == numbers(part)[-10:]
    assert min(abs(t) for t in times(feed, packets)) == 0


def test_new_parameter_sets_in_mid_file_come_with_the_packet_that_they_begin_at(tmp_path):
    small = film(tmp_path / "a.mp4", frames=30, options=NO_B_FRAMES)
    large = film(tmp_path / "b.mp4", frames=30, options=NO_B_FRAMES, size=(320, 192))
    feed, packets = read(with_second_description(small, large))
    assert times(feed, packets) == pytest.approx(every(60))
    assert [i for i, p in enumerate(packets) if p.extradata is not None] == [30]
    assert packets[30].keyframe


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_how_pictures_are_to_be_shown(tmp_path, turns, mirrored):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        one = 1 << 16
        a, b, c, d = [(one, 0, 0, one), (0, one, -one, 0), (-one, 0, 0, -one), (0, -one, one, 0)][turns]
        a, b = (-a, -b) if mirrored else (a, b)
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        out.mux(stream.encode(None))
    with Feed(str(path)) as feed:
        assert feed.track.display == Display(turns, mirrored, Fraction(4, 3))


def test_a_cover_picture_is_not_the_film(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        cover, video = out.add_stream("mjpeg", rate=1), out.add_stream("libx264", rate=RATE)
        cover.width, cover.height, cover.pix_fmt = 640, 480, "yuvj420p"
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(0, 640, 480), "rgb24")))
        out.mux(cover.encode(None))
        for number in range(30):
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), "rgb24")))
        out.mux(video.encode(None))
    feed, packets = read(path)
    assert (feed.track.codec, feed.track.width, len(packets)) == ("h264", WIDTH, 30)


def truncated(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mp4", {"movflags": "faststart"}),
        (".mp4", {"movflags": "frag_keyframe+empty_moov"}),
        (".mkv", {}),
        (".avi", {}),
        (".flv", {}),
        (".wmv", {}),
    ],
    ids=["mp4", "fragments", "mkv", "avi", "flv", "wmv"],
)
def test_a_film_that_ends_early_is_read_to_its_last_good_picture_and_said(tmp_path, suffix, options, caplog):
    codec = {"codec": "wmv2", "options": {"qmin": "2", "qmax": "2"}} if suffix == ".wmv" else {"options": NO_B_FRAMES}
    path = truncated(film(tmp_path / f"a{suffix}", container_options=options, **codec))
    with caplog.at_level(logging.WARNING):
        feed, packets = read(path)
    assert 20 < len(packets) < 50
    assert numbers(path) == list(range(len(packets)))
    assert [note.startswith("ends early") for note in feed.notes] == [True]
    assert f"a{suffix}: ends early" in caplog.text


@pytest.mark.parametrize("packet", [188, 192, 204])
def test_a_transport_stream_that_ends_within_a_packet_is_said(tmp_path, packet: int):
    """Bare packets, behind a time, before a check sum; and begun within one, which is no fault of the end."""
    whole = film(tmp_path / "whole.ts", options=NO_B_FRAMES).read_bytes()
    around = {188: (b"", b""), 192: (bytes(4), b""), 204: (b"", bytes(16))}[packet]
    packets = [around[0] + whole[at : at + 188] + around[1] for at in range(0, len(whole), 188)]
    path = tmp_path / "a.ts"
    for begin in (0, 77):
        path.write_bytes(b"".join(packets)[begin:])
        assert read(path)[0].notes == []
        path.write_bytes(b"".join(packets)[begin : -2 * packet - 50])
        assert read(path)[0].notes == ["ends early: its last packet is cut off"]


def test_an_ogg_that_ends_early_is_said(tmp_path):
    whole = film(tmp_path / "a.ogv", codec="vp8", options={}).read_bytes()
    assert read(tmp_path / "a.ogv")[0].notes == []
    path = tmp_path / "b.ogv"
    last_pages = [match.start() for match in re.finditer(b"OggS", whole)][-2:]
    for end, why in ((last_pages[0], "is not marked as the end"), (last_pages[1] + 40, "is cut off")):
        path.write_bytes(whole[:end])
        assert read(path)[0].notes == [f"ends early: its last page {why}"]


def test_a_film_without_its_index_says_what_is_missing(tmp_path):
    with pytest.raises(SourceError, match=r"a\.mp4: .*its index, the moov box, is missing"):
        read(truncated(film(tmp_path / "a.mp4")))
    (tmp_path / "b.mp4").touch()
    with pytest.raises(SourceError, match=r"b\.mp4: .*empty"):
        read(tmp_path / "b.mp4")


def test_text_and_single_pictures_are_no_video(tmp_path):
    (tmp_path / "a.nfo").write_text("a text that libav takes for a terminal's screen\n" * 100)
    write_film(tmp_path / "a.png", 1, codec="png", form="image2", pix_fmt="rgb24", container_options={"update": "1"})
    for name, why in {"a.nfo": "holds no video track", "a.png": "is a single picture"}.items():
        with pytest.raises(SourceError, match=f"{name}: {why}"):
            read(tmp_path / name)


def test_lost_packets_and_flipped_bits_amid_a_transport_stream_end_nothing(tmp_path):
    path = film(tmp_path / "a.ts")
    data = bytearray(path.read_bytes())
    del data[188 * 60 : 188 * 63]
    data[188 * 100 + 90] ^= 0xFF
    path.write_bytes(data)
    feed, packets = read(path)
    assert len(packets) >= 58
    assert feed.notes == []


CODECS = {  # encoder: (container of the film, picture format, container of the segments, options)
    "libx264": ("mov", "yuv420p", "mpegts", B_FRAMES),
    "libx265": ("mov", "yuv420p", "mpegts", {}),
    "libsvtav1": ("mp4", "yuv420p", "matroska", {"preset": "12", "svtav1-params": "lp=1"}),
    "libvpx": ("webm", "yuv420p", "matroska", {"deadline": "realtime"}),
    "libvpx-vp9": ("webm", "yuv420p", "matroska", {"deadline": "realtime"}),
    "mjpeg": ("avi", "yuvj420p", "matroska", {}),
    "mpeg1video": ("mpeg", "yuv420p", "matroska", {"bf": "2"}),
    "mpeg2video": ("mpegts", "yuv420p", "matroska", {"bf": "2"}),
    "mpeg4": ("mp4", "yuv420p", "matroska", {"bf": "2"}),
    "msmpeg4": ("avi", "yuv420p", "matroska", {}),
    "msmpeg4v2": ("avi", "yuv420p", "nut", {}),
    "wmv1": ("asf", "yuv420p", "nut", {}),
    "wmv2": ("asf", "yuv420p", "nut", {}),
    "flv": ("flv", "yuv420p", "nut", {}),
    "prores": ("mov", "yuv422p10le", "matroska", {}),
    "ffv1": ("matroska", "yuv420p", "matroska", {}),
    "utvideo": ("avi", "yuv420p", "nut", {}),
    "magicyuv": ("avi", "yuv420p", "nut", {}),
    "rawvideo": ("avi", "yuv420p", "nut", {}),
    "png": ("avi", "rgb24", "nut", {}),
    "gif": ("gif", "rgb8", "nut", {}),
}


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_comes_back_from_segments_as_it_was(tmp_path, codec):
    form, pix_fmt, carried_in, options = CODECS[codec]
    if codec not in av.codecs_available:
        pytest.skip(f"this libav has no encoder {codec}")
    path = write_film(tmp_path / "film", 20, codec=codec, form=form, pix_fmt=pix_fmt, options=options)
    segments = segments_of(path)
    assert {s.container for s in segments} == {carried_in}
    with av.open(str(path)) as whole:
        expected = [f.reformat(format="gray").to_ndarray() for f in whole.decode(video=0)]
    got = pictures_of(segments)
    assert len(got) == 20
    np.testing.assert_array_equal(got, expected)


def pictures_of(segments: list[Segment]) -> list[np.ndarray]:
    """What libav decodes of segments without a picture of their neighbours."""
    images: list[np.ndarray] = []
    for segment in segments:
        if not segment.is_end:
            with av.open(io.BytesIO(segment.data), format=segment.container) as container:
                images += [f.reformat(format="gray").to_ndarray() for f in container.decode(video=0)]
    return images


def segments_of(path: Path, reading: Reading | None = None) -> list[Segment]:
    with Feed(str(path), reading) as feed:
        segmenter = Segmenter("cam", feed.track)
        return [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()


@pytest.mark.parametrize("codec", ["qtrle", pytest.param("dnxhd", marks=pytest.mark.slow)])
def test_what_cannot_be_carried_is_refused_or_encoded_once(tmp_path, codec, caplog):
    size, pix_fmt = ((1280, 720), "yuv422p") if codec == "dnxhd" else ((WIDTH, HEIGHT), "rgb24")
    options = {"profile": "dnxhr_lb"} if codec == "dnxhd" else {}
    path = write_film(tmp_path / "a.mov", 55, codec=codec, pix_fmt=pix_fmt, options=options, size=size)
    with pytest.raises(SourceError, match=rf"a\.mov: {codec} video cannot be carried .*--transcode"):
        Feed(str(path))
    with caplog.at_level(logging.WARNING):
        feed, packets = read(path, Reading(transcode=True))
    assert times(feed, packets) == pytest.approx(every(55))
    assert [i for i, p in enumerate(packets) if p.keyframe] == [0, 50]
    assert caplog.text.count(f"a.mov: {codec} video cannot be carried in segments as it is: it is encoded again") == 1
    segments = segments_of(path, Reading(transcode=True))
    assert {(s.codec, s.container) for s in segments} == {("h264", "mpegts")}
    assert len(pictures_of(segments)) == 55
    [frames] = sample_file(path, spacing_seconds=0.04, height=48, width=80)  # for training, without being asked
    assert len(frames) == 55


@pytest.mark.parametrize("options", [NO_B_FRAMES, B_FRAMES], ids=["in order", "B-frames"])
def test_the_first_picture_of_a_camera_counts_though_it_comes_without_a_time(tmp_path, options):
    need_rtsp()
    path = film(tmp_path / "a.mp4", options=options)
    with camera(path) as (port, _), Feed(f"rtsp://127.0.0.1:{port}/cam") as feed:
        packets = list(itertools.islice(feed.packets(), 30))
    assert packets[0].keyframe
    with Feed(str(path)) as recorded:
        expected = [p.pts - recorded.track.zero for p in itertools.islice(recorded.packets(), 30)]
        ticks = recorded.track.time_base / feed.track.time_base
    assert [p.pts - feed.track.zero for p in packets] == [round(pts * ticks) for pts in expected]
    assert all(p.dts <= p.pts for p in packets)


@pytest.mark.slow
def test_every_picture_of_all_shared_footage_is_in_a_segment_or_has_a_reason(shared_data):
    suffixes = {".mp4", ".avi", ".mkv", ".h264", ".flv"}
    films = [path for path in sorted(shared_data.rglob("*")) if path.suffix in suffixes]
    assert films
    for path in films:
        segments = list(Footage([path], "cam", start_us=0).segments())
        told = sum(each.frames + sum(each.skipped.values()) for each in segments)
        with av.open(str(path)) as container:
            packets = container.demux(*container.streams.video)
            shown = Counter(packet.stream_index for packet in packets if packet.size and not packet.is_discard)
        assert told == max(shown.values()), path.relative_to(shared_data)  # a cover is a track, too
