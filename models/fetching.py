"""Fetch one large file over HTTP: resumed after a cut, compared with its checksum, put in place whole or not at all.

folder/X3D_S.pyth                the file, once it is whole
folder/X3D_S.pyth.sha256         its checksum, as `sha256sum` writes it: yours, else that of the first fetch
folder/.X3D_S.pyth.part          what has come so far
folder/.X3D_S.pyth.part-of       of what: address and version (ETag or date), since parts of two versions make no whole
folder/.X3D_S.pyth.lock          held while one process fetches; the others wait for it

Proxies are urllib's: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. So are certificates: SSL_CERT_FILE, SSL_CERT_DIR.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from .errors import CheckpointError
from .files import replacing

#: Told what is fetched, and how many megabytes of how many are there.
Progress: TypeAlias = Callable[[str, int, int], None]

_TIMEOUT_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 1.0
#: Tries in a row that brought nothing before it is given up.
_TRIES: Final = 3
_CHUNK_BYTES: Final = 256 * 1024
_MAX_BYTES: Final = 512 * 1024 * 1024
_MEGABYTE: Final = 1_000_000


class _Cut(Exception):  # noqa: N818  no error yet: it is tried again
    """The connection ended before the file did; what came is kept."""


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a file and what belongs to it lie."""

    whole: Path

    @property
    def checksum(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.sha256")

    def hidden(self, suffix: str) -> Path:
        return self.whole.with_name(f".{self.whole.name}.{suffix}")


def fetch(address: str, path: Path, progress: Progress | None = None) -> None:
    """See that the file at `address` lies at `path`: fetched unless it is there, and the one that its checksum says.

    Raises:
        CheckpointError: it is not the file that its checksum says.
        OSError, http.client.HTTPException: it cannot be fetched or written; the message is the reason alone.
    """
    files = _Files(path)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(files.hidden("lock")):
            if not path.is_file():
                part = _fetched(address, files, progress)
                _check(part, files)
                part.replace(path)
                files.hidden("part-of").unlink(missing_ok=True)
                return
    _check(path, files)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _check(path: Path, files: _Files) -> None:
    """Compare a file with its checksum; write that down if there is none yet.

    Raises:
        CheckpointError: they differ; a file that was just fetched is removed.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        expected = (files.checksum.read_text("utf-8").split() or [""])[0].lower()
    except FileNotFoundError:
        # A folder that only others may write, such as an image's, is none the worse.
        with contextlib.suppress(OSError), replacing(files.checksum) as unfinished:
            unfinished.write_text(f"{found}  {files.whole.name}\n", "utf-8")
        return
    except UnicodeDecodeError:
        expected = ""
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise CheckpointError(f"{files.checksum}: not a checksum; expected 64 hexadecimal digits, as of sha256sum")
    if found == expected:
        return
    if path != files.whole:
        path.unlink()
        raise CheckpointError(
            f"{files.whole.name}: what was fetched has the SHA-256 {found}, but {files.checksum} says {expected}: "
            "it was removed (delete that checksum if another version is meant)"
        )
    raise CheckpointError(
        f"{path}: has the SHA-256 {found}, but {files.checksum} says {expected}: "
        "delete the file to fetch it again, or the checksum if you replaced the file"
    )


def _fetched(address: str, files: _Files, progress: Progress | None) -> Path:
    """What `address` holds, as a part that is whole; what earlier tries left is gone on with."""
    part, fruitless = files.hidden("part"), 0
    # Not urlopen: its opener keeps the proxies that it first saw.
    opener = urllib.request.build_opener()
    while True:
        before = _size(part)
        try:
            _go_on(opener, address, files, progress)
        except urllib.error.HTTPError:
            raise
        except (_Cut, TimeoutError, ConnectionError, http.client.IncompleteRead, urllib.error.URLError) as error:
            kept = _size(part)
            if not kept and isinstance(error, urllib.error.URLError):
                raise  # an address that is wrong, or a network that was never there
            fruitless = 0 if kept > before else fruitless + 1
            if fruitless == _TRIES:
                reason = getattr(error, "reason", None) or str(error) or "too early"
                raise OSError(
                    f"the connection ends again and again: {reason}; {kept / _MEGABYTE:.1f} MB are kept, and the same "
                    "command goes on from there"
                ) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return part


def _go_on(opener: urllib.request.OpenerDirector, address: str, files: _Files, progress: Progress | None) -> None:
    """Fetch what `part` lacks, or all of it if there is none, or the file has changed since.

    Raises:
        _Cut: less came than was announced.
        OSError, http.client.HTTPException: as urllib raises them.
    """
    part, origin = files.hidden("part"), files.hidden("part-of")
    there, version = _size(part), _version_of(origin, address)
    request = urllib.request.Request(address, headers={"User-Agent": "clipline", "Accept-Encoding": "identity"})  # noqa: S310
    if there and version:
        request.add_header("Range", f"bytes={there}-")
        request.add_header("If-Range", version)
    try:
        answer = opener.open(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink(missing_ok=True)
        raise _Cut("the part does not fit the file") from None
    with answer:
        if not _continues(answer, there):
            there = 0
            origin.write_text(f"{address}\n{_version(answer)}\n", "utf-8")
        length = answer.headers.get("Content-Length")
        total = there + int(length) if length is not None and length.isdigit() else None
        if total is not None and total > _MAX_BYTES:
            raise OSError(f"it has {total / _MEGABYTE:.0f} MB, expected {_MAX_BYTES // _MEGABYTE} at most")
        with part.open("r+b" if there else "wb") as file:
            file.seek(there)
            while piece := answer.read(_CHUNK_BYTES):
                there += len(piece)
                if there > _MAX_BYTES:
                    raise OSError(f"it does not end, expected {_MAX_BYTES // _MEGABYTE} MB at most")
                file.write(piece)
                if progress is not None and total is not None:
                    progress(f"{files.whole.name}, MB", there // _MEGABYTE, max(1, total // _MEGABYTE))
    if total is not None and there < total:
        raise _Cut(f"{there} of {total} bytes came")


def _continues(answer: Any, there: int) -> bool:
    """Whether an answer begins where the part ends."""
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
    return bool(answer.status == http.HTTPStatus.PARTIAL_CONTENT and begins and int(begins[1]) == there)


def _version(answer: Any) -> str:
    """What If-Range compares: a strong ETag, else the date; nothing where a server gives neither."""
    tag = answer.headers.get("ETag") or ""
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified") or ""


def _version_of(origin: Path, address: str) -> str:
    """The version that the part is of; nothing if it came from another address or nobody knows."""
    try:
        lines = origin.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[1] if len(lines) == 2 and lines[0] == address else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
