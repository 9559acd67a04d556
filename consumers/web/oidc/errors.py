"""What goes wrong with a provider, told apart as users need it."""

from __future__ import annotations

from typing import Literal

#: provider-away: it does not answer; provider-wrong: it answers what cannot be used; login-refused: it does not vouch
#: for this one, or what it says does not hold; login-lost: this browser began no such login.
Kind = Literal["provider-away", "provider-wrong", "login-refused", "login-lost"]
STATUS: dict[Kind, int] = {"provider-away": 503, "provider-wrong": 502, "login-refused": 403, "login-lost": 400}


class ProviderError(Exception):
    """A provider could not be asked, or does not vouch for somebody; the message says which, and why."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
