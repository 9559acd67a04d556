"""The dashboard's pages: the files of `static/`, read once, with what browsers need to keep them.

    /                          index.html, asked for anew each time
    /static/VERSION/main.js    a file; VERSION is made of what is in all files, so browsers keep it for good

Scripts import each other by relative paths, so all of them are of one version. Whoever still has the page of an earlier
one gets today's files, and is not told to keep them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from consumers.web.problems import not_found

FOLDER: Final = Path(__file__).parents[1] / "static"
#: No inline scripts or styles, nothing of other sites. Players hand the browser what they put together as blobs.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".md": "text/plain; charset=utf-8",
    "": "text/plain; charset=utf-8",  # licences
}
_VERSION_MARK: Final = b"{version}"
_SHELL: Final = "index.html"
#: Those that name files of a version. Links lead to the others: see `shared.py`.
_SHELLS: Final = frozenset({_SHELL, "share.html", "share-gone.html"})
_FOR_GOOD: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    gzipped: bytes
    media_type: str
    #: Of what is in it.
    tag: str


@dataclass(frozen=True, slots=True)
class Pages:
    """All files, by their paths below `static/`, and the version that they are together."""

    files: Mapping[str, StaticFile]
    version: str


def read_pages(folder: Path = FOLDER) -> Pages:
    """Read all files of a folder."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    contents = {name: path.read_bytes() for name, path in found.items() if path.suffix in _TYPES}
    # A licence's name ends with that of a script.
    version = _digest(b"\0".join(part for name, content in contents.items() for part in (name.encode(), content)))
    for name in _SHELLS & contents.keys():
        contents[name] = contents[name].replace(_VERSION_MARK, version.encode())
    return Pages({name: _file(name, content) for name, content in contents.items()}, version)


def pages_router(pages: Pages) -> APIRouter:
    """Their routes. They hold no secrets: who asks is a matter of the API."""
    router = APIRouter(include_in_schema=False)

    async def shell(request: Request) -> Response:
        return _response(request, pages.files[_SHELL], _ASK_AGAIN)

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        found = pages.files.get(name)
        if found is None or name in _SHELLS:
            raise not_found("there is no such file")
        is_current = request.path_params["version"] == pages.version
        return _response(request, found, _FOR_GOOD if is_current else _ASK_AGAIN)

    router.add_route("/", shell, methods=["GET"])
    router.add_route("/static/{version}/{name:path}", static, methods=["GET"])
    return router


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _file(name: str, content: bytes) -> StaticFile:
    suffix = "" if "LICENSE" in name else Path(name).suffix
    return StaticFile(content, gzip.compress(content, 9, mtime=0), _TYPES[suffix], _digest(content))


def _response(request: Request, file: StaticFile, keep: str) -> Response:
    is_gzipped = takes_gzip(request.headers.get("accept-encoding", ""))
    tag = f'"{file.tag}-gz"' if is_gzipped else f'"{file.tag}"'
    headers = {"ETag": tag, "Cache-Control": keep, "Vary": "Accept-Encoding", "Content-Security-Policy": POLICY}
    if tag in {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    if is_gzipped:
        headers["Content-Encoding"] = "gzip"
    return Response(file.gzipped if is_gzipped else file.content, headers=headers, media_type=file.media_type)


def takes_gzip(accepted: str) -> bool:
    """Whether whoever sends this as `Accept-Encoding` can be answered with gzip."""
    weights = dict(map(_weighted, accepted.lower().split(",")))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighted(coding: str) -> tuple[str, float]:
    """A coding and its weight, as `gzip;q=0.5` gives them; 0 where it is no number."""
    name, _, parameter = coding.partition(";")
    key, _, value = parameter.replace(" ", "").partition("=")
    try:
        weight = float(value) if key == "q" else 1.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight
