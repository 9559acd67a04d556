"""Where the time of the direct path goes: the worker as it is, with a clock around each of its parts.

    part        what it is                                                    measured by
    reading     reading the file, cutting and storing segments                the process's time: nothing else runs yet
    decoding    opening segments, packets to frames                           its thread's time
    scaling     frames to pictures, pictures to views                         its thread's time
    encoder     the network over single pictures                              the process's time, but for what is inside
    head        the network over windows; the whole of it, where it has no encoder   the same
    rest        windows, gates, trackers, records                             the whole, less all of these

What several threads of an engine do is told by the process's time alone, so while decoding or the network is at work
the other one waits: this takes longer than without clocks, and costs the same processor time.
"""

from __future__ import annotations

import functools
import pkgutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest import mock

from models.engines.engine import AsTheyAre
from price.measuring import Ask, Job, Round
from stream import Transport

from .clipline import Direct

PARTS: Final = ("reading", "decoding", "scaling", "encoder", "head")
#: Windows that were looked at close up, of models of two views.
CLOSE: Final = "close_windows"

#: Functions inside, where they are looked up: owner, name, part, and whether no other part is to run meanwhile.
_PLACES: Final = (
    # Where it is defined, for what is decoded later on, and where the queue has it.
    ("stream.clips.decoding", "decode", "decoding", True),
    ("consumers.live.decode_queue", "decode", "decoding", True),
    ("stream.clips.decoding:Decoder", "decode", "decoding", True),
    ("stream.clips.pictures:Scaler", "__call__", "scaling", False),
    ("models.engines.two_views", "whole_of", "scaling", False),
    ("models.engines.two_views", "cells_of", "scaling", False),
    ("models.engines.two_views", "close_at", "scaling", False),
    ("models.engines.two_views", "place_of", "place", False),
)

_Clock = Callable[[], float]


class Clocks:
    """Processor seconds by part; what a part does within another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._one_at_a_time = threading.RLock()
        self._adding = threading.Lock()
        #: Of each thread: what was counted inside the parts that are under way.
        self._inside = threading.local()

    @contextmanager
    def around(self, part: str, clock: _Clock, *, alone: bool) -> Iterator[None]:
        """Count a block as of this part; with `alone`, no other thread is in such a block meanwhile."""
        stack: list[float] = self._inside.__dict__.setdefault("stack", [])
        with ExitStack() as held:
            if alone:
                held.enter_context(self._one_at_a_time)
            stack.append(0.0)
            began = clock()
            try:
                yield
            finally:
                spent = clock() - began
                inside = stack.pop()
                if stack:
                    stack[-1] += spent
                with self._adding:
                    self.seconds[part] += spent - inside
                    self.calls[part] += 1

    def wrap(self, function: Any, part: str, clock: _Clock, *, alone: bool) -> Any:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.around(part, clock, alone=alone):
                return function(*arguments, **named)

        return timed


class _TimedGraph:
    """A graph of an engine with a clock around it."""

    def __init__(self, graph: Any, clocks: Clocks, part: str) -> None:
        self.run = clocks.wrap(graph.run, part, time.process_time, alone=True)


class DirectInParts(Direct):
    """The direct path with clocks in it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._clocks = Clocks()
        engine = self.classifier._engine  # noqa: SLF001  no door leads to a classifier's graphs
        encoder = engine.encoder
        if not isinstance(encoder, AsTheyAre):
            encoder = _TimedGraph(encoder, self._clocks, "encoder")
        steps = engine.steps and _TimedGraph(engine.steps, self._clocks, "encoder")
        self.classifier._engine = replace(  # noqa: SLF001
            engine, encoder=encoder, head=_TimedGraph(engine.head, self._clocks, "head"), steps=steps
        )

    def send(self, transport: Transport, topic: str, ask: Ask) -> float:
        with self._clocks.around("reading", time.process_time, alone=True):
            return super().send(transport, topic, ask)

    def round(self, ask: Ask) -> Round:
        self._clocks.seconds.clear()
        self._clocks.calls.clear()
        with _clocks_set(self._clocks):
            found = super().round(ask)
        parts = {part: self._clocks.seconds[part] for part in PARTS}
        parts["scaling"] += self._clocks.seconds["place"]
        parts["rest"] = found.cpu_seconds - sum(parts.values())
        return replace(found, parts=parts | {CLOSE: float(self._clocks.calls["place"])})


@contextmanager
def _clocks_set(clocks: Clocks) -> Iterator[None]:
    """With clocks around what decodes, scales and cuts out views."""
    with ExitStack() as stack:
        for owner_name, name, part, alone in _PLACES:
            owner = pkgutil.resolve_name(owner_name)
            timed = clocks.wrap(getattr(owner, name), part, time.thread_time, alone=alone)
            stack.enter_context(mock.patch.object(owner, name, timed))
        yield
