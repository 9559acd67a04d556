"""Text that others wrote, as it may stand in one line of a terminal or a log."""

from __future__ import annotations

import re
from typing import Final

#: What moves a cursor, breaks a line, turns the direction of writing or cannot be seen; and halves of characters, which
#: stand for the bytes of a file name that is no UTF-8.
_CONTROLS: Final = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
#: The credentials of an address, up to the last "@" before a space. Who words an address hides them better
#: (`stream.display_name`); this is for what slipped through, such as an error of a library.
_CREDENTIALS: Final = r"(?<=:/)/*\S*@"
UNSAFE: Final = re.compile(f"(?P<credentials>{_CREDENTIALS})|[{_CONTROLS}]")


def printable(text: str) -> str:
    r"""`text` in one line: control characters are shown escaped, as "\x1b", and credentials of addresses left out."""
    return UNSAFE.sub(replacement, text)


def without_credentials(text: str) -> str:
    """`text` as it may be stored, in JSON for example: itself, but for credentials of addresses."""
    return UNSAFE.sub(lambda match: replacement(match) if match["credentials"] else match[0], text)


def replacement(match: re.Match[str]) -> str:
    """What is shown in place of a match of `UNSAFE`."""
    if match["credentials"]:
        return "/" if match[0].startswith("/") else ""
    return match[0].encode("unicode_escape").decode("ascii")
