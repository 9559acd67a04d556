"""`clipline deadletter`: dead letters in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from consumers.outputs.dead_letters import Summary
from consumers.records.dead_letter import DeadLetter
from consumers.records.prediction import rfc3339
from consumers.terminal.wording import count
from stream import Record

_HEAD_BYTES: Final = 128
_MAX_HEADERS: Final = 40
_MAX_TEXT: Final = 200
_ROW: Final = 16


def line(summary: Summary) -> str:
    """One line of a list."""
    camera, size = _short(summary.camera) or "no key", count(summary.bytes, "byte")
    return f"{rfc3339(summary.sent_us)} {summary.where} {camera}, {size}: {summary.reason}"


def body(summary: Summary) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "record": summary.where,
        "sent": rfc3339(summary.sent_us),
        "camera": summary.camera,
        "bytes": summary.bytes,
        "origin": summary.origin,
        "reason": summary.reason,
    }


def described(letter: DeadLetter, record: Record) -> Iterator[str]:
    """The lines of one dead letter: why, from where, and what it carries."""
    yield record.where
    yield f"  reason   {letter.reason}"
    yield f"  from     {letter.origin}"
    yield f"  sent     {rfc3339(record.sent_us)}"
    yield f"  key      {_text(letter.key) or 'none'}"
    yield f"  headers  {len(letter.headers)}"
    for name, content in letter.headers[:_MAX_HEADERS]:
        yield f"    {_short(name)}: {_text(content)}"
    if (more := len(letter.headers) - _MAX_HEADERS) > 0:
        yield f"    … and {more} more"
    whole = f" of {letter.cut_from}" if letter.cut_from is not None else ""
    yield f"  value    {len(letter.value)}{whole} bytes"
    head = letter.value[:_HEAD_BYTES]
    for at in range(0, len(head), _ROW):
        row = head[at : at + _ROW]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"    {at:08x}  {row.hex(' '):{3 * _ROW}} {shown}"


def _text(content: bytes) -> str:
    more = f" … ({len(content)} bytes)" if len(content) > _MAX_TEXT else ""
    return content[:_MAX_TEXT].decode(errors="backslashreplace") + more


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} …"
