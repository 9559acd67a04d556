"""Whether each camera can be watched: opens, sends pictures, often enough a keyframe, at the speed of the clock."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from consumers.settings import CameraSettings, SegmentSettings, SettingsError
from stream import Feed, Reading, SourceError, check_address, display_name, find_files, is_live

from .finding import Finding

#: A live camera is listened to for so long, or until it has sent two keyframes.
LISTEN_SECONDS: Final = 4.0
MAX_LISTEN_SECONDS: Final = 10.0
#: All cameras together are given up after so long.
LIMIT_SECONDS: Final = 25.0
#: A camera's time that runs this much faster or slower than ours, as a share. Over some seconds less is jitter.
_MAX_DRIFT: Final = 0.1
_SHOWN_FAILURES: Final = 3


def check_cameras(
    cameras: Mapping[str, CameraSettings], segments: SegmentSettings, limit_seconds: float = LIMIT_SECONDS
) -> list[Finding]:
    """Look at all cameras at once; a line or more for each, in their order."""
    found: SimpleQueue[tuple[str, list[Finding]]] = SimpleQueue()

    def look(name: str, camera: CameraSettings) -> None:
        found.put((name, check_camera(name, camera, segments)))

    for name, camera in cameras.items():
        # Daemons: one that hangs in a camera must not keep the command from ending.
        threading.Thread(target=look, args=(name, camera), daemon=True).start()
    answers: dict[str, list[Finding]] = {}
    deadline = time.monotonic() + limit_seconds
    while len(answers) < len(cameras):
        try:
            name, findings = found.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        answers[name] = findings
    silent = f"no answer within {limit_seconds:.0f} s: is its address right, and does the network reach it?"
    return [finding for name in cameras for finding in answers.get(name, [Finding("error", f"camera {name}", silent)])]


def check_camera(name: str, camera: CameraSettings, segments: SegmentSettings) -> list[Finding]:
    subject = f"camera {name}"
    findings = []
    try:
        address = camera.address()
        if camera.url is not None and "://" in address and not camera.references() and display_name(address) != address:
            text = "the settings hold its password, or what looks like one: refer to it as ${NAME}, or use url_file"
            findings.append(Finding("warning", subject, text))
        if is_live(address):
            findings.append(_check_live(subject, address, segments))
        else:
            check_address(address)
            findings += _check_footage(subject, Path(address), camera.reading)
    except (SettingsError, SourceError) as error:
        findings.append(Finding("error", subject, _said_of(error, name)))
    return findings


def _said_of(error: Exception, name: str) -> str:
    return str(error).removeprefix(f"cameras.{name}.").removeprefix(f"cameras.{name}: ")


@dataclass(slots=True)
class _Heard:
    """What a camera sent; times in seconds, the camera's own and ours."""

    times: list[float] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    keyframes: list[float] = field(default_factory=list)
    bytes: int = 0

    @property
    def span(self) -> float:
        return max(self.times) - min(self.times) if self.times else 0.0

    @property
    def listened(self) -> float:
        return self.arrivals[-1] - self.arrivals[0] if self.arrivals else 0.0

    @property
    def keyframe_seconds(self) -> float | None:
        """The longest interval between two keyframes; None before the second."""
        return max((after - before for before, after in itertools.pairwise(self.keyframes)), default=None)

    @property
    def speed(self) -> float:
        """How fast the camera's time runs by ours, without the first second, in which it may send what it had kept."""
        steady = [i for i, at in enumerate(self.arrivals) if at - self.arrivals[0] >= 1]
        if not steady or self.listened < LISTEN_SECONDS / 2:
            return 1.0
        return (self.times[-1] - self.times[steady[0]]) / (self.arrivals[-1] - self.arrivals[steady[0]])


def _listen(feed: Feed) -> _Heard:
    heard = _Heard()
    begin = time.monotonic()
    for packet in feed.packets():
        at = time.monotonic()
        stamp = packet.dts if packet.dts is not None else packet.pts
        heard.bytes += len(packet.data)
        if stamp is not None:
            heard.arrivals.append(at)
            heard.times.append(float(stamp * feed.track.time_base))
            if packet.keyframe:
                heard.keyframes.append(heard.times[-1])
        if at - begin >= (LISTEN_SECONDS if len(heard.keyframes) >= 2 else MAX_LISTEN_SECONDS):
            break
    return heard


def _check_live(subject: str, address: str, segments: SegmentSettings) -> Finding:
    with Feed(address) as feed:
        track, heard = feed.track, _listen(feed)
    if heard.span <= 0:
        return Finding("error", subject, "it sends no pictures with times: is it the address of the video stream?")
    rate, megabits = (len(heard.times) - 1) / heard.span, heard.bytes * 8 / heard.span / 1e6
    seen = f"{track.codec} {track.width}x{track.height}, {rate:.0f} frames/s, {megabits:.1f} Mb/s"
    interval = heard.keyframe_seconds
    if interval is None or interval > segments.max_seconds:
        apart = f"more than {heard.listened:.0f} s apart" if interval is None else f"{interval:.1f} s apart"
        return Finding(
            "warning",
            subject,
            f"{seen}, keyframes {apart}: windows are late and decoding costs more; set the camera's keyframe (I-frame) "
            f"interval to {segments.max_seconds:g} s or less",
        )
    seen += f", a keyframe every {interval:.1f} s"
    if abs(heard.speed - 1) > _MAX_DRIFT:
        return Finding(
            "warning",
            subject,
            f"{seen}; its time runs {heard.speed:.2f} times as fast as this machine's: check its clock and its network",
        )
    return Finding("ok", subject, seen)


def _check_footage(subject: str, path: Path, reading: Reading) -> list[Finding]:
    failures: list[str] = []
    seconds, seen = 0.0, ""
    files = find_files(path)
    for file in files:
        try:
            with Feed(str(file), reading) as feed:
                seconds += feed.seconds or 0.0
                seen = seen or f"{feed.track.codec} {feed.track.width}x{feed.track.height}"
        except SourceError as error:
            failures.append(str(error))
    findings = [
        Finding("error" if len(files) == 1 else "warning", subject, each) for each in failures[:_SHOWN_FAILURES]
    ]
    if len(failures) > _SHOWN_FAILURES:
        findings.append(Finding("warning", subject, f"{len(failures) - _SHOWN_FAILURES} more files cannot be read"))
    if len(failures) < len(files):
        count = f"{len(files) - len(failures)} files, " if len(files) > 1 else ""
        findings.append(Finding("ok", subject, f"{count}{seen}, {seconds:.0f} s of footage"))
    elif len(files) > 1:
        findings.append(Finding("error", subject, f"{path}: no file of {len(files)} can be read"))
    return findings
