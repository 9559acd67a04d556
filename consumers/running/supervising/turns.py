"""When an agent may begin with which camera, as its supervisor says it; and what the agent says of that.

supervisor ──environment: gate in 600 s, since …──▶ agent
           ◀──its pulse: thread 4711 reads dock─────
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from stream import ITS_TURN


@dataclass(frozen=True, slots=True)
class Turn:
    """After how long an agent may begin with a camera, and why not before."""

    seconds: float
    why: str = ITS_TURN


def encode_turns(turns: Mapping[str, Turn]) -> str:
    """As text for the environment of the agent."""
    # An environment variable has its limit, and there may be hundreds of cameras.
    return json.dumps({c: [t.seconds, *([] if t.why == ITS_TURN else [t.why])] for c, t in turns.items()})


def decode_turns(text: str) -> dict[str, Turn]:
    """What `encode_turns` wrote; cameras that are not in it may be read at once."""
    return {camera: Turn(*turn) for camera, turn in json.loads(text or "{}").items()}


def decode_reading(words: str) -> tuple[int, str]:
    """What an agent has said of one of its threads: its number, and the camera that it reads from now on, if any."""
    thread, _, camera = words.partition(" ")
    return int(thread), camera


class Turns:
    """An agent's. Its cameras' threads ask and tell."""

    def __init__(self, given: str, tell: Callable[[str], None]) -> None:
        """`given` is what the supervisor said, `tell` has it know what it is to know if we die."""
        self._turns, self._tell = decode_turns(given), tell
        self._began = time.monotonic()

    def begin(self) -> None:
        """The agent is ready to read: time counts from now on."""
        self._began = time.monotonic()

    def waits(self, camera: str) -> bool:
        """Whether a camera was to be read later than others."""
        return camera in self._turns

    def admit(self, camera: str) -> str | None:
        """Why a camera is not to be read yet; None once it is, by this thread, for as long as that lives."""
        turn = self._turns.get(camera)
        if turn is not None and time.monotonic() - self._began < turn.seconds:
            return turn.why
        self._tell(f"{threading.get_ident()} {camera}")
        return None

    @contextlib.contextmanager
    def reading(self, camera: str) -> Iterator[None]:
        """While the body runs, this thread reads a camera."""
        self._tell(f"{threading.get_ident()} {camera}")
        try:
            yield
        finally:
            self._tell(f"{threading.get_ident()} ")
