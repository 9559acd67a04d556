"""A virtual camera where the real one stood, and the pybullet world that it looks at."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .figures import Look, dressed
from .poses import BALL_JOINTS, HINGE_JOINTS, ROOT, URDF_SCALE, XYZ, Array

SOURCE_SIZE = (768, 576)


@dataclass(frozen=True)
class Camera:
    """A pinhole above the origin, looking down by `pitch`; `window` is the part of the source image that is shown.

    The defaults were fitted to the heights of pedestrians in vtest.avi: a man is 52 px tall where his feet are in row
    153, 105 px in row 410, 150 px in row 590.
    """

    window: tuple[float, float, float, float]  # x, y, width, height in source pixels
    size: tuple[int, int]  # width, height of the output
    height: float = 8.0
    pitch: float = 0.392
    focal: float = 900.0

    @property
    def axes(self) -> Array:
        s, c = math.sin(self.pitch), math.cos(self.pitch)
        return np.array([[1, 0, 0], [0, c, -s], [0, -s, -c]])  # right, up, forward

    def project(self, points: Array) -> Array:
        """Output pixels (..., 2) of world points (..., 3)."""
        right, up, forward = np.moveaxis((points - (0, self.height, 0)) @ self.axes.T, -1, 0)
        x = SOURCE_SIZE[0] / 2 + self.focal * right / forward
        y = SOURCE_SIZE[1] / 2 - self.focal * up / forward
        x0, y0, w, h = self.window
        return np.stack([(x - x0) * self.size[0] / w, (y - y0) * self.size[1] / h], axis=-1)

    def ground(self, x: float, y: float) -> tuple[float, float]:
        """World (x, z) of the ground seen at a source pixel."""
        ray = np.array([(x - SOURCE_SIZE[0] / 2) / self.focal, (SOURCE_SIZE[1] / 2 - y) / self.focal, 1.0]) @ self.axes
        if ray[1] >= 0:
            raise ValueError(f"source row {y} lies above the horizon")
        return float(-ray[0] * self.height / ray[1]), float(-ray[2] * self.height / ray[1])

    def source_row(self, points: Array) -> Array:
        return self.project(points)[..., 1] * self.window[3] / self.size[1] + self.window[1]


@dataclass(frozen=True)
class Light:
    direction: tuple[float, float, float] = (8.0, 30.0, 10.0)
    colour: tuple[float, float, float] = (1.0, 1.0, 1.02)
    ambient: float = 0.55
    diffuse: float = 0.55

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        x, z = rng.uniform(-15, 15), rng.uniform(-5, 20)
        ambient, diffuse = rng.uniform(0.4, 0.65), rng.uniform(0.4, 0.7)
        return cls((float(x), 30.0, float(z)), ambient=float(ambient), diffuse=float(diffuse))


class Stage:
    """A pybullet world without physics, where figures are posed and drawn."""

    def __init__(self) -> None:
        import pybullet  # noqa: PLC0415
        import pybullet_data  # noqa: PLC0415
        from pybullet_utils.bullet_client import BulletClient  # noqa: PLC0415

        self._p: Any = BulletClient(connection_mode=pybullet.DIRECT)
        self._urdf = Path(pybullet_data.getDataPath()) / "humanoid" / "humanoid.urdf"
        self._figures = 0

    def cast(self, looks: Sequence[Look]) -> list[int]:
        """Bring figures on an empty stage; returns their body ids."""
        self._p.resetSimulation()
        self._p.setPhysicsEngineParameter(enableFileCaching=0)
        bodies = []
        with tempfile.TemporaryDirectory() as folder:  # pybullet reads files only
            for look in looks:
                self._figures += 1  # pybullet remembers colours by name
                path = dressed(self._urdf.read_text(), look, Path(folder), f"figure{self._figures}")
                scale, flags = URDF_SCALE * look.height, self._p.URDF_MAINTAIN_LINK_ORDER
                bodies.append(self._p.loadURDF(str(path), globalScaling=scale, useFixedBase=True, flags=flags))
        return bodies

    def pose(self, body: int, pose: Array) -> None:
        _set_pose(self._p, body, pose)

    def render(
        self, camera: Camera, box: tuple[int, int, int, int], light: Light, oversample: int = 2
    ) -> tuple[Array, NDArray[np.int32]]:
        """Colour (H, W, 3) in 0..255 and body ids (H, W; -1: none) of pixels `box`, x0, y0, x1, y1; oversampled."""
        x0, y0, w, h = camera.window
        sx, sy = w / camera.size[0], h / camera.size[1]
        near, far = 0.5, 200.0
        left, right = ((x0 + x * sx - SOURCE_SIZE[0] / 2) * near / camera.focal for x in (box[0], box[2]))
        top, bottom = ((SOURCE_SIZE[1] / 2 - y0 - y * sy) * near / camera.focal for y in (box[1], box[3]))
        eye = np.array([0, camera.height, 0])
        _, up, forward = camera.axes
        width, height = (box[2] - box[0]) * oversample, (box[3] - box[1]) * oversample
        _, _, colour, _, mask = self._p.getCameraImage(
            width,
            height,
            self._p.computeViewMatrix(eye.tolist(), (eye + forward).tolist(), up.tolist()),
            self._p.computeProjectionMatrix(left, right, bottom, top, near, far),
            lightDirection=list(light.direction),
            lightColor=list(light.colour),
            lightDistance=60,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=0.02,
            shadow=0,
            renderer=self._p.ER_TINY_RENDERER,
        )
        return np.reshape(colour, (height, width, 4))[..., :3].astype(float), np.reshape(mask, (height, width))


def _xyzw(q: Array) -> list[float]:
    return [float(q[1]), float(q[2]), float(q[3]), float(q[0])]


def _set_pose(world: Any, body: int, pose: Array) -> None:
    world.resetBasePositionAndOrientation(body, pose[XYZ].tolist(), _xyzw(pose[ROOT]))
    for joint, s in BALL_JOINTS.items():
        world.resetJointStateMultiDof(body, joint, _xyzw(pose[s]), [0, 0, 0])
    for joint, index in HINGE_JOINTS.items():
        world.resetJointState(body, joint, float(pose[index]), 0)
