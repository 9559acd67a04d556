"""What a provider says of somebody, read: a name, groups, and what members of those may."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.settings import DashboardSettings, OidcSettings, Role

#: Names go into records and lines of the log; as long as those of proxies may be.
_NAME: Final = re.compile(r"\S{1,64}")
_ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")
_CHAIN: Final = ("preferred_username", "email", "sub")


class NamelessError(Exception):
    """A provider names somebody in no way that we can use."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a provider vouches for."""

    name: str
    #: Those of the settings that the person is in, sorted.
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may see and do."""

    role: Role
    #: Ids or patterns of cameras; None: all.
    cameras: tuple[str, ...] | None


def person_of(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """Whom claims are about.

    Raises:
        NamelessError: there is no name in them that can be used; the message says why.
    """
    said = claim(claims, settings.groups_claim)
    members = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    known = {each for each in members if isinstance(each, str)} & set(settings.groups)
    return Person(_name(claims, settings.name_claim), tuple(sorted(known)))


def lacks(claims: Mapping[str, Any], settings: OidcSettings) -> bool:
    """Whether what the settings read is not among these claims, and may be among others."""
    wanted = settings.name_claim or _CHAIN[0]
    return claim(claims, wanted) is None or (bool(settings.groups) and claim(claims, settings.groups_claim) is None)


def claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the names that lead to it, "realm_access.roles"; None where there is none."""
    if path in claims:  # names of claims may be addresses, which have dots
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def rights_of(name: str, groups: Iterable[str], settings: DashboardSettings) -> Rights | None:
    """What somebody may, by the settings of today; None where nothing lets that one in."""
    if (user := settings.users.get(name)) is not None:
        return Rights(user.role, None if user.cameras is None else tuple(user.cameras))
    oidc = settings.oidc
    found = [oidc.groups[each] for each in groups if each in oidc.groups]
    if not found:
        return None if oidc.default_role is None else Rights(oidc.default_role, None)
    # Not the cameras of lower roles: whoever runs one gate and may look at all is no operator of all.
    role = max((each.role for each in found), key=_ROLES.index)
    highest = [each.cameras for each in found if each.role == role]
    if any(each is None for each in highest):
        return Rights(role, None)
    return Rights(role, tuple(sorted({camera for each in highest for camera in each or ()})))


def client_mark(settings: OidcSettings) -> str | None:
    """What sessions hold on to: they end where it changes. None where there is no provider."""
    if not settings.is_set:
        return None
    parts = (settings.issuer or "", settings.client_id or "", settings.name_claim or "", settings.groups_claim)
    return "oidc " + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _name(claims: Mapping[str, Any], wanted: str | None) -> str:
    why = ""
    for each in (wanted,) if wanted is not None else _CHAIN:
        value = claim(claims, each)
        if value is None:
            why = why or f"it does not say {each}"
        elif not isinstance(value, str) or not _NAME.fullmatch(value) or not value.isprintable():
            why = f"its {each} is no name: 1 to 64 characters without spaces"
        elif each == "email" and str(claims.get("email_verified")).lower() != "true":
            why = "it has not verified the email address"
        else:
            return value
    raise NamelessError(why)
