"""How Tansu asks the object store: as much of Amazon's S3 protocol as it speaks, over a loopback port."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeAlias
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape, unescape

from stream.errors import ServiceError

from .objects import ObjectStore
from .processes import HOST

BUCKET: Final = "clipline"
_START_SECONDS: Final = 10.0
_HEAD_BYTES: Final = 64 * 1024
_BODY_BYTES: Final = 64 * 1024 * 1024
#: Status, header fields, body.
_Answer: TypeAlias = tuple[int, dict[str, str], bytes]


class ObjectServer:
    """S3 on a loopback port, for one Tansu. Runs in a thread between entering and leaving it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="object store", daemon=True)
        self._listening = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listening.wait(_START_SECONDS):
            raise ServiceError("the object store of the embedded broker does not get a port on 127.0.0.1")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
        self._thread.join()

    def tansu(self) -> tuple[str, dict[str, str]]:
        """What Tansu is to be told: its storage engine, and the environment in which that finds this store."""
        return f"s3://{BUCKET}/", {
            "AWS_ENDPOINT": f"http://{HOST}:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_DEFAULT_REGION": "local",
            # Tansu signs its requests. They come from this machine only, and nobody checks.
            "AWS_ACCESS_KEY_ID": "clipline",
            "AWS_SECRET_ACCESS_KEY": "clipline",
        }

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopping.set)
        server = await asyncio.start_server(self._connection, HOST, 0, limit=_HEAD_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await stopping.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.rstrip("\r\n").split("\r\n")
                method, target, _ = request.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                size = int(headers.get("content-length", "0"))
                if size > _BODY_BYTES:
                    return
                body = await reader.readexactly(size) if size else b""
                status, fields, data = self._answer(method, target, headers, body)
                lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(data)}"]
                lines += [f"{name}: {value}" for name, value in fields.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
                writer.write(data)
                await writer.drain()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
            pass  # the store stops, Tansu has hung up, or it is no HTTP
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        path, _, query = target.partition("?")
        asked = parse_qs(query, keep_blank_values=True)
        key = unquote(path).removeprefix(f"/{BUCKET}").lstrip("/")
        if method == "GET" and key:
            return self._object(key, headers)
        if method == "GET":
            return 200, {}, self._store.listing(asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0])
        if method == "PUT":
            tag = self._store.put(key, body, headers)
            return (412, {}, b"") if tag is None else (200, {"ETag": tag}, b"")
        if method == "POST" and "delete" in asked:
            keys = [unescape(each) for each in re.findall(r"<Key>(.*?)</Key>", body.decode())]
            for each in keys:
                self._store.delete(each)
            done = "".join(f"<Deleted><Key>{escape(each)}</Key></Deleted>" for each in keys)
            return 200, {}, f"<DeleteResult>{done}</DeleteResult>".encode()
        return 405, {}, b""

    def _object(self, key: str, headers: Mapping[str, str]) -> _Answer:
        found = self._store.get(key)
        if found is None:
            return 404, {}, b""
        fields = {"ETag": found.tag, "Last-Modified": found.modified}
        if headers.get("if-none-match") == found.tag:
            return 304, fields, b""
        return 200, fields, found.data
