"""Addresses of cameras and servers: shown without their secrets, and read as people type their passwords.

    rtsp://viewer:p@ss/w#rd@10.0.0.7:554/stream?channel=1
    └─┬──┘ └───────┬──────┘ └──────────┬───────────────┘
    scheme    credentials            place

By the standard, credentials end at the first of "/?#": nobody escapes them in a password.

Some cameras take a secret as a part of the path, and nothing tells it from the name of a stream but how it looks. So a
part is shown if it is short, or made of what paths of cameras are made of, or of what could be words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]*\]|[^@/?#:\s\[\]]*)(?::(?:\d{0,5}|\$\{\w+\}))?"
#: What may follow the credentials. Of Redis a path is the number of a database, so that more can be told.
_PLACE: Final = re.compile(_HOST + r"(?:[/?][^#]*)?(?:#[^@]*)?", re.DOTALL)
_HOSTS: Final = rf"{_HOST}(?:,{_HOST})*"
_REDIS_PLACE: Final = re.compile(
    _HOSTS + r"(?:/\d*)?/?(?:\?(?:[\w-]+=[^@&]*&)*(?:[\w-]+=[^@]*|(?:username|password)=.*))?", re.DOTALL
)
#: Of sentinels: the name that they know the server by, and the number of its database.
_SENTINEL_PLACE: Final = re.compile(_HOSTS + r"(?:/[^/?#@]*)?" + _REDIS_PLACE.pattern[len(_HOSTS) :], re.DOTALL)
_SERVER_WITHOUT_PATH: Final = {
    "redis://": _REDIS_PLACE,
    "rediss://": _REDIS_PLACE,
    "redis+sentinel://": _SENTINEL_PLACE,
    "rediss+sentinel://": _SENTINEL_PLACE,
}
_TELLTALE: Final = re.compile(
    r"us(?:e)?r|login|account|pass|pwd|pw|auth|token|key|secret|sig|cred|session|cookie", re.IGNORECASE
)
#: What stands before an equals sign. Its look behind keeps long text from being searched from each of its characters.
_NAMED: Final = re.compile(r"(?<![\w.-])[\w.-]+=")
#: Values of parameters that are no secrets: small numbers and a few words.
_HARMLESS: Final = re.compile(
    r"\d{0,2}|true|false|yes|no|on|off|main|sub|tcp|udp|unicast|multicast|real_stream", re.IGNORECASE
)
#: A part of a path behind which another is secret: /token/8c1f…
_NAMES_SECRET: Final = re.compile(
    r"(?:\w+[_-])?(?:us(?:e)?r|login|admin|root|account|pass(?:word|wd)?|pwd|pw|auth|token|key|secret|sig(?:nature)?"
    r"|session|sid|credential)s?",
    re.IGNORECASE,
)
_RUN: Final = re.compile(r"[^\W_]+")
#: A shorter run of letters and digits may be anything, a longer one than this is no name.
_LEAST_SECRET, _LONGEST_NAME = 5, 40
#: What paths of cameras are made of, beside words.
_TERM: Final = (
    r"(?:channels?|ch|cam(?:era)?s?|streams?|streaming|live|main|sub|video|audio|media|profile|preview|track|id|onvif"
    r"|rtsps?|https?|hls|sdp|h|avc|hevc|mpe?g|mjpe?g|jpe?g|mp|aac|g|av|vod|ptz|img|[fuq]?hd|sd|low|high|med|std|nph|axis"
    r"|p|x|k|fps|in|out|input|output|test|ipcam|cctv|nvr|dvr|tv)"
)
_TERMS: Final = re.compile(rf"\d{{1,7}}|(?=\d*[a-z])(?:{_TERM}|\d{{1,4}}(?!\d))+", re.IGNORECASE)
_WORDS: Final = re.compile(r"\d{0,4}([a-z]*(?:[A-Z][a-z]+)*|[A-Z]+)\d{0,4}")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_LONGEST_WORD: Final = 16
_REFERENCE: Final = re.compile(r"\$\{\w+\}")
#: How a name may look once, in "4K" or "iPhone"; what is random does again and again.
_ODD: Final = re.compile(r"[a-z][A-Z]|\d[A-Za-z]")
_USER_AND_PASSWORD: Final = re.compile(r"[A-Za-z]\w*:.")
#: Letters that hardly stand side by side in a word.
_NO_WORD: Final = re.compile(
    r"[^aeiouy]{6}|[aeiouy]{4}|q(?!u)|[bcfghjkmpqtvxz][jqvx]|[jvx][^aeiouy]|[bcdfghjkmpqsvwx]z|z[bcdfghjkmnpqrstvx]"
    r"|[^aeiouynlr]d(?=[^aeiour])|[wv][bcdfgkmpqtvz]|h[bcdfgkpqs]|[bfgkmpv]h",
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_HIDDEN: Final = "…"


@dataclass(frozen=True, slots=True)
class Address:
    """An address in its parts, as they were written."""

    scheme: str
    #: User and password; None where there are none.
    credentials: str | None = field(repr=False)
    #: Host, port, path and parameters; empty where none can be told.
    place: str = field(repr=False)

    @property
    def user(self) -> str:
        return _unescaped((self.credentials or "").partition(":")[0])

    @property
    def password(self) -> str | None:
        """None where there is none; it may be empty."""
        _, colon, password = (self.credentials or "").partition(":")
        return _unescaped(password) if colon else None

    @property
    def secret_parts(self) -> tuple[str, ...]:
        """Parts of the path that look secret, as they were written."""
        if self._has_plain_path:
            return ()
        path = self.place.partition("?")[0]
        return tuple(part for _, part, is_shown in _parts(path) if not is_shown)

    @property
    def _has_plain_path(self) -> bool:
        """The path of a Redis address names a server and a database: nothing that only looks secret is."""
        return self.scheme.lower() in _SERVER_WITHOUT_PATH

    def shown(self) -> str:
        """The address without its credentials, and without what may be a secret in its path and parameters."""
        if not self.place:
            return self.scheme + _HIDDEN
        if not self._has_plain_path:
            return self.scheme + _shown_place(self.place)
        path, question, parameters = self.place.partition("?")
        return self.scheme + path + question + "&".join(map(_shown_parameter, parameters.split("&")))

    def escaped(self) -> str:
        """The address by the standard: what credentials hold beside letters and digits is percent-encoded."""
        if self.credentials is None or not self.place:
            return f"{self.scheme}{self.credentials or self.place}"
        password = "" if self.password is None else f":{quote(self.password, safe='')}"
        return f"{self.scheme}{quote(self.user, safe='')}{password}@{self.place}"


def split_address(address: str) -> Address | None:
    """The parts of an address with a scheme, or None. Where no place can be told, all of it may be credentials.

    Where credentials hold a raw "/", "?" or "#", they are told by what stands before it: no host has a name and a port
    that is no number. Where it could be a host, as in "user:12/34@host", it counts as one (`escape_hint` says so).
    """
    scheme = _SCHEME.match(address)
    if scheme is None:
        return None
    rest = address[scheme.end() :]
    name = scheme[0].lower()
    fits: Callable[[str], object] = _SERVER_WITHOUT_PATH.get(name, _PLACE).fullmatch
    if fits(rest):
        return Address(scheme[0], None, rest)
    # The first "@" behind which a host can be: a later one belongs to the path.
    for at in (match.start() for match in re.finditer("@", rest)):
        if fits(rest[at + 1 :]):
            return Address(scheme[0], rest[:at], rest[at + 1 :])
    return Address(scheme[0], rest, "")


def escape_address(address: str) -> str:
    """`address` as libraries understand it: raw characters of its password escaped. Anything else stays as it is."""
    parts = split_address(address)
    return address if parts is None else parts.escaped()


def escape_hint(address: str) -> str:
    """What to try where an address does not answer and may have been read otherwise than it was meant; or nothing.

    Names the character, never the password.
    """
    parts = split_address(address)
    if parts is None or "@" not in parts.place:
        return ""
    before = parts.place.partition("@")[0]
    characters = [character for character in "/?#" if character in before]
    escapes = ", ".join(f"'{each}' as {quote(each, safe='')}" for each in characters)
    return f"; if the password holds {' or '.join(map(repr, characters))}, write {escapes}" if characters else ""


def display_name(address: str) -> str:
    """`address` for a message, in one line: without credentials, and what may be a secret in its path and parameters.

    A path of a file that exists is shown whole: file names may hold an "@".
    """
    return _BREAKS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), _without_secrets(address))


def _without_secrets(address: str) -> str:
    if os.path.exists(address):  # noqa: PTH110  it takes what no path can be, such as a NUL
        return address
    parts = split_address(address)
    if parts is not None:
        return parts.shown()
    # A scheme that is misspelt, or none: up to the last "@", wherever it is; rather too little is shown.
    at = address.rfind("@")
    colon = address.find(":", 0, max(at, 0))
    shown = address if colon < 0 else address[: address.rfind("/", 0, colon) + 1] + _HIDDEN + address[at:]
    return _shown_place(shown) if ":/" in shown else shown


def _shown_place(place: str) -> str:
    path, question, parameters = place.partition("?")
    each = parameters.split("&")
    if any("@" in one and not _is_secret(one) for one in each):
        # It may belong to a password with a "?" that could not be told.
        return _shown_place(place.rpartition("@")[2])
    path = "&".join(map(_without_secret, path.rpartition("@")[2].split("&")))
    path = "".join(separator + (part if is_shown else _HIDDEN) for separator, part, is_shown in _parts(path))
    return path + question + "&".join(map(_shown_parameter, each))


def _without_secret(text: str) -> str:
    """In a path, as some recorders take it: /user=admin_password=…_channel=1. What follows may be of the password."""
    for name in _NAMED.finditer(text):
        if _TELLTALE.search(name[0]):
            return text[: name.end()] + _HIDDEN
    return text


def _is_secret(parameter: str) -> bool:
    name = _NAMED.match(parameter)
    return name is not None and _TELLTALE.search(name[0]) is not None


def _parts(path: str) -> Iterator[tuple[str, str, bool]]:
    """Host and parts of a path, each with what separates it from the one before and whether it may be shown."""
    host, *rest = re.split(r"([/#])", path)
    yield "", host, True
    before = ""
    for separator, part in zip(rest[::2], rest[1::2], strict=True):
        is_named = bool(part and _NAMES_SECRET.fullmatch(before)) and not _HARMLESS.fullmatch(part)
        yield separator, part, not (is_named or _looks_secret(part))
        before = part


def _looks_secret(part: str) -> bool:
    text = unquote(_REFERENCE.sub("", part))
    runs = _RUN.findall(text)
    if any(len(run) >= _LEAST_SECRET and not _may_be_name(run) for run in runs):
        return True
    # Runs are no longer than names here: the pattern of terms could take for ever.
    odd = sum(_ODD.search(run) is not None and not _TERMS.fullmatch(run) for run in runs)
    return bool(_USER_AND_PASSWORD.match(text)) or odd > 1


def _may_be_name(run: str) -> bool:
    """Whether letters and digits may be of the name of a stream: what is random hardly ever may."""
    if len(run) > _LONGEST_NAME:
        return False
    if not run.isascii() or _TERMS.fullmatch(run):
        return True
    words = _WORDS.fullmatch(run)
    return words is not None and bool(words[1]) and all(map(_may_be_word, _WORD.findall(words[1])))


def _may_be_word(letters: str) -> bool:
    vowels = sum(letter in "aeiouyAEIOUY" for letter in letters)
    return bool(_TERMS.fullmatch(letters)) or (
        2 < len(letters) <= _LONGEST_WORD and 5 * vowels >= len(letters) and not _NO_WORD.search(letters)
    )


def _shown_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if not equals:
        return parameter if _HARMLESS.fullmatch(parameter) else _HIDDEN
    harmless = _HARMLESS.fullmatch(value) and not _is_secret(parameter)
    return parameter if harmless else f"{name}={_HIDDEN}"


def _unescaped(text: str) -> str:
    # A "%" that begins no escape is meant as it stands.
    return unquote(_ESCAPED.sub("%25", text))
