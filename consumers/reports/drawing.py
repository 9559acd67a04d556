"""What the reports share: plots as SVG, film strips as JPEG, and the pages that hold both."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Plot
from PIL import Image


def render(template: str, **values: Any) -> str:
    """Fill one of the pages in `consumers/reports/templates`."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(files(__package__).joinpath(f"templates/{template}").read_text("utf-8"))
    return page.render(**values)


def svg(plot: Plot) -> str:
    """The plot as an element to put into a page."""
    # Fixed names inside: the same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "clipline", "svg.fonttype": "none"}), io.StringIO() as out:
        plot.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
        text = out.getvalue()
    return text[text.index("<svg") :]


def axes(width: float = 4.6, height: float = 4.0) -> tuple[Plot, Any]:
    """A plot with one pair of axes; inches."""
    plot = Plot(figsize=(width, height))
    return plot, plot.subplots()


def film_strip(frames: Sequence[np.ndarray]) -> str:
    """Pictures (H, W, 3) uint8 side by side, as a JPEG in base64."""
    with io.BytesIO() as out:
        Image.fromarray(np.concatenate(list(frames), axis=1)).save(out, "JPEG", quality=80)
        return base64.b64encode(out.getvalue()).decode()
