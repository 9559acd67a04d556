"""What long groups of pictures cost: seconds of decoding a second of video, and memory of a camera.

    python benchmarks/long_groups.py [--seconds 60] [--size 1920x1080]

A film is encoded for each length of group, with B-frames, cut into segments of two seconds, and decoded for windows of
five pictures a second. Each runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stream import Clipper, ClipSpec, Decoder, Feed, Segmenter

GROUPS_SECONDS = (2, 10, 60, 250)
RATE = 25
SPEC = ClipSpec(16, 200_000, 1_600_000, 192, 192)


def film(path: Path, seconds: int, group_seconds: int, size: tuple[int, int]) -> None:
    """Noise that moves: enough detail for about 4 Mb/s at 1080p."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8 + 64), np.uint8)
    noise = noise.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = RATE * group_seconds
        stream.options = {"preset": "ultrafast", "bf": "2", "sc_threshold": "0", "b": "4M"}
        for number in range(RATE * seconds):
            ahead = number % 256
            luma = np.ascontiguousarray(noise[:height, ahead : ahead + width])
            image = av.VideoFrame.from_ndarray(
                np.vstack([luma, np.full((height // 2, width), 128, np.uint8)]), "yuv420p"
            )
            image.pts, image.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def measure(path: Path) -> str:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("camera", feed.track)
        segments = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    before = most = resident_megabytes()
    decoder, clipper, windows = Decoder(SPEC.picture), Clipper(SPEC), 0
    began, seconds = time.process_time(), sum(s.seconds for s in segments)
    for segment in segments:
        windows += len(clipper.push(segment, decoder.decode(segment, SPEC.sample_times_us(segment))))
        most = max(most, resident_megabytes())
    spent = time.process_time() - began
    sent = sum(len(s.data) for s in segments) / 1e6
    return f"{spent / seconds:.3f} s/s, {most - before:.0f} MB, {windows} windows, {sent:.1f} MB sent"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--film", type=Path, help="measure this one only")
    options = parser.parse_args()
    if options.film is not None:
        print(measure(options.film))
        return
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        for group_seconds in GROUPS_SECONDS:
            path = Path(folder) / f"{group_seconds}.mp4"
            film(path, options.seconds, group_seconds, (width, height))
            command = [sys.executable, __file__, "--film", str(path)]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            print(f"a keyframe every {group_seconds:3} s: {told}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
