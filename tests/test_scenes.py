"""The sample footage is what its truth says, and the renderer that made it repeats itself."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from examples.scenes import films
from examples.scenes.__main__ import VTEST

FOOTAGE = Path(__file__).parents[1] / "consumers" / "footage"
CAMERAS = ("courtyard", "gate", "lobby")


def probe(path):
    """Codec name, keyframe times and end, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.pts is not None]
        keys = [float(p.pts * p.time_base) for p in packets if p.is_keyframe]
        end = max(float((p.pts + p.duration) * p.time_base) for p in packets)
        return stream.codec_context.name, keys, end, len(container.streams)


@pytest.mark.parametrize("camera", CAMERAS)
def test_sample_footage_can_be_cut_at_least_every_two_seconds(camera):
    codec, keys, end, streams = probe(FOOTAGE / f"{camera}.mp4")
    assert (codec, streams) == ("h264", 1)
    assert end == pytest.approx(36, abs=0.1)
    assert max(b - a for a, b in pairwise([*keys, end])) <= 2.001


def test_sample_footage_stays_small():
    assert {p.stem for p in FOOTAGE.glob("*.mp4")} == set(CAMERAS)
    assert sum(p.stat().st_size for p in FOOTAGE.glob("*.mp4")) <= 4_000_000


def test_truth_lies_within_the_footage():
    with (FOOTAGE / "truth.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {(r["camera"], r["label"]) for r in rows} == {("gate", "fight"), ("lobby", "fall")}
    for row in rows:
        end = probe(FOOTAGE / f"{row['camera']}.mp4")[2]
        assert 0 <= float(row["start"]) < float(row["end"]) <= end


@pytest.fixture(scope="module")
def studio():
    if importlib.util.find_spec("pybullet") is None:
        pytest.skip("pybullet is missing: extra `render`")
    if not VTEST.is_file():
        pytest.skip("vtest.avi is missing: Debian package opencv-doc")
    return films.Studio(VTEST)


@pytest.mark.parametrize("label", ["normal", "fight", "fall"])
def test_a_seed_always_makes_the_same_frames(label, studio):
    def frames(seed):
        scene, start, _ = studio.short_scene(label, seed)
        return [*films.frames_of(scene, studio.stage, studio.backdrop, start, 0.4, Fraction(10), seed)]

    first, again, other = frames(5), frames(5), frames(6)
    assert np.array_equal(first, again)
    assert np.shape(first) != np.shape(other) or not np.array_equal(first, other)


def test_a_missing_backdrop_is_one_line_that_says_what_to_install(tmp_path):
    command = [sys.executable, "-m", "examples.scenes", "clips", tmp_path, "--backdrop", tmp_path / "none.avi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOOTAGE.parents[1])
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "opencv-doc" in done.stderr
