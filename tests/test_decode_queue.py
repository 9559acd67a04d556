"""The queue that live work and replay decode through."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from consumers.live import decode_queue
from consumers.live.decode_queue import DecodeQueue
from stream import ClipSpec, Decoded, Decoder, Feed, Sample, Segment, Segmenter, SegmentError, SegmentLimits
from tests.videos import write_video

SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32)


def end_mark(camera: str) -> Segment:
    return Segment(camera, 0, 0, 0, 0, "mpegts", "h264", 8, 8, 0, 0, b"")


def footage(camera: str) -> Segment:
    return Segment(camera, 0, 0, 0, 9, "mpegts", "h264", 8, 8, 1, 0, b"not video")


@pytest.fixture
def queue():
    queue = DecodeQueue(SPEC, threads=2)
    yield queue
    queue.close()


def test_segments_come_out_in_the_order_in_which_they_went_in(queue, monkeypatch):
    gate = threading.Event()

    def decode_when_told(segment: Segment, *_: object) -> Decoded:
        if segment.camera == "a":
            gate.wait(10)
        return Decoded((), [])

    monkeypatch.setattr(decode_queue, "decode", decode_when_told)
    queue.put("slow", lambda: footage("a"), "first", size=5)
    queue.put("quick", lambda: footage("b"), "second", size=7)
    assert (len(queue), queue.bytes) == (2, 12)
    assert queue.take(wait=False) is None, "the second is decoded, but it has to wait for the first"
    gate.set()
    first, second = queue.take(wait=True), queue.take(wait=True)
    assert (first[0], first[1][0].camera) == ("slow", "a")
    assert (second[0], second[1][0].camera) == ("quick", "b")
    assert (len(queue), queue.bytes, queue.oldest) == (0, 0, None)
    assert queue.take(wait=True) is None


def test_a_segment_that_cannot_be_read_or_decoded_comes_out_as_its_error(queue):
    def refuse() -> Segment:
        raise SegmentError("topic[0]@3", "truncated")

    queue.put("read", refuse, "topic[0]@3")
    queue.put("decoded", lambda: footage("a"), "topic[0]@4")
    (_, unread), (_, undecoded) = queue.take(wait=True), queue.take(wait=True)
    assert str(unread) == "topic[0]@3: truncated"
    assert str(undecoded).startswith("topic[0]@4: ")


def test_what_is_stale_is_removed_with_its_bytes(queue):
    for number in range(4):
        queue.put(number, lambda: end_mark("a"), "t", size=10 + number)
    queue.remove(lambda number: number % 2 == 0)
    assert queue.bytes == 24
    assert [queue.take(wait=True)[0] for _ in range(2)] == [1, 3]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> list[Segment]:
    """One group of pictures in ten segments, and the end mark."""
    options = {"bf": "2", "preset": "ultrafast", "sc_threshold": "0"}
    path = write_video(tmp_path_factory.mktemp("film") / "a.mp4", 150, gop=300, size=(64, 48), options=options)
    return segments(path)


def segments(path: Path) -> list[Segment]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("a", feed.track, SegmentLimits(0.5, 0.5))
        return [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()


def taken(queue: DecodeQueue) -> list[tuple[int, Decoded]]:
    found = []
    while (entry := queue.take(wait=True)) is not None:
        number, outcome = entry
        assert not isinstance(outcome, SegmentError), outcome
        found.append((number, outcome[1]))
    return found


def samples(found: list[tuple[int, Decoded]]) -> list[Sample]:
    return [sample for _, decoded in found for sample in (*decoded.late, *decoded.samples)]


def assert_same(one: list[Sample], other: list[Sample]) -> None:
    assert [(s.at_us, s.frame_us) for s in one] == [(s.at_us, s.frame_us) for s in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def put(queue: DecodeQueue, film: list[Segment]) -> None:
    for number, segment in enumerate(film):
        queue.put(number, lambda s=segment: s, f"segment {segment.sequence}")


def test_pieces_of_a_long_group_are_decoded_one_after_the_other_as_by_one_decoder(queue, film):
    put(queue, film)
    decoder = Decoder(SPEC.picture)
    expected = [(n, decoder.decode(s, SPEC.sample_times_us(s))) for n, s in enumerate(film)]
    assert sum(s.continues for s in film) == 9
    assert_same(samples(taken(queue)), samples(expected))


def test_a_group_that_goes_on_holds_no_thread_while_it_waits(queue, film, monkeypatch):
    gate = threading.Event()

    class Gated(Decoder):
        def decode(self, *arguments: object) -> Decoded:
            gate.wait(10)
            return super().decode(*arguments)

    monkeypatch.setattr(decode_queue, "Decoder", Gated)
    done = threading.Event()
    monkeypatch.setattr(decode_queue, "decode", lambda *_: done.set() or Decoded((), []))
    put(queue, film)
    queue.put("other camera", lambda: footage("b"), "b")
    assert done.wait(5), "the second thread is free for it"
    gate.set()
    for _ in range(len(film)):
        assert queue.take(wait=True) is not None


def test_behind_a_hole_frames_are_left_out_until_decoding_can_begin_and_what_was_owed_comes(queue, film):
    put(queue, [*film[:4], *film[5:]])
    found = taken(queue)
    assert [d.missing for _, d in found] == [None] * 4 + ["no_keyframe"] * 5 + [None]
    whole = Decoder(SPEC.picture)
    expected = samples([(n, whole.decode(s, SPEC.sample_times_us(s))) for n, s in enumerate(film[:5])])
    assert_same(samples(found), [s for s in expected if s.at_us < film[4].start_us])


def test_a_segment_that_comes_twice_does_not_disturb_its_group(queue, film):
    put(queue, [*film[:4], film[3], film[0], *film[4:]])
    decoder = Decoder(SPEC.picture)
    expected = [(n, decoder.decode(s, SPEC.sample_times_us(s))) for n, s in enumerate(film)]
    assert_same(samples(taken(queue)), samples(expected))


def test_a_camera_that_is_forgotten_begins_anew(queue, film):
    put(queue, film[:3])
    queue.forget("a")
    put(queue, film[3:5])
    assert [d.missing for _, d in taken(queue)] == [None, None, None, "no_keyframe", "no_keyframe"]


def test_what_is_removed_takes_its_group_along(queue, film):
    put(queue, film[:3])
    queue.remove(lambda number: True)
    time.sleep(0.05)
    put(queue, film[3:5])
    assert [d.missing for _, d in taken(queue)] == ["no_keyframe", "no_keyframe"]
