"""What a bundle looks like: the page around its parts, with its style and scripts within it."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from pathlib import Path
from typing import Final

from consumers.records.event import Event
from consumers.records.prediction import rfc3339

from .layout import BEGIN, END

_FOLDER: Final = Path(__file__).parent / "page"
_VENDOR: Final = Path(__file__).parents[1] / "web" / "static" / "vendor"
#: Nothing comes from elsewhere, and nothing goes there: of scripts and styles only those that we wrote run.
_POLICY: Final = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src blob:; media-src blob:; "
    "base-uri 'none'; form-action 'none'"
)


def page_around(event: Event) -> tuple[bytes, bytes]:
    """The page before and behind the parts of an event's bundle."""
    title = html.escape(f"{event.label} – {event.camera} – {rfc3339(event.start_us)[:19]}Z")
    head, tail = _template()
    return head.replace("@@TITLE@@", title).encode(), tail.encode()


@functools.cache
def _template() -> tuple[str, str]:
    style = _read(_VENDOR / "uPlot.min.css") + _read(_FOLDER / "bundle.css")
    plot, script = _read(_VENDOR / "uPlot.iife.min.js"), _read(_FOLDER / "texts.js") + _read(_FOLDER / "bundle.js")
    policy = _POLICY.format(scripts=" ".join(map(_hash, (plot, script))), styles=_hash(style))
    page = _read(_FOLDER / "bundle.html")
    for name, text in (
        ("POLICY", policy),
        ("STYLE", style),
        ("PLOT", plot),
        ("SCRIPT", script),
        ("LICENCE", _read(_VENDOR / "LICENSE-uPlot")),
    ):
        page = page.replace(f"@@{name}@@", text)
    head, _, tail = page.partition((BEGIN + END).decode())
    return head, tail


def _read(path: Path) -> str:
    return path.read_text("utf-8")


def _hash(text: str) -> str:
    """How a content security policy names a script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
