"""Which of a file's tracks is the film, what it says of its times, and how its pictures are to be shown."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

import av
import av.bitstream
import av.error
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.reformatter import ColorRange

from stream.segment import COLOUR_MATRICES, ColourRange, Display

from .packets import Packet

_AvPacket: TypeAlias = "av.Packet[Any]"

_NOT_FILM: Final = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
#: Demuxers that make a moving picture of text.
TEXT_FORMATS: Final = frozenset({"tty", "bin", "xbin", "idf", "adf"})
#: Those of a codec without a container, in which pictures are told apart by start codes.
RAW_FORMATS: Final = frozenset({"h264", "hevc", "mpegvideo", "m4v"})
#: Those that tell what a track is by its first packets only.
_WITHOUT_INDEX: Final = frozenset({"mpegts", "mpeg", "flv"})
#: How the names of those end that read single pictures.
PICTURE_FORMATS: Final = ("image2", "_pipe", "ico")
#: At the end of a file, where tracks that began late are looked for.
_TAIL_BYTES: Final = 1024 * 1024
#: Pixels wider or narrower than this are a damaged header.
_MAX_ASPECT: Final = Fraction(100)
#: Rates outside are not of pictures: encoders write their clock there.
_RATES: Final = (Fraction(1, 2), Fraction(240))
#: Codecs of cover pictures. A film may be coded in them too.
_PICTURE_CODECS: Final = frozenset({"mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "ppm"})


def find_film(tracks: Sequence[av.VideoStream]) -> av.VideoStream | None:
    """The track that a player would show: no cover picture or thumbnail, the default one, else the largest."""

    def rank(track: av.VideoStream) -> tuple[bool, bool, bool, bool, int, int]:
        context: Any = track.codec_context
        size = context.width * context.height if context is not None else 0
        is_picture = context is not None and codec_name(track) in _PICTURE_CODECS
        return (
            not track.disposition & _NOT_FILM,
            not (is_picture and track.frames == 1),
            size > 0,
            not is_picture,
            size if not track.disposition & Disposition.default else size + (1 << 40),
            -track.index,
        )

    film = max(tracks, key=rank, default=None)
    return None if film is None or film.disposition & _NOT_FILM else film


def may_begin_late(container: Any) -> bool:
    """Whether no picture was seen when the container was opened, and there may be some further on."""
    film = find_film(container.streams.video)
    is_seen = film is not None and film.codec_context is not None and film.codec_context.width > 0
    return container.format.name in _WITHOUT_INDEX and not is_seen


def begin_late(container: Any) -> bool:
    """Whether at the end of a transport stream's file there is video that was not there when it was opened.

    libav finds it while reading and goes on; PyAV does not show what it found.
    """
    path = Path(container.name.removeprefix("file:"))
    if container.format.name != "mpegts" or not path.is_file():
        return False
    size = path.stat().st_size
    options = {"skip_initial_bytes": str(size - min(size // 4, _TAIL_BYTES))}
    try:
        with av.open(container.name, format="mpegts", options=options) as tail:
            return not {track.id for track in tail.streams.video} <= {track.id for track in container.streams}
    except (av.error.FFmpegError, OSError, ValueError):
        return False  # damaged there, or nothing is


def in_other_codecs(container: Any, film: Any) -> int:
    """How many pictures of an MP4 track are of another codec than the film; libav passes them over in silence."""
    if not film.frames or not container.format.name.startswith("mov"):
        return 0
    try:
        # An edit list takes pictures out of the index that a player does not show.
        with av.open(container.name, options={"advanced_editlist": "0"}) as whole:
            read = len(whole.streams[film.index].index_entries)
    except (av.error.FFmpegError, OSError, ValueError, LookupError):
        return 0  # gone meanwhile
    return max(0, int(film.frames) - read)


def codec_name(track: av.VideoStream) -> str:
    """The codec's own name, whatever the decoder of it is called."""
    return track.codec_context.codec.canonical_name


def copy_of(film: Any) -> Any:
    """The track as it is now: libav changes it where a transport stream goes on in another codec."""
    return av.open(io.BytesIO(), "w", format="mpegts").add_stream_from_template(film, opaque=True)


def unpacked(packets: Iterable[_AvPacket], film: Any) -> Iterator[_AvPacket]:
    """Packets of a picture each: DivX puts a B picture beside the one before it, and an empty one in its place."""
    unpack = av.bitstream.BitStreamFilterContext("mpeg4_unpack_bframes", film)
    for packet in packets:
        yield from unpack.filter(packet) if packet.stream_index == film.index else (packet,)


def told_rate(film: Any) -> Fraction | None:
    """Pictures a second, as the track itself says."""
    # Of a raw stream the average is libav's own guess.
    told = [film.codec_context.framerate, *([film.average_rate] if film.start_time is not None else [])]
    return next((Fraction(rate) for rate in told if rate and _RATES[0] <= rate <= _RATES[1]), None)


def zero_of(container: Any, film: Any, begin: Sequence[Packet], time_base: Fraction) -> int:
    """The container's time 0, in ticks of the film: its earliest track begins there.

    Args:
        container: that is open.
        film: its track.
        begin: the first packets of that, in ticks of `time_base`.
        time_base: seconds of a tick.
    """
    if container.start_time is None:  # a raw stream: the film is all there is
        return min((p.pts for p in begin if p.pts is not None and not p.discard), default=0)
    ticks = Fraction(container.start_time, av.time_base) / time_base
    if film.start_time is not None:
        own: Fraction = film.start_time * Fraction(film.time_base or 1) / time_base
        if abs(own - ticks) * time_base <= Fraction(1, av.time_base):
            return round(own)  # microseconds are coarser than some tracks' ticks
    return round(ticks)


def display_of(track: av.VideoStream, packets: Sequence[_AvPacket]) -> Display:
    """How pictures are shown, as far as the container and the first picture among `packets` tell.

    Args:
        track: the track, at its beginning; its decoder is used and reset.
        packets: the first ones of it, in decoding order.
    """
    aspect = Fraction(track.sample_aspect_ratio or 1)
    matrix = _display_matrix(track, packets)
    turns, mirrored = (0, False) if matrix is None else _orientation(matrix)
    is_sound = 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT
    return replace(
        colours_of(track), quarter_turns=turns, mirrored=mirrored, pixel_aspect=aspect if is_sound else Fraction(1)
    )


def colours_of(track: av.VideoStream) -> Display:
    """How colours are coded, as the container tells it; not every container that segments are written as can."""
    context: Any = track.codec_context
    matrix = int(context.colorspace)
    ranges: dict[int, ColourRange] = {ColorRange.MPEG: "limited", ColorRange.JPEG: "full"}
    return Display(
        colour_range=ranges.get(context.color_range),
        colour_matrix=matrix if matrix in COLOUR_MATRICES else None,
    )


def _display_matrix(track: av.VideoStream, packets: Sequence[_AvPacket]) -> tuple[int, ...] | None:
    """The matrix that libav attaches to decoded pictures; it does not show those of containers themselves."""
    context: Any = track.codec_context
    context.thread_count = 1
    for packet in packets:
        if not packet.is_keyframe:
            continue
        frames = []
        with contextlib.suppress(av.error.FFmpegError, OSError):  # damaged: the next one will do
            # Drained at once: a picture that waits for those shown before it would cost decoding them.
            frames = [*context.decode(packet), *context.decode(None)]
        context.flush_buffers()
        for frame in frames:
            matrices = (data for data in frame.side_data if data.type == SideDataType.DISPLAYMATRIX)
            matrix = next(matrices, None)
            return None if matrix is None else struct.unpack("=9i", bytes(matrix))
    return None


def _orientation(matrix: Sequence[int]) -> tuple[int, bool]:
    """Quarter turns clockwise, and whether the picture is mirrored before; other angles count as the nearest.

    A point (x, y) of the picture, y downwards, is shown at (a x + c y, b x + d y), of the matrix (a b u, c d v, …).
    """
    a, b, _, c, d = matrix[:5]
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b  # what remains is a rotation
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (0 if a + d > 0 else 2), mirrored
    return (1 if b - c > 0 else 3), mirrored
