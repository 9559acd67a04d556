"""The files: labelled clips to train on, and the cameras of the demo."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from rich.progress import track

from .choreography import CYCLE, DEMO_SECONDS, STORY_SECONDS, Label, Story, Troupe, at_the_gate, in_the_lobby
from .choreography import short_story as tell
from .picture import BACKDROP_FPS, Backdrop, Image, Scene, Sensor, frames_of
from .poses import Motions
from .stage import SOURCE_SIZE, Camera, Light, Stage

CLIP_SECONDS = 3.0
#: The demo shows the first 36 s of the backdrop, training clips only what follows: no pedestrian is in both.
DEMO_FRAMES = range(360)
CLIP_FRAMES = range(360, 795)
DEMO_SEED = 20_090_625


class Studio:
    """What every scene needs, opened once."""

    def __init__(self, backdrop: Path) -> None:
        self.motions, self.stage, self.backdrop = Motions(), Stage(), Backdrop(backdrop)

    def short_scene(self, label: Label, seed: int) -> tuple[Scene, float, Fraction]:
        """A training scene, the second of its story at which the clip begins, and the clip's frame rate."""
        rng = np.random.default_rng(seed)
        camera, x, z = _random_view(rng)
        story = tell(label, Troupe(self.motions, rng, x, z))
        happening = story.happenings[0]
        match label:
            case "fall" if rng.random() < 0.8:  # seen falling; else found lying
                start = max(0.0, happening.start - float(rng.uniform(0.1, 1.6)))
            case "fall":
                start = happening.start + float(rng.uniform(0.8, 1.6))
            case "fight":
                start = float(rng.uniform(0, STORY_SECONDS - CLIP_SECONDS))
            case "normal":
                start = float(rng.uniform(0, 1.2))
        if label == "normal" and rng.random() < 0.12:
            story = Story([], [])
        live = not story.actors or rng.random() < 0.6
        first = int(rng.integers(CLIP_FRAMES.start, CLIP_FRAMES.stop - 10 * BACKDROP_FPS))
        light = Light.random(rng)
        fps = Fraction(int(rng.choice([25, 25, 10, 12, 15, 20, 30])))
        return _scene(story, camera, first, Sensor.random(rng), light, live=bool(live)), start, fps

    def clip(self, label: Label, seed: int, path: Path) -> None:
        scene, start, fps = self.short_scene(label, seed)
        frames = frames_of(scene, self.stage, self.backdrop, start, CLIP_SECONDS, fps, seed)
        write(path, frames, fps, scene.sensor.crf, preset="veryfast")


def write_clips(out: Path, count: int, seed: int, backdrop: Path) -> None:
    """Render `count` clips of `CLIP_SECONDS` and `labels.csv` (path,label,group; a group is one scene)."""
    studio = Studio(backdrop)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["path", "label", "group"])
        for number in track(range(count), description="clips"):
            label, scene_seed = CYCLE[number % len(CYCLE)], seed * 1_000_000 + number
            path = out / f"{label}-{scene_seed}.mp4"
            studio.clip(label, scene_seed, path)
            table.writerow([path.name, label, scene_seed])
            lines.flush()


def write_demo(out: Path, backdrop: Path) -> None:
    """Render the cameras of `make demo`, `truth.csv` (camera,label,start,end; seconds) and `SOURCES.md`."""
    studio = Studio(backdrop)
    out.mkdir(parents=True, exist_ok=True)
    people = studio.backdrop.frames(DEMO_FRAMES.start, len(DEMO_FRAMES))
    total = len(DEMO_FRAMES)
    write(out / "courtyard.mp4", track(people, "courtyard", total), Fraction(BACKDROP_FPS), crf=31)
    cameras = (
        ("gate", at_the_gate, Camera((428, 205, 340, 255), (448, 336)), (605, 410), Fraction(25)),
        ("lobby", in_the_lobby, Camera((60, 225, 340, 255), (448, 336)), (235, 415), Fraction(20)),
    )
    truth = []
    for name, script, camera, middle, fps in cameras:
        story = script(Troupe(studio.motions, np.random.default_rng(DEMO_SEED), *camera.ground(*middle)))
        scene = _scene(story, camera, DEMO_FRAMES.start, Sensor(noise=1.0), Light(), live=True)
        frames = frames_of(scene, studio.stage, studio.backdrop, 0.0, DEMO_SECONDS, fps, DEMO_SEED)
        write(out / f"{name}.mp4", track(frames, name, round(DEMO_SECONDS * fps)), fps, crf=27)
        truth += [(name, h.label, h.start, h.end) for h in story.happenings]
    with (out / "truth.csv").open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("camera", "label", "start", "end"), *truth])
    digest = hashlib.sha256(backdrop.read_bytes()).hexdigest()
    (out / "SOURCES.md").write_text(_SOURCES.format(digest=digest), encoding="utf-8")


def write(path: Path, frames: Iterable[Image], fps: Fraction, crf: int, preset: str = "slow") -> None:
    """Encode RGB frames (H, W, 3) as H.264 with a keyframe at least every two seconds."""
    stream = None
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        for image in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": preset})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt, stream.gop_size = "yuv420p", int(2 * fps)
                stream.codec_context.thread_count = 1  # leaves the other cores to others
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        if stream is not None:
            container.mux(stream.encode(None))


def _scene(story: Story, camera: Camera, first: int, sensor: Sensor, light: Light, *, live: bool) -> Scene:
    tracks, looks = [actor.track() for actor in story.actors], [actor.look for actor in story.actors]
    return Scene(camera, tracks, looks, first, live, sensor, light)


def _random_view(rng: np.random.Generator) -> tuple[Camera, float, float]:
    """A part of the courtyard, and the place (x, z) in its middle where a person fills a third to two thirds of it."""
    column, row = rng.uniform(130, 640), rng.uniform(240, 520)
    x, z = Camera((0, 0, *SOURCE_SIZE), SOURCE_SIZE).ground(column, row)
    head = Camera((0, 0, *SOURCE_SIZE), SOURCE_SIZE).project(np.array([x, 1.72, z]))[1]
    shape = float(rng.choice([4 / 3, 4 / 3, 16 / 9]))
    height = min(SOURCE_SIZE[0] / shape, SOURCE_SIZE[1], (row - head) / rng.uniform(0.3, 0.62))
    width = height * shape
    left = np.clip(column - width * rng.uniform(0.4, 0.6), 0, SOURCE_SIZE[0] - width)
    top = np.clip((row + head) / 2 - height * rng.uniform(0.42, 0.58), 0, SOURCE_SIZE[1] - height)
    rows = int(rng.choice([180, 240, 240, 288, 360]))
    size = (2 * round(rows * shape / 2), rows)
    return Camera((float(left), float(top), float(width), float(height)), size), x, z


_SOURCES = """\
# Where this footage comes from

| file | what | origin |
|---|---|---|
| `courtyard.mp4` | the first 36 s of `vtest.avi`, re-encoded: real people, nothing alarming | OpenCV |
| `gate.mp4` | its right part, with rendered figures: two fights | OpenCV, pybullet, this project |
| `lobby.mp4` | its left part, with rendered figures: people meet, one collapses | OpenCV, pybullet, this project |
| `truth.csv` | what happens when, in seconds of footage, as scripted | this project |

**vtest.avi**: `/usr/share/doc/opencv-doc/examples/data/vtest.avi` of the Debian package opencv-doc
(source package opencv, first used: 4.6.0+dfsg-12), `samples/data/vtest.avi` of OpenCV. Licence: Apache-2.0
(Debian's copyright file, for the whole source tree: Apache-2.0 AND BSD-3-Clause).
SHA-256 of the copy used: `{digest}`.

**Figures**: skeleton and motion capture of pybullet_data (`humanoid/humanoid.urdf`,
`data/motions/humanoid3d_*.txt`), from bullet3 (<https://github.com/bulletphysics/bullet3>). Licence: zlib.
Their bodies, clothes and choreography are this project's own (`examples/scenes`), under its licence.
No real person fights or falls in this footage.

Made by:

    python -m examples.scenes demo consumers/footage
"""
