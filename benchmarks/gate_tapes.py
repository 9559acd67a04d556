"""Tapes of still views in which something happens at times, drawn from a seed: what gates are measured on.

    still view ─ 8 s ─▶ people of a clip, in some size, 5 s ─▶ still view ─ 8 s

Of a clip only what differs from its median picture is shown, so that no border gives it away; in its full size its own
median picture is the view.
"""

from __future__ import annotations

import csv
import functools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np

WIDTH, HEIGHT, RATE = 640, 360, 15
STILL_SECONDS: Final = 8.0
CLIP_SECONDS: Final = 5.0
SIZES: Final = (1.0, 0.5, 0.3, 0.2)
WEATHERS: Final = ("day", "night", "rain", "leaves")
#: So far a pixel of a clip is from its median to be shown, of 255.
_SHOWN: Final = 18.0

Picture = np.ndarray[tuple[int, int, int], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where something happens."""

    name: str
    path: Path
    label: str
    #: Of a longer film, what is taken.
    begin: float = 0.0
    end: float = 1e9


@dataclass(frozen=True, slots=True)
class Tape:
    source: Source
    size: float
    weather: str

    @property
    def name(self) -> str:
        return f"{self.source.name}-{round(self.size * 100)}-{self.weather}"


def sources(shared: Path, demo: Path, count: int) -> list[Source]:
    """Clips of fights and of none: of real cameras where they lie at `shared`, else the rendered ones of the demo."""
    table = shared / "surveillance-fight" / "labels.csv"
    if not table.is_file():
        return [
            Source("gate-1", demo / "gate.mp4", "fight", 3.0, 8.0),
            Source("gate-2", demo / "gate.mp4", "fight", 24.0, 29.0),
            Source("gate-3", demo / "gate.mp4", "normal", 12.0, 17.0),
            Source("lobby", demo / "lobby.mp4", "normal", 8.0, 13.0),
        ][:count]
    found: dict[str, Source] = {}
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            label = "fight" if row["label"] == "fight" else "normal"
            path = shared / row["path"]
            found.setdefault(f"{label}/{row['group']}", Source(path.stem, path, label))
    names = sorted(found, key=lambda name: zlib.crc32(name.encode()))
    fights = [found[name] for name in names if found[name].label == "fight"]
    others = [found[name] for name in names if found[name].label != "fight"]
    return [*fights[: count - count // 4], *others[: count // 4]]


def write_tapes(tapes: Sequence[Tape], folder: Path, view: Path, seed: int) -> Path:
    """Write each tape as NAME.mp4, where it is not there yet, and `truth.csv`; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    for tape in tapes:
        path = folder / f"{tape.name}.mp4"
        if not path.is_file():
            unfinished = folder / f".{tape.name}.mp4"
            rng = np.random.default_rng((seed, zlib.crc32(tape.name.encode())))
            encode(_frames(tape, _median(view), rng), unfinished)
            unfinished.replace(path)
    truth = folder / "truth.csv"
    with truth.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["camera", "label", "start", "end"])
        for tape in tapes:
            if tape.source.label == "fight":
                table.writerow([tape.name, "fight", STILL_SECONDS, STILL_SECONDS + CLIP_SECONDS])
    return truth


def write_still(path: Path, view: Path, seconds: float, weather: str, seed: int) -> None:
    """Write a film of a view in which nothing happens."""
    rng = np.random.default_rng(seed)
    still = _median(view)
    sky = _Sky(weather, rng)
    encode((sky.over(still, n) for n in range(round(seconds * RATE))), path)


def encode(frames: Iterable[np.ndarray], path: Path) -> None:
    """Write pictures (H, W, 3) uint8 as cameras send them: H.264 without B-frames, a keyframe every two seconds."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size, stream.max_b_frames = 2 * RATE, 0
        stream.options = {"preset": "veryfast", "crf": "26", "sc_threshold": "0"}
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode(None))


class _Sky:
    """What lies between a scene and its picture: light, a sensor's noise, rain, leaves in the wind."""

    def __init__(self, weather: str, rng: np.random.Generator) -> None:
        self._weather, self._rng = weather, rng
        noise = 5.0 if weather == "night" else 1.5
        self._noise = [rng.normal(0, noise, (HEIGHT, WIDTH, 1)).astype(np.float32) for _ in range(8)]
        tall, wide = HEIGHT // 4, WIDTH // 5
        self._leaves = rng.uniform(30, 150, (tall // 6 + 1, wide // 6 + 1, 1)).repeat(6, 0).repeat(6, 1)[:tall, :wide]
        self._phase = rng.uniform(0, 6.28)

    def over(self, scene: Picture, number: int) -> np.ndarray:
        rng, picture = self._rng, scene.copy()
        if self._weather == "leaves":
            tall, wide = self._leaves.shape[:2]
            shift = round(5 * np.sin(1.7 * number / RATE + self._phase) + 3 * np.sin(0.6 * number / RATE))
            picture[:tall, -wide:] = np.roll(self._leaves, shift, axis=1) * (0.8, 1.0, 0.6)
        if self._weather == "night":
            picture = picture * 0.35 + 8
        if self._weather == "rain":
            picture = picture * 0.8 + 20
            for x, y in zip(rng.integers(0, WIDTH, 120), rng.integers(0, HEIGHT - 24, 120), strict=True):
                picture[y : y + 24, x] = picture[y : y + 24, x] * 0.65 + 70
        picture += np.roll(self._noise[number % 8], int(rng.integers(0, WIDTH)), axis=1)
        return np.clip(picture, 0, 255).astype(np.uint8)


def _frames(tape: Tape, view: Picture, rng: np.random.Generator) -> Iterator[np.ndarray]:
    width, height = round(WIDTH * tape.size) & ~1, round(HEIGHT * tape.size) & ~1
    clip = _read(tape.source, width, height)
    median = np.median(clip[:: max(1, len(clip) // 15)], axis=0).astype(np.float32)
    still = median if tape.size == 1 else view
    top = int(rng.integers((HEIGHT - height) // 2, HEIGHT - height + 1))
    left = int(rng.integers(0, WIDTH - width + 1))
    sky = _Sky(tape.weather, rng)
    begin, end = round(STILL_SECONDS * RATE), round((STILL_SECONDS + CLIP_SECONDS) * RATE)
    for n in range(end + begin):
        scene = still
        if begin <= n < end:
            scene = still.copy()
            # To and fro: clips are as short as two seconds.
            place = (n - begin) % (2 * len(clip) - 2)
            actors = clip[min(place, 2 * len(clip) - 2 - place)]
            share = _soft(np.abs(actors - median).max(axis=2) > _SHOWN)[..., None]
            part = scene[top : top + height, left : left + width]
            part += share * (actors - part)
        yield sky.over(scene, n)


def _soft(mask: np.ndarray) -> np.ndarray:
    """A mask as shares, without lone pixels and with soft borders."""
    share: np.ndarray = mask.astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(share, [(4, 4) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        share = np.sum([np.roll(padded, k, axis) for k in range(-4, 5)], axis=0) / 9
        share = share[4:-4] if axis == 0 else share[:, 4:-4]
    return np.clip(share * 3 - 0.5, 0, 1)


def _read(source: Source, width: int, height: int) -> list[Picture]:
    """At most `CLIP_SECONDS` of a clip at `RATE`, in some size."""
    pictures: list[Picture] = []
    due = source.begin
    with av.open(str(source.path)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time < due:
                continue
            if frame.time >= min(source.end, source.begin + CLIP_SECONDS):
                break
            small = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA")
            pictures.append(small.to_ndarray().astype(np.float32))
            due += 1 / RATE
    return pictures


@functools.cache
def _median(view: Path) -> Picture:
    """A film without what moves in it."""
    pictures = []
    with av.open(str(view)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 25 == 0:
                shown = frame.reformat(width=WIDTH, height=HEIGHT, format="rgb24", interpolation="AREA")
                pictures.append(shown.to_ndarray())
    median: Picture = np.median(pictures, axis=0).astype(np.float32)
    return median
