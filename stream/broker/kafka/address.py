"""Where a Kafka broker is and how it is entered: TLS, certificates, users and tokens.

    KafkaAddress("broker:9093", KafkaSecurity("SASL_SSL", mechanism="PLAIN", user="agent", password=Secret("…")))

Files are read at each connection, so that certificates and tokens can be renewed while a process runs.
"""

from __future__ import annotations

import contextlib
import shlex
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from kafka.net.sasl.oauth import AbstractTokenProvider

from stream.errors import EntryError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"]
_COMMAND_SECONDS: Final = 10.0
#: A token that a command gave serves all connections that are opened within so long.
_TOKEN_SECONDS: Final = 30.0


class Secret:
    """Text that is shown by `reveal` only: neither printed, logged, compared in a message nor pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How a broker is entered. Fields are named as in the section [kafka_security] of the settings."""

    protocol: Protocol = "PLAINTEXT"
    #: The certificates (PEM) of who may sign the broker's. None: whom the system trusts.
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None
    mechanism: Mechanism | None = None
    user: str | None = None
    password: Secret | None = None
    #: Gives the token of OAUTHBEARER.
    token: Callable[[], Secret] | None = field(default=None, repr=False, compare=False)

    @property
    def is_tls(self) -> bool:
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def is_sasl(self) -> bool:
        return self.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}

    @property
    def who(self) -> str:
        """Whom the broker takes us for, in words."""
        if self.is_sasl:
            return f"user {self.user}" if self.user is not None else "the owner of the token"
        return f"the owner of {self.certificate_file}" if self.certificate_file is not None else "an unnamed user"

    def tls(self) -> ssl.SSLContext:
        """What verifies the broker and shows our certificate.

        Raises:
            EntryError: a file cannot be read or used; the message names it and its setting.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is None:
            context.load_default_certs()
        else:
            with _naming("ca_file", self.ca_file, "expected certificates as PEM"):
                context.load_verify_locations(self.ca_file)
        if self.certificate_file is not None:
            key_file = self.key_file or self.certificate_file
            # Without one, OpenSSL would ask for it on the terminal.
            password = self.key_password.reveal() if self.key_password is not None else ""
            with _naming("key_file", key_file, "no readable file"):
                key_file.open("rb").close()
            wanted = "expected a certificate as PEM and its key (see key_file, key_password)"
            with _naming("certificate_file", self.certificate_file, wanted):
                context.load_cert_chain(self.certificate_file, key_file, lambda: password)
        return context

    def options(self) -> dict[str, Any]:
        """What a client of the vendor is given.

        Raises:
            EntryError: see `tls`.
        """
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.is_tls:
            options["ssl_context"] = self.tls()
        if self.is_sasl:
            options["sasl_mechanism"] = self.mechanism
        if self.is_sasl and self.token is not None:
            options["sasl_oauth_token_provider"] = _TokenProvider(self.token)
        elif self.is_sasl and self.password is not None:
            options |= {"sasl_plain_username": self.user, "sasl_plain_password": _Hidden(self.password.reveal())}
        return options


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where a broker is ("host:port[,host:port…]"), as which it is shown, and how it is entered."""

    servers: str
    security: KafkaSecurity = KafkaSecurity()

    def __str__(self) -> str:
        return self.servers


def token_of_command(command: str) -> Callable[[], Secret]:
    """What gives the token that `command` prints; it is run again for connections that are opened later.

    The command is split as a shell splits it, and run without one. What is returned raises EntryError where it fails.
    """
    lock = threading.Lock()
    found: tuple[float, Secret] | None = None

    def token() -> Secret:
        nonlocal found
        with lock:
            if found is None or time.monotonic() > found[0]:
                found = time.monotonic() + _TOKEN_SECONDS, _printed_by(command)
            return found[1]

    return token


def _printed_by(command: str) -> Secret:
    name = "kafka_security.token_command"
    try:
        done = subprocess.run(  # noqa: S603  the operator's own
            shlex.split(command), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise EntryError(f"{name}: has not ended within {_COMMAND_SECONDS:g} s") from None
    except (OSError, ValueError) as error:
        raise EntryError(f"{name}: cannot be run ({getattr(error, 'strerror', None) or error})") from None
    # What it printed may hold the token, also where it failed.
    if done.returncode != 0 or len(done.stdout.split()) != 1:
        raise EntryError(f"{name}: expected one word, the token, and exit status 0, got {done.returncode}")
    return Secret(done.stdout.strip())


class _Hidden(str):
    """Text that the vendor may write into its debug log, with all else that it is given."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # the vendor's base class is untyped
    def __init__(self, token: Callable[[], Secret]) -> None:
        super().__init__()
        self._token = token

    def token(self) -> str:
        return self._token().reveal()


@contextlib.contextmanager
def _naming(key: str, file: Path, wanted: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError:
        raise EntryError(f"kafka_security.{key}: {file}: {wanted}") from None
    except OSError as error:
        raise EntryError(f"kafka_security.{key}: {file} cannot be read ({error.strerror})") from None
