"""Receivers of webhooks that answer as tests want, and remember what came."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Answer:
    code: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    #: Before the answer begins.
    wait_seconds: float = 0.0
    #: Between two bytes of the body.
    trickle_seconds: float = 0.0
    #: Sent in place of an HTTP answer.
    garbage: bytes | None = None
    #: Close without an answer.
    hang_up: bool = False


@dataclass
class Request:
    headers: dict[str, str]
    text: str
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.text)


class Receiver:
    """An HTTP server at `url`. Use as a context manager."""

    def __init__(self, answer: Callable[[int, Request], Answer] = lambda *_: Answer()) -> None:
        """`answer` is asked with the number of the request, from 0, and the request."""
        self.requests: list[Request] = []
        self.answer = answer
        receiver, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                text = self.rfile.read(size).decode()
                if len(text.encode()) < size:  # who sent it died amid it
                    return
                request = Request({k.lower(): v for k, v in self.headers.items()}, text, time.time())
                with lock:
                    number = len(receiver.requests)
                    receiver.requests.append(request)
                answer = receiver.answer(number, request)
                time.sleep(answer.wait_seconds)
                with contextlib.suppress(OSError):  # who asked has given up
                    self._say(answer)

            def _say(self, answer: Answer) -> None:
                if answer.hang_up:
                    self.connection.close()
                    return
                if answer.garbage is not None:
                    self.wfile.write(answer.garbage)
                    self.connection.close()
                    return
                self.send_response(answer.code)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                for byte in answer.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(answer.trickle_seconds)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]
