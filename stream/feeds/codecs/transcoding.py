"""Films that segments cannot carry, encoded once as H.264."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import av
import av.error
from av.video.frame import PictureType
from av.video.reformatter import ColorRange

from stream.errors import SourceError
from stream.feeds.packets import Packet, Track, for_decoder

ENCODER: Final = "libx264"
#: Without B-frames pictures are shown in the order in which they are decoded. Quality is near to lossless for a model.
_OPTIONS: Final = {"preset": "veryfast", "crf": "18", "bf": "0", "g": "100000", "sc_threshold": "0"}
_KEYFRAME_SECONDS: Final = 2


class Transcoder:
    """Decodes a film, and encodes its pictures with their times, a keyframe every 2 s.

    Use as a context manager: its track belongs to it.
    """

    def __init__(self, track: Track, rate: Fraction) -> None:
        """Open the encoder.

        Args:
            track: the film, at its beginning; its decoder is used.
            rate: pictures a second, about.

        Raises:
            SourceError: this build of libav has no encoder for H.264, or none for such pictures.
        """
        self._decoder: Any = track.template.codec_context
        # The encoder wants whole pairs of pixels.
        self._width, self._height = track.width - track.width % 2, track.height - track.height % 2
        self._time_base = track.time_base
        self._output: Any = av.open(io.BytesIO(), "w", format="mpegts")
        try:
            stream: Any = self._output.add_stream(ENCODER, rate=rate, options=dict(_OPTIONS))
            stream.width, stream.height, stream.pix_fmt = self._width, self._height, "yuv420p"
            stream.codec_context.time_base = track.time_base
            stream.codec_context.thread_count = 0
            self._output.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            self.close()
            raise SourceError(f"{track.codec} video cannot be encoded as H.264 ({error})") from None
        self._encoder = stream
        self._next_keyframe: int | None = None
        #: Packets that gave an error instead of a picture.
        self.damaged = 0
        display = replace(track.display, colour_range="limited")
        self.track = replace(
            track, codec="h264", width=self._width, height=self._height, display=display, template=stream
        )

    def packets(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        """The film encoded, from its packets in decoding order, each with its time."""
        hidden: set[int] = set()
        for packet in packets:
            if packet.discard and packet.pts is not None:
                hidden.add(packet.pts)
            yield from self._encoded(packet, hidden)
        yield from self._encoded(None, hidden)
        yield from self._taken(self._encoder.encode(None))

    def _encoded(self, packet: Packet | None, hidden: set[int]) -> Iterator[Packet]:
        encoded: Any = None
        if packet is not None:
            encoded = for_decoder(packet.data)
            encoded.pts, encoded.dts, encoded.time_base = packet.pts, packet.dts, self._time_base
            encoded.is_keyframe = packet.keyframe
        try:
            frames = self._decoder.decode(encoded)
        except (av.error.FFmpegError, OSError):
            self.damaged += 1
            return
        for frame in frames:
            if frame.pts is None or frame.pts in hidden:
                hidden.discard(frame.pts)
                continue
            picture = frame.reformat(
                width=self._width, height=self._height, format="yuv420p", dst_color_range=ColorRange.MPEG
            )
            picture.time_base = self._time_base
            picture.pict_type = PictureType.NONE
            if self._next_keyframe is None or picture.pts >= self._next_keyframe:
                picture.pict_type = PictureType.I
                self._next_keyframe = picture.pts + round(_KEYFRAME_SECONDS / self._time_base)
            yield from self._taken(self._encoder.encode(picture))

    def _taken(self, encoded: Iterable[Any]) -> Iterator[Packet]:
        for packet in encoded:
            ticks = packet.time_base / self._time_base
            pts, dts, duration = (round((time or 0) * ticks) for time in (packet.pts, packet.dts, packet.duration))
            yield Packet(bytes(packet), pts, dts, duration, packet.is_keyframe)

    def close(self) -> None:
        self._output.close()
