"""A record that could not be used, kept with the reason on the topic of dead letters.

A dead letter always fits into a record: of what is too large, as much is kept as there is room for, and the reason says
so. First the key gets its room, then the headers, then the value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from stream import MAX_RECORD_BYTES, Headers, Record

from .fields import RecordError

#: A dead letter carries the record's own value up to this size.
_MAX_VALUE_BYTES: Final = 9 * 1024 * 1024
_MAX_KEY_BYTES: Final = 4 * 1024
_MAX_HEADERS_BYTES: Final = 256 * 1024
_MAX_HEADERS: Final = 1000
_MAX_REASON: Final = 2000
assert _MAX_KEY_BYTES + _MAX_HEADERS_BYTES + 4 * _MAX_REASON + _MAX_VALUE_BYTES < MAX_RECORD_BYTES - 64 * 1024
_REASON: Final = "clipline-reason"
_ORIGIN: Final = "clipline-origin"
_CUT_FROM: Final = "clipline-cut-from"
#: What a reason says at its end where key or headers were cut.
_KEPT: Final = " (kept here: "


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The record as it was, why it could not be used and where it lay."""

    key: bytes
    headers: Headers
    value: bytes = field(repr=False)
    reason: str
    #: "topic[partition]@offset".
    origin: str
    #: How many bytes the value had, where it was too large to be carried whole.
    cut_from: int | None = None

    @classmethod
    def of(cls, record: Record, reason: str) -> Self:
        """The dead letter of a record, with as much of it as fits."""
        key, value = record.key or b"", record.value or b""
        headers = _shortened(record.headers)
        cut = [f"{_MAX_KEY_BYTES} of {len(key)} bytes of the key"] if len(key) > _MAX_KEY_BYTES else []
        if (kept := _size(headers)) != (size := _size(record.headers)) or len(headers) != len(record.headers):
            cut.append(f"{len(headers)} of {len(record.headers)} headers, {kept} of their {size} bytes")
        if len(reason) > _MAX_REASON:
            reason = f"{reason[:_MAX_REASON]} …"
        return cls(
            key[:_MAX_KEY_BYTES],
            headers,
            value[:_MAX_VALUE_BYTES],
            f"{reason}{_KEPT}{'; '.join(cut)})" if cut else reason,
            record.where,
            len(value) if len(value) > _MAX_VALUE_BYTES else None,
        )

    @property
    def is_whole(self) -> bool:
        """Whether all of the record is here: only then can it be sent again."""
        return self.cut_from is None and _KEPT not in self.reason

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        reason = self.reason.encode(errors="backslashreplace")
        headers = [*self.headers, (_REASON, reason), (_ORIGIN, self.origin.encode())]
        if self.cut_from is not None:
            headers.append((_CUT_FROM, str(self.cut_from).encode()))
        return self.key, headers, self.value

    @classmethod
    def decode(cls, key: bytes | None, headers: Headers, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is no dead letter.
        """
        own, cut_from = list(headers), None
        # Ours are the last ones: the record may have been a dead letter before.
        if own and own[-1][0] == _CUT_FROM:
            text = own.pop()[1]
            if not text.isdigit():
                raise RecordError(f"{where}: expected {_CUT_FROM} to be a number of bytes, found {text!r}")
            cut_from = int(text)
        if [name for name, _ in own[-2:]] != [_REASON, _ORIGIN]:
            raise RecordError(
                f"{where}: not a dead letter: expected headers that end with {_REASON} and {_ORIGIN}, "
                f"found {[name for name, _ in headers] or 'none'}"
            )
        reason, origin = (content.decode(errors="replace") for _, content in own[-2:])
        return cls(key or b"", own[:-2], value or b"", reason, origin, cut_from)


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(content) for name, content in headers)


def _shortened(headers: Headers) -> Headers:
    """The first headers, as many as fit; the last of them may be cut off."""
    kept, room = [], _MAX_HEADERS_BYTES
    for name, content in headers[:_MAX_HEADERS]:
        room -= len(name.encode())
        if room < 0:
            break
        kept.append((name, content[:room]))
        room -= len(kept[-1][1])
    return kept
