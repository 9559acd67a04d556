"""The command line as an install with only some extras has it: what the others bring cannot be found.

python tests/edge_only.py edge work --model m.xml
python tests/edge_only.py edge,services demo
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder

from consumers.cli.extras import EXTRA_OF

EXTRAS = sys.argv.pop(1).split(",") if __name__ == "__main__" else []
ABSENT = {package for package, extra in EXTRA_OF.items() if extra not in EXTRAS}


class EdgeFinder(PathFinder):
    """Finds what such an install has."""

    @classmethod
    def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname.partition(".")[0] in ABSENT:
            return None
        return super().find_spec(fullname, path, target)


if __name__ == "__main__":
    sys.meta_path = [EdgeFinder if finder is PathFinder else finder for finder in sys.meta_path]
    from consumers.cli.main import main

    try:
        main()
    finally:
        assert not {name.partition(".")[0] for name in sys.modules} & ABSENT
