"""W3C trace context (`traceparent`): what a segment became can be followed over topics, with any tracing tool.

    segment    00-<trace: camera, epoch, number>-<span: segment>-01
    prediction 00-<the same trace>             -<span: its id>-01      of the segment that completed its window
    event      00-<the same trace>             -<span: its report>-01  of the window that let the report be made

Ids are made of content, as all ids here: who reads the same again gives them the same names.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from .headers import Headers

_NAME: Final = "traceparent"
_FORM: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8


def segment_trace(camera: str, epoch_us: int, sequence: int) -> str:
    """The trace that begins with a segment."""
    name = f"{camera}/{epoch_us}/{sequence}"
    return f"00-{_digest(name, _TRACE_BYTES)}-{_digest(name, _SPAN_BYTES)}-01"


def trace_of(headers: Headers) -> str | None:
    """The trace that a record belongs to; None where it names none that is understood."""
    found = dict(headers).get(_NAME, b"").decode(errors="replace")
    return found if _FORM.fullmatch(found) else None


def child_trace(parent: str | None, name: str) -> str | None:
    """The place of what has become of something, in that one's trace; None where that has none.

    Args:
        parent: as `trace_of` gives it.
        name: of what has become of it, its id for example.
    """
    match = _FORM.fullmatch(parent or "")
    return match and f"00-{match[1]}-{_digest(name, _SPAN_BYTES)}-{match[2]}"


def trace_headers(trace: str | None) -> Headers:
    """The header of a record that belongs to a trace; none where it does not."""
    return [] if trace is None else [(_NAME, trace.encode())]


def _digest(name: str, size: int) -> str:
    return hashlib.blake2b(name.encode(), digest_size=size).hexdigest()
