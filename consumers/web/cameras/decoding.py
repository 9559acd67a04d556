"""Pictures of a camera's footage for the pages, decoded in a process of its own.

    dashboard ──segments, times, size──▶ main()
              ◀──pictures, or why not─── at most so much memory, at most so long

What brings down a decoder, hangs it or fills the memory brings down this process alone, and pages go on. It is started
when it is needed, and ends when nobody has needed it for a minute.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final, Literal

from stream import DecodeLimits, Decoder, Image, Picture, Segment, SegmentError

_MAX_BYTES: Final = 3 << 30
_IDLE_SECONDS: Final = 60.0
_END_SECONDS: Final = 1.0
#: Whoever decodes longer than it was given hangs. Until then it may wait for a processor.
_LATE_SECONDS: Final = 10.0
#: How long it may take to start, on a machine that does other things.
_START_SECONDS: Final = 30.0
#: So long nothing more is decoded of a camera after its footage was the end of a process.
_REFUSED_SECONDS: Final = 60.0

NoSampleCode = Literal["no-time", "no-footage", "no-keyframe", "gone", "undecodable", "too-long"]


class NoSampleError(Exception):
    """There is none; says why, and where that is one of few reasons, in one word, for programs."""

    def __init__(self, why: str, code: NoSampleCode | None = None) -> None:
        super().__init__(why)
        self.code = code


class DecoderProcess:
    """Decodes in another process. For one thread at a time."""

    def __init__(self) -> None:
        """Prepare; nothing is started before it is needed."""
        self._process: subprocess.Popen[bytes] | None = None
        #: Until when nothing is decoded of a camera, and why.
        self._refused: dict[str, tuple[float, str]] = {}

    def decoded_at(
        self, segments: Sequence[Segment], times_us: Sequence[int], picture: Picture, limits: DecodeLimits, until: float
    ) -> list[tuple[int, Image]]:
        """The pictures shown at ascending times, as workers decode them; those that cannot be decoded are left out.

        Args:
            segments: of one camera, in their order, from where decoding can begin.
            times_us: event times.
            picture: how they are to look.
            limits: of each segment.
            until: `time.monotonic()` at which it is given up.

        Raises:
            NoSampleError: it takes too long, a segment is damaged, or the process died of it.
        """
        if not segments:
            return []
        camera, now = segments[0].camera, time.monotonic()
        refused_until, why = self._refused.pop(camera, (-math.inf, ""))
        if now < refused_until:
            self._refused[camera] = refused_until, why
            raise NoSampleError(why, "undecodable")
        seconds = max(0.0, until - now)
        answer, code = self._ask((seconds, segments, times_us, picture, limits), seconds + 2 * _LATE_SECONDS)
        if code == 0:  # it had just ended, as nobody needed it
            answer, code = self._ask((seconds, segments, times_us, picture, limits), seconds + 2 * _LATE_SECONDS)
        if code is not None:
            ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
            why = f"its newest footage cannot be decoded: whoever did so was ended {ended}"
            self._refused[camera] = time.monotonic() + _REFUSED_SECONDS, why
            raise NoSampleError(why, "undecodable")
        if isinstance(answer, NoSampleError):
            raise answer
        return list(answer)

    def _ask(self, request: object, seconds: float) -> tuple[Any, int | None]:
        """What the process answers, or with which exit code it has ended."""
        process = self._process
        if process is None or process.poll() is not None:
            process, seconds = self._start(), seconds + _START_SECONDS
        assert process.stdin is not None
        assert process.stdout is not None
        hangs = threading.Timer(seconds, process.kill)
        hangs.daemon = True
        hangs.start()
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout), None  # noqa: S301  our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            with contextlib.suppress(subprocess.TimeoutExpired):  # what it says at its end comes a moment before it
                process.wait(_END_SECONDS)
            return None, self._end()
        finally:
            hangs.cancel()

    def _start(self) -> subprocess.Popen[bytes]:
        self._end()
        root = str(Path(__file__).resolve().parents[3])
        places = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            env={**os.environ, "PYTHONPATH": places},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self._process

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it was to be told is told nobody
                    pipe.close()
        return process.wait()

    def close(self) -> None:
        """End it."""
        self._end()


def main() -> None:
    """Answer on standard output what is asked on standard input, until that ends or nothing comes."""
    faulthandler.enable()
    with contextlib.suppress(ValueError, OSError):  # less is granted anyway
        resource.setrlimit(resource.RLIMIT_DATA, (_MAX_BYTES, _MAX_BYTES))
    with contextlib.suppress(OSError):  # where there is too little memory, this process goes first
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")
    # Whatever prints is not to be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while select.select([sys.stdin], [], [], _IDLE_SECONDS)[0]:
        if not _answer(sys.stdin.buffer, answers):
            return


def _answer(questions: IO[bytes], answers: IO[bytes]) -> bool:
    """Answer one question; return whether there was one."""
    try:
        seconds, segments, times_us, picture, limits = pickle.load(questions)  # noqa: S301  of the dashboard
    except EOFError:
        return False
    # Also where the dashboard is gone by then. It needs no lock of Python's.
    signal.alarm(math.ceil(seconds + _LATE_SECONDS))
    answer: list[tuple[int, Image]] | NoSampleError
    try:
        answer = _decoded_at(segments, times_us, picture, limits, time.monotonic() + seconds)
    except NoSampleError as error:
        answer = error
    except MemoryError:
        answer = NoSampleError("its newest footage cannot be decoded: it needs too much memory", "undecodable")
    pickle.dump(answer, answers)
    answers.flush()
    signal.alarm(0)
    return True


def _decoded_at(
    segments: Sequence[Segment], times_us: Sequence[int], picture: Picture, limits: DecodeLimits, until: float
) -> list[tuple[int, Image]]:
    """As `DecoderProcess.decoded_at`, here."""
    decoder = Decoder(picture, limits)
    samples = []
    try:
        for segment in segments:
            if time.monotonic() > until:
                raise NoSampleError("reading and decoding its newest footage took too long", "too-long")
            wanted = [each for each in times_us if segment.start_us <= each < segment.end_us]
            decoded = decoder.decode(segment, wanted, f"camera {segment.camera}")
            samples += [*decoded.late, *decoded.samples]
    except SegmentError as error:
        raise NoSampleError(f"its newest footage cannot be decoded: {error}") from None
    finally:
        samples += decoder.end()
    return sorted(((each.at_us, each.image) for each in samples), key=lambda each: each[0])
