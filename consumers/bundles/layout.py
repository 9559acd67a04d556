"""The file of a bundle: an HTML page, and amid it the parts that it shows, one a line. Pure: bytes in, bytes out.

    <!doctype html> …                                                          the page
    <!-- clipline parts begin -->
    <script type="application/json" id="part-manifest">{…}</script>            JSON stands as it is
    <script type="application/json" id="part-signature">{…}</script>
    <script type="video/mp2t" id="part-segment-00000">R0AREA…</script>         all else in base64
    <!-- clipline parts end -->
    <script> … </script></html>                                                the page, too

Browsers run no script of such a type. Every byte of the file belongs to one part or to the page, in one way of writing
it: whatever is changed differs from what the manifest says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

BEGIN: Final = b"<!-- clipline parts begin -->\n"
END: Final = b"<!-- clipline parts end -->\n"
MANIFEST: Final = "manifest"
SIGNATURE: Final = "signature"
JSON: Final = "application/json"
#: What stands within a part holds no "<": it cannot end before its line does.
_LINE: Final = re.compile(
    rb'<script type="([a-z0-9][a-z0-9.+/-]{0,63})" id="part-([a-z0-9][a-z0-9-]{0,63})">([^<]*)</script>'
)
#: Of base64, so many bytes at a time: a multiple of three.
_CHUNK: Final = 3 * 256 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bundle."""

    name: str
    media_type: str
    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class FoundPart:
    """A part as it stands in a file; `data` is None where it is not written as we write it."""

    name: str
    media_type: str
    data: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class TakenApart:
    """What a file consists of."""

    #: Of all but the parts.
    page_digest: str
    parts: tuple[FoundPart, ...]
    #: Lines between the parts that are none, by their number among them.
    strays: tuple[int, ...]


class NoBundleError(Exception):
    """A file has no place for parts."""


def canonical(content: Any) -> bytes:
    """JSON in the one way in which it is hashed and signed: sorted, without blanks, in ASCII, without a "<".

    Raises:
        ValueError: a number is none that JSON knows.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").encode("ascii")


def json_part(name: str, content: Any) -> Part:
    return Part(name, JSON, canonical(content))


def page_digest(head: bytes, tail: bytes) -> str:
    """SHA-256 of the file without the lines between the two marks."""
    return hashlib.sha256(head + BEGIN + END + tail).hexdigest()


def written_bytes(part: Part) -> int:
    """How many bytes a part takes in the file, or a few more."""
    size = len(part.data)
    return 192 + (size if part.media_type == JSON else -(-size // 3) * 4)


def write(head: bytes, parts: Iterable[Part], tail: bytes, out: BinaryIO) -> int:
    """Write the file; return how many bytes it has."""
    written = 0
    lines = (piece for part in parts for piece in _line(part))
    for piece in itertools.chain((head, BEGIN), lines, (END, tail)):
        out.write(piece)
        written += len(piece)
    return written


def _line(part: Part) -> Iterator[bytes]:
    yield f'<script type="{part.media_type}" id="part-{part.name}">'.encode("ascii")
    if part.media_type == JSON:
        yield part.data
    else:
        for begin in range(0, len(part.data), _CHUNK):
            yield base64.b64encode(part.data[begin : begin + _CHUNK])
    yield b"</script>\n"


def take_apart(data: bytes) -> TakenApart:
    """Find what a file consists of, whatever was done to it.

    Raises:
        NoBundleError: there are no marks between which parts stand.
    """
    begin, end = data.find(BEGIN), data.rfind(END)
    if begin < 0 or end < begin + len(BEGIN):
        raise NoBundleError
    *lines, rest = data[begin + len(BEGIN) : end].split(b"\n")
    parts, strays = [], []
    for number, line in enumerate(lines, 1):
        if (found := _LINE.fullmatch(line)) is None:
            strays.append(number)
        else:
            media_type, name = found[1].decode(), found[2].decode()
            parts.append(FoundPart(name, media_type, _content(media_type, found[3])))
    if rest:  # each line ends
        strays.append(len(lines) + 1)
    return TakenApart(page_digest(data[:begin], data[end + len(END) :]), tuple(parts), tuple(strays))


def _content(media_type: str, text: bytes) -> bytes | None:
    if media_type == JSON:
        return text
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Of several ways to write the same bytes only one is ours.
    return data if base64.b64encode(data) == text else None
