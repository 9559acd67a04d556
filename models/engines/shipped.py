"""Export the shipped models beside their checkpoints, so that serving them needs no torch: `make shipped`.

Without arguments, exports those that are absent or were made of another checkpoint; `--check` only says so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from models.checkpoint import Checkpoint, find, shipped

from .converted import shipped_path, why_not_shipped


def stale() -> dict[str, str]:
    """By the name of a shipped model: why the export beside its checkpoint cannot stand for it. Empty if all can."""
    reasons = {name: why_not_shipped(find(name)) for name in shipped()}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def remake(checkpoint: Checkpoint) -> None:
    """Export a shipped checkpoint anew.

    Raises:
        ExportError: it cannot be exported.
    """
    from .export import export  # noqa: PLC0415  imports torch

    export(checkpoint, shipped_path(checkpoint))


def main(arguments: Sequence[str]) -> int:
    """Remake what is stale, or, with --check, say what is; 1 if something is, 2 for a wrong command line."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    found = stale()
    for name, reason in found.items():
        if arguments:
            sys.stderr.write(f"{reason}\n")
        else:
            remake(find(name))
            sys.stdout.write(f"{shipped_path(find(name))}: made\n")
    return 1 if found and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
