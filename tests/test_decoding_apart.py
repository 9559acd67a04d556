"""The dashboard has a process of its own decode: what ends that one is said, and pages go on."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.web.cameras.decoding import DecoderProcess, NoSampleError
from stream import DecodeLimits, Decoder, MemoryTransport, Picture, Segment, Topic, attach
from tests.videos import write_video
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
PICTURE, LIMITS = Picture(24, 32, "stretch"), DecodeLimits(max_seconds=3.0)


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[Segment]:
    film = write_video(tmp_path_factory.mktemp("film") / "film.mp4", 40, rate=10, gop=10, size=(64, 48))
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    attach(str(film), "gate", transport.producer(), "segments", pace="max", start_us=1_700_000_000_000_000)
    records = transport.read(transport.offsets("segments"))
    found = [Segment.decode(r.key, r.headers, r.value, r.where) for r in records]
    return [each for each in found if not each.is_end]


@pytest.fixture
def decoder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderProcess]:
    """One whose process does with segments as the names of their cameras say."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent("""
            import ctypes, select, signal, sys, time
            if "consumers.web.cameras.decoding" in sys.orig_argv[-1]:
                from stream import Decoder

                decode, alarm, wait = Decoder.decode, signal.alarm, select.select

                def bad(decoder, segment, *rest):
                    match segment.camera:
                        case "fault":
                            ctypes.CDLL(None).strlen(None)
                        case "hang":
                            ctypes.PyDLL(None).sleep(60)
                        case "memory":
                            bytearray(4 << 30)
                        case "print":
                            print("something", flush=True)
                    return decode(decoder, segment, *rest)

                Decoder.decode = bad
                signal.alarm = lambda seconds: alarm(min(seconds, 2))
                select.select = lambda *lists: wait(*lists[:3], 1.0)
        """)
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = DecoderProcess()
    yield process
    process.close()


def ask(decoder: DecoderProcess, segment: Segment) -> list[tuple[int, np.ndarray]]:
    return decoder.decoded_at([segment], [segment.start_us], PICTURE, LIMITS, time.monotonic() + 5)


def test_pictures_are_those_that_a_decoder_here_gives(decoder, segments):
    times = [each.start_us + 50_000 for each in segments]
    there = decoder.decoded_at(segments, times, PICTURE, LIMITS, time.monotonic() + 5)
    here, samples = Decoder(PICTURE, LIMITS), []
    for segment, at in zip(segments, times, strict=True):
        decoded = here.decode(segment, [at], "here")
        samples += [*decoded.late, *decoded.samples]
    samples += here.end()
    assert [at for at, _ in there] == sorted(sample.at_us for sample in samples)
    assert all(np.array_equal(a.image, b) for a, (_, b) in zip(samples, there, strict=True))
    assert decoder.decoded_at([], [], PICTURE, LIMITS, time.monotonic() + 5) == []


@pytest.mark.parametrize(("camera", "by"), [("fault", "by SIGSEGV"), ("hang", "by SIGALRM")])
def test_what_ends_the_process_is_said_and_not_tried_again_for_a_while(decoder, segments, monkeypatch, camera, by):
    deadly = replace(segments[0], camera=camera)
    for _ in range(2):
        with pytest.raises(NoSampleError, match=f"whoever did so was ended {by}") as told:
            ask(decoder, deadly)
        assert told.value.code == "undecodable"
        assert decoder._process is None
    assert len(ask(decoder, segments[0])) == 1
    monkeypatch.setattr("consumers.web.cameras.decoding._REFUSED_SECONDS", 0.0)
    decoder._refused.clear()
    with pytest.raises(NoSampleError, match=by):
        ask(decoder, deadly)
    assert len(ask(decoder, replace(segments[0], camera=f"{camera}-2"))) == 1


def test_what_needs_too_much_memory_or_prints_something_or_is_damaged_ends_nothing(decoder, segments):
    assert len(ask(decoder, replace(segments[0], camera="print"))) == 1
    process = decoder._process
    with pytest.raises(NoSampleError, match="it needs too much memory"):
        ask(decoder, replace(segments[0], camera="memory"))
    with pytest.raises(NoSampleError, match="its newest footage cannot be decoded: "):
        ask(decoder, replace(segments[0], data=b"damaged" * 100))
    assert len(ask(decoder, segments[0])) == 1
    assert decoder._process is process


def test_a_process_that_nobody_needs_ends_and_another_one_is_started(decoder, segments):
    assert len(ask(decoder, segments[0])) == 1
    first = decoder._process
    assert first is not None
    assert eventually(lambda: first.poll() == 0, 10)
    assert len(ask(decoder, segments[0])) == 1
    assert decoder._process is not first
    # It may end just when it is needed.
    assert decoder._process is not None
    decoder._process.poll = lambda: None  # type: ignore[method-assign]
    assert eventually(lambda: decoder._process.wait() == 0, 10)
    assert len(ask(decoder, segments[0])) == 1


def test_it_ends_with_the_dashboard(decoder, segments):
    assert len(ask(decoder, segments[0])) == 1
    process = decoder._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(5) == 0
