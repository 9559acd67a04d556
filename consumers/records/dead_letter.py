"""A record that could not be used, kept with the reason on the topic of dead letters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self

from stream import Headers, Record

from .fields import RecordError

#: A dead letter carries the record's own value up to this size.
_MAX_VALUE_BYTES: Final = 9 * 1024 * 1024
_REASON: Final = "clipline-reason"
_ORIGIN: Final = "clipline-origin"
_CUT_FROM: Final = "clipline-cut-from"


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
        """The dead letter of a record."""
        value = record.value or b""
        cut_from = len(value) if len(value) > _MAX_VALUE_BYTES else None
        return cls(record.key or b"", list(record.headers), value[:_MAX_VALUE_BYTES], reason, record.where, cut_from)

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = [*self.headers, (_REASON, self.reason.encode()), (_ORIGIN, self.origin.encode())]
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
