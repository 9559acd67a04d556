"""From a scene to frames: figures put into the courtyard, behind what stands before them, as a sensor sees it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .figures import Look
from .poses import TICK, Array, joints
from .stage import Camera, Light, Stage

Image = NDArray[np.uint8]
BACKDROP_FPS = 10


class Backdrop:
    """vtest.avi: frames on demand, the empty courtyard, and what stands in front of what."""

    # The lamp post with its sign, and the tripod: (x0, y0, x1, y1, row of the foot) in source pixels.
    _POSTS = ((412, 202, 446, 244, 390), (425, 60, 433, 390, 390), (501, 335, 512, 470, 478))

    def __init__(self, path: Path) -> None:
        self._path = path

    def frames(self, first: int, count: int) -> Iterator[Image]:
        """RGB frames (576, 768, 3) from number `first` on."""
        with av.open(str(self._path)) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None
            if first:
                container.seek(int(first / BACKDROP_FPS / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                assert frame.pts is not None
                number = round(float(frame.pts * stream.time_base) * BACKDROP_FPS)
                if number >= first + count:
                    return
                if number >= first:
                    yield frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)

    @cached_property
    def empty(self) -> Image:
        """The courtyard without people: the median over the whole recording."""
        sample = [frame for number, frame in enumerate(self.frames(0, 795)) if number % 24 == 0]
        median: Image = np.median(np.stack(sample), axis=0).astype(np.uint8)
        return median

    def feet(self, frame: Image, window: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """For each pixel of `window` the row where whatever stands there touches the ground; 0 for the ground."""
        x, y, w, h = window
        out = np.zeros((h, w), np.float32)
        strange = np.abs(frame[y : y + h, x : x + w].astype(np.int16) - self.empty[y : y + h, x : x + w]).max(-1) > 38
        blobs, _ = ndimage.label(ndimage.binary_closing(ndimage.binary_opening(strange), iterations=3))
        for number, where in enumerate(ndimage.find_objects(blobs), 1):
            inside = blobs[where] == number
            if inside.sum() > 60:
                out[where][inside] = y + where[0].stop
        for x0, y0, x1, y1, foot in self._POSTS:
            out[max(y0 - y, 0) : max(y1 - y, 0), max(x0 - x, 0) : max(x1 - x, 0)] = foot
        return out


@dataclass(frozen=True)
class Sensor:
    """What the camera adds: exposure, colour, blur, noise, compression, and perhaps a mirrored view."""

    gain: float = 1.0
    gamma: float = 1.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grey: bool = False
    blur: float = 0.0
    noise: float = 1.5
    crf: int = 25
    mirror: bool = False

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        gain, gamma = float(rng.uniform(0.65, 1.2)), float(rng.uniform(0.8, 1.35))
        red, green, blue = (float(t) for t in rng.uniform(0.92, 1.08, 3))
        return cls(
            gain=gain,
            gamma=gamma,
            tint=(red, green, blue),
            grey=bool(rng.random() < 0.12),
            blur=float(rng.choice([0.0, rng.uniform(0.3, 0.9)])),
            noise=float(rng.uniform(0.5, 6.0)),
            crf=int(rng.integers(21, 31)),
            mirror=bool(rng.random() < 0.5),
        )

    def __call__(self, image: Array, rng: np.random.Generator) -> Image:
        if self.blur:
            image = ndimage.gaussian_filter(image, (self.blur, self.blur, 0))
        image = 255 * np.clip(image / 255 * self.gain * self.tint, 0, 1) ** self.gamma
        if self.grey:
            image = np.repeat((image @ (0.299, 0.587, 0.114))[..., None], 3, axis=-1)
        image = image + self.noise * rng.standard_normal(image.shape, dtype=np.float32)
        seen: Image = np.clip(image, 0, 255).astype(np.uint8)
        return seen[:, ::-1] if self.mirror else seen


@dataclass(frozen=True)
class Scene:
    """Figures and their tracks before a backdrop, seen by a camera."""

    camera: Camera
    tracks: list[Array]  # (T, 43) each, grounded, at TICK
    looks: list[Look]
    first: int  # frame of the backdrop
    live: bool  # whether its pedestrians walk, or the courtyard lies empty
    sensor: Sensor
    light: Light = field(default_factory=Light)


def frames_of(
    scene: Scene, stage: Stage, backdrop: Backdrop, start: float, seconds: float, fps: Fraction, seed: int
) -> Iterator[Image]:
    """RGB frames (H, W, 3) of `seconds` of a scene from second `start` of its tracks."""
    rng = np.random.default_rng(seed)
    bodies = stage.cast(scene.looks)
    skeletons = [joints(track, look.height) for track, look in zip(scene.tracks, scene.looks, strict=True)]
    x, y, w, h = (round(v) for v in scene.camera.window)
    count = round(seconds * fps)
    wanted = [int(n / fps * BACKDROP_FPS) for n in range(count)]
    source = backdrop.frames(scene.first, wanted[-1] + 1) if scene.live else iter(())
    plate, at, cover = backdrop.empty, -1, None
    for n in range(count):
        while scene.live and at < wanted[n]:
            plate, at, cover = next(source), at + 1, None
        if cover is None:
            cover = backdrop.feet(plate, (x, y, w, h))
            picture = _resized(plate[y : y + h, x : x + w], scene.camera.size)
            cover = _nearest(cover, scene.camera.size)
        tick = (start + float(n / fps)) * TICK
        poses = [track[min(round(tick), len(track) - 1)] for track in scene.tracks]
        points = [skeleton[min(round(tick), len(skeleton) - 1)] for skeleton in skeletons]
        for body, pose in zip(bodies, poses, strict=True):
            stage.pose(body, pose)
        yield scene.sensor(_composite(scene, stage, bodies, points, picture.copy(), cover), rng)


def _composite(
    scene: Scene, stage: Stage, bodies: list[int], points: list[Array], image: Array, cover: NDArray[np.float32]
) -> Array:
    camera = scene.camera
    boxes = np.array([_box(camera, figure) for figure in points]).reshape(-1, 4)
    seen = (boxes[:, 2] - boxes[:, 0] > 4) & (boxes[:, 3] - boxes[:, 1] > 4)
    if not seen.any():
        return image
    box = (*boxes[seen, :2].min(0).tolist(), *boxes[seen, 2:].max(0).tolist())
    for figure in points:
        _shade(image, camera, figure)
    colour, mask = stage.render(camera, box, scene.light)
    part = np.s_[box[1] : box[3], box[0] : box[2]]
    shown = np.zeros(mask.shape, bool)
    for body, figure in zip(bodies, points, strict=True):
        row = float(camera.source_row(figure * (1, 0, 1)).max())
        hidden = np.repeat(np.repeat(cover[part] > row + 4, 2, 0), 2, 1)
        shown |= (mask == body) & ~hidden
    alpha = _halved(shown[..., None].astype(float))
    ink = _halved(colour * shown[..., None])
    soft = max(0.35, 0.55 * camera.size[0] / camera.window[2])  # as soft as the backdrop after scaling
    alpha, ink = (ndimage.gaussian_filter(a, (soft, soft, 0)) for a in (alpha, ink))
    image[part] = image[part] * (1 - alpha) + ink
    return image


def _box(camera: Camera, figure: Array) -> tuple[int, int, int, int]:
    """Output pixels (x0, y0, x1, y1) within which a figure is seen."""
    on_image = camera.project(figure)
    margin = 4 + abs(camera.project(figure[0] + (0.25, 0, 0))[0] - on_image[0, 0])
    (x0, y0), (x1, y1) = on_image.min(0) - margin, on_image.max(0) + margin
    return max(0, int(x0)), max(0, int(y0)), min(camera.size[0], int(x1) + 1), min(camera.size[1], int(y1) + 1)


def _shade(image: Array, camera: Camera, figure: Array) -> None:
    """Darken the ground below a figure: the overcast sky is hidden there, most where the body is near."""
    height, width = image.shape[:2]
    centres = camera.project(figure * (1, 0, 1))
    metre = np.abs(camera.project(figure * (1, 0, 1) + (1, 0, 0))[:, 0] - centres[:, 0])
    flat = math.sin(camera.pitch + 0.05)
    light = np.ones((height, width))
    for (cx, cy), scale, up in zip(centres, metre, figure[:, 1], strict=True):
        sx = scale * (0.09 + 0.16 * min(up, 1.2))
        sy = max(0.8, sx * flat)
        x0, x1, y0, y1 = int(cx - 3 * sx), int(cx + 3 * sx) + 1, int(cy - 3 * sy), int(cy + 3 * sy) + 1
        x0, x1, y0, y1 = max(x0, 0), min(x1, width), max(y0, 0), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            continue
        gx = np.exp(-0.5 * ((np.arange(x0, x1) - cx) / sx) ** 2)
        gy = np.exp(-0.5 * ((np.arange(y0, y1) - cy) / sy) ** 2)
        light[y0:y1, x0:x1] *= 1 - 0.3 * math.exp(-max(up, 0) / 0.7) * gy[:, None] * gx[None]
    image *= np.maximum(light, 0.45)[..., None]


def _halved(a: Array) -> Array:
    h, w, c = a.shape
    halved: Array = a.reshape(h // 2, 2, w // 2, 2, c).mean(axis=(1, 3))
    return halved


def _resized(image: Image, size: tuple[int, int]) -> Array:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return frame.reformat(width=size[0], height=size[1], interpolation="BICUBIC").to_ndarray().astype(float)


def _nearest(a: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    rows = (np.arange(size[1]) + 0.5) * a.shape[0] / size[1]
    columns = (np.arange(size[0]) + 0.5) * a.shape[1] / size[0]
    nearest: NDArray[np.float32] = a[rows.astype(int)[:, None], columns.astype(int)[None]]
    return nearest
