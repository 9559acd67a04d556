"""Why a broker does not let us in: one line that names what to set.

kafka-python 3.0.12 tries again where TLS fails or a password is wrong, and reports in the end that nobody answered. So
whoever meets that asks X
"""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import struct
from typing import Final

from kafka import errors as kafka_errors
from kafka.net.sasl import get_sasl_mechanism

from stream.errors import EntryError

from .address import KafkaAddress, KafkaSecurity

_SECONDS: Final = 2.0
#: "Which versions do you speak?", the one request that every listener answers before it knows who asks.
_API_VERSIONS: Final = struct.pack(">hhih", 18, 0, 0, -1)
#: "Which brokers are there?", to which only those are answered who are let in. It asks for no topic.
_METADATA: Final = struct.pack(">hhihi", 3, 1, 0, -1, 0)
_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36
_LONGEST_ANSWER: Final = 64 * 1024
_TLS_ALERT: Final = b"\x15\x03"
#: Codes of OpenSSL for a certificate that cannot be verified.
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST = 10, 9, {62, 64}

#: What a broker says to whom it does not let in, or does not let do something.
REFUSED_ENTRY: Final = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.AuthorizationError,
)
_ACLS: Final = "add the ACLs of its role (docs/security.md)"


def not_let_in(error: BaseException, address: KafkaAddress) -> str:
    """What one of `REFUSED_ENTRY` means."""
    security, at = address.security, f"the Kafka broker at {address}"
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return f"{at} {_unproven(security)}"
    if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
        what = f"these topics{_named(error)}"
    elif isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        what = f"this consumer group{_named(error)}"
    elif isinstance(error, kafka_errors.TransactionalIdAuthorizationFailedError):
        what = f"this transactional id{_named(error)}"
    else:
        what = f"this{_named(error)}"
    return f"{at} does not allow {security.who} {what}: {_ACLS}"


def _named(error: BaseException) -> str:
    names = re.findall(r"[A-Za-z0-9._-]*\.[A-Za-z0-9._-]+", " ".join(str(each) for each in error.args))
    return f" ({', '.join(dict.fromkeys(names))})" if names else ""


def check_entry(address: KafkaAddress) -> None:
    """Look for what keeps a broker that listens from answering.

    Raises:
        EntryError: it is this.
    """
    for each in address.servers.split(","):
        host, _, port = each.strip().rpartition(":")
        if not (host and port.isdigit()):
            continue
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), _SECONDS)
        except (OSError, OverflowError):
            continue
        with contextlib.closing(connection):
            if (found := _hindrance_at(connection, host.strip("[]"), address)) is not None:
                raise EntryError(f"the Kafka broker at {each.strip()} {found}")


def _hindrance_at(connection: socket.socket, host: str, address: KafkaAddress) -> str | None:
    security = address.security
    if security.is_tls:
        return _hindrance_of_tls(connection, host, security)
    try:
        answer = _asked(connection, _API_VERSIONS)
        if answer[:2] == _TLS_ALERT:
            return f"speaks TLS: set kafka_security.protocol to {'SASL_SSL' if security.is_sasl else 'SSL or SASL_SSL'}"
        return _hindrance_of_user(connection, host, security) if answer else None
    except OSError:
        return None


def _hindrance_of_tls(connection: socket.socket, host: str, security: KafkaSecurity) -> str | None:
    try:
        with security.tls().wrap_socket(connection, server_hostname=host) as secured:
            return _hindrance_of_user(secured, host, security) if _asked(secured, _API_VERSIONS) else None
    except ssl.SSLCertVerificationError as error:
        return _unverified(error, host)
    except ssl.SSLError as error:
        return _failed(error, security)
    except TimeoutError:
        return None  # it says nothing at all: it hangs, and may go on
    except OSError as error:
        return f"closes the connection amid TLS ({error.strerror}): see kafka_security.protocol and certificate_file"


def _hindrance_of_user(connection: socket.socket, host: str, security: KafkaSecurity) -> str | None:
    if not security.is_sasl:
        return _hindrance_of_nobody(connection, security)
    assert security.mechanism is not None
    answer = io.BytesIO(_asked(connection, _request(_SASL_HANDSHAKE, 1, _text(security.mechanism.encode()))))
    _, code, count = struct.unpack(">ihi", answer.read(10))
    known = [answer.read(*struct.unpack(">h", answer.read(2))).decode() for _ in range(count)]
    if code == kafka_errors.UnsupportedSaslMechanismError.errno:
        return f"does not know {security.mechanism}: set kafka_security.mechanism to {' or '.join(sorted(known))}"
    if code:
        plain = "SSL" if security.is_tls else "PLAINTEXT"
        return f"asks for no user there: set kafka_security.protocol to {plain}, or kafka to another listener"
    proof = get_sasl_mechanism(security.mechanism)(host=host, **security.options())
    while not proof.is_done():
        token = proof.auth_bytes()
        answer = io.BytesIO(_asked(connection, _request(_SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)))
        _, code, length = struct.unpack(">ihh", answer.read(8))
        if code:
            return _unproven(security)
        answer.read(max(0, length) + 4)
        proof.receive(answer.read())
    return None if proof.is_authenticated() else _unproven(security)


def _hindrance_of_nobody(connection: socket.socket, security: KafkaSecurity) -> str | None:
    try:
        if _asked(connection, _METADATA):
            return None
    except TimeoutError:
        return None
    except OSError:
        pass  # as if it were closed in order
    wanted = "SASL_SSL" if security.is_tls else "SASL_PLAINTEXT"
    return f"wants to know a user: set kafka_security.protocol to {wanted}, mechanism, user and password"


def _unproven(security: KafkaSecurity) -> str:
    if security.token is not None:
        return "does not accept the token (OAUTHBEARER): see kafka_security.token, token_file or token_command"
    return (
        f"does not accept user {security.user} with this password ({security.mechanism}): "
        "check kafka_security.user and password (or password_file)"
    )


def _unverified(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == _EXPIRED:
        return "shows a certificate that has expired: renew it at the broker (and check this machine's clock)"
    if error.verify_code == _NOT_YET_VALID:
        return "shows a certificate that is not valid yet: check the clocks of this machine and of who signed it"
    if error.verify_code in _WRONG_HOST:
        return f"shows a certificate for other hosts than {host}: set kafka to a host that the certificate names"
    return (
        f"shows a certificate that nobody signed whom we trust ({error.verify_message}): set kafka_security.ca_file to "
        "the certificate of the CA that signed it"
    )


def _failed(error: ssl.SSLError, security: KafkaSecurity) -> str:
    reason, file = error.reason or str(error), security.certificate_file
    if "ALERT" not in reason:
        plain = "SASL_PLAINTEXT" if security.is_sasl else "PLAINTEXT"
        return f"speaks no TLS ({reason}): set kafka_security.protocol to {plain}"
    if file is None:
        return f"wants a certificate of ours ({reason}): set kafka_security.certificate_file and key_file"
    return (
        f"does not accept our certificate ({reason}): renew kafka_security.certificate_file ({file}) if it has "
        "expired, or have it signed by a CA that the broker trusts"
    )


def _request(key: int, version: int, body: bytes) -> bytes:
    return struct.pack(">hhih", key, version, 0, -1) + body


def _text(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _asked(connection: socket.socket, request: bytes) -> bytes:
    """What the listener answers, without the length that it begins with; empty where it closes the connection.

    Of what is no answer of Kafka's, only the beginning.
    """
    connection.settimeout(_SECONDS)
    connection.sendall(struct.pack(">i", len(request)) + request)
    head = connection.recv(4)
    if len(head) < 4 or head[:2] == _TLS_ALERT:
        return head
    (length,) = struct.unpack(">i", head)
    answer = b""
    while len(answer) < min(length, _LONGEST_ANSWER) and (more := connection.recv(length - len(answer))):
        answer += more
    return answer
