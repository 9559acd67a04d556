"""H.264 need not say how far its pictures are reordered; no picture may be lost where it does not."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream import Feed, Picture, Segmenter, decode
from tests.videos import HEIGHT, WIDTH, picture

RATE = 30


class Bits:
    """Reads the syntax of H.264, 7.2."""

    def __init__(self, data: bytes) -> None:
        self.text, self.at = "".join(f"{byte:08b}" for byte in data), 0

    def u(self, count: int) -> int:
        self.at += count
        return int(self.text[self.at - count : self.at], 2)

    def ue(self) -> int:
        zeros = self.text.index("1", self.at) - self.at
        self.at += zeros
        return self.u(zeros + 1) - 1


def without_usability_information(sps: bytes) -> bytes:
    """A sequence parameter set (7.3.2.1.1) as encoders write it that leave the VUI, and the reordering in it, out."""
    bits = Bits(sps.replace(b"\0\0\3", b"\0\0"))
    bits.u(32)  # NAL header, profile, constraints, level
    bits.ue()
    if sps[1] == 100:  # High
        assert bits.ue() == 1  # 4:2:0
        assert [bits.ue(), bits.ue(), bits.u(1), bits.u(1)] == [0, 0, 0, 0]
    bits.ue()
    assert bits.ue() == 0  # order of pictures is in the slices
    bits.ue()
    assert [bits.ue() >= 0, bits.u(1), bits.ue() > 0, bits.ue() > 0] == [True, 0, True, True]
    assert [bits.u(1), bits.u(1)] == [1, 1]  # frames only, direct 8x8
    if bits.u(1):
        [bits.ue() for _ in range(4)]
    kept = bits.text[: bits.at] + "01"  # no VUI; the stop bit
    kept += "0" * (-len(kept) % 8)
    data = bytes(int(kept[at : at + 8], 2) for at in range(0, len(kept), 8))
    return re.sub(rb"\x00\x00([\x00-\x03])", b"\x00\x00\x03\\g<1>", data)


def write(path: Path, frames: int, options: dict[str, str]) -> Path:
    with av.open(str(path), "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 60
        stream.options = {"threads": "1", "b_strategy": "0", "crf": "8", **options}
        images = [av.VideoFrame.from_ndarray(picture(number), "rgb24") for number in range(frames)]
        for number, image in enumerate(images):
            image.pts, image.time_base = number, Fraction(1, RATE)
        for image in (*images, None):
            for packet in stream.encode(image):
                data = re.sub(
                    rb"(?s)(?<=\x00\x00\x00\x01)\x67.*?(?=\x00?\x00\x00\x01)",
                    lambda found: without_usability_information(found[0]),
                    bytes(packet),
                )
                bare = av.Packet(data)
                bare.stream, bare.time_base, bare.is_keyframe = stream, packet.time_base, packet.is_keyframe
                bare.pts, bare.dts = packet.pts, packet.dts
                out.mux(bare)
    return path


@pytest.mark.parametrize("options", [{"bf": "3"}, {"bf": "7", "b-pyramid": "normal"}], ids=["flat", "pyramid"])
def test_every_picture_comes_out_where_the_stream_does_not_tell_its_reordering(tmp_path, options):
    frames = 120
    with Feed(str(write(tmp_path / "video.ts", frames, options))) as feed:
        segmenter = Segmenter("camera", feed.track)
        segments = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    shown = []
    for segment in segments:
        if segment.is_end:
            continue
        grid = [segment.epoch_us + round(n * 1e6 / RATE) for n in range(frames)]
        times = [t for t in grid if segment.start_us <= t < segment.end_us]
        shown += decode(segment, times, Picture(HEIGHT, WIDTH)).samples
    errors = [np.abs(sample.image.astype(int) - picture(number)).mean() for number, sample in enumerate(shown)]
    assert len(errors) == frames
    assert max(errors) < 6  # its neighbour is off by 9 and more
