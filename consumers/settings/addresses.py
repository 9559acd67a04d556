"""Addresses as settings hold them: what they look like, and variables in place of their passwords."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
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


def enter_redis(address: str, user: str | None, password: str | None, parameters: Mapping[str, str]) -> str:
    """`address` with user, password and the parameters of its client, in place of none or the same.

    Raises:
        ValueError: the address holds another user or password, or TLS files are for one without TLS.
    """
    parts = split_address(address)
    if parts is None:
        raise ValueError("it is not understood")
    if parameters and not parts.scheme.lower().startswith("rediss"):
        raise ValueError("files of redis_security are for TLS: begin the address with rediss://")
    place, _, query = parts.place.partition("?")
    options = dict(each.partition("=")[::2] for each in query.split("&") if each)
    options |= {key: quote(value, safe="/") for key, value in parameters.items()}
    if options:
        place += "?" + "&".join(f"{key}={value}" for key, value in options.items())
    credentials = parts.credentials
    if user is not None or password is not None:
        # What only one of both says is taken from there.
        wanted = user if user is not None else parts.user, password if password is not None else parts.password
        if credentials is not None and (parts.user, parts.password) != wanted and parts.password is not None:
            raise ValueError("it holds another user or password than redis_security")
        credentials = f"{quote(wanted[0], safe='')}:{quote(wanted[1] or '', safe='')}"
    return replace(parts, credentials=credentials, place=place).escaped()


def is_loopback(host: str) -> bool:
    """Whether only this machine can speak to that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
