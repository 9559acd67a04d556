"""Footage that tests make for themselves: every frame carries its own number, so that frames can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 160, 96


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that differs from its neighbours everywhere, (H, W, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (x * 2 + number * 7) % 256
    image[..., 1] = (y * 2 + number * 3) % 256
    image[..., 2] = (number * 11) % 256
    image[10:30, (number * 5) % (width - 24) :][:, :24] = 255
    return image


_BITS = 8


def numbered(number: int, width: int, height: int) -> np.ndarray:
    """A picture that shows its number as black and white bars, so that it can be read at any size."""
    image = np.empty((height, width, 3), np.uint8)
    for bit in range(_BITS):
        image[:, bit * width // _BITS : (bit + 1) * width // _BITS] = 235 if number >> bit & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    """The number that a picture of `numbered` shows; it may have been scaled, and coded with losses."""
    width = image.shape[1]
    middles = [(2 * bit + 1) * width // (2 * _BITS) for bit in range(_BITS)]
    values = [float(image[:, m - 1 : m + 2].mean()) for m in middles]
    assert all(abs(v - 128) > 60 for v in values), f"neither black nor white: {values}"
    return sum((value > 128) << bit for bit, value in enumerate(values))


def write_video(
    path: Path,
    times: Sequence[Fraction | float] | int = 60,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: int = 30,
    gop: int = 30,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    frame: Callable[..., np.ndarray] = picture,
    audio: bool = False,
) -> Path:
    """Encode frames at `times` (seconds; a number means that many at `rate`) and return `path`."""
    stamps = [Fraction(i, rate) for i in range(times)] if isinstance(times, int) else [Fraction(t) for t in times]
    base = Fraction(1, 90_000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p" if codec != "mjpeg" else "yuvj420p"
        stream.gop_size = gop
        if codec not in {"mpeg4", "mjpeg"}:
            stream.codec_context.time_base = base
        stream.options = {"threads": "1", **(options or {})}
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none:pools=1:frame-threads=1", **(options or {})}
        sound = out.add_stream("aac", rate=8000, layout="mono") if audio else None
        tick = base if codec not in {"mpeg4", "mjpeg"} else Fraction(1, rate)
        for number, stamp in enumerate(stamps):
            image = av.VideoFrame.from_ndarray(frame(number, *size), "rgb24")
            image.pts, image.time_base = int(stamp / tick), tick
            out.mux(stream.encode(image))
            if sound is not None and number % 10 == 0:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                silence.rate, silence.pts = 8000, number * 1024
                out.mux(sound.encode(silence))
        out.mux(stream.encode(None))
    return path


def decoded_frames(path: Path) -> list[tuple[int, np.ndarray]]:
    """(time in µs after the first frame, luma plane) of every frame, by libav on the whole file."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.reformat(format="gray").to_ndarray()) for f in container.decode(video=0)]
    first = frames[0][0]
    return [(round((time - first) * 1e6), image) for time, image in frames]


def write_moving_dots(path: Path, frames: int) -> Path:
    """A film of 25 frames a second in which everything moves, faster every 40 frames."""
    dots = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)

    def frame(number: int, width: int, height: int) -> np.ndarray:
        picture = np.repeat(np.repeat(dots, height // 6, 0), width // 8, 1)
        return np.roll(picture, number * (1 + number // 40), axis=1)

    return write_video(path, frames, rate=25, gop=25, size=(64, 48), frame=frame)
