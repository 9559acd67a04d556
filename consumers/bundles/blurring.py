"""An export that hides all but one region of the picture: the one in which most moves during the event.

Nobody is recognised here. Whoever is within the region is seen, whoever is outside is not, whoever that may be. The
region is that of the strip (`consumers.pictures.strip.moving_region`); where there is none, all of the picture is
hidden. Of what is hidden, each frame keeps the mean colours of `CELLS` cells along its longer side, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from consumers.files import passing_folder, replacing
from consumers.outputs.evidence import Evidence, write_evidence
from consumers.pictures.maker import MadePictures, PictureMaker
from consumers.records.event_pictures import Missing
from consumers.settings import Settings
from stream import Image, Segment, SourceError, Transport

#: Along the longer side: a face that takes a tenth of it is one or two of them.
CELLS: Final = 16
_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "bf": "0"}
_KEYFRAME_PICTURES: Final = 50
_WHOLE: Final = (0.0, 0.0, 1.0, 1.0)

Region = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Blur:
    """What stays sharp: left, top, width and height as shares of the upright picture; None: nothing."""

    region: Region | None

    @classmethod
    def of(cls, made: MadePictures) -> Blur:
        """What stays sharp of the event that pictures are of."""
        region = None if isinstance(made.strip, Missing) else made.strip.region
        # A region that is the whole picture would hide nobody.
        return cls(None if region == _WHOLE else region)

    @property
    def words(self) -> str:
        if self.region is None:
            return "all of the picture is blurred, as no part of it holds most of what moves"
        left, top, width, height = (round(100 * share) for share in self.region)
        return (
            f"all but one region of the picture is blurred, that in which most moves: {width}x{height} % of it, "
            f"{left} % from the left, {top} % from the top"
        )


def hidden(image: Image, blur: Blur) -> Image:
    """A picture (H, W, 3) of which only the region is left; all else is the mean colours of cells."""
    height, width = image.shape[:2]
    cell = max(1, -(-max(height, width) // CELLS))
    rows, columns = np.arange(0, height, cell), np.arange(0, width, cell)
    sums = np.add.reduceat(np.add.reduceat(image, rows, 0, dtype=np.uint32), columns, 1, dtype=np.uint32)
    tall, wide = np.diff(np.append(rows, height)), np.diff(np.append(columns, width))
    means = (sums // (tall[:, None, None] * wide[None, :, None])).astype(np.uint8)
    found: Image = np.repeat(np.repeat(means, tall, 0), wide, 1)
    if blur.region is not None:
        left, top = round(blur.region[0] * width), round(blur.region[1] * height)
        right, bottom = left + round(blur.region[2] * width), top + round(blur.region[3] * height)
        found[top:bottom, left:right] = image[top:bottom, left:right]
    return found


def write_blurred_evidence(transport: Transport, settings: Settings, evidence: Evidence, path: Path) -> Blur:
    """Write the clip of an event, blurred; return what of it is.

    Raises:
        SourceError: the path is no MP4 or cannot be written, or the footage cannot be decoded or encoded.
        SegmentError: the segments cannot be joined.
        BrokerError: the broker is away.
    """
    if path.suffix.lower() != ".mp4" or not path.parent.is_dir():
        raise SourceError(f"{path}: expected a name that ends in .mp4, in a folder that there is")
    blur = Blur.of(PictureMaker(settings).make(transport, evidence.event))
    with passing_folder() as folder:
        clip = folder / "clip.mp4"
        write_evidence(evidence, clip)
        try:
            with replacing(path) as unfinished:
                write_blurred(clip, evidence.segments[0], blur, unfinished)
        except OSError as error:
            raise SourceError(f"{path}: cannot be written ({error.strerror})") from None
    return blur


def write_blurred(clip: Path, segment: Segment, blur: Blur, path: Path) -> None:
    """Decode a clip, hide what is to be hidden, and encode it as H.264 with the same times.

    Args:
        clip: as `write_evidence` writes it.
        segment: of it; says how its pictures are to be shown. Those that are written are upright.
        blur: what stays sharp.
        path: where to, MP4.

    Raises:
        SourceError: it cannot be decoded or encoded.
    """
    try:
        with av.open(str(clip)) as source, av.open(str(path), "w", options={"movflags": "+write_colr"}) as out:
            _write(source, segment.display, blur, out)
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"the footage cannot be blurred ({error})") from None


def _write(source: Any, display: Any, blur: Blur, out: Any) -> None:
    stream: Any = None
    video = source.streams.video[0]
    video.thread_type = "AUTO"
    for frame in source.decode(video):
        if frame.pts is None or frame.pts < 0:
            continue
        image = _upright(frame.to_ndarray(format="rgb24"), display)
        image = hidden(image, blur)[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        if stream is None:
            stream = out.add_stream("libx264", rate=video.average_rate or Fraction(25), options=dict(_OPTIONS))
            stream.height, stream.width, stream.pix_fmt = image.shape[0], image.shape[1], "yuv420p"
            stream.codec_context.time_base = video.time_base
            stream.codec_context.gop_size = _KEYFRAME_PICTURES
            stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
            stream.codec_context.sample_aspect_ratio = _aspect(display)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = frame.pts, video.time_base
        out.mux(stream.encode(picture))
    if stream is None:
        raise ValueError("no frame of it can be decoded")
    out.mux(stream.encode(None))


def _upright(image: Image, display: Any) -> Image:
    if display.mirrored:
        image = image[:, ::-1]
    return np.rot90(image, -display.quarter_turns)


def _aspect(display: Any) -> Fraction:
    aspect: Fraction = display.pixel_aspect
    return 1 / aspect if display.quarter_turns % 2 else aspect
