"""How many cameras a core carries, by model, precision and resolution: `python benchmarks/sizing.py [--write]`.

Each row is footage of one camera, made here, through what a worker does: segmenting, decoding, windows, the model that
ships. Counted is processor time, on all threads, for a second of footage; without a broker, which adds a few per cent
(`make bench`). Cameras that a core carries is the inverse: leave room, for footage is not equally busy all the time.
Beside each stands what decoding alone costs, into pictures of that model's size. All rows of one footage are measured
in turns, several times; the median counts.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from footage import Footage, footage

from consumers.live.assemble import clip_spec
from consumers.live.pipeline import Pipeline
from models import Classifier, shipped
from stream import ClipSpec, Decoder, Feed, Segmenter

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "sizing.md"
SECONDS: Final = 20
#: Windows of one call, as a worker takes them.
_AT_ONCE: Final = 16
FOOTAGE: Final = {
    "1080p, 30 frames/s": Footage(SECONDS),
    "720p, 25 frames/s": Footage(SECONDS, 1280, 720, rate=25, gop=50, bits_per_second=2_000_000),
    "640x360, 15 frames/s": Footage(SECONDS, 640, 360, rate=15, gop=30, bits_per_second=600_000),
}


@dataclass(frozen=True, slots=True)
class Row:
    footage: str
    model: str
    engine: str
    stride_seconds: float
    core_milliseconds: float
    decoding_milliseconds: float

    @property
    def cells(self) -> list[str]:
        share = self.decoding_milliseconds / self.core_milliseconds
        return [
            self.footage,
            self.model,
            self.engine.removeprefix("openvino-"),
            f"{self.stride_seconds:g}",
            f"{self.core_milliseconds:.0f}",
            f"{1000 / self.core_milliseconds:.1f}",
            f"{100 * share:.0f} %",
        ]


def measure(file: Path, spec: ClipSpec, classifier: Classifier | None) -> float:
    """Core-milliseconds of one second of footage, through a model or only decoded."""
    pipeline = None if classifier is None else Pipeline(classifier, spec, {})
    began, seconds = time.process_time(), 0.0
    with Feed(str(file)) as feed:
        segmenter = Segmenter("camera", feed.track)
        segments = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    waiting, decoder = [], Decoder(spec.picture)
    for segment in segments:
        seconds += segment.seconds
        decoded = decoder.decode(segment, spec.sample_times_us(segment), str(file))
        if pipeline is None:
            continue
        waiting += pipeline.push(segment, decoded)
        if len(waiting) >= _AT_ONCE:
            pipeline.classify(waiting)
            waiting = []
    if pipeline is not None:
        pipeline.classify(waiting)
    return (time.process_time() - began) / seconds * 1000


def rows_of(name: str, file: Path, classifiers: Mapping[str, Sequence[Classifier]], rounds: int) -> list[Row]:
    """All models and engines on one footage, in turns."""
    specs = {model: clip_spec(same[0].contract, None) for model, same in classifiers.items()}
    jobs: dict[tuple[str, str], Classifier | None] = {(model, ""): None for model in classifiers}
    jobs |= {(model, c.engine): c for model, same in classifiers.items() for c in same}
    found: dict[tuple[str, str], list[float]] = {job: [] for job in jobs}
    for _ in range(rounds):
        for (model, engine), classifier in jobs.items():
            found[model, engine].append(measure(file, specs[model], classifier))
    median = {job: statistics.median(values) for job, values in found.items()}
    return [
        Row(name, model, engine, specs[model].stride_us / 1e6, median[model, engine], median[model, ""])
        for model, engine in jobs
        if engine
    ]


def processor() -> str:
    text = Path("/proc/cpuinfo").read_text("utf-8")
    found = re.search(r"model name\s*: (.*)", text)
    flags = [name for flag, name in (("avx512f", "AVX-512"), ("avx512_bf16", "bf16")) if f" {flag}" in text]
    return f"{found[1].strip() if found else platform.processor()} ({', '.join(flags) or 'neither AVX-512 nor bf16'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Put the table into docs/sizing.md.")
    parser.add_argument("--rounds", type=int, default=3, help="How often each row is measured (3).")
    arguments = parser.parse_args()
    lines = [
        "| footage | model | in | stride, s | core-ms a second of footage | cameras a core | of decoding alone |",
        "|---|---|---|---|---|---|---|",
    ]
    files = {name: footage(wanted, BUILD / "footage") for name, wanted in FOOTAGE.items()}
    classifiers = {}
    for model in shipped():
        exact, usual = Classifier.load(model, "openvino-f32"), Classifier.load(model, "openvino")
        classifiers[model] = [exact] if usual.engine == exact.engine else [exact, usual]
        for classifier in classifiers[model]:  # what is made only once is not counted
            measure(files["640x360, 15 frames/s"], clip_spec(classifier.contract, None), classifier)
    for name, file in files.items():
        for row in rows_of(name, file, classifiers, arguments.rounds):
            lines.append(f"| {' | '.join(row.cells)} |")
            print(lines[-1], flush=True)
    table = f"Measured on {processor()}; the median of {arguments.rounds} rounds.\n\n" + "\n".join(lines)
    if arguments.write:
        page = PAGE.read_text("utf-8")
        before, _, rest = page.partition("<!-- table -->\n")
        after = rest.partition("<!-- end of table -->")[2]
        PAGE.write_text(f"{before}<!-- table -->\n{table}\n<!-- end of table -->{after}", "utf-8")
    else:
        print(f"\n{table}")


if __name__ == "__main__":
    main()
