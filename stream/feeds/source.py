"""Where packets come from: files, folders of files and RTSP cameras, read through libav without decoding."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import av
import av.error

from stream.credentials import escape_address, escape_hint
from stream.errors import SourceError
from stream.segment import Display

from .addresses import display_name, is_live
from .recorded import recorded_us

OPEN_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture as it left the container; times are in ticks of the track's `time_base`."""

    data: bytes = field(repr=False)
    pts: int | None
    dts: int | None
    duration: int
    #: Whether the container says that decoding can begin here; the codec tells whether pictures are clean from here on.
    keyframe: bool
    #: Decoded because later pictures refer to it, and not shown (before the begin of an edit list, for example).
    discard: bool = False
    #: Parameter sets that are new from this packet on, in the form of the track's `extradata`.
    extradata: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Track:
    """The video track that packets belong to."""

    codec: str
    width: int
    height: int
    time_base: Fraction
    #: In ticks: the time that a player calls 0, which is the container's, not that of the first video packet.
    zero: int = field(default=0, kw_only=True)
    display: Display = field(default=Display(), kw_only=True)
    #: The libav stream whose codec parameters a muxer copies. Valid while its feed is open.
    template: Any = field(repr=False)


class Feed:
    """An open video file or RTSP camera: a track, and its packets in decoding order.

    Audio and data tracks are left out. Use as a context manager.
    """

    def __init__(self, uri: str) -> None:
        """Open `uri`.

        Raises:
            SourceError: the feed is absent, unreadable, or has no video. The message never shows a password.
        """
        self.name = display_name(uri)
        self.live = is_live(uri)
        options = {"fflags": "+genpts"}
        if self.live:
            # UDP loses packets without saying so; a lost packet would be an undecodable picture later.
            options["rtsp_transport"] = "tcp"
        elif not Path(uri).is_file():
            raise SourceError(f"{self.name}: no such file", cause="no such file")
        asked = time.monotonic()
        try:
            self._container = av.open(
                escape_address(uri), options=options, timeout=(OPEN_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            why = self._reason(error, asked, OPEN_TIMEOUT_SECONDS) + escape_hint(uri)
            raise SourceError(f"{self.name}: cannot be opened as video ({why})", cause=why) from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError(f"{self.name}: holds no video track", cause="holds no video track")
        stream = self._container.streams.video[0]
        if stream.time_base is None or stream.codec_context.width == 0:
            self._container.close()
            raise SourceError(
                f"{self.name}: the video track does not tell its picture size or time base",
                cause="the video track does not tell its picture size or time base",
            )
        self._stream = stream
        self.track = Track(
            codec=stream.codec_context.name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            time_base=Fraction(stream.time_base),
            template=stream,
        )
        self.seconds = self._container.duration / av.time_base if self._container.duration else None
        self.recorded_us = None if self.live else recorded_us(uri, dict(self._container.metadata))

    def packets(self) -> Iterator[Packet]:
        """Yield packets until the file ends.

        Raises:
            SourceError: reading failed, or a camera sent nothing for 10 s.
        """
        asked = time.monotonic()
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield Packet(bytes(packet), packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe)
                asked = time.monotonic()
        except (av.error.FFmpegError, OSError) as error:
            why = self._reason(error, asked, READ_TIMEOUT_SECONDS)
            raise SourceError(f"{self.name}: reading failed ({why})", cause=why) from None

    def _reason(self, error: BaseException, asked: float, timeout_seconds: float) -> str:
        """Why libav failed, in its words but for a camera's timeout, which it calls invalid data."""
        if self.live and time.monotonic() - asked >= timeout_seconds:
            return f"no answer for {timeout_seconds:g} s"
        words = str(getattr(error, "strerror", None) or type(error).__name__)
        return words[:1].lower() + words[1:]

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
