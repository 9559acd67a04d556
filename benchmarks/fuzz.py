"""Damaged segments by the ten thousand through the decoders: each ends decoded or as an error with its reason.

    python benchmarks/fuzz.py [--count N] [--seed N] [--only NUMBER]

Real segments of every codec are damaged (benchmarks/damage.py) and decoded in a process of their own, which is watched:
for its end (a crash), for a segment that takes longer than some seconds (a hang), and for its memory. What does any of
it is printed with its number, can be done again with --only, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import av.logging
from damage import Damage, Parts, Whole, corpus

from consumers.live.decode_queue import DecodeQueue
from stream import ClipSpec, Segment, SegmentError

SPEC: Final = ClipSpec(frames=4, spacing_us=100_000, stride_us=200_000, height=32, width=32, fit="crop")
#: Of wall clock, for the segments of one case.
MAX_SECONDS: Final = 20.0
#: More than the process has before it begins: what a decoder of the largest pictures may hold.
MAX_MEGABYTES: Final = 500
#: The process gets no more address space than this, whatever it asks for.
_ADDRESS_SPACE: Final = 6 * 1024**3


@dataclass(slots=True)
class Outcomes:
    """What became of damaged segments."""

    decoded: int = 0
    refused: int = 0
    reasons: collections.Counter[str] = field(default_factory=collections.Counter)
    #: Errors that nobody foresaw, with a number each.
    unforeseen: dict[str, int] = field(default_factory=dict)

    def add(self, other: Outcomes) -> None:
        self.decoded += other.decoded
        self.refused += other.refused
        self.reasons += other.reasons
        self.unforeseen = other.unforeseen | self.unforeseen


def decode(records: list[Parts], outcomes: Outcomes, number: int) -> None:
    """Decode the records of a case as a worker does, and count what becomes of each."""
    queue = DecodeQueue[int](SPEC, threads=1)
    try:
        for index, parts in enumerate(records):
            queue.put(index, partial(Segment.decode, *parts, "fuzz"), "fuzz")
        while (entry := queue.take(wait=True)) is not None:
            outcome = entry[1]
            if not isinstance(outcome, SegmentError):
                outcomes.decoded += 1
                continue
            outcomes.refused += 1
            reason = str(outcome)
            assert reason.startswith("fuzz: ")
            assert len(reason) > len("fuzz: ")
            outcomes.reasons[kind_of(reason)] += 1
            if "cannot be read or decoded: " in reason:
                outcomes.unforeseen.setdefault(kind_of(reason), number)
    finally:
        queue.close()


def kind_of(reason: str) -> str:
    """A reason without what differs from one record to the next."""
    kept = "".join("#" if c.isdigit() else c for c in reason.removeprefix("fuzz: ")[:160])
    while "##" in kept:
        kept = kept.replace("##", "#")
    return kept


def _child(films: list[list[Whole]], seed: int, numbers: range, pipe: Connection) -> None:
    """Decode cases, telling each before it is begun and what it took behind it."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    av.logging.set_level(av.logging.PANIC)
    logging.disable()
    damage, outcomes = Damage(films, seed), Outcomes()
    for number in numbers:
        pipe.send(number)
        done, records = damage.of(number)
        pipe.send(done)
        before = _peak_megabytes(reset=True)
        decode(records, outcomes, number)
        if (more := _peak_megabytes() - before) > MAX_MEGABYTES:
            pipe.send((outcomes, f"{more:.0f} MB more than before"))
            return
        if number % 200 == 0:
            pipe.send((outcomes, ""))
            outcomes = Outcomes()
    pipe.send((outcomes, ""))


def _peak_megabytes(*, reset: bool = False) -> float:
    """The most memory that the process has had, since the last reset if there was one."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def fuzz(films: list[list[Whole]], seed: int, numbers: range, outcomes: Outcomes) -> Iterator[tuple[int, str]]:
    """Decode the cases of these numbers; yield those that crash, hang or need too much memory, and how."""
    # Not a fork: it would begin with the memory that this process has had.
    context = multiprocessing.get_context("spawn")
    at = numbers.start
    while at < numbers.stop:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(films, seed, range(at, numbers.stop), theirs), daemon=True)
        child.start()
        theirs.close()
        failure, done = "", ""
        try:
            while not failure:
                if not ours.poll(MAX_SECONDS):
                    failure = f"hangs: no end after {MAX_SECONDS:.0f} s"
                    break
                match ours.recv():
                    case int(number):
                        at = number
                    case str(words):
                        done = words
                    case (Outcomes() as new, str(failure)):
                        outcomes.add(new)
        except EOFError:
            child.join()
            if child.exitcode == 0:
                return
            failure = f"crashes: exit code {child.exitcode}"
        child.kill()
        child.join()
        yield at, f"{done}: {failure}"
        at += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this case alone, in this process")
    parser.add_argument("--json", type=Path, default=Path("build/fuzz.json"))
    options = parser.parse_args()
    outcomes, began = Outcomes(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        films = corpus(Path(folder))
    codecs = sorted({segment.codec for film in films for segment in film})
    if options.only is not None:
        done, records = Damage(films, options.seed).of(options.only)
        print(done, flush=True)
        decode(records, outcomes, options.only)
        print(*(outcomes.reasons or ["decoded"]), sep="\n")
        return 0
    print(f"{options.count} cases of {', '.join(codecs)}, seed {options.seed}", flush=True)
    failures = []
    for number, failure in fuzz(films, options.seed, range(options.count), outcomes):
        failures.append({"case": number, "failure": failure})
        print(f"case {number}: {failure}", flush=True)
    seconds = time.monotonic() - began
    for kind, count in outcomes.reasons.most_common(40):
        print(f"{count:7} {kind}")
    for kind, number in outcomes.unforeseen.items():
        print(f"unforeseen, as case {number}: {kind}")
    print(
        f"{options.count} cases in {seconds:.0f} s ({options.count / seconds:.0f} a second): {outcomes.decoded} "
        f"segments decoded, {outcomes.refused} refused with a reason, "
        f"{len(failures)} crashed, hung or took too much memory"
    )
    result = {
        "cases": options.count,
        "seed": options.seed,
        "codecs": codecs,
        "seconds": round(seconds, 1),
        "decoded": outcomes.decoded,
        "refused": outcomes.refused,
        "unforeseen": outcomes.unforeseen,
        "failures": failures,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
