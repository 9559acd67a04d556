"""What others say of an address, without what of it may be secret."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from consumers.printable import printable

#: Parts of a path from this length on are taken for secrets, such as the tokens of chats.
_SECRET_CHARACTERS: Final = 6


def without_secrets(text: str, address: str) -> str:
    """`text` in one line, without user, password, query and path of `address`: many name that to which they said no."""
    try:
        url = urlsplit(address)
        parts = {url.username or "", url.password or "", url.query, url.path, f"{url.path}?{url.query}", address}
        pieces: tuple[str, ...] = (*url.path.split("/"), *(pair.partition("=")[2] for pair in url.query.split("&")))
        if url.scheme not in {"http", "https"}:  # many services have a token in place of a host
            pieces += (url.netloc, *url.netloc.split("@"))
        parts |= {each for each in pieces if len(each) >= _SECRET_CHARACTERS}
    except ValueError:  # no address as the web has them
        parts = {address}
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        if len(part) > 1:
            text = text.replace(part, "…")
    return printable(text)
