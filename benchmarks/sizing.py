"""How many cameras a core carries, by model, stride and resolution: `python benchmarks/sizing.py [--write]`.

Each row is footage of one camera, made here, through what a worker does: segmenting, decoding, windows, the model.
Counted is processor time, on all threads, for a second of footage; without a broker, which adds a few per cent
(`make bench`). Cameras that a core carries is the inverse: leave room, for footage is not equally busy all the time.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from footage import Footage, footage

from consumers.live.assemble import clip_spec
from consumers.live.pipeline import Pipeline
from models import Classifier, shipped
from stream import Decoder, Feed, Segmenter

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "sizing.md"
SECONDS: Final = 20
FOOTAGE: Final = {
    "1080p, 30 frames/s": Footage(SECONDS),
    "720p, 25 frames/s": Footage(SECONDS, 1280, 720, rate=25, gop=50, bits_per_second=2_000_000),
    "640x360, 15 frames/s": Footage(SECONDS, 640, 360, rate=15, gop=30, bits_per_second=600_000),
    "320x240, 10 frames/s": Footage(SECONDS, 320, 240, rate=10, gop=20, bits_per_second=200_000),
}


@dataclass(frozen=True, slots=True)
class Row:
    footage: str
    model: str
    stride_seconds: float
    core_milliseconds: float

    @property
    def cells(self) -> list[str]:
        cameras = 1000 / self.core_milliseconds
        return [self.footage, self.model, f"{self.stride_seconds:g}", f"{self.core_milliseconds:.0f}", f"{cameras:.1f}"]


def measure(name: str, file: Path, model: str, classifier: Classifier, stride_seconds: float | None) -> Row:
    spec = clip_spec(classifier.contract, stride_seconds)
    pipeline = Pipeline(classifier, spec, {})
    began, seconds = time.process_time(), 0.0
    with Feed(str(file)) as feed:
        segmenter = Segmenter("camera", feed.track)
        segments = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    waiting, decoder = [], Decoder(spec.picture)
    for segment in segments:
        seconds += segment.seconds
        times_us = spec.sample_times_us(segment)
        waiting += pipeline.push(segment, decoder.decode(segment, times_us, str(file)))
        if len(waiting) >= 16:
            pipeline.classify(waiting)
            waiting = []
    pipeline.classify(waiting)
    return Row(name, model, spec.stride_us / 1e6, (time.process_time() - began) / seconds * 1000)


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text("utf-8")
    found = re.search(r"model name\s*: (.*)", text)
    flags = [name for flag, name in (("avx512f", "AVX-512"), ("avx512_bf16", "bf16")) if f" {flag}" in text]
    return f"{found[1].strip() if found else platform.processor()} ({', '.join(flags) or 'neither AVX-512 nor bf16'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Put the table into docs/sizing.md.")
    arguments = parser.parse_args()
    lines = [
        "| footage | model | stride, s | core-milliseconds per second of footage | cameras a core |",
        "|---|---|---|---|---|",
    ]
    engines = set()
    files = {name: footage(wanted, BUILD / "footage") for name, wanted in FOOTAGE.items()}
    for model in shipped():
        classifier = Classifier.load(model)
        engines.add(classifier.engine)
        own = clip_spec(classifier.contract, None).stride_us / 1e6
        measure("", files["320x240, 10 frames/s"], model, classifier, None)  # what is made only once is not counted
        for name, file in files.items():
            for stride in (None, 2 * own):
                row = measure(name, file, model, classifier, stride)
                lines.append(f"| {' | '.join(row.cells)} |")
                print(lines[-1], flush=True)
    table = f"Measured on {processor()}, engine {', '.join(sorted(engines))}.\n\n" + "\n".join(lines)
    if arguments.write:
        page = PAGE.read_text("utf-8")
        before, _, rest = page.partition("<!-- table -->\n")
        after = rest.partition("<!-- end of table -->")[2]
        PAGE.write_text(f"{before}<!-- table -->\n{table}\n<!-- end of table -->{after}", "utf-8")
    else:
        print(f"\n{table}")


if __name__ == "__main__":
    main()
