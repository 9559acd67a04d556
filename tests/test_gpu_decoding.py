"""Decoding on a GPU: what can be tried without one, with its decoder played by the processor's, and on one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange

from consumers.live.assemble import clip_spec, open_decoding
from consumers.live.decode_queue import DecodeQueue
from consumers.versions import decoder_version
from models import Classifier
from stream import (
    Clipper,
    ClipSpec,
    DecodeLimits,
    Decoder,
    Feed,
    Gpu,
    GpuError,
    Picture,
    Segment,
    Segmenter,
    SegmentError,
    decode,
    open_gpu,
)
from stream.clips.gpu import decoders
from stream.clips.pictures import Scaler
from stream.segment import Display
from tests.command_line import clipline
from tests.videos import write_video

torch = pytest.importorskip("torch")

SPEC = ClipSpec(4, 200_000, 400_000, 48, 64)
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Pretended(Gpu):
    """As a GPU, but for what decodes: NV12 in memory stands for NV12 on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0
        self.counts: Counter[str] = Counter()
        self.told = lambda by: self.counts.update([by])

    def _opened(self, context: Any) -> Any:
        self.opened += 1
        decoder: Any = av.CodecContext.create(context.codec.canonical_name, "r")
        if context.extradata:
            decoder.extradata = context.extradata
        decoder.thread_count, decoder.options = 1, context.options
        return decoder

    def scaler(self, picture: Picture, display: Display, max_pixels: int) -> Scaler:
        from stream.clips.gpu.scaling import GpuScaler, planes_of

        class Pretending(GpuScaler):
            def _planes(self, frame: av.VideoFrame) -> Any:
                if frame.format.name != "yuv420p":
                    return None
                whole = frame.reformat(format="nv12")
                whole.color_range, whole.colorspace = frame.color_range, frame.colorspace
                return planes_of(whole)

        return Pretending(picture, display, max_pixels, self._note)


def moving(number: int, width: int, height: int) -> np.ndarray:
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    colours = across * 2 + 9 * number, down * 3 + 5 * number, (across + down) // 2
    return (np.stack(colours, 2) % 256).astype(np.uint8)


def segments_of(film: Path) -> list[Segment]:
    with Feed(str(film)) as feed:
        segmenter = Segmenter("gate", feed.track)
        found = [segment for packet in feed.packets() for segment in segmenter.push(packet)]
        return [*found, *segmenter.end()]


def pictures(segments: list[Segment], gpu: Gpu | None) -> list[np.ndarray]:
    decoder = Decoder(SPEC.picture, gpu=gpu)
    found = [decoder.decode(s, [] if s.is_end else SPEC.sample_times_us(s)) for s in segments]
    return [sample.image for decoded in found for sample in (*decoded.late, *decoded.samples)]


def taken_from(queue: DecodeQueue[int]) -> list[np.ndarray]:
    taken = queue.take(wait=True)
    assert taken is not None
    assert not isinstance(taken[1], SegmentError), taken[1]
    return [sample.image for sample in taken[1][1].samples]


# Smaller ones x265 writes beyond its memory.
@pytest.mark.parametrize("size", [(320, 240), (160, 120), (64, 48), (62, 46)])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_but_for_rounding_pictures_are_the_processors(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    film = write_video(tmp_path / "film.mkv", 40, codec=codec, rate=10, gop=10, size=size, frame=moving)
    segments, gpu = segments_of(film), Pretended()
    right, found = pictures(segments, None), pictures(segments, gpu)
    assert len(found) == len(right) > 15
    assert np.abs(np.subtract(found, right, dtype=float)).mean() < decoders.TRUSTED
    # Not of another time: what moves is elsewhere in each picture.
    for i, one in enumerate(found):
        apart = [np.abs(np.subtract(one, other, dtype=float)).mean() for other in right]
        assert int(np.argmin(apart)) == i


@pytest.mark.parametrize("display", [Display(quarter_turns=1), Display(mirrored=True, quarter_turns=2)])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("range_of", [ColorRange.JPEG, ColorRange.MPEG])
def test_colours_sides_and_cuts_are_those_of_the_processor(
    display: Display, fit: Any, matrix: int, range_of: ColorRange
) -> None:
    whole = av.VideoFrame.from_ndarray(moving(3, 320, 200), "rgb24")
    frame = whole.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=range_of)
    frame.colorspace, frame.color_range = matrix, range_of
    picture = Picture(50, 80, fit)
    right = Scaler(picture, display, 1 << 24)(frame)
    found = Pretended().scaler(picture, display, 1 << 24)(frame)
    assert found.shape == right.shape
    assert np.abs(np.subtract(found, right, dtype=float)).mean() < decoders.TRUSTED


def test_a_decoder_serves_one_segment_after_another_of_its_kind(tmp_path: Path) -> None:
    gpu = Pretended()
    for number in range(3):
        film = write_video(tmp_path / f"{number}.mkv", 30, rate=10, gop=10, frame=moving)
        assert len(pictures(segments_of(film), gpu)) >= 14
    assert gpu.opened == 1
    other = write_video(tmp_path / "other.mkv", 30, rate=10, gop=10, size=(96, 64), frame=moving)
    pictures(segments_of(other), gpu)
    assert gpu.opened == 2


def test_there_are_never_more_decoders_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "MAX_DECODERS", 2)
    gpu = Pretended()
    contexts = []
    for number, size in enumerate([(64, 48), (96, 64), (128, 96)]):
        film = write_video(tmp_path / f"{number}.mkv", 10, rate=10, size=size, frame=moving)
        contexts.append(av.open(str(film)).streams.video[0].codec_context)
    with gpu.lent(contexts[0]), gpu.lent(contexts[1]), gpu.lent(contexts[2]) as third:
        assert third is None  # none is taken away
    with gpu.lent(contexts[2]) as third:
        assert third is not None
    assert len(gpu._idle) == 2


def test_what_fails_on_the_gpu_is_decoded_by_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    film = write_video(tmp_path / "film.mkv", 30, rate=10, gop=10, frame=moving)
    segments, gpu = segments_of(film), Pretended()

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("stream.clips.gpu.scaling.small_rgb", lost)
    with caplog.at_level(logging.WARNING):
        found = pictures(segments, gpu)
    assert np.array_equal(found, pictures(segments, None))
    assert gpu.counts["again"] == sum(not s.is_end for s in segments)
    assert sum("illegal memory access" in r.message for r in caplog.records) == 1  # said once, counted always


def test_what_the_gpu_does_not_give_the_processor_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_video(tmp_path / "film.mkv", 30, rate=10, gop=10, frame=moving)
    segments, gpu = segments_of(film), Pretended()

    class Dumb:
        def decode(self, _: object) -> list[av.VideoFrame]:
            return []

        def flush_buffers(self) -> None:
            pass

    monkeypatch.setattr(gpu, "_opened", lambda _: Dumb())
    assert np.array_equal(pictures(segments, gpu), pictures(segments, None))
    assert gpu.counts == {"again": sum(not s.is_end for s in segments)}


@pytest.mark.parametrize("limits", [DecodeLimits(max_seconds=1e-9), DecodeLimits(max_pixels=1000)])
def test_what_asks_for_too_much_is_refused_once(tmp_path: Path, limits: DecodeLimits) -> None:
    film = write_video(tmp_path / "film.mkv", 10, rate=10, gop=10, frame=moving)
    first, gpu = segments_of(film)[0], Pretended()
    with pytest.raises(SegmentError, match="limit"):
        decode(first, SPEC.sample_times_us(first), SPEC.picture, "gate/0/7", limits, gpu=gpu)
    assert gpu.counts["again"] == 0


@pytest.mark.parametrize("kept", [0, 200])
def test_a_damaged_segment_is_refused_as_without_a_gpu(tmp_path: Path, kept: int) -> None:
    film = write_video(tmp_path / "film.mkv", 30, rate=10, gop=10, frame=moving)
    first = segments_of(film)[0]
    broken = replace(first, data=first.data[:kept] + bytes(len(first.data) - kept))
    said = []
    gpu = Pretended()
    for decoding in (None, gpu):
        with pytest.raises(SegmentError) as error:
            decode(broken, SPEC.sample_times_us(broken), SPEC.picture, "gate/0/7", gpu=decoding)
        said.append(str(error.value))
    assert said[0] == said[1]
    if not kept:
        assert gpu.counts["again"] == 0  # it was not asked


def test_a_queue_decodes_on_the_gpu_with_many_threads(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mkv", 100, rate=10, gop=10, frame=moving)
    segments, gpu = [s for s in segments_of(film) if not s.is_end], Pretended()
    queue: DecodeQueue[int] = DecodeQueue(SPEC, 4, gpu=gpu)
    for number, segment in enumerate(segments):
        queue.put(number, lambda segment=segment: segment, "film")
    found: list[np.ndarray] = []
    for _ in segments:
        found += taken_from(queue)
    queue.close()
    assert np.array_equal(found, pictures(segments, Pretended()))
    assert 1 <= gpu.opened <= 4


@pytest.mark.parametrize(
    ("decoder", "engine"), [("cpu", "torch-cuda"), ("auto", "openvino-f32"), ("auto", "torch-cpu")]
)
def test_the_processor_decodes_where_no_gpu_computes(
    decoder: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> Gpu:
        raise AssertionError("asked for a GPU")

    monkeypatch.setattr("consumers.live.assemble.open_gpu", asked)
    assert open_decoding(decoder, engine) is None


def without(reason: str) -> Callable[[], Gpu]:
    def refuse() -> Gpu:
        raise GpuError(reason)

    return refuse


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.live.assemble.open_gpu", without("torch finds no GPU"))
    with pytest.raises(GpuError, match=r"worker\.decoder is cuda: torch finds no GPU; set worker\.decoder to auto"):
        open_decoding("cuda", "openvino-f32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["run", "work"])
def test_commands_refuse_a_gpu_that_is_not_there_before_anything_is_started_or_waited_for(
    command: str, tmp_path: Path
) -> None:
    settings = tmp_path / "site.toml"
    # Nobody listens there.
    settings.write_text(
        'kafka = "127.0.0.1:9"\n[worker]\ndecoder = "cuda"\n[run]\nservices = "own"\n'
        f'log_folder = "{tmp_path}/logs"\n[cameras.a]\nurl = "rtsp://127.0.0.1:9/"\n'
    )
    done = clipline(command, "--settings", settings)
    assert done.returncode == 2, done.stderr
    assert "worker.decoder is cuda: torch finds no GPU" in done.stderr
    assert "set worker.decoder to auto or cpu" in done.stderr
    assert not (tmp_path / "logs").exists()


def test_by_itself_the_processor_takes_over_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consumers.live.assemble.open_gpu", without("NVDEC gave 3 of 12 pictures of a film"))
    assert open_decoding("auto", "torch-cuda") is None
    assert "decoding on the processor: NVDEC gave 3 of 12 pictures" in caplog.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_said_what_is_missing() -> None:
    with pytest.raises(GpuError, match="torch finds no GPU"):
        open_gpu()


def test_a_gpu_is_trusted_only_if_it_gives_the_pictures_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Pretended()
    with pytest.raises(GpuError, match="gave pictures of the processor"):
        decoders.check(gpu)  # as it is: these are not on any GPU
    black = torch.zeros((96, 160, 3), dtype=torch.uint8)
    monkeypatch.setattr("stream.clips.gpu.scaling.small_rgb", lambda *_, **__: black)
    monkeypatch.setattr(decoders, "ON_GPU", "yuv420p")
    with pytest.raises(GpuError, match="levels off"):
        decoders.check(gpu)


def test_a_replay_on_a_gpu_is_kept_apart_from_one_on_the_processor() -> None:
    assert decoder_version(on_gpu=True) != decoder_version()


@on_gpu
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_nvdec_gives_the_pictures_of_the_processor(tmp_path: Path, codec: str) -> None:
    film = write_video(tmp_path / "film.mkv", 60, codec=codec, rate=10, gop=10, size=(640, 360), frame=moving)
    segments, gpu = segments_of(film), open_gpu()
    counts: Counter[str] = Counter()
    gpu.told = lambda by: counts.update([by])
    right, found = pictures(segments, None), pictures(segments, gpu)
    assert len(found) == len(right)
    assert counts["gpu"] == len(found), counts
    assert np.abs(np.subtract(found, right, dtype=float)).mean() < decoders.TRUSTED


@on_gpu
def test_nvdec_gives_the_same_whoever_decodes_beside(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mkv", 100, rate=10, gop=10, size=(640, 360), frame=moving)
    segments, gpu = [s for s in segments_of(film) if not s.is_end], open_gpu()
    alone = pictures(segments, gpu)
    queue: DecodeQueue[int] = DecodeQueue(SPEC, 8, gpu=gpu)
    for number, segment in enumerate(segments * 4):
        queue.put(number, lambda segment=segment: segment, "film")
    for _ in range(4):
        found: list[np.ndarray] = []
        for _ in segments:
            found += taken_from(queue)
        assert np.array_equal(found, alone)
    queue.close()


@on_gpu
@pytest.mark.parametrize("name", ["default", "cnn-3d", "cnn-lstm", "x3d-xs"])
def test_scores_of_footage_are_the_same_in_every_batch_and_near_the_processors(tmp_path: Path, name: str) -> None:
    here, there = Classifier.load(name), Classifier.load(name, "openvino-f32")
    spec, gpu = clip_spec(here.contract, None), open_gpu()
    film = write_video(tmp_path / "film.mkv", 200, rate=10, gop=20, size=(640, 360), frame=moving)

    def clips(decoding: Gpu | None) -> list[np.ndarray]:
        decoder, clipper = Decoder(spec.picture, gpu=decoding), Clipper(spec)
        found = []
        for segment in segments_of(film):
            wanted = [] if segment.is_end else spec.sample_times_us(segment)
            found += clipper.push(segment, decoder.decode(segment, wanted))
        return [clip.frames for clip in found]

    mine = clips(gpu)
    alone = np.stack([here.predict(clip) for clip in mine])
    assert len(mine) > 2
    # A live worker takes what is there, a replay more at once.
    for at_once in (2, 16, 32):
        together = [here.predict(np.stack(mine[i : i + at_once])) for i in range(0, len(mine), at_once)]
        assert np.array_equal(np.concatenate([np.atleast_2d(each) for each in together]), alone)
    right = np.stack([there.predict(clip) for clip in clips(None)])
    assert np.abs(alone - right).mean() < 0.02
