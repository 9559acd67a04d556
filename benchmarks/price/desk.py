"""What all measurements of a run share: the plan, films, processes, progress."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import av
from footage import Footage, footage

from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress

from .measuring import Job, Measuring
from .plan import Plan

BUILD: Final = Path(__file__).resolve().parents[2] / "build"


class Desk:
    """Films are kept in build/bench, all else in a folder that goes with the run."""

    def __init__(self, plan: Plan, scratch: Path, console: Output) -> None:
        self.plan, self.scratch, self.console = plan, scratch, console
        self._cache = BUILD / "bench"
        self._log = scratch / "stderr.txt"
        # Converted models go beside the films, and no setting of the user's enters.
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLIPLINE_")}
        self._environment = {**own, "XDG_CACHE_HOME": str(self._cache), "PYTHONWARNINGS": "ignore"}
        self._environment = _with_ffmpeg(self._environment, scratch)

    @property
    def has_gpu(self) -> bool:
        """Whether there is a driver of an NVIDIA GPU; the processes that are measured ask torch."""
        return Path("/dev/nvidiactl").exists()

    def film(self, wanted: Footage) -> Path:
        return footage(wanted, self._cache)

    def start(self, job: Job) -> Measuring:
        """Start a process and wait until it is ready.

        Raises:
            MissingError: something that it needs is not there.
            WrongWorkError: it ended.
        """
        return Measuring(job, self._environment, self._log)

    @contextmanager
    def task(self, name: str, steps: int) -> Iterator[Callable[[int], None]]:
        """Show how many of so many steps are done; yield what is told of more."""
        done = 0
        with task_progress(self.console) as show:
            show(name, 0, steps)

            def step(more: int) -> None:
                nonlocal done
                done += more
                show(name, done, steps)

            yield step


def _with_ffmpeg(environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """The environment in which torchcodec finds FFmpeg's libraries: those in PyAV's wheel, under their own names.

    torchcodec brings none. PyAV's are of a version that it knows, need no root to install, and are those that Clipline
    decodes with. Where PyAV has none of its own, the system's are left to be found.
    """
    bundled = Path(av.__file__).parents[1] / "av.libs"
    folder = scratch / "ffmpeg"
    folder.mkdir(exist_ok=True)
    for library in bundled.glob("lib*-*.so.*"):
        name, _, version = library.name.partition(".so.")  # libavcodec-5e6b81c2.so.62.28.102
        with suppress(FileExistsError):
            (folder / f"{name.rpartition('-')[0]}.so.{version.partition('.')[0]}").symlink_to(library)
    before = environment.get("LD_LIBRARY_PATH")
    found = [str(folder), str(bundled), *([before] if before else [])]
    return {**environment, "LD_LIBRARY_PATH": os.pathsep.join(found)}
