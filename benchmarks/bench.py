"""What a camera costs, with the models that ship, against what people would write instead: `make bench`."""

from __future__ import annotations

import sys

from price.cli import main

if __name__ == "__main__":
    sys.exit(main())
