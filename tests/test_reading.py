"""What a feed gives of a film is what a player shows of it: these pictures, in this order, at these times."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream import Feed, Packet, Reading
from stream.feeds.packets import for_decoder
from tests.films import RATE, with_edits, write_film
from tests.videos import picture

AWKWARD = Path(os.environ.get("CLIPLINE_FOOTAGE", "/work/shared/data")) / "awkward"
B_FRAMES = {"bf": "3", "b_strategy": "0", "preset": "veryfast"}
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
        hidden = {p.pts for p in packets if p.discard}
        images = {}
        for packet in [*packets, None]:
            encoded = None
            if packet is not None:
                encoded = for_decoder(packet.data)
                encoded.pts, encoded.dts = packet.pts, packet.dts
            images |= {f.pts: f.reformat(format="rgb24").to_ndarray() for f in context.decode(encoded)}
    return [number_of(images[pts]) for pts in sorted(images) if pts not in hidden]


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
