"""The queue that live work and replay decode through."""

from __future__ import annotations

import io
import threading
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from consumers.live import decode_queue
from consumers.live.decode_queue import DecodeQueue
from stream import ClipSpec, Decoded, Decoder, Feed, Sample, Segment, Segmenter, SegmentError, SegmentLimits
from tests.videos import write_video
from tests.waiting import eventually

SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32)


def end_mark(camera: str) -> Segment:
    return Segment(camera, 0, 0, 0, 0, "mpegts", "h264", 8, 8, 0, 0, b"")


def unreadable(camera: str) -> Segment:
    return Segment(camera, 0, 0, 0, 9, "mpegts", "h264", 8, 8, 1, 0, b"not video")


@pytest.fixture
def queue():
    queue = DecodeQueue(SPEC, threads=2)
    yield queue
    queue.close()


def test_segments_come_out_in_the_order_in_which_they_went_in(queue, monkeypatch):
    gate = threading.Event()

    def decode_when_told(segment: Segment, *_: object, **__: object) -> Decoded:
        if segment.camera == "a":
            gate.wait(10)
        return Decoded((), [])

    monkeypatch.setattr(decode_queue, "decode", decode_when_told)
    queue.put("slow", lambda: unreadable("a"), "first", size=5)
    queue.put("quick", lambda: unreadable("b"), "second", size=7)
    assert len(queue) == 2
    assert queue.bytes == 12 + 2 * 24 * 32 * 3, "each has a picture to come"
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
    queue.put("decoded", lambda: unreadable("a"), "topic[0]@4")
    (_, unread), (_, undecoded) = queue.take(wait=True), queue.take(wait=True)
    assert str(unread) == "topic[0]@3: truncated"
    assert str(undecoded).startswith("topic[0]@4: ")


def test_what_is_stale_is_removed_with_its_bytes(queue):
    for number in range(4):
        queue.put(number, lambda: end_mark("a"), "t", size=10 + number)
    queue.remove(lambda number: number % 2 == 0)
    assert queue.bytes == 24
    assert [queue.take(wait=True)[0] for _ in range(2)] == [1, 3]


def footage(seconds: int) -> Segment:
    """One segment of real pictures."""
    frames = 10 * seconds
    with io.BytesIO() as file:
        with av.open(file, "w", format="matroska") as out:
            stream = out.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), number % 250, np.uint8), format="rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        data = file.getvalue()
    return Segment("a", 0, 0, 0, seconds * 1_000_000, "matroska", "h264", 32, 24, frames, 0, data)


def test_what_is_decoded_waits_while_the_pictures_that_nobody_took_weigh_too_much():
    """An hour of a quiet camera is a few megabytes, and a thousand when it is decoded."""
    segment, pictures = footage(10), 50 * 24 * 32 * 3
    queue = DecodeQueue(SPEC, threads=2, max_picture_bytes=3 * pictures)
    for number in range(20):
        queue.put(number, lambda: segment, "t", size=1)
    assert eventually(lambda: queue.bytes >= 2 * pictures + 20)
    most = 0
    for number in range(20):
        time.sleep(0.02)  # the decoders go on as far as they may
        most = max(most, queue.bytes)
        assert queue.take(wait=True)[0] == number
    assert 2 * pictures <= most - 20 <= 3 * pictures
    assert queue.bytes == 0
    queue.close()


def test_what_waits_is_begun_with_when_what_is_in_its_way_is_removed():
    segment, pictures = footage(10), 50 * 24 * 32 * 3
    queue = DecodeQueue(SPEC, threads=2, max_picture_bytes=1)
    for number in range(8):
        queue.put(number, lambda: segment, "t", size=1)
    assert queue.bytes == 8 + pictures
    queue.remove(lambda number: number < 6)
    assert [queue.take(wait=True)[0] for _ in range(2)] == [6, 7]
    queue.put(8, lambda: segment, "t")
    assert queue.take(wait=True)[0] == 8
    assert queue.bytes == 0
    queue.close()


@pytest.mark.parametrize("error", [AttributeError("'NoneType' object has no attribute 'thread_count'"), MemoryError()])
def test_whatever_a_record_does_to_its_decoder_comes_out_as_its_error(queue, error):
    def fail() -> Segment:
        raise error

    queue.put("bad", fail, "topic[0]@5")
    queue.put("good", lambda: end_mark("a"), "topic[0]@6")
    _, outcome = queue.take(wait=True)
    assert isinstance(outcome, SegmentError)
    assert str(outcome).startswith("topic[0]@5: cannot be read or decoded: ")
    assert queue.take(wait=True)[1][0].camera == "a"


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
    monkeypatch.setattr(decode_queue, "decode", lambda *_, **__: done.set() or Decoded((), []))
    put(queue, film)
    queue.put("other camera", lambda: unreadable("b"), "b")
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


def test_what_strays_from_another_feed_touches_no_group(queue, film):
    stray = replace(film[0], epoch_us=film[-1].end_us, start_us=film[-1].end_us, end_us=film[-1].end_us + 500_000)
    put(queue, [*film[:4], replace(stray, continued=False), *film[4:]])
    decoder = Decoder(SPEC.picture)
    expected = [(n, decoder.decode(s, SPEC.sample_times_us(s))) for n, s in enumerate(film)]
    found = taken(queue)
    del found[4]
    assert_same(samples(found), samples(expected))


def test_what_a_fenced_agent_sends_is_not_decoded_and_touches_no_group(queue, film):
    mine = [replace(segment, claim=2) for segment in film]
    later = film[-1].end_us
    fenced = replace(film[0], claim=1, epoch_us=later, start_us=later, end_us=later + 500_000)
    put(queue, [*mine[:4], fenced, *mine[4:]])
    decoder = Decoder(SPEC.picture)
    expected = [(n, decoder.decode(s, SPEC.sample_times_us(s))) for n, s in enumerate(film)]
    found = taken(queue)
    assert found.pop(4)[1] == Decoded((), [])
    assert_same(samples(found), samples(expected))


def test_what_is_removed_takes_its_claim_along(queue, film):
    """It is read again: what came before the claim is of an agent that is not fenced yet."""
    put(queue, [replace(film[0], claim=1), replace(film[1], claim=2)])
    queue.remove(lambda number: True)
    put(queue, [replace(film[0], claim=1)])
    ((_, decoded),) = taken(queue)
    assert decoded.frame_times_us
