"""What figures look like: clothes, hair and build as closed surfaces hung on the links of a humanoid."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

Ring = tuple[float, float, float, float]  # height, half depth, half width, offset forward; units of the URDF

_SKIN = ((0.87, 0.69, 0.58), (0.76, 0.57, 0.45), (0.55, 0.38, 0.28), (0.36, 0.24, 0.18))
_HAIR = ((0.07, 0.06, 0.05), (0.18, 0.12, 0.08), (0.35, 0.25, 0.15), (0.6, 0.5, 0.35), (0.5, 0.5, 0.5))
_TROUSERS = ((0.06, 0.06, 0.07), (0.16, 0.2, 0.32), (0.25, 0.32, 0.48), (0.3, 0.27, 0.22), (0.42, 0.4, 0.38))
_SHIRT = (
    (0.06, 0.06, 0.07), (0.1, 0.12, 0.2), (0.3, 0.08, 0.1), (0.45, 0.1, 0.12), (0.2, 0.26, 0.2), (0.3, 0.24, 0.18),
    (0.35, 0.36, 0.38), (0.7, 0.7, 0.68), (0.2, 0.3, 0.5), (0.5, 0.45, 0.3), (0.12, 0.28, 0.25), (0.6, 0.35, 0.15),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """What a figure wears; colours are RGB in 0..1, `height` multiplies a person of 1.65 m."""

    height: float
    girth: float
    skin: tuple[float, ...]
    hair: tuple[float, ...]
    shirt: tuple[float, ...]
    trousers: tuple[float, ...]
    shoes: tuple[float, ...]
    short_sleeves: bool
    coat: bool
    bag: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Self:
        def pick(palette: Sequence[tuple[float, ...]], jitter: float = 0.06) -> tuple[float, ...]:
            base = np.array(palette[int(rng.integers(len(palette)))])
            return tuple(float(c) for c in np.clip(base * rng.uniform(0.8, 1.2) + rng.normal(0, jitter, 3), 0.02, 0.92))

        return cls(
            height=float(rng.uniform(0.97, 1.12)),
            girth=float(rng.uniform(0.9, 1.18)),
            skin=pick(_SKIN, 0.01),
            hair=pick(_HAIR, 0.01),
            shirt=pick(_SHIRT),
            trousers=pick(_TROUSERS, 0.02),
            shoes=pick(((0.05, 0.05, 0.05), (0.2, 0.14, 0.1), (0.7, 0.7, 0.7)), 0.02),
            short_sleeves=bool(rng.random() < 0.25),
            coat=bool(rng.random() < 0.35),
            bag=bool(rng.random() < 0.15),
        )

    def parts(self) -> Iterator[tuple[str, list[Ring], tuple[float, ...]]]:
        """Link of the humanoid, outline and colour of every visible part."""
        g = self.girth
        yield (
            "root",
            _rings(g, (-0.42, 0.2, 0.3), (-0.2, 0.42, 0.6), (0.2, 0.46, 0.64), (0.45, 0.42, 0.56)),
            self.trousers,
        )
        hem = ((-1.0, 0.5, 0.68), (-0.3, 0.52, 0.7)) if self.coat else ((-0.05, 0.49, 0.67),)
        yield "root", _rings(g, *hem, (0.4, 0.47, 0.62), (0.8, 0.45, 0.56), (1.1, 0.44, 0.56)), self.shirt
        chest = (
            (-0.2, 0.42, 0.54),
            (0.3, 0.5, 0.66),
            (0.65, 0.5, 0.78),
            (0.92, 0.4, 0.78),
            (1.06, 0.26, 0.5),
            (1.14, 0.16, 0.2),
        )
        yield "chest", _rings(g, *chest), self.shirt
        if self.bag:
            yield (
                "chest",
                [(-0.3, 0.2, 0.4, -0.55), (0.0, 0.3, 0.5, -0.6), (0.7, 0.28, 0.5, -0.6), (0.95, 0.1, 0.3, -0.5)],
                self.shoes,
            )
        yield "neck", _rings(1, (-0.1, 0.22, 0.24), (0.2, 0.19, 0.19), (0.5, 0.19, 0.18)), self.skin
        yield "neck", _egg(0.72, 0.47, 0.37, 0.3, 0.05), self.skin
        yield "neck", _egg(0.86, 0.4, 0.37, 0.34, -0.06), self.hair
        for side in ("right", "left"):
            thigh = (
                (0.2, 0.15, 0.15),
                (0.0, 0.33, 0.3),
                (-0.5, 0.34, 0.3),
                (-1.2, 0.27, 0.24),
                (-1.7, 0.22, 0.2),
                (-1.8, 0.1, 0.1),
            )
            yield f"{side}_hip", _rings(g, *thigh), self.trousers
            shin = (
                (0.15, 0.1, 0.1),
                (0.0, 0.21, 0.2),
                (-0.4, 0.25, 0.22),
                (-1.0, 0.21, 0.19),
                (-1.55, 0.2, 0.17),
                (-1.6, 0.1, 0.1),
            )
            yield f"{side}_knee", _rings(g, *shin), self.trousers
            yield (
                f"{side}_ankle",
                [(-0.2, 0.4, 0.17, 0.2), (-0.1, 0.42, 0.19, 0.2), (0.0, 0.28, 0.17, 0.1), (0.12, 0.15, 0.14, 0)],
                self.shoes,
            )
            upper = (
                (0.16, 0.1, 0.1),
                (0.06, 0.22, 0.21),
                (-0.3, 0.23, 0.22),
                (-0.8, 0.19, 0.18),
                (-1.1, 0.17, 0.16),
                (-1.2, 0.08, 0.08),
            )
            yield f"{side}_shoulder", _rings(g, *upper), self.shirt
            fore = ((0.12, 0.08, 0.08), (0.0, 0.17, 0.17), (-0.4, 0.17, 0.16), (-0.9, 0.13, 0.12), (-1.05, 0.1, 0.09))
            yield f"{side}_elbow", _rings(g, *fore), self.skin if self.short_sleeves else self.shirt
            yield (
                f"{side}_wrist",
                _rings(1, (0.08, 0.08, 0.05), (-0.1, 0.16, 0.08), (-0.3, 0.15, 0.07), (-0.44, 0.06, 0.04)),
                self.skin,
            )


def _rings(girth: float, *profile: tuple[float, float, float]) -> list[Ring]:
    return [(y, depth * girth, width * girth, 0.0) for y, depth, width in sorted(profile)]


def _egg(centre: float, tall: float, deep: float, wide: float, forward: float) -> list[Ring]:
    angles = np.linspace(-1.45, 1.45, 9)
    return [(centre + tall * math.sin(a), deep * math.cos(a), wide * math.cos(a), forward) for a in angles]


def _mesh(rings: Sequence[Ring], around: int = 14) -> str:
    """Wavefront text of the closed surface through elliptic rings, with smooth normals."""
    rows = sorted(rings)
    rows = [(rows[0][0] - 0.02, 0.01, 0.01, rows[0][3]), *rows, (rows[-1][0] + 0.02, 0.01, 0.01, rows[-1][3])]
    lines, normals, faces = [], [], []
    for k, (y, deep, wide, forward) in enumerate(rows):
        below, above = rows[max(k - 1, 0)], rows[min(k + 1, len(rows) - 1)]
        slope = -((above[1] + above[2]) - (below[1] + below[2])) / 2 / (above[0] - below[0] + 1e-6)
        for a in np.linspace(0, 2 * math.pi, around, endpoint=False):
            lines.append(f"v {forward + deep * math.cos(a):.4f} {y:.4f} {wide * math.sin(a):.4f}")
            normal = np.array([math.cos(a) * wide, slope * max(deep, wide), math.sin(a) * deep])
            normal /= np.linalg.norm(normal) + 1e-9
            normals.append("vn {:.4f} {:.4f} {:.4f}".format(*normal))
            if k:
                p, q = (k - 1) * around, k * around
                i = len(lines) - 1 - q
                a0, a1, b0, b1 = p + i + 1, p + (i + 1) % around + 1, q + i + 1, q + (i + 1) % around + 1
                faces += [f"f {a0}//{a0} {b0}//{b0} {b1}//{b1}", f"f {a0}//{a0} {b1}//{b1} {a1}//{a1}"]
    return "\n".join([*lines, "vt 0 0", *normals, *faces, ""])


def dressed(urdf: str, look: Look, folder: Path, name: str) -> Path:
    """The humanoid of pybullet_data with the parts of `look` as what one sees of it."""
    tree = ET.fromstring(urdf.rstrip("\0"))  # noqa: S314 - a file of the installed wheel, which ends in a NUL
    for joint in tree.iter("joint"):
        if joint.find("axis") is None:
            ET.SubElement(joint, "axis", xyz="1 0 0")  # spares a warning for each ball joint
    links = {link.get("name"): link for link in tree.iter("link")}
    for number, (link, rings, colour) in enumerate(look.parts()):
        (folder / f"{name}_{number}.obj").write_text(_mesh(rings))
        visual = ET.SubElement(links[link], "visual")
        ET.SubElement(ET.SubElement(visual, "geometry"), "mesh", filename=f"{name}_{number}.obj")
        material = ET.SubElement(visual, "material", name=f"{name}_{number}")
        ET.SubElement(material, "color", rgba=" ".join(f"{c:.3f}" for c in (*colour, 1.0)))
    path = folder / f"{name}.urdf"
    path.write_text(ET.tostring(tree, encoding="unicode"))
    return path
