"""The first minutes of a new user, step by step: clone, `make demo`, the first event. Goal: 60 seconds.

    first_minutes.py                        # nothing cached, as on a machine that never saw the project
    first_minutes.py --cached               # with pip's and uv's caches
    first_minutes.py --repository URL       # another clone than this one, over the network

Needs Python and git only. When footage, predictions and events came is read from the topics of the demo, by the time
that Kafka keeps of each record.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

GOAL_SECONDS: Final = 60.0
#: In the path of the clone, since users have them.
_FOLDER: Final = "a fresh clone"
#: Of the whole run.
_DEADLINE_SECONDS: Final = 900.0
#: Run in the clone's own environment while the demo goes on; prints when the first record of each topic was written.
_PROBE: Final = """
import json, sys, time
from kafka import KafkaConsumer
from consumers.settings import Settings
topics = Settings().topics
wanted = {topics.segments: "first segment", topics.predictions: "first prediction", topics.events: "first event"}
consumer = KafkaConsumer(*wanted, bootstrap_servers=sys.argv[1], auto_offset_reset="earliest")
found, until = {}, time.monotonic() + 60
while len(found) < len(wanted) and time.monotonic() < until:
    for partition, records in consumer.poll(timeout_ms=200).items():
        name, first = wanted[partition.topic], min(r.timestamp for r in records) / 1000
        found[name] = min(first, found.get(name, first))
print(json.dumps(found))
"""


class Steps:
    """When each step was done, in seconds since the beginning."""

    def __init__(self) -> None:
        self.begun = time.time()
        self._last = 0.0

    def done(self, name: str, at: float | None = None) -> None:
        total = (at or time.time()) - self.begun
        sys.stdout.write(f"{total:7.1f} s  (+{total - self._last:5.1f})  {name}\n")
        sys.stdout.flush()
        self._last = total


#: Lines of `make demo` that end a step, in their order.
_LINES: Final = (
    (r"virtual environment", "make has started"),
    (r"uv, a fast", "virtual environment made"),
    (r"packages, with", "uv installed"),
    (r"is ready: ", "packages installed"),
    (r"Kafka.*127\.0\.0\.1:", "demo: broker and Redis are up"),
)


@contextlib.contextmanager
def _demo(clone: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["make", "demo"], cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def measure(repository: str, folder: Path, *, cached: bool) -> float:
    """Print each step; the seconds to the first event."""
    clone = folder / _FOLDER
    environment = {
        n: v for n, v in os.environ.items() if n not in {"PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL"}
    }
    environment |= {"XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    if not cached:
        environment |= {"PIP_NO_CACHE_DIR": "1", "UV_NO_CACHE": "1"}
    else:
        del environment["XDG_CACHE_HOME"]
    steps, output, expected = Steps(), [], list(_LINES)
    # Without hard links: copied, as from another machine.
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", "--depth", "1", repository, str(clone)], check=True)
    steps.done("cloned")
    with _demo(clone, environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            while expected and re.search(expected[0][0], line) is None and any(re.search(p, line) for p, _ in expected):
                del expected[0]  # a step that this machine does not need
            if expected and re.search(expected[0][0], line):
                steps.done(expected.pop(0)[1])
            if address := re.search(r"Kafka\D*?((?:127\.0\.0\.1|localhost):\d+)", line):
                break
        else:
            raise RuntimeError("`make demo` ended before its broker was up:\n" + "".join(output[-20:]))
        probe = subprocess.run(
            [clone / ".venv" / "bin" / "python", "-c", _PROBE, address[1]],
            cwd=clone, env=environment, capture_output=True, text=True, check=True, timeout=_DEADLINE_SECONDS,
        )  # fmt: skip
    found = json.loads(probe.stdout)
    for name, at in sorted(found.items(), key=lambda item: item[1]):
        steps.done(name, at)
    if "first event" not in found:
        raise RuntimeError("there was no event within a minute of the demo")
    sys.stdout.write(f"{_megabytes(clone / '.venv'):.0f} MB installed, {_megabytes(clone / '.git'):.0f} MB cloned\n")
    return float(found["first event"]) - steps.begun


def _megabytes(folder: Path) -> float:
    seen = {s.st_ino: s.st_size for path in folder.rglob("*") if not path.is_symlink() and (s := path.stat())}
    return sum(seen.values()) / 1e6


def _machine() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
        features = [f for f in ("avx2", "avx512f", "avx512_bf16") if re.search(rf"\b{f}\b", text)]
        if names:
            load = os.getloadavg()[0]
            return f"{len(names)} cores of {names[0]} ({', '.join(features) or 'no AVX2'}), load {load:.1f} before"
    return "a processor that does not say its name"


def main() -> int:
    """Measure; 1 if the goal is missed or the demo fails."""
    summary, _, explanation = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=explanation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cached", action="store_true", help="let pip and uv use what they downloaded before")
    parser.add_argument("--repository", default=str(Path(__file__).resolve().parents[1]), help="what is cloned")
    parser.add_argument("--goal", type=float, default=GOAL_SECONDS, metavar="SECONDS")
    arguments = parser.parse_args()
    for command in ("git", "make"):
        if shutil.which(command) is None:
            sys.stderr.write(f"first_minutes: needs {command}\n")
            return 1
    sys.stdout.write(f"{_machine()}; {'with' if arguments.cached else 'without'} caches\n")
    # A path of a repository on this machine is cloned as from afar: --depth asks for that.
    path = Path(arguments.repository)
    repository = path.resolve().as_uri() if path.exists() else arguments.repository
    with tempfile.TemporaryDirectory(prefix="clipline-first-") as scratch:
        try:
            seconds = measure(repository, Path(scratch), cached=arguments.cached)
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            sys.stderr.write(f"first_minutes: {error}\n")
            return 1
    sys.stdout.write(f"first event after {seconds:.1f} s; the goal is {arguments.goal:g} s\n")
    return 0 if seconds <= arguments.goal else 1


if __name__ == "__main__":
    sys.exit(main())
