"""Whether a continual X3D pays, by how often a window is wanted: `python benchmarks/continual.py [--write] [ENGINE …]`.

Counted is processor time on one thread, decoding left out: of a clip by the whole network, of a picture by a step and
of a window by the head. What a second of a camera costs follows. Weights are random: they cost as much as others.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from price.machine import processor

from models import Classifier, Contract, save
from models.networks.zoo import create, describe

#: Frames of a clip, and size: as designed, and as the shipped x3d-xs.
CLIPS: Final = {
    "x3d_xs": (4, 0.4, 160),
    "x3d_xs at 80x80": (8, 0.2, 80),
    "x3d_s": (13, 0.2, 160),
    "x3d_m": (16, 0.166667, 224),
}
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "sizing.md"
STRIDES: Final = (1, 2, 4, 8)
ENGINES: Final = ("openvino", "openvino-f32", "torch")


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Processor time of one run; the least of three, since others may use this machine."""
    work()
    took = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work()
        took.append((time.process_time() - began) / times * 1000)
    return min(took)


def opened(folder: Path, architecture: str, clip: tuple[int, float, int], engine: str) -> Classifier:
    frames, spacing, size = clip
    found = describe(architecture)
    contract = Contract(
        architecture,
        ("normal", "fight"),
        frames,
        spacing,
        size,
        size,
        "stretch",
        *found.statistics,
        context=found.context,
    )
    path = folder / f"{architecture}-{frames}-{size}.safetensors"
    if not path.exists():
        save(path, create(architecture, 2, frames=frames, size=size).state_dict(), contract)
    return Classifier.load(str(path), engine, 1)


def row(folder: Path, name: str, engine: str) -> str:
    """What whole clips and steps cost, core-milliseconds a second of a camera, by stride."""
    architecture, clip = name.split(maxsplit=1)[0], CLIPS[name]
    frames, spacing, size = clip
    whole, continual = (opened(folder, prefix + architecture, clip, engine) for prefix in ("", "co_"))
    pictures = np.random.default_rng(0).integers(0, 256, (frames, size, size, 3), dtype=np.uint8)
    [(features, state)] = continual.step([pictures[0]], [None])
    of_clip = milliseconds(lambda: whole.predict(pictures), 4)
    of_step = milliseconds(lambda: continual.step([pictures[0]], [state]), 10)
    of_head = milliseconds(lambda: continual.score([[features] * frames]), 10)
    megabytes = sum(each.nbytes for each in state) / 1e6
    told = f"| {name}, {frames} frames {spacing:.2g} s apart, state {megabytes:.1f} MB | {whole.engine} | "
    cells = []
    for stride in (*STRIDES, frames):
        clips, steps = of_clip / (stride * spacing), (of_step + of_head / stride) / spacing
        cells.append(f"{clips:.0f} / {steps:.0f} ({clips / steps:.1f})" if stride <= frames else "")
    return f"{told}{' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", default=ENGINES)
    parser.add_argument("--write", action="store_true", help="Put the table into docs/sizing.md.")
    arguments = parser.parse_args()
    lines = [
        "| network | engine | a window every sample | every 2nd | every 4th | every 8th | no overlap |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name in CLIPS:
            for engine in arguments.engines:
                lines.append(row(Path(folder), name, engine))
                print(lines[-1], flush=True)
    table = f"Measured on {processor()}, one thread.\n\n" + "\n".join(lines)
    if arguments.write:
        page = PAGE.read_text("utf-8")
        before, _, rest = page.partition("<!-- continual -->\n")
        after = rest.partition("<!-- end of continual -->")[2]
        PAGE.write_text(f"{before}<!-- continual -->\n{table}\n<!-- end of continual -->{after}", "utf-8")


if __name__ == "__main__":
    main()
