"""The queue that live work and replay decode through."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from consumers.live.decode_queue import DecodeQueue
from stream import ClipSpec, Segment, SegmentError

SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32)


def end_mark(camera: str) -> Segment:
    return Segment(camera, 0, 0, 0, 0, "mpegts", "h264", 8, 8, 0, 0, b"")


def held(gate: threading.Event, segment: Segment) -> Callable[[], Segment]:
    def read() -> Segment:
        gate.wait(10)
        return segment

    return read


@pytest.fixture
def queue():
    queue = DecodeQueue(SPEC, threads=2)
    yield queue
    queue.close()


def test_segments_come_out_in_the_order_in_which_they_went_in(queue):
    gate = threading.Event()
    queue.put("slow", held(gate, end_mark("a")), "first", size=5)
    queue.put("quick", lambda: end_mark("b"), "second", size=7)
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
    queue.put("decoded", lambda: Segment("a", 0, 0, 0, 9, "mpegts", "h264", 8, 8, 1, 0, b"not video"), "topic[0]@4")
    (_, unread), (_, undecoded) = queue.take(wait=True), queue.take(wait=True)
    assert str(unread) == "topic[0]@3: truncated"
    assert str(undecoded).startswith("topic[0]@4: ")


def test_what_is_stale_is_removed_with_its_bytes(queue):
    for number in range(4):
        queue.put(number, lambda: end_mark("a"), "t", size=10 + number)
    queue.remove(lambda number: number % 2 == 0)
    assert queue.bytes == 24
    assert [queue.take(wait=True)[0] for _ in range(2)] == [1, 3]
