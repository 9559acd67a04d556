"""The provider of the settings, opened where there is one: only then is the extra `oidc` needed."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from consumers.settings import OidcSettings, SettingsError

from .claims import Person


class Provider(Protocol):
    """Where people log in."""

    async def begin(self, request: Request, back: str) -> Response:
        """Send a browser there, which is sent on to the address `back`."""

    async def end(self, request: Request) -> Person:
        """Who comes back from there."""


def open_provider(settings: OidcSettings) -> Provider | None:
    """The provider; None where the settings name none. It is not asked for anything before somebody logs in.

    Raises:
        SettingsError: a package is missing, or a file of the settings cannot be used.
    """
    if not settings.is_set:
        return None
    try:
        from .provider import OpenIdProvider  # noqa: PLC0415  an extra of its own
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"dashboard.oidc needs {error.name}, which is not installed: pip install 'clipline[oidc]' "
            "(in a clone: make install)"
        ) from None
    return OpenIdProvider(settings, settings.secret())
