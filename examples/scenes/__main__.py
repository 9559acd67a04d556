"""Command line of the scene renderer."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from .films import write_clips, write_demo

VTEST = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")

_EXAMPLES = """\
examples:
  python -m examples.scenes clips build/scenes --count 150 --seed 1    labelled three-second clips and labels.csv
  python -m examples.scenes demo consumers/footage                     cameras, truth.csv and SOURCES.md of `make demo`
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.scenes",
        description="Render scripted scenes with known truth: people who meet, fight or fall in a real courtyard.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    clips = commands.add_parser("clips", help="labelled clips for `clipline train`")
    clips.add_argument("--count", type=int, default=150, help="how many clips (default: %(default)s)")
    clips.add_argument("--seed", type=int, default=1, help="another seed makes other clips (default: %(default)s)")
    demo = commands.add_parser("demo", help="the sample cameras of `clipline demo`")
    for command in (clips, demo):
        command.add_argument("out", type=Path, metavar="OUT", help="folder to write to")
        command.add_argument("--backdrop", type=Path, default=VTEST, help="OpenCV's vtest.avi (default: %(default)s)")
    options = parser.parse_args()
    if not options.backdrop.is_file():
        return _refuse(f"{options.backdrop} is missing: apt-get install opencv-doc, or name a copy with --backdrop")
    if importlib.util.find_spec("pybullet") is None:
        return _refuse("pybullet is missing: pip install -e '.[render]'")
    if options.command == "clips":
        write_clips(options.out, options.count, options.seed, options.backdrop)
    else:
        write_demo(options.out, options.backdrop)
    return 0


def _refuse(why: str) -> int:
    print(f"scenes: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
