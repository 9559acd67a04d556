"""Footage to measure on: H.264 as cameras send it, made here so that nothing has to be fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np

Plane = np.ndarray[tuple[int, int], np.dtype[np.float32]]

#: Changing what is drawn or how it is coded takes a new number: the footage is kept by this and by `Footage`.
_VERSION: Final = 1
_BODIES: Final = 7
_NOISE_PLANES: Final = 8
#: About the quality that what moves has at its bit rate.
_STILL_CRF: Final = 26


@dataclass(frozen=True, slots=True)
class Footage:
    """What a camera sends: H.264 High without B-frames, a keyframe every two seconds."""

    seconds: int
    width: int = 1920
    height: int = 1080
    rate: int = 30
    gop: int = 60
    bits_per_second: int = 4_000_000
    #: "still": the place alone, in steady light, by a camera that takes the sensor's noise out. Of constant quality: at
    #: the bit rate of what moves, pictures of what does not would be as good as no camera makes them.
    scene: Literal["busy", "still"] = "busy"

    @property
    def frames(self) -> int:
        return self.seconds * self.rate


def footage(wanted: Footage, folder: Path) -> Path:
    """Return the footage as an MP4 in `folder`, made if it is not there yet."""
    w = wanted
    coded = f"{w.bits_per_second // 1000}k" if w.scene == "busy" else f"{w.scene}-crf{_STILL_CRF}"
    name = f"footage-v{_VERSION}-{w.width}x{w.height}-{w.rate}fps-{coded}-g{w.gop}-{w.seconds}s"
    path = folder / f"{name}.mp4"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        _encode(wanted, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _encode(wanted: Footage, path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=wanted.rate)
        stream.width, stream.height, stream.pix_fmt = wanted.width, wanted.height, "yuv420p"
        stream.gop_size, stream.max_b_frames = wanted.gop, 0
        stream.options = {"preset": "veryfast", "sc_threshold": "0"}
        if wanted.scene == "still":
            stream.options |= {"crf": str(_STILL_CRF)}
        else:
            stream.bit_rate, rate = wanted.bits_per_second, str(wanted.bits_per_second)
            stream.options |= {"maxrate": rate, "bufsize": rate}
        for planes in _scene(wanted):
            frame = av.VideoFrame(wanted.width, wanted.height, "yuv420p")
            for plane, content in zip(frame.planes, planes, strict=True):
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, : plane.width] = content
                plane.update(padded.tobytes())
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _scene(wanted: Footage) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Y, U and V of each frame: a textured place, bodies that cross it, light that changes, and a sensor's noise."""
    generator = np.random.default_rng(7)
    height, width = wanted.height, wanted.width
    place = 110 + 34 * _texture(generator, height, width)
    noise = [generator.normal(0, 1.6, (height, width)).astype(np.float32) for _ in range(_NOISE_PLANES)]
    tints = [128 + 20 * _texture(generator, height // 2, width // 2) for _ in range(2)]
    if wanted.scene == "still":
        yield from [(_bytes(place), _bytes(tints[0]), _bytes(tints[1]))] * wanted.frames
        return
    bodies = []
    for _ in range(_BODIES):
        tall = int(height * generator.uniform(0.25, 0.6))
        wide = int(tall * generator.uniform(0.35, 0.7))
        shade, colour = generator.uniform(40, 210), generator.uniform(70, 190, 2)
        phase, pace = generator.uniform(0, 2 * np.pi, 2), generator.uniform(0.25, 0.9, 2)
        bodies.append((shade + 26 * _texture(generator, tall, wide), colour, phase, pace))
    for number in range(wanted.frames):
        t = number / wanted.rate
        luma = place + 8 * np.float32(np.sin(0.7 * t))
        chroma = [tint.copy() for tint in tints]
        for texture, colour, phase, pace in bodies:
            tall, wide = texture.shape
            left = int((width - wide) * (0.5 + 0.5 * np.sin(pace[0] * t + phase[0]))) & ~1
            top = int((height - tall) * (0.5 + 0.5 * np.sin(0.6 * pace[1] * t + phase[1]))) & ~1
            # A body moves in itself, too: its texture slides.
            luma[top : top + tall, left : left + wide] = np.roll(texture, int(40 * pace[0] * t), axis=0)
            for plane, value in zip(chroma, colour, strict=True):
                plane[top // 2 : (top + tall) // 2, left // 2 : (left + wide) // 2] = value
        luma += np.roll(noise[number % _NOISE_PLANES], 37 * number, axis=1)
        yield _bytes(luma), _bytes(chroma[0]), _bytes(chroma[1])


def _bytes(plane: Plane) -> np.ndarray:
    return np.clip(plane, 16, 235).astype(np.uint8)


def _texture(generator: np.random.Generator, height: int, width: int) -> Plane:
    """Noise in octaves from coarse to fine, weaker as it gets finer as in natural pictures; about -1 to 1."""
    total = np.zeros((height, width), np.float32)
    for cell, weight in ((256, 1.0), (96, 0.7), (32, 0.45), (12, 0.25), (4, 0.12)):
        coarse = generator.uniform(-1, 1, (height // cell + 3, width // cell + 3)).astype(np.float32)
        y, x = np.arange(height, dtype=np.float32) / cell, np.arange(width, dtype=np.float32) / cell
        row, column = y.astype(int), x.astype(int)
        down, right = (y - row)[:, None], x - column
        upper = coarse[row][:, column] * (1 - right) + coarse[row][:, column + 1] * right
        lower = coarse[row + 1][:, column] * (1 - right) + coarse[row + 1][:, column + 1] * right
        total += np.float32(weight) * (upper * (1 - down) + lower * down)
    return total
