"""The section of verdicts: whether an alarm was right, answered by a link in the message about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, model_validator

from consumers.settings.section import MAX_COUNT, MAX_HOURS, PART, Address, Section, SettingsError
from consumers.settings.security import one_of, secret
from stream import Secret

#: Who knows a link can try secrets on it: a short one would be found.
_SHORTEST_SECRET: Final = 16


def _check_base_url(text: str) -> str:
    expected = "expected an address like https://clipline.example.org/verdicts"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(expected)
    if parts.username is not None or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise ValueError(f"{expected}, without user, query and fragment")
    return text.rstrip("/")


class VerdictSettings(Section):
    """Verdicts: links in messages, by which whoever is told of an event says whether it was right."""

    enabled: bool = Field(
        True,  # noqa: FBT003  a default
        description="Let `clipline run` serve the page behind the links, where base_url is set. false: it starts no "
        "process for it.",
    )
    base_url: Annotated[Address, AfterValidator(_check_base_url)] | None = Field(
        None,
        examples=["https://clipline.example.org/verdicts"],
        description="Where people reach the page from outside, as links begin with it; a proxy with TLS leads from "
        "there to `listen`. Left out: messages have no links.",
    )
    secret: SecretStr | None = Field(
        None,
        examples=["…"],
        description="Signs the links, 16 characters or more. Another one makes all links invalid, but for those that "
        "old_secret signed.",
    )
    secret_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-verdicts"], description="A file that holds secret."
    )
    old_secret: SecretStr | None = Field(
        None, examples=["…"], description="What signed the links before: they can be answered still."
    )
    old_secret_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-verdicts-old"], description="A file that holds old_secret."
    )
    listen: str = Field(
        "127.0.0.1:8310",
        description="Where the page is served, HOST:PORT. The links themselves let in: it needs no login.",
    )
    expires_hours: float = Field(
        48.0,
        gt=0,
        le=MAX_HOURS,
        description="Hours for which a link can be answered once its message is of no use any more (use_by_minutes).",
    )
    snooze_hours: float = Field(
        1.0,
        gt=0,
        le=7 * 24,
        description="Hours for which nothing more is told of this camera and label, through this channel, when "
        "somebody asks for it.",
    )
    keep_days: float = Field(365.0, gt=0, le=MAX_HOURS / 24, description="Days that the topic of verdicts is kept.")
    requests_per_minute: int = Field(
        120, ge=1, le=MAX_COUNT, description="Requests a minute that one address may send; more are told to wait (429)."
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> VerdictSettings:
        given = {name for name, value in self if value is not None}
        one_of(given, "secret", "secret_file")
        one_of(given, "old_secret", "old_secret_file")
        if info.context == PART:
            return self
        if self.base_url is not None and self.secret is None and self.secret_file is None:
            raise ValueError("base_url needs secret or secret_file, which signs the links")
        for name, each in (("secret", self.secret), ("old_secret", self.old_secret)):
            if each is not None and len(each.get_secret_value()) < _SHORTEST_SECRET:
                raise ValueError(f"{name}: expected {_SHORTEST_SECRET} characters or more")
        return self

    @property
    def is_set(self) -> bool:
        """Whether messages have links."""
        return self.base_url is not None

    def signing(self) -> tuple[Secret, ...]:
        """What signs the links, and what signed them before.

        Raises:
            SettingsError: there is none, one is too short, or its file cannot be read.
        """
        newer = secret("verdicts.secret", self.secret, self.secret_file)
        older = secret("verdicts.old_secret", self.old_secret, self.old_secret_file)
        if newer is None:
            raise SettingsError("verdicts: expected secret or secret_file, which signs the links")
        for name, each in (("secret", newer), ("old_secret", older)):
            if each is not None and len(each.reveal()) < _SHORTEST_SECRET:
                raise SettingsError(f"verdicts.{name}: expected {_SHORTEST_SECRET} characters or more")
        return (newer,) if older is None else (newer, older)
