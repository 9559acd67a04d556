"""Under which names a group's things lie on a broker that other groups use, too.

    group          key of camera c    of partition 0
    a              a/c                a//0
    a/             /a%2F/c            /a%2F//0         else it would be that of partition c of group a
    a/b            /a%2Fb/c           /a%2Fb//0

Two groups never have one key, and two workers never have one name, whatever they are called.
"""

from __future__ import annotations

from urllib.parse import quote


def group_key(group: str, name: str) -> bytes:
    """The key of what a group calls `name`: a camera, or something that begins with a slash."""
    return f"{_prefix(group)}{name}".encode()


def name_of(group: str, key: bytes | None) -> str | None:
    """What a group calls the thing with this key; None where it is of another group."""
    text, prefix = (key or b"").decode(errors="replace"), _prefix(group)
    return text[len(prefix) :] if text.startswith(prefix) else None


def transactional_id(group: str, instance: str) -> str:
    """Of a worker with a name, which holds no slash: it begins with the group and a hyphen, as permissions expect."""
    # clipline and x3d-1 are not clipline-x3d and 1.
    return f"{group}-{instance}/{len(group)}" if "-" in instance else f"{group}-{instance}"


def _prefix(group: str) -> str:
    return f"/{quote(group, safe=' ')}/" if "/" in group else f"{group}/"
