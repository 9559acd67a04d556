"""Feeds that change in the middle or begin oddly: every frame has a fate, and what is left out is said."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream import Feed, Footage, Picture, Segment, SourceError, decode
from tests.films import with_second_description, write_film
from tests.logs import messages_of
from tests.videos import picture

PLAIN = {"bf": "0", "preset": "ultrafast"}


def segments_of(path: Path) -> tuple[list[Segment], Counter[str], list[str]]:
    """Its segments, the frames that were left out by reason, and what a user is told."""
    footage = Footage([path], "gate", start_us=0)
    segments = list(footage.segments())
    skipped = sum((Counter(s.skipped) for s in segments), footage.skipped)
    return segments, skipped, footage.failures


def programme(path: Path, number: int, **more) -> Path:
    return write_film(
        path,
        form="mpegts",
        container_options={
            "mpegts_start_pid": str(256 * number),
            "mpegts_pmt_start_pid": str(4096 + number),
            "mpegts_service_id": str(number),
        },
        **{"options": PLAIN, **more},
    )


def test_another_programme_amid_a_transport_stream_costs_no_frame_of_the_first_and_is_told(tmp_path, caplog):
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(programme(tmp_path / f"{n}.ts", n).read_bytes() for n in (1, 3)))
    segments, skipped, failures = segments_of(both)
    assert (sum(s.frames for s in segments), segments[-1].is_end) == (60, True)
    assert (skipped, failures) == (Counter(), [])
    assert "another video track, or another programme, begins in the middle" in caplog.text
    caplog.clear()
    segments_of(tmp_path / "1.ts")
    assert not messages_of(caplog, "stream.feeds")


class _Breaking:
    """A container of which reading breaks off."""

    def __init__(self, container: Any, error: BaseException) -> None:
        self._container, self._error = container, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, *tracks: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux(*tracks)):
            if number == 30:
                raise self._error
            yield packet


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError(), av.error.InvalidDataError(1, "bad"), MemoryError()])
def test_whatever_libav_raises_while_reading_is_damage(tmp_path, monkeypatch, caplog, error):
    path, av_open = write_film(tmp_path / "a.mkv", options=PLAIN), av.open
    monkeypatch.setattr("stream.feeds.source.av.open", lambda *a, **k: _Breaking(av_open(*a, **k), error))
    with Feed(str(path)) as feed:
        assert len(list(feed.packets())) == 30
    assert "ends early, after 1.2 s of 2.4 s" in caplog.text


def test_what_cannot_be_made_sense_of_ends_a_feed_and_no_process(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise RecursionError("deep")

    path = write_film(tmp_path / "a.mkv", options=PLAIN)
    with Feed(str(path)) as feed:
        monkeypatch.setattr("stream.feeds.source.packet_of", broken)
        with pytest.raises(SourceError, match=r"a\.mkv: reading failed \(RecursionError: deep\)"):
            list(feed.packets())


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "libx264"), ("a.wmv", "msmpeg4")])
def test_the_half_picture_at_the_end_of_a_file_that_is_cut_off_is_counted(tmp_path, caplog, name, codec):
    path = write_film(tmp_path / name, codec=codec, options=PLAIN if codec == "libx264" else {"q": "2"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10 - 40])
    with av.open(str(path)) as container:
        there = sum(bool(packet.size) for packet in container.demux(video=0))
    segments, skipped, _ = segments_of(path)
    assert skipped == {"incomplete": 1}
    assert sum(s.frames for s in segments) == there - 1
    assert "ends early" in caplog.text


CODECS = {"h264": "libx264", "hevc": "libx265", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4"}


#: Of a stream without a container.
FORMS = {
    "h264": "h264",
    "hevc": "hevc",
    "mpeg2video": "mpeg2video",
    "mpeg4": "m4v",
    "mjpeg": "mjpeg",
    "av1": "obu",
}


@pytest.fixture(scope="module")
def programmes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Sixty frames of each codec, under the same numbers of tracks."""
    folder = tmp_path_factory.mktemp("programmes")
    return {
        name: programme(folder / f"{name}.ts", 1, codec=codec, options=PLAIN if name == "h264" else {}).read_bytes()
        for name, codec in CODECS.items()
    }


@pytest.mark.parametrize(("codec", "other"), list(itertools.permutations(CODECS, 2)))
def test_a_change_of_codec_amid_a_transport_stream_is_a_named_end(tmp_path, caplog, programmes, codec, other):
    both = tmp_path / "both.ts"
    both.write_bytes(programmes[codec] + programmes[other])
    segments, skipped, failures = segments_of(both)
    # libav gives no packet of the picture that it gathers when the codec changes: it is left out, too.
    assert (sum(s.frames for s in segments), segments[-1].is_end) == (59, True)
    assert (skipped, failures) == ({"other_codec": 61}, [])
    for segment in segments:
        if not segment.is_end:
            decode(segment, [segment.start_us], Picture(24, 32))
    assert f"ends early: its codec changes from {codec} to {other}" in caplog.text


def film_of(folder: Path, codec: str, frames: int, form: str) -> bytes:
    options = PLAIN if codec == "h264" else {"preset": "12", "svtav1-params": "lp=1:pred-struct=1"}
    return write_film(
        folder / f"{codec}-{frames}.{form}",
        frames,
        form=form,
        codec={**CODECS, "mjpeg": "mjpeg", "av1": "libsvtav1"}[codec],
        options=options if codec in {"h264", "av1"} else {"preset": "ultrafast"} if codec == "hevc" else {},
        pix_fmt="yuvj420p" if codec == "mjpeg" else "yuv420p",
    ).read_bytes()


def assert_ends_where_the_codec_changes(
    both: Path, caplog: pytest.LogCaptureFixture, codec: str, others: list[str]
) -> None:
    """Of films of 10 pictures of `codec` and 20 of each of the others."""
    segments, skipped, failures = segments_of(both)
    assert (sum(s.frames for s in segments), segments[-1].is_end, segments[0].codec) == (10, True, codec)
    assert (skipped, failures) == ({"other_codec": 20 * len(others)}, [])
    for segment in segments:
        if not segment.is_end:
            decode(segment, [segment.start_us], Picture(24, 32))
    assert f"{both.name}: ends early: its codec changes from {codec} to {others[0]}" in caplog.text


@pytest.fixture(scope="module", params=["vob", "raw"])
def streams(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[tuple[str, int], bytes]]:
    """Films of 10 and of 20 frames of each codec, in programme streams or without a container."""
    folder = tmp_path_factory.mktemp(request.param)
    forms = FORMS if request.param == "raw" else dict.fromkeys(CODECS, "vob")
    return request.param, {(codec, n): film_of(folder, codec, n, forms[codec]) for codec in forms for n in (10, 20)}


def test_a_change_of_codec_amid_a_stream_of_one_parser_is_a_named_end_with_every_picture_counted(
    tmp_path, caplog, streams
):
    """The parser that libav began with makes nothing of what follows, or pieces that are no pictures."""
    kind, films = streams
    codecs = sorted({codec for codec, _ in films})
    for codec, other in itertools.permutations(codecs, 2):
        both = tmp_path / f"{codec}-{other}.film"
        both.write_bytes(films[codec, 10] + films[other, 20])
        assert_ends_where_the_codec_changes(both, caplog, codec, [other])
    both = tmp_path / "back.film"
    both.write_bytes(films["hevc", 10] + films["mpeg4", 20] + films["mpeg2video", 20] + films["mpeg4", 20])
    assert_ends_where_the_codec_changes(both, caplog, "hevc", ["mpeg4", "mpeg2video", "mpeg4"])
    assert ("after 0.3 s; what follows is left out" in caplog.text) == (kind == "vob")


def test_pictures_of_another_codec_in_one_track_of_an_mp4_file_are_counted(tmp_path, caplog):
    """libav passes over what is not described as it began, and says nothing."""
    film = write_film(tmp_path / "a.mp4", 50, options=PLAIN)
    path = with_second_description(film, write_film(tmp_path / "b.mp4", 30, codec="mpeg4"))
    segments, skipped, failures = segments_of(path)
    assert (sum(s.frames for s in segments), skipped, failures) == (50, {"other_codec": 30}, [])
    assert "a.mp4: 30 pictures are of another codec than h264: they are left out" in caplog.text


def test_a_second_track_beside_the_film_is_no_change_of_its_codec(tmp_path, caplog):
    path = tmp_path / "two.mpg"
    with av.open(str(path), "w", format="vob") as out:
        tracks = [out.add_stream(codec, rate=25) for codec in ("mpeg2video", "libx264")]
        for track in tracks:
            track.width, track.height, track.pix_fmt = 160, 96, "yuv420p"
        for number in range(50):
            for track in tracks:
                image = av.VideoFrame.from_ndarray(picture(number), "rgb24")
                image.pts, image.time_base = number, Fraction(1, 25)
                out.mux(track.encode(image))
        for track in tracks:
            out.mux(track.encode(None))
    segments, skipped, failures = segments_of(path)
    assert (sum(s.frames for s in segments), skipped, failures) == (50, Counter(), [])
    assert not messages_of(caplog, "stream.feeds")


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4"])
def test_no_codec_is_taken_for_another(tmp_path, caplog, codec):
    """Of pictures with as many slices as there can be, and noise in them."""
    path = write_film(
        tmp_path / "a.ts", 4, form="mpegts", codec=codec, size=(64, 1600), options={"qmin": "1", "qmax": "1", "g": "2"}
    )
    segments, skipped, _ = segments_of(path)
    assert (sum(s.frames for s in segments), skipped) == (4, Counter())


def test_a_container_that_flags_no_keyframe_is_read_from_its_first_picture(tmp_path):
    segments, skipped, failures = segments_of(write_film(tmp_path / "a.swf", codec="flv", options={}))
    assert (sum(s.frames for s in segments), skipped, failures) == (60, Counter(), [])


def without(path: Path, track: int) -> Path:
    """A transport stream without the packets of a track that it announces."""
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    path.write_bytes(b"".join(p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF != track))
    return path


@pytest.mark.parametrize("form", ["mpegts", "vob", "flv"])
def test_video_that_begins_long_after_its_sound_is_footage(tmp_path, form):
    path = write_film(tmp_path / f"a.{form}", form=form, first=100, sound=True, options=PLAIN)
    segments, skipped, failures = segments_of(path)
    assert (sum(s.frames for s in segments), skipped, failures) == (60, Counter(), [])
    assert segments[0].start_us / 1e6 == pytest.approx(100, abs=0.3)


def test_a_keyframe_that_comes_late_begins_the_footage(tmp_path):
    """A transport stream that was cut behind the begin of a long group of pictures."""
    path = write_film(tmp_path / "a.ts", 500, form="mpegts", options=PLAIN | {"g": "400", "sc_threshold": "0"})
    path.write_bytes(path.read_bytes()[188 * 100 :])
    segments, skipped, _ = segments_of(path)
    assert sum(s.frames for s in segments) == 100
    assert skipped.keys() == {"no_keyframe"}


def test_where_no_video_was_found_is_told(tmp_path, monkeypatch):
    path = write_film(tmp_path / "a.ts", form="mpegts", first=40, sound=True, options=PLAIN)
    with monkeypatch.context() as patched:
        patched.setattr("stream.feeds.source._FAR_BYTES", 1 << 10)
        with pytest.raises(
            SourceError, match=r"a\.ts: no picture is found in its video track, at least in its first 1 KiB$"
        ):
            Feed(str(path))
    with pytest.raises(SourceError, match=r"a\.ts: no picture is found in its video track$"):
        Feed(str(without(path, 256)))
