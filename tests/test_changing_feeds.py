"""Feeds that change in the middle or begin oddly: every frame has a fate, and what is left out is said."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from stream import Feed, Footage, Picture, Segment, SourceError, decode
from tests.films import write_film

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
    assert not caplog.records


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


@pytest.mark.parametrize(("codec", "other"), [("h264", "hevc"), ("hevc", "h264"), ("h264", "mpeg4")])
def test_a_change_of_codec_amid_a_raw_stream_is_a_named_end(tmp_path, caplog, codec, other):
    films = [
        write_film(
            tmp_path / name,
            form="m4v" if name == "mpeg4" else name,
            codec=CODECS[name],
            options={"preset": "ultrafast"},
        )
        for name in (codec, other)
    ]
    both = tmp_path / f"both.{codec}"
    both.write_bytes(b"".join(film.read_bytes() for film in films))
    segments, skipped, _ = segments_of(both)
    assert sum(s.frames for s in segments) == 60
    assert skipped.keys() == {"other_codec"}
    assert f"ends early: its codec changes from {codec} to {other}" in caplog.text


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
