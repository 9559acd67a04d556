"""The page behind a link: one question, one button, or what became of it. Pure; nothing of it comes from elsewhere."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import html
from collections.abc import Mapping
from typing import Final

from consumers.records.verdict import Answer, Verdict

from .links import Asked

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;"
    "background:#fff}dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem}dt{color:#555}dd{margin:0;"
    "overflow-wrap:anywhere}button{font:inherit;font-weight:600;padding:.9rem 1.4rem;width:100%;border:0;"
    "border-radius:.5rem;background:#1a5fb4;color:#fff}@media(prefers-color-scheme:dark){body{color:#eee;"
    "background:#181818}dt{color:#aaa}}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: Nothing is loaded, run, framed or told to whoever is linked; the form goes back to where it came from.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


def question(asked: Asked, answer: Answer, zone: dt.tzinfo, snooze_hours: float) -> str:
    """What is asked, and the button that answers."""
    words = {
        "right": ("Was this right?", "Yes, this happened"),
        "false": ("Was this a false alarm?", "Yes, a false alarm"),
        "snooze": (f"Hold back such messages for {hours_text(snooze_hours)}?", "Yes, hold them back"),
    }
    title, button = words[answer]
    body = f'{_facts(asked, zone)}<form method="post"><button type="submit">{html.escape(button)}</button></form>'
    return _page(title, body)


def noted(asked: Asked, verdict: Verdict, zone: dt.tzinfo) -> str:
    """That the answer is stored."""
    return _page("Thank you", f"<p>Noted: {_said(verdict, zone)}.</p>{_facts(asked, zone)}")


def answered_already(asked: Asked, verdict: Verdict, zone: dt.tzinfo) -> str:
    """That somebody was there before, and what was said."""
    said = f"<p>Answered already, at {_time(verdict.time_us, zone)}: {_said(verdict, zone)}.</p>"
    return _page("Answered already", f"{said}<p>A link counts once.</p>{_facts(asked, zone)}")


def refused(title: str, text: str) -> str:
    """That nothing can be answered here, and why."""
    return _page(title, f"<p>{html.escape(text)}</p>")


def hours_text(hours: float) -> str:
    """A stretch of time: "1 h", "30 min"."""
    return f"{hours:g} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _said(verdict: Verdict, zone: dt.tzinfo) -> str:
    if verdict.answer == "snooze":
        assert verdict.until_us is not None
        return f"nothing more is told of {html.escape(verdict.label)} here until {_time(verdict.until_us, zone)}"
    return "this was right" if verdict.answer == "right" else "this was a false alarm"


def _facts(asked: Asked, zone: dt.tzinfo) -> str:
    facts = {
        "Event": asked.label,
        "Camera": asked.camera,
        "Time": _time(asked.start_us, zone),
        "Id": asked.event[:12],
    }
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _time(time_us: int, zone: dt.tzinfo) -> str:
    return f"{dt.datetime.fromtimestamp(time_us / 1e6, zone):%Y-%m-%d %H:%M:%S %Z}"


def _page(title: str, body: str) -> str:
    shown = html.escape(title)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<title>{shown}</title><style>{_STYLE}</style></head><body><h1>{shown}</h1>{body}</body></html>\n"
    )
