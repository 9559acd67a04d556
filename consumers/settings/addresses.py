"""Addresses as settings hold them: what they look like, and variables in place of their passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from stream import split_address

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KAFKA: Final = re.compile(r"\s*(?:\[[0-9A-Fa-f:.%]+\]|[^\s@/:,?#\[\]]+)(?::\d+)?\s*")


def check_kafka(address: str) -> str:
    """Return `address`, or raise ValueError."""
    if not all(map(_KAFKA.fullmatch, address.split(","))):
        at = "; user and password cannot be given" if "@" in address else ""
        raise ValueError(f"expected host:port, several separated by commas{at}")
    return address


def check_redis(address: str) -> str:
    """Return `address`, or raise ValueError."""
    if not address.startswith(("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")):
        raise ValueError("expected redis://host:port/database, rediss:// (TLS), unix:// or redis+sentinel://")
    return address


def references(address: str) -> list[str]:
    """The environment variables that `address` refers to."""
    return _REFERENCE.findall(address)


def resolve(address: str, environment: Mapping[str, str]) -> str:
    """`address` with a variable's value for each ${NAME}; one of user or password is taken as it is, and escaped.

    Raises:
        ValueError: a variable is not set; the message names it.
    """
    if missing := [name for name in references(address) if not environment.get(name)]:
        raise ValueError(f"not set in the environment: {', '.join(missing)}")
    parts = split_address(address)
    end = len(address) - len(parts.place) if parts is not None and parts.credentials and parts.place else 0

    def value(match: re.Match[str]) -> str:
        found = environment[match[1]]
        return quote(found, safe="") if match.start() < end else found

    return _REFERENCE.sub(value, address)
