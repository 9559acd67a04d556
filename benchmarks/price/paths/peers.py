"""What people would write instead: decode, build each window, run the whole clip through the network.

Each takes the windows that Clipline takes, and the same network with the same weights and settings; it does not share
pictures between windows, leaves out no window, and cuts no segments. Each has the settings that were fastest here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np

from consumers.live.assemble import clip_spec
from models import Classifier, Contract, find
from models.engines.choice import open_engine
from price.agreement import NETWORK, pictures_apart
from price.measuring import Ask, Job, MissingError, Round
from stream import decode

from .clipline import Clock, keep_scores, segments_of
from .windows import frames_of_windows

#: Frames that a decoder is asked for at once: as many as a group of pictures of two seconds holds samples.
_AT_ONCE: Final = 15

Frame = np.ndarray[Any, np.dtype[np.uint8]]


class Peer(ABC):
    """Decodes by its own means; the rest is the same for all."""

    ENGINE: ClassVar = "openvino"

    def __init__(self, job: Job) -> None:
        checkpoint = find(job.model)
        self.contract: Contract = checkpoint.contract
        if self.contract.fit != "stretch" or self.contract.context:
            raise MissingError(f"the peers know no model that crops or steps, as {job.model} does")
        self._model = job.model
        #: By film.
        self._compared: dict[str, dict[str, float]] = {}
        self.prepare()
        self._engine = open_engine(self.ENGINE, checkpoint, 1)
        self.engine = self._engine.name
        self._predict([np.zeros(self.contract.clip_shape[1:], np.uint8)] * self.contract.frames)

    @abstractmethod
    def prepare(self) -> None:
        """Import what decodes.

        Raises:
            MissingError: it is not there.
        """

    @abstractmethod
    def open(self, film: str) -> tuple[int, float]:
        """Open a film; how many frames it has, and how many a second."""

    @abstractmethod
    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        """Frames of the film by their places, which ascend, in the contract's size, RGB (H, W, 3)."""

    def round(self, ask: Ask) -> Round:
        if ask.footage not in self._compared:  # which warms up what decodes, too
            self._compared[ask.footage] = self._compare(ask.footage)
        scores: dict[int, np.ndarray] = {}
        with Clock() as clock:
            count, rate = self.open(ask.footage)
            windows = list(frames_of_windows(count, rate, self.contract))
            wanted = sorted({place for window in windows for place in window})
            known = dict[int, Frame]()
            for place, frame in zip(wanted, self.frames(wanted), strict=True):
                known[place] = frame
                while len(scores) < len(windows) and windows[len(scores)][-1] <= place:
                    window = windows[len(scores)]
                    scores[len(scores)] = self._predict([known[each] for each in window])
                    known = {each: shown for each, shown in known.items() if each > window[0]}
        keep_scores(ask, scores)
        parts = self._compared[ask.footage]
        return Round(count / rate, clock.cpu_seconds, clock.wall_seconds, len(scores), parts=parts)

    def _compare(self, film: str) -> dict[str, float]:
        """How the pictures of a film differ from those that Clipline makes of it, and what the two make of the same."""
        spec = clip_spec(self.contract, None)
        count, rate = self.open(film)
        windows = list(frames_of_windows(count, rate, self.contract))
        # Each sample is in one window or in several that overlap.
        places = {
            number * spec.samples_per_stride + index: place
            for number, window in enumerate(windows)
            for index, place in enumerate(window)
        }
        wanted = sorted(set(places.values()))
        known = dict(zip(wanted, self.frames(wanted), strict=True))
        samples = [
            sample.image
            for segment in segments_of(film, "camera")
            if not segment.is_end
            for sample in decode(segment, spec.sample_times_us(segment), spec.picture).samples
        ]
        chosen = [number for number in sorted(places) if number < len(samples)]
        ours, theirs = [samples[number] for number in chosen], [known[places[number]] for number in chosen]
        found = pictures_apart(ours, theirs, spec.samples_per_stride)
        first = [known[place] for place in windows[0]]
        again = Classifier.load(self._model, "openvino-f32", 1).predict(np.stack(first))
        return found | {NETWORK: float(np.abs(again - self._predict(first)).max())}

    def _predict(self, frames: list[Frame]) -> np.ndarray:
        scores: np.ndarray = self._engine.run(np.stack(frames)[None])[0]
        return scores


class OpencvTorch(Peer):
    """OpenCV reads every frame, those that are wanted are scaled; torch as it comes. One thread: the least."""

    ENGINE = "torch"

    def prepare(self) -> None:
        try:
            import cv2  # noqa: PLC0415
        except ImportError as error:
            raise MissingError(f"OpenCV is not installed: `pip install opencv-python-headless` ({error})") from None
        cv2.setNumThreads(1)
        self._cv2 = cv2

    def open(self, film: str) -> tuple[int, float]:
        cv2 = self._cv2
        self._capture = cv2.VideoCapture(film, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        return int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), self._capture.get(cv2.CAP_PROP_FPS)

    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        cv2, size = self._cv2, (self.contract.width, self.contract.height)
        due, number = set(wanted), 0
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            if number in due:
                yield cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
            number += 1
        self._capture.release()


class TorchcodecOpenvino(Peer):
    """torchcodec decodes and scales the frames that are wanted; OpenVINO as Clipline has it.

    No scan of the file beforehand, one thread, scaling inside the decoder, as many frames a call as lie between two
    keyframes.
    """

    def prepare(self) -> None:
        try:
            import torch  # noqa: PLC0415
            from torchcodec.decoders import VideoDecoder  # noqa: PLC0415
            from torchcodec.transforms import Resize  # noqa: PLC0415
        except ImportError as error:
            raise MissingError(f"torchcodec is not installed: `pip install torchcodec` ({error})") from None
        except RuntimeError as error:
            if "libtorchcodec" not in str(error):
                raise
            raise MissingError(
                "torchcodec finds no FFmpeg libraries (versions 4 to 9): PyAV's wheel brings none that fit here; "
                "install FFmpeg's shared libraries (Debian: apt install ffmpeg)"
            ) from None
        torch.set_num_threads(1)
        self._open = partial(
            VideoDecoder,
            seek_mode="approximate",
            num_ffmpeg_threads=1,
            dimension_order="NHWC",
            transforms=[Resize((self.contract.height, self.contract.width))],
        )

    def open(self, film: str) -> tuple[int, float]:
        self._decoder = self._open(film)
        return self._decoder.metadata.num_frames, self._decoder.metadata.average_fps

    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        for begin in range(0, len(wanted), _AT_ONCE):
            yield from self._decoder.get_frames_at(wanted[begin : begin + _AT_ONCE]).data.numpy()


class DecordOpenvino(Peer):
    """decord decodes and scales the frames that are wanted, on one thread; OpenVINO as Clipline has it."""

    def prepare(self) -> None:
        try:
            import decord  # noqa: PLC0415
        except (ImportError, OSError, RuntimeError) as error:
            raise MissingError(f"decord is not installed, or does not load: `pip install decord` ({error})") from None
        self._decord = decord

    def open(self, film: str) -> tuple[int, float]:
        size = {"width": self.contract.width, "height": self.contract.height}
        self._reader = self._decord.VideoReader(film, ctx=self._decord.cpu(0), num_threads=1, **size)
        return len(self._reader), self._reader.get_avg_fps()

    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        for begin in range(0, len(wanted), _AT_ONCE):
            yield from self._reader.get_batch(wanted[begin : begin + _AT_ONCE]).asnumpy()


class _OnGpu(Peer):
    """Decodes and scales on a GPU, where torch computes, too."""

    ENGINE = "torch"

    def prepare(self) -> None:
        import torch  # noqa: PLC0415

        if not torch.cuda.is_available():
            raise MissingError("no GPU found")
        torch.set_num_threads(1)
        self._torch = torch
        self.import_decoder()

    @abstractmethod
    def import_decoder(self) -> None: ...

    def _small(self, frames: Any) -> Iterator[Frame]:
        """Frames (N, 3, H, W) of the film's size on the GPU, in the contract's."""
        size = self.contract.height, self.contract.width
        small = self._torch.nn.functional.interpolate(frames.float(), size, mode="bilinear", antialias=True)
        yield from small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


class TorchcodecCuda(_OnGpu):
    """torchcodec on NVDEC."""

    def import_decoder(self) -> None:
        try:
            from torchcodec.decoders import VideoDecoder  # noqa: PLC0415
        except (ImportError, RuntimeError) as error:
            raise MissingError(f"torchcodec is not installed, or finds no libraries: {error}") from None
        self._open = partial(VideoDecoder, seek_mode="approximate", device="cuda")

    def open(self, film: str) -> tuple[int, float]:
        self._decoder = self._open(film)
        return self._decoder.metadata.num_frames, self._decoder.metadata.average_fps

    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        for begin in range(0, len(wanted), _AT_ONCE):
            yield from self._small(self._decoder.get_frames_at(wanted[begin : begin + _AT_ONCE]).data)


class Pynvvideocodec(_OnGpu):
    """NVIDIA's own decoder."""

    def import_decoder(self) -> None:
        try:
            import PyNvVideoCodec  # noqa: PLC0415
        except (ImportError, OSError) as error:
            raise MissingError(
                f"PyNvVideoCodec is not installed, or does not load: `pip install PyNvVideoCodec` ({error})"
            ) from None
        self._nvc = PyNvVideoCodec

    def open(self, film: str) -> tuple[int, float]:
        colours = self._nvc.OutputColorType.RGBP
        self._decoder = self._nvc.SimpleDecoder(film, use_device_memory=True, output_color_type=colours)
        return len(self._decoder), self._decoder.get_stream_metadata().average_fps

    def frames(self, wanted: list[int]) -> Iterator[Frame]:
        for begin in range(0, len(wanted), _AT_ONCE):
            found = self._decoder.get_batch_frames_by_index(wanted[begin : begin + _AT_ONCE])
            yield from self._small(self._torch.stack([self._torch.from_dlpack(frame) for frame in found]))
