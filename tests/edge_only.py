"""The command line as an edge install has it: what the extra `full` brings cannot be found.

python tests/edge_only.py work --model m.xml
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

from consumers.cli.extras import FULL

ALLOWED = {"openvino"}


class EdgeFinder(PathFinder):
    """Finds what an edge install has."""

    @classmethod
    def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in FULL - ALLOWED:
            return None
        return super().find_spec(fullname, path, target)


if __name__ == "__main__":
    sys.meta_path = [EdgeFinder if finder is PathFinder else finder for finder in sys.meta_path]
    from consumers.cli.main import main

    try:
        main()
    finally:
        assert not {name.partition(".")[0] for name in sys.modules} & (FULL - ALLOWED)
