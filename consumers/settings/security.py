"""The sections that say how Kafka and Redis are entered: TLS, certificates, users, passwords and tokens.

A secret is given in the file of settings, by a variable, or by a file that holds nothing else. Never on a command line,
which everybody reads with `ps`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from stream import KafkaSecurity, Mechanism, Protocol, Secret, token_of_command

from .addresses import enter_redis
from .section import PART, Section, SettingsError, only_line

_USER: Final = frozenset({"user", "password", "password_file"})
_TOKEN: Final = frozenset({"token", "token_file", "token_command"})


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _wanted(given: set[str]) -> str:
    tls = given & {"ca_file", "certificate_file", "key_file", "key_password", "key_password_file"}
    sasl = given & {"mechanism", *_USER, *_TOKEN}
    return " or ".join((["SSL"] if not sasl else []) + ["SASL_SSL"] + (["SASL_PLAINTEXT"] if not tls else []))


def one_of(given: set[str], *names: str) -> None:
    """Raise ValueError where more than one of the names is given."""
    if len(found := [name for name in names if name in given]) > 1:
        raise ValueError(f"expected one of {' and '.join(found)}")


def secret(name: str, text: SecretStr | None, file: Path | None) -> Secret | None:
    """The secret that a setting or its file holds; None where neither is given.

    Raises:
        SettingsError: it is empty, or the file cannot be read or does not hold one line.
    """
    if file is None:
        if text is not None and not text.get_secret_value():
            raise SettingsError(f"{name}: expected a secret, found nothing")
        return Secret(text.get_secret_value()) if text is not None else None
    return Secret(only_line(file, f"{name}_file", "secret"))


class KafkaSecuritySettings(Section):
    """How the broker is entered: TLS, a certificate, a user or a token."""

    protocol: Annotated[Protocol, BeforeValidator(_upper)] = Field(
        "PLAINTEXT",
        description="What the broker's listener speaks, in Kafka's words: SSL is TLS, SASL_ asks for a user.",
    )
    ca_file: Path | None = Field(
        None,
        examples=["/run/secrets/kafka-ca.pem"],
        description="Certificates (PEM) of the CA that signed the broker's. Left out: those that the system trusts.",
    )
    certificate_file: Path | None = Field(
        None,
        examples=["/run/secrets/clipline.pem"],
        description="Our certificate (PEM), with those that lead to its CA, where the broker asks for one.",
    )
    key_file: Path | None = Field(
        None,
        examples=["/run/secrets/clipline.key"],
        description="The certificate's private key (PEM). Left out: it is in certificate_file.",
    )
    key_password: SecretStr | None = Field(None, examples=["…"], description="What the key is encrypted with.")
    key_password_file: Path | None = Field(
        None, examples=["/run/secrets/kafka-key-password"], description="A file that holds key_password."
    )
    mechanism: Annotated[Mechanism | None, BeforeValidator(_upper)] = Field(
        None,
        examples=["SCRAM-SHA-512"],
        description="How the user is proven. PLAIN sends the password as it is: only with SASL_SSL.",
    )
    user: str | None = Field(None, examples=["clipline-worker"], min_length=1, description="Of SCRAM and PLAIN.")
    password: SecretStr | None = Field(None, examples=["…"], description="Of the user.")
    password_file: Path | None = Field(
        None, examples=["/run/secrets/kafka-password"], description="A file that holds password."
    )
    token: SecretStr | None = Field(None, examples=["…"], description="The token of OAUTHBEARER.")
    token_file: Path | None = Field(
        None,
        examples=["/var/run/secrets/tokens/kafka"],
        description="A file that holds token. It is read again for each connection, so that it can be renewed.",
    )
    token_command: str | None = Field(
        None,
        examples=["/usr/local/bin/kafka-token"],
        min_length=1,
        description="A command that prints the token, run without a shell for new connections, twice a minute at most.",
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> KafkaSecuritySettings:
        given = {name for name, value in self if value is not None}
        one_of(given, "password", "password_file")
        one_of(given, "key_password", "key_password_file")
        one_of(given, "token", "token_file", "token_command")
        # The file and the environment may each give a part.
        if info.context == PART:
            return self
        needless: set[str] = set()
        if not self.protocol.endswith("SSL"):
            needless |= given & {"ca_file", "certificate_file", "key_file", "key_password", "key_password_file"}
        if not self.protocol.startswith("SASL"):
            needless |= given & {"mechanism", *_USER, *_TOKEN}
        if needless:
            raise ValueError(f"{self.protocol} uses no {min(needless)}: set protocol to {_wanted(given)}")
        if given & {"key_file", "key_password", "key_password_file"} and self.certificate_file is None:
            raise ValueError("a key needs certificate_file")
        if self.protocol.startswith("SASL"):
            self._check_user(given)
        return self

    def _check_user(self, given: set[str]) -> None:
        if self.mechanism is None:
            raise ValueError(f"{self.protocol} needs mechanism: {', '.join(get_args(Mechanism))}")
        if self.mechanism == "OAUTHBEARER":
            if given & _USER:
                raise ValueError(f"OAUTHBEARER uses no {min(given & _USER)}")
            if not given & _TOKEN:
                raise ValueError("OAUTHBEARER needs token, token_file or token_command")
        elif given & _TOKEN:
            raise ValueError(f"{self.mechanism} uses no {min(given & _TOKEN)}")
        elif "user" not in given or not given & {"password", "password_file"}:
            raise ValueError(f"{self.mechanism} needs user and password, or password_file")

    @property
    def is_set(self) -> bool:
        """Whether the broker is one that has to be entered, and so the operator's own."""
        return self.protocol != "PLAINTEXT"

    def value(self) -> KafkaSecurity:
        """What a client needs to enter.

        Raises:
            SettingsError: a file of a secret cannot be used.
        """
        where = "kafka_security"
        return KafkaSecurity(
            protocol=self.protocol,
            ca_file=self.ca_file,
            certificate_file=self.certificate_file,
            key_file=self.key_file,
            key_password=secret(f"{where}.key_password", self.key_password, self.key_password_file),
            mechanism=self.mechanism,
            user=self.user,
            password=secret(f"{where}.password", self.password, self.password_file),
            token=self._token() if self.mechanism == "OAUTHBEARER" else None,
        )

    def _token(self) -> Callable[[], Secret]:
        if self.token_command is not None:
            return token_of_command(self.token_command)

        def token() -> Secret:
            found = secret("kafka_security.token", self.token, self.token_file)
            assert found is not None
            return found

        token()  # what cannot be read is said at once
        return token


class RedisSecuritySettings(Section):
    """How Redis is entered, beside its address: TLS files for rediss://, and an ACL user."""

    ca_file: Path | None = Field(
        None,
        examples=["/run/secrets/redis-ca.pem"],
        description="Certificates (PEM) of the CA that signed the server's. Left out: those that the system trusts.",
    )
    certificate_file: Path | None = Field(
        None,
        examples=["/run/secrets/clipline.pem"],
        description="Our certificate (PEM), where Redis asks for one.",
    )
    key_file: Path | None = Field(
        None, examples=["/run/secrets/clipline.key"], description="The certificate's private key (PEM)."
    )
    user: str | None = Field(
        None,
        examples=["clipline"],
        min_length=1,
        description="The ACL user. Left out: that of the address, or none.",
    )
    password: SecretStr | None = Field(None, examples=["…"], description="Of the user, or of the server.")
    password_file: Path | None = Field(
        None, examples=["/run/secrets/redis-password"], description="A file that holds password."
    )

    @model_validator(mode="after")
    def _belongs_together(self, info: ValidationInfo) -> RedisSecuritySettings:
        one_of({name for name, value in self if value is not None}, "password", "password_file")
        if info.context != PART and (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self

    @property
    def is_set(self) -> bool:
        """Whether Redis is one that has to be entered, and so the operator's own."""
        return any(value is not None for _, value in self)

    def applied(self, address: str) -> str:
        """`address` with all of it; the same again where it is applied again.

        Raises:
            ValueError: the address says otherwise.
            SettingsError: a file of a secret cannot be used.
        """
        if not self.is_set:
            return address
        found = secret("redis_security.password", self.password, self.password_file)
        tls = {"ca_certs": self.ca_file, "certfile": self.certificate_file, "keyfile": self.key_file}
        files = {f"ssl_{key}": str(file) for key, file in tls.items() if file is not None}
        return enter_redis(address, self.user, found.reveal() if found is not None else None, files)
