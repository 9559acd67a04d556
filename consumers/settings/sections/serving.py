"""The section about events over HTTP."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from consumers.settings.section import MAX_SECONDS, Section
from consumers.settings.security import one_of, secret
from stream import Secret


class ServeSettings(Section):
    """Events over HTTP: `clipline events --serve HOST:PORT`."""

    token: SecretStr | None = Field(
        None,
        examples=["…"],
        description="What clients have to send, as `Authorization: Bearer TOKEN`. Left out: nothing, and only this "
        "machine is let in.",
    )
    token_file: Path | None = Field(
        None, examples=["/run/secrets/clipline-events-token"], description="A file that holds token."
    )
    max_clients: int = Field(
        32, ge=1, le=1000, description="Clients at once. One more is told to come back later (503)."
    )
    heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=MAX_SECONDS,
        description="A client that gets no event for so many seconds is sent a comment, so that it and all between "
        "know that the connection lives.",
    )
    slow_seconds: float = Field(
        30.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds that a client may take nothing once its buffer is full, also of what the dashboard sends. "
        "It is disconnected then; a stream goes on where it was when it connects again.",
    )

    @model_validator(mode="after")
    def _one_token(self) -> ServeSettings:
        one_of({name for name, value in self if value is not None}, "token", "token_file")
        return self

    def secret(self) -> Secret | None:
        """The token; None where there is none.

        Raises:
            SettingsError: it is empty, or its file cannot be used.
        """
        return secret("serve.token", self.token, self.token_file)
