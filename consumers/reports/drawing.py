"""Plots as SVG that follow the page's light and dark colours, and pictures as JPEG."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from PIL import Image

#: Colours to draw with. Each stands for a variable of the style sheet, which has a value for light and one for dark.
INK: Final = "#000101"
MUTED: Final = "#000102"
GOOD: Final = "#000103"
BAD: Final = "#000104"
EVENT: Final = "#000105"
SERIES: Final = tuple(f"#00020{n}" for n in range(1, 7))
_VARIABLES: Final = {INK: "ink", MUTED: "muted", GOOD: "good", BAD: "bad", EVENT: "event"} | {
    colour: f"series-{n}" for n, colour in enumerate(SERIES, start=1)
}
_STYLE: Final[Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.prop_cycle": cycler(color=SERIES),
    "font.size": 11,
    # No name is a formula.
    "text.parse_math": False,
    # Text stays text, and the same figures give the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "clipline",
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing for a page; `svg` is an element."""

    caption: str
    svg: str


def draw(caption: str, paint: Callable[[Axes], None], width: float = 5.2, height: float = 3.8) -> Plot:
    """Make a figure with one pair of axes and let `paint` fill it.

    Args:
        caption: what it shows, also for those who cannot see it.
        paint: draws on the axes, in the colours of this module.
        width: inches.
        height: inches.
    """
    with mpl.rc_context(_STYLE), io.StringIO() as out:
        figure = Figure(figsize=(width, height))
        paint(figure.subplots())
        figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        text = out.getvalue()
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="\w+_\d+"', "", text)  # names of groups would repeat on the page
    return Plot(caption, text.replace("<svg", f'<svg role="img" aria-label="{html.escape(caption)}"', 1))


def in_legend(name: str) -> str:
    """`name` as a legend shows it: matplotlib leaves out those that begin with "_"."""
    return f" {name}" if name.startswith("_") else name


def jpeg(picture: np.ndarray[Any, Any]) -> str:
    """A picture (H, W, 3) uint8 as a JPEG in base64."""
    with io.BytesIO() as out:
        Image.fromarray(picture).save(out, "JPEG", quality=80)
        return base64.b64encode(out.getvalue()).decode()


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of a film strip, and when it was."""

    time: str
    jpeg: str


@dataclass(frozen=True, slots=True)
class StripSection:
    """A heading with film strips below it, and what stands there if there are none."""

    title: str
    strips: Sequence[FilmStrip]
    #: How many there are; not all need to be drawn.
    total: int
    nothing: str


@dataclass(frozen=True, slots=True)
class FilmStrip:
    """Pictures of something that happened."""

    #: What it is and when: `fight on gate, 3.2 s to 7.0 s`.
    title: str
    #: What became of it: `found, alert 2.5 s after the onset`.
    detail: str
    frames: Sequence[Frame] = ()
    #: To the footage, for whoever has it; empty where it lies on a topic.
    link: str = ""
    #: `good`, `bad` or nothing.
    kind: str = ""
