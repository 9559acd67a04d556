"""Apache Kafka and Redis as a careful operator runs them: TLS, users, ACLs. Certificates are made here."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from stream.services import ApacheBroker
from stream.services.processes import HOST, Plan
from tests.servers import free_port, free_ports

#: Every user of the broker, and of Redis, has one: searched for wherever something is written.
PASSWORD: Final = "cAn4ry7Qx2-pw"
USERS: Final = (*("agent", "worker", "pictures", "notify", "verdicts", "dashboard", "reader", "forgetter", "nobody"),)
PROTOCOLS: Final = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")
_LISTENERS: Final = ("PLAINTEXT", *PROTOCOLS, "CONTROLLER")


class Certificates:
    """A CA, what it signed for the servers, and certificates of clients: good ones, and some that are not."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ca = folder, trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.ca_file)
        self.stranger_file = folder / "stranger.pem"
        self._stranger = trustme.CA()
        self._stranger.cert_pem.write_to_path(self.stranger_file)

    def issued(
        self, name: str, *hosts: str, ends: dt.datetime | None = None, stranger: bool = False
    ) -> tuple[Path, Path]:
        """A certificate's file and its key's, as Java and OpenSSL read them."""
        ca = self._stranger if stranger else self._ca
        made = ca.issue_cert(*(hosts or (f"{name}.example",)), common_name=name, not_after=ends)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        loaded = load_pem_private_key(made.private_key_pem.bytes(), None)
        key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return certificate, key

    def keystore(self, name: str, *hosts: str, ends: dt.datetime | None = None) -> Path:
        """Certificate and key in one file, as Kafka wants them."""
        certificate, key = self.issued(name, *hosts, ends=ends)
        both = self._folder / f"{name}-both.pem"
        both.write_bytes(key.read_bytes() + certificate.read_bytes())
        return both


class SecuredKafka(ApacheBroker):
    """Apache Kafka with a listener of each kind. Who comes by its PLAINTEXT one may do everything."""

    def __init__(self, certificates: Certificates, hosts: tuple[str, ...] = ("localhost",), **options: object) -> None:
        super().__init__()
        self._certificates, self._hosts = certificates, hosts
        self._options = options
        self._listening: dict[str, int] = {}

    def at(self, protocol: str) -> str:
        return f"localhost:{self._listening[protocol]}"

    def plan(self) -> Plan:
        plan = super().plan()
        self._listening = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS)), strict=True))
        (name, text), *_ = plan.job.files.items()
        lines = dict(line.split("=", 1) for line in text.splitlines())
        listeners = ",".join(f"{protocol}://{HOST}:{port}" for protocol, port in self._listening.items())
        lines["listeners"] += f",{listeners}"
        lines["advertised.listeners"] = f"PLAINTEXT://{plan.address}," + ",".join(
            f"{protocol}://{self.at(protocol)}" for protocol in PROTOCOLS
        )
        lines["listener.security.protocol.map"] += "".join(f",{protocol}:{protocol}" for protocol in PROTOCOLS)
        lines |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificates.keystore("broker", *self._hosts, **self._options)),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._certificates.ca_file),
            # Whoever comes by SSL shows a certificate; whoever comes by SASL_SSL a user.
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^.*CN=([a-z-]+).*$/$1/,DEFAULT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER",
        }
        users = " ".join(f'user_{user}="{PASSWORD}"' for user in USERS)
        modules = {
            "plain": f"plain.PlainLoginModule required {users}",
            "scram-sha-256": "scram.ScramLoginModule required",
            "scram-sha-512": "scram.ScramLoginModule required",
            # Takes a token that nobody signed, if it has not expired.
            "oauthbearer": 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker"',
        }
        for listener in ("sasl_ssl", "sasl_plaintext"):
            for mechanism, module in modules.items():
                key = f"listener.name.{listener}.{mechanism}.sasl.jaas.config"
                lines[key] = f"org.apache.kafka.common.security.{module};"
        files = {name: "".join(f"{key}={value}\n" for key, value in lines.items())}
        scram = [
            part
            for size, user in [(256, "agent"), *((512, user) for user in USERS)]
            for part in ("--add-scram", f"SCRAM-SHA-{size}=[name={user},password={PASSWORD}]")
        ]
        formatting, serving = plan.job.commands
        job = replace(plan.job, files=files, commands=((*formatting, *scram), serving))
        return replace(plan, ports=(*plan.ports, *self._listening.values()), job=job)


def tls_redis() -> str:
    """The distribution's server, which is built with TLS; the test is skipped where there is none."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no Redis or Valkey server with TLS is installed (Debian: redis-server)")


@contextmanager
def secured_redis(
    program: str,
    certificates: Certificates,
    folder: Path,
    acl: str = "~* &* +@all",
    *,
    clients: str = "no",
    ends: dt.datetime | None = None,
    name: str = "redis",
    watches: int | None = None,
) -> Iterator[int]:
    """A server that speaks TLS only and knows a user `clipline`, who may do `acl`; its port.

    Args:
        clients: whether it asks for a certificate, "yes" or "no".
        ends: when its own certificate does.
        name: of that certificate.
        watches: port of the primary that it watches as a sentinel under the name "lights", for anybody who asks.
    """
    port = free_port()
    certificate, key = certificates.issued(name, "localhost", ends=ends)
    lines = [
        "port 0",
        f"tls-port {port}",
        f"tls-cert-file {certificate}",
        f"tls-key-file {key}",
        f"tls-ca-cert-file {certificates.ca_file}",
        f"tls-auth-clients {clients}",
        f"bind {HOST}",
        f"dir {folder}",
    ]
    if watches is None:
        lines += ['save ""', f"user clipline on >{PASSWORD} {acl}", "user default off"]
    else:
        lines += [
            "tls-replication yes",
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            f"sentinel monitor lights localhost {watches} 1",
            "sentinel auth-user lights clipline",
            f"sentinel auth-pass lights {PASSWORD}",
        ]
    file = folder / f"{name}.conf"
    file.write_text("\n".join(lines) + "\n")
    mode = [] if watches is None else ["--sentinel"]
    with subprocess.Popen([program, str(file), *mode], stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 40
            while time.monotonic() < deadline:
                with suppress(OSError):
                    socket.create_connection((HOST, port), 1).close()
                    break
                time.sleep(0.02)
            yield port
        finally:
            server.kill()
