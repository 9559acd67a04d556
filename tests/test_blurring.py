"""What is blurred is hidden but for mean colours of large cells, and what moves most stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")
pytest.importorskip("PIL")

from consumers.bundles.blurring import CELLS, Blur, hidden, write_blurred_evidence
from consumers.bundles.by_hand import check_file, write_bundle
from consumers.bundles.layout import take_apart
from consumers.outputs.evidence import find_evidence
from consumers.pictures.maker import MadePictures
from consumers.pictures.strip import WHOLE, Drawn
from consumers.records.event import Event
from consumers.records.event_pictures import Missing
from consumers.settings import Settings
from consumers.times import parse_time_us
from stream import MemoryTransport, SourceError
from tests.replays import SETTINGS, live
from tests.videos import decoded_frames, write_video

START_US = 1_700_000_000_000_000
WIDTH, HEIGHT = 320, 240


def scene(number: int, width: int, height: int) -> np.ndarray:
    """Bright for a while; a square walks in the upper left, a pattern stands still in the lower right."""
    image = np.full((height, width, 3), 190 if 100 <= number < 180 else 20, np.uint8)
    image[150:230:8, 220:310] = 0
    image[154:230:8, 220:310] = 255
    at = 10 + number * 3 % 50
    image[20:50, at : at + 30] = (number * 37) % 100
    return image


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blurring") / "gate.mp4"
    return write_video(path, 250, rate=25, gop=50, size=(WIDTH, HEIGHT), frame=scene, options={"bf": "0", "crf": "10"})


@pytest.fixture(scope="module")
def stored(film: Path) -> tuple[MemoryTransport, Event]:
    transport = MemoryTransport()
    heard = live(film, "gate", START_US, transport=transport)[2]
    return transport, next(e for e in heard.events if e.state == "ended")


def test_of_what_is_hidden_only_the_mean_colours_of_cells_are_left():
    image = np.random.default_rng(3).integers(0, 255, (90, 161, 3), np.uint8)
    found = hidden(image, Blur((0.25, 0.5, 0.25, 0.5)))
    sharp = np.zeros(image.shape[:2], bool)
    sharp[45:90, 40:80] = True
    assert np.array_equal(found[sharp], image[sharp])
    assert len(np.unique(found[~sharp], axis=0)) <= CELLS * CELLS
    # The first cell, and the last, narrower one.
    assert np.all(found[:11, :11] == image[:11, :11].reshape(-1, 3).astype(int).sum(0) // 121)
    assert np.all(found[88:, 154:] == image[88:, 154:].reshape(-1, 3).astype(int).sum(0) // 14)
    nothing = hidden(image, Blur(None))
    assert len(np.unique(nothing.reshape(-1, 3), axis=0)) <= CELLS * CELLS


@pytest.mark.parametrize("strip", [Missing("no_footage", "gone"), Drawn(b"", 1, 1, (0,), WHOLE)])
def test_where_no_part_holds_most_of_the_motion_all_is_hidden(strip: Drawn | Missing):
    blur = Blur.of(MadePictures(Missing("no_footage", "gone"), strip))
    assert blur.region is None
    assert "all of the picture is blurred" in blur.words


def seen_through(film: Path, path: Path, begin_us: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames of a clip that begins at an event time, and those of the film that they were made of."""
    source = dict(decoded_frames(film))
    clip = decoded_frames(path)
    assert len(clip) > 50
    return [image for _, image in clip], [
        source[min(source, key=lambda each: abs(each - at - begin_us + START_US))] for at, _ in clip
    ]


def check_hidden(film: Path, path: Path, begin_us: int) -> None:
    frames, originals = seen_through(film, path, begin_us)
    for frame, original in zip(frames, originals, strict=True):
        # The pattern, which was black and white by turns, is gone; the square is there.
        assert np.ptp(original[160:220, 230:300].astype(int).mean(axis=1)) > 200
        assert np.ptp(frame[160:220, 230:300].astype(int).mean(axis=1)) < 60
        assert np.abs(frame[15:55, 5:95].astype(int) - original[15:55, 5:95]).mean() < 6


def test_a_blurred_clip_hides_what_stands_still_and_shows_what_moves(stored, film: Path, tmp_path: Path):
    transport, event = stored
    found = find_evidence(transport, SETTINGS.topics, event.id, 1.0, 1.0)
    blur = write_blurred_evidence(transport, SETTINGS, found, tmp_path / "clip.mp4")
    assert blur.region is not None
    assert blur.region[2] < 0.7
    check_hidden(film, tmp_path / "clip.mp4", found.segments[0].start_us)
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]
    with pytest.raises(SourceError, match=r"ends in \.mp4"):
        write_blurred_evidence(transport, SETTINGS, found, tmp_path / "clip.ts")


def test_a_blurred_bundle_holds_no_original_and_says_so(stored, film: Path, tmp_path: Path):
    transport, event = stored
    key = {"evidence": {"key": tmp_path / "evidence.key"}}
    settings = Settings.model_validate(SETTINGS.model_dump() | key)
    path = tmp_path / "event.html"
    written = write_bundle(transport, settings, event.id, path, 1.0, 1.0, is_blurred=True)
    checked = check_file(settings, path, None)
    assert checked.is_vouched_for
    parts = {part.name: part.data for part in take_apart(path.read_bytes()).parts}
    assert set(parts) == {"manifest", "signature", "reports", "predictions", "strip", "clip"}
    manifest = json.loads(parts["manifest"])
    assert any("blurred and encoded again" in each for each in written.made.missing)
    assert any(each.startswith("segments: left out") for each in manifest["missing"])
    assert any(each.startswith("peak: left out") for each in manifest["missing"])
    # Whoever has the originals can see that it is they.
    for each in manifest["sources"]:
        place = each["place"]
        (record,) = transport.read({(place["topic"], place["partition"]): (place["offset"], place["offset"] + 1)})
        assert record.value not in parts.values()
    clip = next(each for each in manifest["parts"] if each["name"] == "clip")
    (tmp_path / "clip.mp4").write_bytes(parts["clip"])
    check_hidden(film, tmp_path / "clip.mp4", parse_time_us(clip["start"]))
