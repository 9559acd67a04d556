"""What a result depends on beside its inputs: versions of libraries, and of the code itself.

Caches carry them in their keys, so that another version never serves what an older one computed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path


def library_versions(*packages: str) -> dict[str, str]:
    """Versions by distribution name; "absent" of one that is not installed. Imports nothing."""

    def version(package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return "absent"

    return {package: version(package) for package in packages}


@functools.cache
def code_version(*folders: Path) -> str:
    """A digest of the source files below the folders: 8 hexadecimal digits that change with any of them."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]
