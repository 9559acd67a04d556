"""Which programs are loaded: only those that were exported here, or that somebody has vouched for.

Loading a .pt2 makes torch evaluate strings that it holds, as Python: whoever wrote the file can run anything. A digest
beside it would come from the same hands, and so would a signature without a key of its own. So the digests of what this
user exported are kept in this user's own folder, in the form of `sha256sum`; whoever brings a program from another
machine appends its line, and thereby vouches for where it is from:

    sha256sum own.pt2 >> ~/.local/share/clipline/trusted.sha256
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from models.errors import CheckpointError
from models.files import replacing

#: Of the newest programs; each is a line.
_KEPT: Final = 10_000


def trusted_list() -> Path:
    """Where the digests are kept."""
    folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return folder / "clipline" / "trusted.sha256"


def trust(program: Path, name: str) -> None:
    """Note that a program was made here; `name` is what a reader of the list sees.

    Raises:
        OSError: the list cannot be written.
    """
    path = trusted_list()
    lines = path.read_text().splitlines() if path.is_file() else []
    line = f"{hashlib.sha256(program.read_bytes()).hexdigest()}  {name.translate({10: 32, 13: 32})}"
    if line not in lines:
        with replacing(path) as unfinished:
            unfinished.touch(0o600)
            unfinished.write_text("\n".join([*lines, line][-_KEPT:]) + "\n")


def read_trusted(program: Path) -> bytes:
    """The content of a program that was exported here or vouched for.

    Raises:
        CheckpointError: it was not, or it cannot be read; says how to vouch for it.
    """
    path = trusted_list()
    try:
        content = program.read_bytes()
        known = {line.split()[0] for line in path.read_text().splitlines() if line.strip()} if path.is_file() else set()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{program}: cannot be read ({error})") from None
    if hashlib.sha256(content).hexdigest() not in known:
        raise CheckpointError(
            f"{program}: not exported here, and torch runs what such a file holds when it loads it; if you know where "
            f"it is from: mkdir -p {path.parent} && sha256sum {program} >> {path}, or serve an .xml or .onnx instead"
        )
    return content
