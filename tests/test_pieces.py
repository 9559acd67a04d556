"""Several pieces of one file are sampled in one pass, and memory holds only a little of a long one."""

from __future__ import annotations

import resource
import signal
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.learning.footage.examples import Example
from consumers.learning.footage.frame_cache import FrameCache, Reel, StoredFrames
from consumers.learning.footage.frames import Sampling, load_frames
from stream import Feed, Packet, Picture, SourceError, sample_file, sample_pieces
from stream.clips import sampling
from tests.films import with_edits
from tests.videos import write_video

RATE = 25
LIKE_A_CAMERA: dict[str, Any] = {"rate": RATE, "gop": 25, "options": {"bf": "0"}}
REORDERED: dict[str, Any] = {"rate": RATE, "gop": 25, "options": {"bf": "3"}}
OPEN: dict[str, Any] = {"rate": RATE, "gop": 25, "options": {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}}
GAPS = [n / RATE for n in range(60)] + [20 + n / RATE for n in range(90)]
FILMS: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda p: write_video(p / "a.mp4", 150, **LIKE_A_CAMERA),
    "edit list": lambda p: with_edits(write_video(p / "a.mp4", 250, **REORDERED), [(1.2, 3.0), (6.0, 3.0)]),
    "mkv": lambda p: write_video(p / "a.mkv", 150, **REORDERED),
    "ts": lambda p: write_video(p / "a.ts", 150, **REORDERED),
    "avi": lambda p: write_video(p / "a.avi", 150, **REORDERED),
    "raw": lambda p: write_video(p / "a.h264", 150, **REORDERED),
    "long group": lambda p: write_video(p / "a.mp4", 150, **(LIKE_A_CAMERA | {"gop": 1000})),
    "open groups": lambda p: write_video(p / "a.mp4", 150, **OPEN),
    "interrupted": lambda p: write_video(p / "a.mp4", GAPS, **LIKE_A_CAMERA),
    "transcoded": lambda p: write_video(p / "a.avi", 150, codec="ffv1", rate=RATE),
}
PIECES = [(2.5, 3.5), (0.0, 0.9), (4.96, None), (1.013, 1.6), (0.0, None), (2.6, 2.65), (2.5, 4.0), (900.0, 901.0)]


def alone(path: Path, start: float, end: float | None) -> list[np.ndarray] | str:
    try:
        return sample_file(path, spacing_seconds=0.1, height=24, width=40, start_seconds=start, end_seconds=end)
    except SourceError as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [2, 8])
@pytest.mark.parametrize("film", FILMS)
def test_pieces_of_one_pass_are_those_that_are_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, film: str, at_once: int
) -> None:
    monkeypatch.setattr(sampling, "_MAX_AT_ONCE", at_once)
    check_pieces(FILMS[film](tmp_path), PIECES)


AWKWARD = ("av1.mp4", "bframes.avi", "gdr.mp4", "rot90.mp4", "timelapse_1fps.mp4", "trimmed.mp4", "trunc_fs.mp4")


@pytest.mark.parametrize("film", AWKWARD)
def test_pieces_of_real_films_are_those_that_are_read_alone(shared_data: Path, film: str) -> None:
    check_pieces(shared_data / "awkward" / film, [(4.0, 4.5), (0.0, 0.3), (4.013, 4.2), (1.51, None), (900.0, 901.0)])


def test_pieces_of_real_camera_footage_are_those_that_are_read_alone(shared_data: Path) -> None:
    check_pieces(shared_data / "footage" / "vtest.avi", [(5.05, 5.4), (1.0, 1.2), (5.31, 5.9), (5.5, 5.6)])


def check_pieces(path: Path, pieces: Sequence[tuple[float, float | None]]) -> None:
    found = dict(sample_pieces(path, pieces, list, Picture(24, 40), 0.1))
    assert sorted(found) == list(range(len(pieces)))
    for index, (start, end) in enumerate(pieces):
        expected, runs = alone(path, start, end), found[index]
        if isinstance(runs, SourceError):
            assert str(runs) == expected
            continue
        assert [len(run) for run in runs] == [len(run) for run in expected]
        for run, one in zip(runs, expected, strict=True):
            np.testing.assert_array_equal(np.stack(run), one)


@pytest.mark.parametrize(("cores", "passes"), [(1, 1), (2, 2), (64, 4)])
def test_a_hundred_annotations_of_a_film_read_it_once_for_each_core_and_never_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, passes: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("consumers.learning.footage.frames.usable_cores", lambda: cores)
    path = FILMS["mp4"](tmp_path)
    opened: list[str] = []
    read: list[Packet] = []

    class Counted(Feed):
        def __init__(self, uri: str, *rest: Any) -> None:
            opened.append(uri)
            super().__init__(uri, *rest)

        def packets(self) -> Iterator[Packet]:
            for packet in super().packets():
                read.append(packet)
                yield packet

    monkeypatch.setattr(sampling, "Feed", Counted)
    rows = [Example(path, "x", "g", n * 0.05, n * 0.05 + 0.3) for n in range(100)]
    frames = load_frames(rows, Sampling(0.1, 24, 40, "stretch"), lambda *_: None)
    assert len(opened) == passes
    assert len(read) <= passes * 150  # of 150 pictures
    assert {len(f) for f in frames} == {3}
    load_frames(rows, Sampling(0.1, 24, 40, "stretch"), lambda *_: None)
    assert len(opened) == passes, "what is kept is not read again"
    np.testing.assert_array_equal(frames[50], alone(path, 2.5, 2.8)[0])


def test_piece_that_fails_leaves_the_others(tmp_path: Path) -> None:
    path = FILMS["mp4"](tmp_path)
    found = dict(sample_pieces(path, [(900, 901), (0.0, 1.0)], list, Picture(24, 40), 0.1))
    assert str(found[0]) == f"{path}: no frame between 900 s and 901 s"
    assert len(found[1][0]) == 10
    found = dict(sample_pieces(tmp_path / "none.mp4", [(0, 1), (0, None)], list, Picture(24, 40), 0.1))
    assert [type(found[n]) for n in range(2)] == [SourceError, SourceError]


def test_memory_holds_a_little_of_a_long_reel(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.touch()
    cache = FrameCache(tmp_path / "cache")

    def decode() -> Reel:
        reel = cache.reel()
        for number in range(600):
            reel.append(np.full((192, 192, 3), number % 256, np.uint8))  # 66 MB in all
        return reel

    tracemalloc.start()
    frames = cache.get(video, {}, decode)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12e6
    assert isinstance(frames, StoredFrames)
    assert frames.shape == (600, 192, 192, 3)
    np.testing.assert_array_equal(frames[:, 7, 7, 1], np.arange(600) % 256)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_memory_holds_a_little_of_frames_that_are_gone_through(tmp_path: Path) -> None:
    kept = tmp_path / "a.npy"
    np.lib.format.open_memmap(kept, "w+", np.uint8, (1200, 192, 192, 3))[::7] = 1  # 133 MB
    frames = StoredFrames(kept, (1200, 192, 192, 3), lambda: np.zeros(0))
    before = peak = mapped_bytes()
    total = 0
    for number, frame in enumerate(frames):
        total += int(frame[0, 0, 0])
        peak = max(peak, mapped_bytes()) if number % 50 == 0 else peak
    assert total == 172
    assert peak - before < 30e6


def mapped_bytes() -> int:
    """What of files this process has read through maps, and has not let go of."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc to tell what is mapped")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("RssFile")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("count", [0, 3, 200])
def test_reel_that_cannot_be_written_is_held_in_memory(tmp_path: Path, count: int) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    reel = FrameCache(tmp_path / "cache").reel()
    for number in range(1 + count):
        reel.append(np.full((96, 96, 3), number, np.uint8))
    assert not reel.keep(tmp_path / "cache" / "kept.npy")
    np.testing.assert_array_equal(reel.frames()[:, 0, 0, 0], np.arange(1 + count))


def test_reel_on_a_disk_that_fills_up_goes_on_in_memory(tmp_path: Path) -> None:
    reel = FrameCache(tmp_path / "cache").reel()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error then, as of a full disk
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, unlimited[1]))
        for number in range(400):
            reel.append(np.full((96, 96, 3), number % 256, np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, handler)
    np.testing.assert_array_equal(reel.frames()[:, 5, 5, 0], np.arange(400) % 256)


def test_reel_that_nobody_keeps_leaves_no_file(tmp_path: Path) -> None:
    reel = FrameCache(tmp_path / "cache").reel()
    for _ in range(300):
        reel.append(np.zeros((96, 96, 3), np.uint8))
    assert list((tmp_path / "cache").iterdir())
    assert len(reel.frames()) == 300
    del reel
    assert not list((tmp_path / "cache").iterdir())
