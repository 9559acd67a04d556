"""When files were recorded, in which order they follow, and which cameras they are."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import pytest

from consumers.replaying.footage.sources import find_recordings
from stream import (
    CAMERA_ID,
    Feed,
    MemoryTransport,
    Recorded,
    Segment,
    SegmentLimits,
    SourceError,
    Topic,
    attach,
    camera_id,
    camera_of,
    cameras_of,
    check_address,
    find_files,
    is_live,
    recorded_order,
)
from stream.feeds.addresses import to_url
from stream.feeds.times.recorded import content_us, recorded
from tests.videos import write_video

QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 25, "size": (64, 48)}
MODIFIED = 1_600_000_000


def us(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("film") / "a.mp4", 50, gop=10, **QUICK).read_bytes()


def put(path: Path, film: bytes, modified: int = MODIFIED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(film)
    os.utime(path, (modified, modified))
    return path


def tagged(path: Path, film: bytes, creation_time: str) -> Path:
    """`film` as a file whose container tells when it was recorded."""
    source = put(path.with_suffix(".untagged"), film)
    with av.open(str(source)) as read, av.open(str(path), "w", container_options={}) as out:
        out.metadata["creation_time"] = creation_time
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    source.unlink()
    return path


@pytest.mark.parametrize(
    ("tag", "believed"),
    [
        ("2026-11-24T08:00:00.000000Z", True),
        ("2001-05-06T07:08:09Z", True),
        ("1904-01-01T00:00:00.000000Z", False),
        ("1970-01-01T00:00:12.000000Z", False),
        ("1980-01-06T00:00:00Z", False),
        ("1999-12-31T23:59:59Z", False),
        ("2000-01-01T00:01:30Z", False),
        ("2107-01-01T00:00:00Z", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("9999-12-31T23:59:59-14:00", False),
        ("yesterday", False),
    ],
)
def test_a_time_that_a_lost_clock_wrote_is_not_believed(tmp_path, film, tag, believed):
    path = put(tmp_path / "a.mp4", film)
    found = recorded(path, {"creation_time": tag}, 2.0)
    assert found.known is believed
    # A file was modified last when its recording ended.
    assert found.start_us == (us(tag) if believed else (MODIFIED - 2) * 1_000_000)


def test_a_file_that_does_not_tell_began_its_duration_before_it_was_modified(tmp_path, film):
    for path, start_us, is_known in (
        (put(tmp_path / "a.mp4", film), (MODIFIED - 2) * 1_000_000, False),
        (tagged(tmp_path / "b.mp4", film, "2026-11-24T08:00:00Z"), us("2026-11-24T08:00:00Z"), True),
    ):
        with Feed(str(path)) as feed:
            assert feed.recorded == Recorded(start_us, is_known, content_us(path))


@pytest.mark.parametrize(
    ("name", "time_text"),
    [
        ("2026-11-24_08-00-00.mp4", "2026-11-24T08:00:00Z"),
        ("gate_2026-11-24_08-00-00.mp4", "2026-11-24T08:00:00Z"),
        ("gate 2026-11-24 08.00.00.mp4", "2026-11-24T08:00:00Z"),
        ("2026-11-24T08:00:00+01:00.mp4", "2026-11-24T07:00:00Z"),
        ("2026-11-24T08:00:00.5Z.mp4", "2026-11-24T08:00:00.5Z"),
        ("20261124_080000.mp4", "2026-11-24T08:00:00Z"),
        ("20261124T080000Z.mp4", "2026-11-24T08:00:00Z"),
        ("ch01_20261124080000_20261124090000.mp4", "2026-11-24T08:00:00Z"),
        ("20261124_080000-20261124_090000.mp4", "2026-11-24T08:00:00Z"),
        ("PXL_20230101_120000123.mp4", "2023-01-01T12:00:00.123Z"),
        ("2026-11-24/08-00-00.mp4", "2026-11-24T08:00:00Z"),
        ("1.mp4", None),
        ("08:00:00.mp4", None),
        ("2026-13-24_08-00-00.mp4", None),
        ("VID-20261124-WA0001.mp4", None),
        ("1700000000.mp4", None),
    ],
)
def test_names_tell_when_a_file_was_recorded(tmp_path, film, name, time_text):
    found = recorded(put(tmp_path / name, film), {}, 2.0)
    assert found == Recorded(us(time_text) if time_text else (MODIFIED - 2) * 1_000_000, known=time_text is not None)


def order(*files: tuple[str, Recorded | None]) -> list[str]:
    return [files[n][0] for n in recorded_order([(Path(name), when) for name, when in files])]


def known(second: int) -> Recorded:
    return Recorded(second * 1_000_000, known=True)


def modified(second: int) -> Recorded:
    return Recorded(second * 1_000_000, known=False)


def test_files_follow_one_another_as_they_were_recorded_else_by_the_numbers_in_their_names():
    assert order(("1", known(9)), ("2", known(3)), ("10", known(5))) == ["2", "10", "1"]
    assert order(("1", known(1)), ("10", known(1)), ("2", known(1))) == ["1", "2", "10"]
    # Copies have the times of copying.
    assert order(("10", modified(1)), ("2", modified(9)), ("1", modified(5))) == ["1", "2", "10"]
    assert order(("1", modified(5)), ("x", known(2)), ("2", modified(4)), ("z", None)) == ["x", "1", "2", "z"]


def segments_of(source: Path, **how) -> list[Segment]:
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    attach(str(source), "gate", transport.producer(), "segments", pace="max", **how)
    return [
        Segment.decode(r.key, r.headers, r.value, r.where)
        for r in transport.read({("segments", 0): transport.offsets("segments")["segments", 0]})
    ]


def test_no_file_of_a_folder_is_moved_by_the_name_of_another(tmp_path, film):
    for name, hour in (("1", 1), ("10", 10), ("2", 2), ("0", 23)):
        tagged(tmp_path / f"{name}.mp4", film, f"2026-11-24T{hour:02}:00:00Z")
    epochs = list(dict.fromkeys(s.epoch_us for s in segments_of(tmp_path)))
    assert [epoch_us - epoch_us % 1_000_000 for epoch_us in epochs] == [
        us(f"2026-11-24T{hour:02}:00:00Z") for hour in (1, 2, 10, 23)
    ]
    start_us = us("2026-01-01T00:00:00Z")
    together = list(dict.fromkeys(s.epoch_us for s in segments_of(tmp_path, start_us=start_us)))
    assert together == [start_us + n * 2_000_000 for n in range(4)]


def test_files_are_found_in_the_order_of_the_numbers_in_their_names(tmp_path, film):
    for name in ("1", "10", "2"):
        put(tmp_path / f"{name}.mp4", film)
    assert [path.stem for path in find_files(tmp_path)] == ["1", "2", "10"]


def test_a_name_with_colons_is_a_file(tmp_path, film, monkeypatch):
    put(tmp_path / "08:00:00.mp4", film)
    monkeypatch.chdir(tmp_path)
    assert sum(s.frames for s in segments_of(Path("08:00:00.mp4"))) == 50
    assert not is_live("08:00:00.mp4")


@pytest.mark.parametrize("scheme", ["rtsp", "RTSP", "Rtsps", "http", "HTTPS", "rtmp", "tcp", "udp"])
def test_addresses_are_known_in_whatever_case(scheme):
    assert is_live(f"{scheme}://10.0.0.7/X")
    assert to_url(f"{scheme}://10.0.0.7/X") == f"{scheme.lower()}://10.0.0.7/X"
    check_address(f"{scheme}://10.0.0.7/X")


def test_an_address_of_another_kind_says_what_is_taken():
    with pytest.raises(SourceError, match=r"gopher://h/x: expected a file, a folder or .*\(rtsp, rtsps, http, "):
        check_address("gopher://u:secret@h/x")


NAMES = (
    "gate",
    "Gate",
    "Eingang Süd",
    "Eingang Sud",
    "Eingang-Sud",
    "入口",
    "人口",
    "Вход",
    "🚪",
    "-gate",
    "a" * 65,
    "a" * 66,
    "..",
    "",
)


def test_every_name_is_a_camera_of_its_own():
    ids = [camera_id(name) for name in NAMES]
    assert len(set(ids)) == len(NAMES)
    assert all(CAMERA_ID.fullmatch(one) for one in ids)
    assert ids[0] == "gate"
    assert camera_id("入口").startswith("RuKou-")
    # macOS writes letters and accents apart.
    assert camera_id("Su\u0308d") == camera_id("S\u00fcd")


def test_a_folder_and_a_file_are_named_without_what_is_no_name(tmp_path, film):
    put(tmp_path / "cam.1" / "a.b.mp4", film)
    assert camera_of(tmp_path / "cam.1") == "cam.1"
    assert camera_of(tmp_path / "cam.1" / "a.b.mp4") == "a.b"
    (tmp_path / "gate.mp4").symlink_to(tmp_path / "cam.1" / "a.b.mp4")
    assert camera_of(tmp_path / "gate.mp4") == "gate"


def named(root: Path, names: Sequence[str]) -> list[str]:
    return cameras_of([root / name for name in names], root)


def test_no_two_files_of_a_folder_are_one_camera(tmp_path):
    assert named(tmp_path, ["a.mp4", "lobby/1.mp4"]) == ["a", "lobby-1"]
    assert named(tmp_path, ["a.mp4", "a.avi", "b.mp4"]) == ["a.mp4", "a.avi", "b"]
    alike = named(tmp_path, ["a/b.mp4", "a-b.mp4", "a b.mp4"])
    assert len(set(alike)) == 3
    assert all(CAMERA_ID.fullmatch(one) for one in alike)


def test_a_jump_in_the_timestamps_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    jump = 26 * 3600 * 12_800

    class Jumping(Feed):
        def packets(self):
            for number, packet in enumerate(super().packets()):
                shift = jump if number >= 20 else 0
                yield replace(packet, pts=packet.pts + shift, dts=packet.dts + shift)

    monkeypatch.setattr("stream.feeds.footage.Feed", Jumping)
    path = write_video(tmp_path / "a.mp4", 40, gop=10, **QUICK)
    begin = time.monotonic()
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    state = attach(str(path), "gate", transport.producer(), "segments", stop=lambda: time.monotonic() > begin + 60)
    assert state.frames == 40
    assert time.monotonic() - begin < 60, "a day would be waited for"


def test_two_films_of_one_time_are_two_epochs_and_the_same_film_is_one_wherever_it_lies(tmp_path, film):
    when = "2026-11-24T08:00:00Z"
    other = write_video(tmp_path / "other.mp4", 50, size=(48, 64)).read_bytes()
    one, two = tagged(tmp_path / "one.mp4", film, when), tagged(tmp_path / "two.mp4", other, when)
    (tmp_path / "elsewhere").mkdir()
    again = tmp_path / "elsewhere" / "copy.mp4"
    again.write_bytes(one.read_bytes())
    begins = [{s.epoch_us for s in segments_of(path)} for path in (one, two, again, one)]
    assert begins[0] == begins[2] == begins[3] != begins[1]
    assert all(0 <= epoch - us(when) < 100_000 for found in begins for epoch in found)
    # Replay dates them as attach does.
    for path, (epoch_us,) in zip((one, two), begins, strict=False):
        (recording,), _ = find_recordings([str(path)], None, None, SegmentLimits(), MemoryTransport)
        assert recording.pieces[0].recorded_us == epoch_us


def test_films_of_one_time_follow_one_another_by_their_names_whatever_they_hold(tmp_path, film):
    when = "2026-11-24T08:00:00Z"
    for number in range(1, 6):
        tagged(tmp_path / f"{number}.mp4", write_video(tmp_path / "x.mp4", 10 * number).read_bytes(), when)
    (tmp_path / "x.mp4").unlink()
    frames: dict[int, int] = {}
    for segment in segments_of(tmp_path):
        frames[segment.epoch_us] = frames.get(segment.epoch_us, 0) + segment.frames
    assert list(frames.values()) == [10, 20, 30, 40, 50]
