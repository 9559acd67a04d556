"""Where packets come from: files and RTSP cameras, read through libav."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

import av
import av.error
from av.container.core import Flags

from stream.credentials import escape_address, escape_hint
from stream.errors import SourceError

from .addresses import display_name, is_live, to_url, what_is_there
from .codecs.changes import CodecChange, can_tell
from .codecs.coding import ANNEX_B
from .codecs.picture_order import ORDERS
from .codecs.rest import WITHOUT_CONTAINER, Rest, find_rest, format_at_begin, part_of
from .codecs.transcoding import Transcoder
from .cutting.carriers import carrier
from .damage import Ending, why_unreadable
from .demuxed import AvPacket, first_packets, numbered, packet_of
from .packets import Packet, Track
from .reasons import NO_ANSWER
from .times.edits import played
from .times.recorded import Recorded, content_us, recorded
from .times.timestamps import in_picture_order, with_decoding_times, with_gaps_filled, with_own_decoding_times
from .tracks import (
    PICTURE_FORMATS,
    RAW_FORMATS,
    TEXT_FORMATS,
    begin_late,
    codec_name,
    colours_of,
    copy_of,
    display_of,
    find_film,
    in_other_codecs,
    may_begin_late,
    told_rate,
    unpacked,
    zero_of,
)

log = logging.getLogger(__name__)

OPEN_TIMEOUT_SECONDS: Final = 10.0
READ_TIMEOUT_SECONDS: Final = 10.0
#: What a stream without any time is taken for: what cameras send in most of the world.
DEFAULT_RATE: Final = 25
_EDIT_TICKS: Final = 48_000
#: Of a file whose video begins long after its sound, so much is searched for the first picture, and held meanwhile.
_FAR_BYTES: Final = 64 * 1024 * 1024
_FAR_SECONDS: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Reading:
    """What a user may say about how a feed is to be read."""

    #: Pictures a second of a stream without times; what the stream itself says, else 25, if None.
    rate: float | None = None
    #: Encode as H.264 what segments cannot carry as it is.
    transcode: bool = False

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate <= 1000:
            raise ValueError(f"{self.rate:g} pictures a second: expected more than 0, at most 1000")


class Feed:
    """An open video file or RTSP camera: a track, and its packets in decoding order.

    Audio and data tracks are left out. Use as a context manager.
    """

    def __init__(self, uri: str, reading: Reading | None = None) -> None:
        """Open `uri`.

        Raises:
            SourceError: the feed is absent, unreadable, has no video, or none that segments can carry. The message
                never shows a password.
        """
        self.name = display_name(uri)
        self.live = is_live(uri)
        #: What a user is to be told about a file that was read all the same; final when `packets()` is exhausted.
        self.notes: list[str] = []
        #: Pictures that are no packets, by reason: incomplete ones, those of another codec. Final with the notes.
        self.left_out: Counter[str] = Counter()
        self._reading = reading or Reading()
        self._transcoder: Transcoder | None = None
        self._has_late_tracks = False
        self._container = self._open(uri)
        if not self.live and may_begin_late(self._container):
            self._container.close()
            self._container = self._open(uri, far=True)
        self._rest = None if self.live else self._find_rest(uri)
        try:
            self._begin()
        except (av.error.FFmpegError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            self.close()
            raise SourceError(f"{self.name}: cannot be opened as video ({error})", cause=str(error)) from error
        except BaseException:
            self.close()
            raise
        self.seconds = self._container.duration / av.time_base if self._container.duration else None
        #: When a file was recorded; None for a camera.
        self.recorded = None if self.live else self._recorded(Path(uri))

    def _recorded(self, path: Path) -> Recorded:
        found = recorded(path, dict(self._container.metadata), self.seconds)
        return replace(found, content_us=content_us(path))

    def _find_rest(self, uri: str) -> Rest | None:
        """What of a file is of another codec than its beginning; the container is opened again without it."""
        path, form = Path(uri), self._container.format.name
        if form in WITHOUT_CONTAINER and (begins_as := format_at_begin(path)) not in (None, form):
            self._container.close()
            self._container, form = self._open(uri, form=begins_as), begins_as
        film = find_film(self._container.streams.video)
        if film is None or film.codec_context is None:
            return None
        rest = find_rest(path, form, codec_name(film), track=film.id)
        if rest is not None:
            self._container.close()
            self._container = self._open(uri, end=rest.begin, form=form)
        return rest

    def _open(self, uri: str, *, far: bool = False, end: int | None = None, form: str | None = None) -> Any:
        """Open the feed, or the first `end` bytes of a file, in the format `form` where that is known.

        `far`: look further for its tracks than libav does by itself.
        """
        # Where libav invents presentation times for H.264, they are in decoding order.
        options = {"fflags": "-genpts"}
        if self.live and uri.lower().startswith("rtsp"):
            # UDP loses packets without saying so; a lost packet would be an undecodable picture later.
            options["rtsp_transport"] = "tcp"
        elif not self.live and not Path(uri).is_file():
            self._refuse(what_is_there(Path(uri), "a video file") or "no such file")
        if far:
            options |= {"probesize": str(_FAR_BYTES), "analyzeduration": str(_FAR_SECONDS * av.time_base)}
        asked = time.monotonic()
        timeout = OPEN_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS
        address = to_url(escape_address(uri)) if end is None else part_of(Path(uri), 0, end)
        try:
            return av.open(address, format=form, options=options, timeout=timeout, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            why = self._reason(error, asked, OPEN_TIMEOUT_SECONDS) + escape_hint(uri)
            if not self.live:
                why = why_unreadable(Path(uri)) or why
                if form is None and (begins_as := format_at_begin(Path(uri))):
                    return self._open(uri, form=begins_as)
            raise SourceError(f"{self.name}: cannot be opened as video ({why})", cause=why) from None

    def _begin(self) -> None:
        """Choose the film, read its first packets, and tell from them what the container leaves out."""
        film = find_film(self._container.streams.video)
        if film is None or self._container.format.name in TEXT_FORMATS:
            self._refuse("holds no video track" + self._how_far())
        if film.codec_context is None:
            self._refuse("its video track is of a codec that cannot be decoded here")
        if film.time_base is None or film.codec_context.width == 0:
            self._refuse("no picture is found in its video track" + self._how_far())
        codec = codec_name(film)
        if codec not in ORDERS:
            # What libav makes of decoding times is right where at most one picture is held back.
            self._container.flags |= Flags.gen_pts.value
        self._film, self._ending = film, Ending(self._container, film)
        name = self._container.format.name
        is_told = can_tell(codec) and (name in {"mpegts", *RAW_FORMATS} or (self.live and name == "mpeg"))
        self._change = CodecChange(codec, loses_one=name == "mpegts") if is_told else None
        self._is_packed = codec == "mpeg4" and self._container.format.name == "avi"
        source = self._of_film()
        first = [] if self.live else first_packets(source)
        if len(first) == 1 and self._container.format.name.endswith(PICTURE_FORMATS):
            self._refuse("is a single picture")
        # Pieces of an edit list are joined with ticks between two pictures: QuickTime's 600 a second may be too few.
        fineness = ceil(film.time_base * _EDIT_TICKS) if self._container.format.name.startswith("mov") else 1
        begin = list(self._of_one_codec((packet_of(packet, fineness) for packet in first), codec))
        if begin and codec not in ANNEX_B and not any(packet.keyframe for packet in begin):
            begin[0] = replace(begin[0], keyframe=True)  # a container that flags none: where a player begins
        track = Track(
            codec=codec,
            width=film.codec_context.width,
            height=film.codec_context.height,
            time_base=Fraction(film.time_base) / fineness,
            display=colours_of(film) if self.live else display_of(film, first),
            template=film if self._change is None else copy_of(film),
        )
        rest = self._of_one_codec((packet_of(packet, fineness) for packet in source), codec)
        self._packets = self._timed(begin, rest, track)
        zero = zero_of(self._container, self._film, begin, track.time_base)
        if self.live:
            begin = list(itertools.islice(self._packets, 1))
            self._packets = itertools.chain(begin, self._packets)
            zero = begin[0].pts or 0 if begin else 0
        if (container := carrier(track, begin)) is None:
            container, track = "mpegts", self._transcode(track)
        self.track = replace(track, zero=zero, container=container)

    def _transcode(self, track: Track) -> Track:
        if not self._reading.transcode:
            self._refuse(
                f"{track.codec} video cannot be carried in segments as it is; "
                "--transcode encodes it once as H.264, or convert the file"
            )
        self._transcoder = Transcoder(track, self._rate())
        self._packets = self._transcoder.packets(self._packets)
        self.notes.append(f"{track.codec} video cannot be carried in segments as it is: it is encoded again as H.264")
        return self._transcoder.track

    def packets(self) -> Iterator[Packet]:
        """Yield packets, all with a presentation time, until the file ends.

        Raises:
            SourceError: nothing could be read, or a camera sent nothing for 10 s.
        """
        said = 0
        try:
            for packet in self._packets:
                said = self._say_notes(said)
                yield packet
        except SourceError:
            raise
        except Exception as error:  # whatever foreign bytes do is about this feed alone
            why = f"{type(error).__name__}: {error}"
            raise SourceError(f"{self.name}: reading failed ({why})", cause=why) from error
        if self._transcoder is not None and self._transcoder.damaged:
            self.notes.append(f"{self._transcoder.damaged} pictures could not be decoded")
        self._say_notes(said)

    def _say_notes(self, said: int) -> int:
        """Log the notes after the first `said`; return how many there are."""
        for note in self.notes[said:]:
            log.warning("%s: %s", self.name, note)
        return len(self.notes)

    def _timed(self, begin: list[Packet], rest: Iterable[Packet], track: Track) -> Iterator[Packet]:
        """All packets, each with its time."""
        order = ORDERS[track.codec](bytes(self._film.codec_context.extradata or b"")) if track.codec in ORDERS else None
        rate = self._rate()
        interval = max(round(1 / (rate * track.time_base)), 1)
        packets: Iterator[Packet] = itertools.chain(begin, rest)
        if not self.live and all(p.pts is None and p.dts is None for p in begin) and begin:
            if self._reading.rate is None and told_rate(self._film) is None:
                self.notes.append(f"has no times of its own: taken as {DEFAULT_RATE} pictures a second (see --fps)")
            if order is None:
                packets = numbered(packets, interval)
        if order is not None and any(p.pts is None for p in begin):
            return in_picture_order(packets, order, interval)
        # Of a file the first packets all have times: what is missing later is rare and single.
        counts = order if self.live and order is not None and order.counts_time else None
        timed = with_decoding_times(with_gaps_filled(packets, counts, interval), interval)
        if self._container.format.name in {"matroska,webm", "rtsp"}:
            timed = with_own_decoding_times(timed, interval, live=self.live)
        return timed if self.live else played(timed)

    def _rate(self) -> Fraction:
        """Pictures a second, for a stream that has no times or not enough of them."""
        if self._reading.rate is not None:
            return Fraction(self._reading.rate).limit_denominator(1001)
        return told_rate(self._film) or Fraction(DEFAULT_RATE)

    def _of_film(self) -> Iterator[AvPacket]:
        """The film's packets, as they come. Damage that ends a file is a note, unless nothing could be read."""
        if self.live:
            yield from self._demuxed()
            return
        held: AvPacket | None = None  # the last packet of a file may be half a picture
        failure: str | None = None
        try:
            for packet in self._demuxed():
                if packet.stream_index != self._film.index:
                    self._ending.saw(packet)
                    continue
                if held is not None:
                    self._ending.saw(held)
                    yield held
                held = packet
        except SourceError as error:
            if held is None:
                raise
            failure = error.cause
        if held is not None:
            if self._ending.cuts_off(held):
                failure = failure or "its last picture is incomplete"
                self.left_out["incomplete"] += 1
            else:
                self._ending.saw(held)
                yield held
        self._note_ending(failure)

    def _of_one_codec(self, packets: Iterator[Packet], codec: str) -> Iterator[Packet]:
        """The packets up to where a stream goes on in another codec, in silence; of a camera that is the feed's end."""
        if (change := self._change) is None:
            yield from packets
            return
        is_new = not change.other
        yield from change.before(packets)
        if not change.other:
            return
        if is_new:
            why = f"its codec changes from {codec} to {change.other}"
            if self.live:
                raise SourceError(f"{self.name}: {why}", cause=why)
            self._note_change(codec, change.other)
            self.left_out["other_codec"] += change.lost
        self.left_out["other_codec"] += sum(packet.pts is not None for packet in packets)

    def _note_change(self, codec: str, other: str) -> None:
        seconds = self._ending.seconds
        after = "" if seconds is None else f" after {float(seconds):.1f} s"
        self.notes.append(f"ends early: its codec changes from {codec} to {other}{after}; what follows is left out")

    def _note_ending(self, failure: str | None) -> None:
        if self._rest is not None:
            self._note_change(codec_name(self._film), self._rest.codec)
            self.left_out["other_codec"] += self._rest.pictures()
        if others := in_other_codecs(self._container, self._film):
            self.notes.append(
                f"{others} pictures are of another codec than {codec_name(self._film)}: they are left out"
            )
            self.left_out["other_codec"] += others
        if note := self._ending.note(failure):
            self.notes.append(note)
        if self._has_late_tracks or begin_late(self._container):
            self.notes.append("another video track, or another programme, begins in the middle: it is left out")

    def _demuxed(self) -> Iterator[AvPacket]:
        asked = time.monotonic()
        packets = self._container.demux(self._ending.tracks)
        if self._is_packed:
            packets = unpacked(packets, self._film)
        try:
            for packet in packets:
                if packet.size:
                    yield packet
                asked = time.monotonic()
        except IndexError:
            # All was read. Then PyAV may look for tracks that began meanwhile, and that it does not know.
            self._has_late_tracks = True
        except Exception as error:  # noqa: BLE001  damage, whatever libav and PyAV make of it
            why = self._reason(error, asked, READ_TIMEOUT_SECONDS)
            raise SourceError(f"{self.name}: reading failed ({why})", cause=why) from None

    def _how_far(self) -> str:
        """Where video was looked for, of a file that is not told as a whole by its beginning."""
        if self.live or not may_begin_late(self._container):
            return ""
        return f", at least in its first {_FAR_BYTES >> 10} KiB" if self._container.size > _FAR_BYTES else ""

    def _refuse(self, why: str) -> NoReturn:
        raise SourceError(f"{self.name}: {why}", cause=why)

    def _reason(self, error: BaseException, asked: float, timeout_seconds: float) -> str:
        """Why libav failed, in its words but for a camera's timeout, which it calls invalid data."""
        if self.live and time.monotonic() - asked >= timeout_seconds:
            return f"{NO_ANSWER} {timeout_seconds:g} s"
        words = getattr(error, "strerror", None)
        return words[:1].lower() + words[1:] if words else type(error).__name__

    def close(self) -> None:
        if self._transcoder is not None:
            self._transcoder.close()
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
