"""Decoding on an NVIDIA GPU: NVDEC, through libav, of the packets and for the pictures that `decoding` chooses.

    packets ──▶ NVDEC ──▶ whole pictures on the GPU ──▶ scaled there (scaling) ──▶ small pictures in memory

Whole pictures stay where they are decoded. What gates compare, windows share and a worker hands over are the small
ones, 75 KiB each at 160x160. Decoding of H.264, H.265, AV1 and VP9 is exact, so what differs from the processor's
pictures is how they are scaled, and the deblocking filter, which the processor leaves out for large ones.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import av
import av.error
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available

from stream.clips.pictures import Picture, Scaler
from stream.errors import GpuError
from stream.segment import Display

log = logging.getLogger(__name__)

#: Of which every decoder makes the same pictures, to the last bit.
CODECS: Final = frozenset({"h264", "hevc", "av1", "vp9"})
#: At once, in use or waiting for the next segment of their kind; each takes some 100 MB of the GPU at 1080p.
MAX_DECODERS: Final = 32
#: Mean difference, in levels of 255, between a picture of the GPU's and of the processor's with which it is trusted.
TRUSTED: Final = 4.0

#: What libav calls the form of pictures that are on the GPU.
ON_GPU: Final = "cuda"
#: What is logged once each; the rest is counted only.
_MOST_SAID: Final = 32
#: A picture that the GPU decoded; one that it was asked for and libav's own decoder made, or a segment that it was not
#: asked for; a segment that failed on the GPU and was decoded anew by the processor.
Told = Literal["gpu", "processor", "again"]
_Key = tuple[object, ...]


class Gpu:
    """Decoders on one GPU, lent to threads for a segment each."""

    def __init__(self, device: int = 0) -> None:
        """Open nothing yet; `open_gpu` checks that it works."""
        self._accelerator = HWAccel("cuda", str(device), allow_software_fallback=True, is_hw_owned=True)
        self._lock = threading.Lock()
        self._idle: deque[tuple[_Key, Any]] = deque()
        self._lent = 0
        self._said: set[str] = set()
        #: Hears of each; by any thread.
        self.told: Callable[[Told], None] = lambda _: None

    @contextlib.contextmanager
    def lent(self, context: Any) -> Iterator[Any | None]:
        """Lend a decoder on the GPU for what `context` is to decode, which is set up and not opened.

        There is none where the GPU does not decode such video, or has as many as it may. What a decoder refuses (4:2:2,
        a size) libav decodes in the same one, on the processor.
        """
        key: _Key = (
            context.codec.canonical_name,
            context.width,
            context.height,
            bytes(context.extradata or b""),
            *sorted(context.options.items()),
        )
        decoder = self._take(key, context) if key[0] in CODECS else None
        if decoder is None:
            self.told("processor")
            why = f"all {MAX_DECODERS} decoders of the GPU are in use" if key[0] in CODECS else f"it is {key[0]}"
            self._say(f"some video is decoded by the processor, not by the GPU: {why}")
            yield None
            return
        try:
            yield decoder
        except BaseException:
            with self._lock:
                self._lent -= 1  # nobody knows what it holds now
            raise
        decoder.flush_buffers()
        with self._lock:
            self._lent -= 1
            self._idle.append((key, decoder))

    def scaler(self, picture: Picture, display: Display, max_pixels: int) -> Scaler:
        """As `Scaler`, for pictures on the GPU as for others."""
        # Torch takes seconds to import, and nobody needs it who decodes on a processor.
        from .scaling import GpuScaler  # noqa: PLC0415

        return GpuScaler(picture, display, max_pixels, self._note)

    def failed(self, why: str) -> None:
        """Note that a segment could not be decoded here, and is given to the processor."""
        self.told("again")
        self._say(f"decoding on the GPU failed, the processor tries again: {why}")

    def _take(self, key: _Key, context: Any) -> Any | None:
        with self._lock:
            idle = next((each for each in self._idle if each[0] == key), None)
            if idle is not None:
                self._idle.remove(idle)
                self._lent += 1
                return idle[1]
            if self._lent >= MAX_DECODERS:
                return None
            if self._lent + len(self._idle) >= MAX_DECODERS:
                self._idle.popleft()
            self._lent += 1
        try:
            return self._opened(context)
        except BaseException:
            with self._lock:
                self._lent -= 1
            raise

    def _opened(self, context: Any) -> Any:
        decoder: Any = av.CodecContext.create(context.codec.canonical_name, "r", hwaccel=self._accelerator)
        if context.extradata:
            decoder.extradata = context.extradata
        if context.width and context.height:
            decoder.width, decoder.height = context.width, context.height
        decoder.thread_count, decoder.options = 1, context.options
        return decoder

    def _note(self, frame: av.VideoFrame) -> None:
        by: Told = "gpu" if frame.format.name == ON_GPU else "processor"
        self.told(by)
        if by == "processor":
            self._say(f"NVDEC does not decode {frame.format.name} of {frame.width}x{frame.height}: the processor does")

    def _say(self, what: str) -> None:
        """Log something once."""
        with self._lock:
            if what in self._said or len(self._said) >= _MOST_SAID:
                return
            self._said.add(what)
        log.warning("%s", what)


def open_gpu() -> Gpu:
    """The GPU that torch computes on, after it has decoded a film that the processor decoded, too.

    Raises:
        GpuError: something is missing, or its pictures are others; says what.
    """
    check_gpu()
    import torch  # noqa: PLC0415  see Gpu.scaler

    gpu = Gpu(torch.cuda.current_device())
    check(gpu)
    return gpu


def check_gpu() -> None:
    """Look for a GPU to decode on, without using it. Takes seconds the first time: torch is imported.

    Raises:
        GpuError: something is missing; says what.
    """
    if importlib.util.find_spec("torch") is None:
        raise GpuError("decoding on a GPU needs torch, and it is not installed: `pip install 'clipline[full]'`")
    if "cuda" not in hwdevices_available():
        raise GpuError("this build of libav decodes on no GPU: `pip install av`, whose wheels for Linux do")
    import torch  # noqa: PLC0415  see Gpu.scaler

    if not torch.cuda.is_available():
        raise GpuError("torch finds no GPU: decoding there needs NVIDIA's driver and a torch for CUDA")


def check(gpu: Gpu) -> None:
    """Decode a short film on the GPU and on the processor, and compare.

    Raises:
        GpuError: it cannot be decoded there, or gives other pictures.
    """
    picture, display = Picture(96, 160), Display()
    film = _film()
    try:
        with av.open(io.BytesIO(film), "r", format="mpegts") as container:
            right = [*map(Scaler(picture, display, 1 << 20), container.decode(video=0))]
        with av.open(io.BytesIO(film), "r", format="mpegts") as container:
            scale = gpu.scaler(picture, display, 1 << 20)
            with gpu.lent(container.streams.video[0].codec_context) as decoder:
                assert decoder is not None  # it is H.264, and nobody else has any yet
                frames = [frame for packet in container.demux(video=0) for frame in decoder.decode(packet)]
                # Not before they are scaled is the decoder another's.
                found = [scale(frame) for frame in frames]
    except (av.error.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise GpuError(f"NVDEC does not decode H.264 here: {error}") from None
    if not all(frame.format.name == ON_GPU for frame in frames):
        raise GpuError("NVDEC does not decode H.264 here: libav gave pictures of the processor's")
    if len(found) != len(right):
        raise GpuError(f"NVDEC gave {len(found)} of {len(right)} pictures of a film")
    apart = float(np.abs(np.subtract(found, right, dtype=np.float32)).mean())
    if apart > TRUSTED:
        raise GpuError(f"NVDEC's pictures of a film are {apart:.1f} of 255 levels off, expected {TRUSTED:g} at most")


def _film() -> bytes:
    """A few pictures in which something moves, as H.264 in a transport stream."""
    data = io.BytesIO()
    with av.open(data, "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=10, options={"bf": "2", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        across, down = np.meshgrid(np.arange(320), np.arange(192))
        for number in range(12):
            image = np.stack([(across + 9 * number) % 256, (down + 5 * number) % 256, (across + down) // 2], 2)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    return data.getvalue()
