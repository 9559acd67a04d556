"""Install what a target of the Makefile needs into a virtual environment, and show what happens meanwhile.

    python3.11 tools/install.py demo                      # into .venv
    python3.11 tools/install.py edge build/edge-venv

Installs with uv, which takes a quarter of pip's time: the one on the PATH, else one from PyPI; with pip where uv cannot
be had or fails. constraints.txt holds for both. Needs nothing but Python and leaves nothing running, however it ends:
an install that was interrupted is found by the file `.unfinished` in the environment, and begun anew the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A path from here on, so that spaces in that of the clone need no care.
VENV: Final = Path(".venv")
#: Where nobody looks on: at least one line in so many seconds.
_HEARTBEAT_SECONDS: Final = 10.0
_GRACE_SECONDS: Final = 5.0
#: pip and uv read settings from different variables.
_UV_NAMES: Final = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
#: Beginnings of lines that tell little: uv's of each package, pip's of each requirement.
_DULL: Final = (" + ", " - ", " ~ ", "Collecting ", "Requirement already", "Using cached ", "  Using cached ", "     ")


@dataclass(frozen=True, slots=True)
class Level:
    """A selection of extras, each of which holds those before it."""

    extras: str
    editable: bool
    what: str


LEVELS: Final[Mapping[str, Level]] = {
    "edge": Level("edge", editable=False, what="what an edge box needs: OpenVINO, no torch; about 0.5 GB"),
    "demo": Level(
        "edge,services,pictures,web",
        editable=True,
        what="what a demo needs: OpenVINO, a Kafka broker, Redis, a dashboard, no torch; about 0.5 GB, half a minute",
    ),
    "all": Level(
        "full,dev",
        editable=True,
        what="what tests, training and exporting need: torch and tools; about 7 GB, 2 to 5 minutes",
    ),
    "bench": Level("full,dev,bench", editable=True, what="what benchmarks need: everything, and peers; about 7 GB"),
}
#: Levels that are there once a level is, by the names of their stamps.
_INCLUDED: Final = {"all": ("demo",), "bench": ("demo", "all")}


class InstallError(Exception):
    """Something cannot be installed; the message says what to do."""


class Show:
    """Lines with the seconds since the beginning."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def line(self, text: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._begun:5.1f} s] {text}\n")
        sys.stdout.flush()


def install(level_name: str, venv: Path, show: Show) -> None:
    """Make `venv` hold a level, and stamp it.

    Raises:
        InstallError: it cannot be done.
    """
    level = LEVELS[level_name]
    show.line(f"Installing {level.what}")
    unfinished = venv / ".unfinished"
    if unfinished.exists():
        show.line(f"the last install did not end: making {venv} anew")
        shutil.rmtree(venv)
    elif venv.exists() and not level.editable:
        shutil.rmtree(venv)  # what is built from our code is to be of our code as it is
    fresh = not (venv / "bin" / "python").exists()
    venv.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    if fresh:
        _make_venv(venv, show)
    options = ["-c", "constraints.txt", "pip", *(["-e"] if level.editable else []), f".[{level.extras}]"]
    python = str(venv / "bin" / "python")
    uv = _uv(venv, show)
    if uv is None or not _succeeds([uv, "pip", "install", "--python", python, *options], f"packages, with {uv}", show):
        if uv is not None:
            show.line("uv failed; trying pip, which takes longer")
        _run([*_pip(venv), *options], "packages, with pip", show)
    for name in (level_name, *_INCLUDED.get(level_name, ())):
        (venv / f".{name}").touch()
    unfinished.unlink()
    show.line(f"{venv} is ready: {_megabytes(venv):.0f} MB")


def _make_venv(venv: Path, show: Show) -> None:
    # pip comes with the packages: unpacking it here would take longer than all else that makes an environment.
    options = ["--without-pip"] if _bundled_pip() else []
    try:
        _run([sys.executable, "-m", "venv", *options, str(venv)], f"virtual environment {venv}", show)
    except InstallError as error:
        raise InstallError(f"{error}\nOn Debian and Ubuntu, `apt install python3-venv` may be missing.") from None


def _bundled_pip() -> Path | None:
    """The wheel of pip that Python itself carries and that runs as it is; None where a distribution took it out."""
    spec = importlib.util.find_spec("ensurepip")
    folders = spec.submodule_search_locations if spec is not None else None
    return next((wheel for folder in folders or () for wheel in Path(folder).glob("_bundled/pip-*.whl")), None)


def _pip(venv: Path) -> list[str]:
    """The beginning of a command that installs with pip."""
    own, wheel = venv / "bin" / "pip", _bundled_pip()
    pip = [str(wheel / "pip")] if wheel is not None and not own.exists() else ["-m", "pip"]
    return [str(venv / "bin" / "python"), *pip, "install", "--disable-pip-version-check"]


def _uv(venv: Path, show: Show) -> str | None:
    """The command uv, from PyPI where there is none yet; None where it cannot be had."""
    own = venv / "bin" / "uv"
    found = shutil.which("uv") or next((str(uv) for uv in (own, VENV / "bin" / "uv") if uv.exists()), None)
    if found is not None:
        return found
    done = _succeeds([*_pip(venv), "-q", "-c", "constraints.txt", "uv"], "uv, a fast installer", show)
    return str(own) if done and own.exists() else None


def _succeeds(command: Sequence[str], what: str, show: Show) -> bool:
    try:
        _run(command, what, show)
    except InstallError as error:
        show.line(str(error))
        return False
    return True


def _run(command: Sequence[str], what: str, show: Show) -> None:
    """Run one step; on a terminal it shows its own progress, elsewhere its lines are passed on.

    Raises:
        InstallError: it fails; the message ends with its last lines.
    """
    show.line(what)
    environment = dict(os.environ)
    for name, other in _UV_NAMES.items():
        if name in environment:
            environment.setdefault(other, environment[name])
    terminal = sys.stdout.isatty() and sys.stderr.isatty()
    output = None if terminal else subprocess.PIPE
    try:
        # A session of its own: Ctrl-C reaches us alone, and we end the step with all that it has started.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, text=True,
            errors="replace", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise InstallError(f"{what}: {command[0]} does not start ({error})") from None
    last: deque[str] = deque(maxlen=20)
    try:
        if process.stdout is not None:
            for line in _lines(process, what):
                last.append(line)
                if not line.startswith(_DULL):
                    show.line(f"  {line}")
        status = process.wait()
    finally:
        _end(process)
    if status != 0:
        raise InstallError("\n".join([f"{what}: failed with status {status}", *last]))


def _lines(process: subprocess.Popen[str], what: str) -> Iterator[str]:
    """The step's lines as they come, and one of our own where it is silent for long."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=_HEARTBEAT_SECONDS)
        except queue.Empty:
            yield f"{what}: still at it"
            continue
        if line is None:
            return
        if line.strip():
            yield line


def _end(process: subprocess.Popen[str]) -> None:
    """End a step that is still running, and whatever it started; a second Ctrl-C does not stop that."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _end_group(process)
    finally:
        signal.signal(signal.SIGINT, before)


def _end_group(process: subprocess.Popen[str]) -> None:
    for number, seconds in ((signal.SIGINT, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
            if number == signal.SIGINT and not _group_lives(process.pid):
                return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _megabytes(folder: Path) -> float:
    seen = {(s.st_dev, s.st_ino): s.st_size for p in folder.rglob("*") if not p.is_symlink() and (s := p.stat())}
    return sum(seen.values()) / 1e6


@contextlib.contextmanager
def _alone(show: Show) -> Iterator[None]:
    """Hold off a second install into the same environment, as `make -j` may start one."""
    with Path("pyproject.toml").open(encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            show.line("waiting for another install to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Install; 1 if that fails, 2 for a wrong command line, 130 if interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("level", choices=LEVELS)
    parser.add_argument("venv", nargs="?", type=Path, default=VENV)
    given = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    show = Show()
    try:
        with _alone(show):
            install(given.level, given.venv, show)
    except KeyboardInterrupt:
        show.line("interrupted; the next call makes it anew")
        return 130
    except (InstallError, OSError) as error:
        sys.stderr.write(f"install: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
