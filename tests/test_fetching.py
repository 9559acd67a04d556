"""PyTorchVideo's checkpoints are fetched whole or not at all, from a server that the test starts."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from models import CheckpointError
from models.hub import MIRROR, download

CONTENT = bytes(range(256)) * 8_000


@dataclass
class Server:
    """Serves CONTENT under any address that ends in .pyth, in the way that a test sets."""

    content: bytes = CONTENT
    version: str | None = '"1"'
    #: Bytes after which each of the next connections ends.
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    moved: bool = False
    tls: ssl.SSLContext | None = None
    #: Path and Range of every request.
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            """As a proxy that leads to this same server, with TLS inside."""
            assert told.tls is not None
            told.asked.append((self.path, None))
            self.send_response(200)
            self.end_headers()
            with told.tls.wrap_socket(self.connection, server_side=True) as inside:
                Handler(inside, self.client_address, self.server)

        def do_GET(self) -> None:
            begins = self.headers["Range"]
            told.asked.append((self.path, begins))
            if told.status != 200:
                self.send_error(told.status)
                return
            if told.moved and not self.path.startswith("/elsewhere"):
                self.send_response(302)
                self.send_header("Location", f"{told.address}elsewhere/X3D_S.pyth")
                self.end_headers()
                return
            start = int(begins[6:-1]) if begins and self.headers["If-Range"] == told.version else 0
            if start >= len(told.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(told.content) - 1}/{len(told.content)}")
            if told.version:
                self.send_header("ETag", told.version)
            self.send_header("Content-Length", str(len(told.content) - start))
            self.end_headers()
            self.wfile.write(told.content[start:][: told.cuts.pop(0) if told.cuts else None])

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        told.address = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield told
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def mirrored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(MIRROR, server.address.rstrip("/"))
    monkeypatch.setattr("models.fetching._PAUSE_SECONDS", 0)


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".X3D_S.pyth.lock"}


def test_file_is_fetched_once_and_its_checksum_kept(tmp_path: Path, server: Server) -> None:
    for _ in range(2):
        assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/X3D_S.pyth", None)]
    assert left(tmp_path) == {"X3D_S.pyth", "X3D_S.pyth.sha256"}
    assert (tmp_path / "X3D_S.pyth.sha256").read_text() == f"{checksum(CONTENT)}  X3D_S.pyth\n"


def test_progress_is_told_in_megabytes(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    download("X3D_S", tmp_path, lambda *step: told.append(step))
    assert told[0] == ("X3D_S.pyth, MB", 0, 2)
    assert told[-1] == ("X3D_S.pyth, MB", 2, 2)


def test_connection_that_is_cut_goes_on_where_it_ended(tmp_path: Path, server: Server) -> None:
    server.cuts = [300_000, 500_000]
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert [begins for _, begins in server.asked] == [None, "bytes=300000-", "bytes=800000-"]


def test_next_command_goes_on_with_what_this_one_left(tmp_path: Path, server: Server) -> None:
    server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(CheckpointError, match=r"ends again and again: .*; 0\.3 MB are kept"):
        download("X3D_S", tmp_path)
    assert "X3D_S.pyth" not in left(tmp_path)
    server.asked.clear()
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/X3D_S.pyth", "bytes=300000-")]


def test_network_that_goes_away_in_the_middle_leaves_what_came(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".X3D_S.pyth.part").write_bytes(CONTENT[:300_000])
    monkeypatch.setenv(MIRROR, "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"Connection refused; 0\.3 MB are kept"):
        download("X3D_S", tmp_path)
    assert (tmp_path / ".X3D_S.pyth.part").stat().st_size == 300_000


@pytest.mark.parametrize("version", ['"2"', None, 'W/"1"'])
def test_parts_of_two_versions_are_never_put_together(tmp_path: Path, server: Server, version: str | None) -> None:
    """The file changed in between, or the server does not say which one it is."""
    if version != '"2"':
        server.version = version
    server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(CheckpointError):
        download("X3D_S", tmp_path)
    server.content, server.version = CONTENT[::-1], version
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT[::-1]


def test_part_that_is_too_long_is_begun_anew(tmp_path: Path, server: Server) -> None:
    server.cuts = [300_000, 0, 0, 0]
    with pytest.raises(CheckpointError):
        download("X3D_S", tmp_path)
    server.content = CONTENT[:1000]
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT[:1000]


def test_checksum_that_was_put_there_first_is_held_to(tmp_path: Path, server: Server) -> None:
    (tmp_path / "X3D_S.pyth.sha256").write_text(f"{checksum(b'other')} *X3D_S.pyth\n")
    with pytest.raises(CheckpointError, match=f"{checksum(CONTENT)}, but .*sha256 says {checksum(b'other')}"):
        download("X3D_S", tmp_path)
    assert not {"X3D_S.pyth", ".X3D_S.pyth.part"} & left(tmp_path)
    (tmp_path / "X3D_S.pyth.sha256").write_text(checksum(CONTENT).upper())
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", ["", "abc", "x" * 64, "\udcff"])
def test_checksum_that_is_none_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "X3D_S.pyth.sha256").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match="not a checksum; expected 64 hexadecimal digits"):
        download("X3D_S", tmp_path)


def test_file_that_changed_since_it_was_fetched_is_refused(tmp_path: Path) -> None:
    path = download("X3D_S", tmp_path)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="delete the file to fetch it again"):
        download("X3D_S", tmp_path)


def test_file_that_was_fetched_by_hand_needs_no_server(tmp_path: Path, server: Server) -> None:
    (tmp_path / "X3D_S.pyth").write_bytes(b"by hand")
    assert download("X3D_S", tmp_path).read_bytes() == b"by hand"
    assert not server.asked
    assert (tmp_path / "X3D_S.pyth.sha256").read_text().startswith(checksum(b"by hand"))


@pytest.mark.parametrize("status", [403, 404, 407, 500])
def test_what_cannot_be_fetched_says_what_to_put_where(tmp_path: Path, server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(CheckpointError) as told:
        download("X3D_S", tmp_path)
    by_hand = f"download {server.address}X3D_S.pyth by hand and put it at {tmp_path / 'X3D_S.pyth'}"
    assert by_hand in str(told.value)
    assert f"HTTP Error {status}" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(server.asked) == 1


def test_redirects_are_followed(tmp_path: Path, server: Server) -> None:
    server.moved = True
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/elsewhere/X3D_S.pyth", None)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_proxy_of_the_environment_is_asked(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(MIRROR, "http://mirror.invalid/kinetics/")
    monkeypatch.setenv(variable, server.address)
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert server.asked == [("http://mirror.invalid/kinetics/X3D_S.pyth", None)]


def test_https_goes_through_the_proxy_with_the_certificates_of_the_environment(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mirror.invalid").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv(MIRROR, "https://mirror.invalid/kinetics/")
    monkeypatch.setenv("https_proxy", server.address)
    server.tls = context
    assert download("X3D_S", tmp_path).read_bytes() == CONTENT
    assert server.asked == [("mirror.invalid:443", None), ("/kinetics/X3D_S.pyth", None)]


@pytest.mark.parametrize(
    "mirror",
    [
        "mirror",
        "file:///etc",
        "ftp://host/",
        "https://",
        "https://me:secret@host/",
        "https://h/?a=b",
        "http://[",
        "http://a b/",
    ],
)
def test_mirror_that_is_no_address_is_told_without_quoting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv(MIRROR, mirror)
    with pytest.raises(CheckpointError, match=f"{MIRROR}: expected an address like https") as told:
        download("X3D_S", tmp_path)
    assert "secret" not in str(told.value)


def test_two_processes_fetch_one_file_once(tmp_path: Path, server: Server) -> None:
    fetching = [threading.Thread(target=download, args=("X3D_S", tmp_path)) for _ in range(4)]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert len(server.asked) == 1
