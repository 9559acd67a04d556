"""The process that keeps one embedded server: starts it, drains it, stops it, removes its folder. See processes.py.

Run by its path in a bare interpreter (`python -I -S`), so that it starts in 30 ms: it imports nothing but the standard
library. It reads a `_Job` and its parent's process id as one line of JSON, runs the job until it ends or is no longer
wanted, and writes an `_Ending` as JSON. Where it is killed, the kernel ends its server (on Linux), and the next keeper
removes its folder.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from io import RawIOBase
from pathlib import Path
from typing import Any

# 8 KiB fit into a pipe even when every byte has to be escaped: nobody reads before we end.
_LAST_WORDS_BYTES = 8192
#: Of the folders of keepers; behind it stands the keeper's process id.
FOLDER_PREFIX = "clipline-service-"
#: A folder that nobody holds may be so young that its keeper is about to.
_YOUNG_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


def signal_at_parents_end(number: int) -> None:
    """Have this process sent a signal when the thread that started it ends, however that ends; on Linux only."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _die_with_keeper() -> None:
    signal_at_parents_end(signal.SIGKILL)


def _own_folder() -> str:
    folder = tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")
    # Never closed: it is held as long as this process lives.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
    return folder


def remove_abandoned(prefix: str, young_seconds: float) -> None:
    """Remove the temporary folders of processes that were killed: those that nobody holds (flock) and that are ours.

    Args:
        prefix: with which their names begin.
        young_seconds: a folder that nobody holds may be so young that whoever made it is about to.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with suppress(OSError):  # somebody else's, held, or gone meanwhile
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                if found.st_uid == os.getuid() and time.time() - found.st_mtime > young_seconds:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


class _Keeper:
    """One job and how far it has come."""

    def __init__(self, job: dict[str, Any], control: RawIOBase) -> None:
        self._job, self._control = job, control
        self._last_words = b""
        self._wanted = True

    def run(self) -> dict[str, Any]:
        """Run the commands one after the other; return how the last one ended."""
        status: int | None = 0
        folder = _own_folder()
        try:
            for name, text in self._job["files"].items():
                Path(folder, name).write_text(text, encoding="utf-8")
            if self._job["data_dir"] is not None:
                self._lock_data()
                # By a link, because `log.dirs` splits at commas and a properties file knows no accents.
                Path(folder, "data").symlink_to(self._job["data_dir"])
            for command in self._job["commands"] if self._wanted else ():
                status = self._serve([part.replace("{folder}", folder) for part in command], folder)
                if status != 0 or not self._wanted:
                    break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"status": status, "by_itself": self._wanted, "last_words": self._last_words.decode(errors="replace")}

    def _lock_data(self) -> None:
        """Kafka locks its data too, but only after a second controller has written into the first one's log."""
        # Never closed: the lock lasts as long as this process.
        lock = os.open(self._job["data_dir"], os.O_RDONLY)
        # Whoever was killed a moment ago may still be closing its files.
        patience = time.monotonic() + self._job["lock_seconds"]
        while self._wanted:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > patience:
                    sys.exit(f"another embedded broker is using {self._job['data_dir']}")
                self._wanted = not select.select([self._control], [], [], 0.1)[0]
            else:
                return

    def _serve(self, command: list[str], folder: str) -> int | None:
        server = subprocess.Popen(  # noqa: S603  what `_Plan`s made
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_keeper,  # noqa: PLW1509  there is one thread here
        )
        try:
            self._drain(server)
            with suppress(subprocess.TimeoutExpired):
                server.wait(timeout=5)
            return server.returncode
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()

    def _drain(self, server: subprocess.Popen[bytes]) -> None:
        """Return when the server has closed its output, having told it to stop once nobody wants it any more."""
        assert server.stdout is not None
        output, control = server.stdout.fileno(), self._control.fileno()
        kill_at = float("inf")
        while True:
            ready, _, _ = select.select([output, control] if self._wanted else [output], [], [], 0.5)
            if output in ready:
                chunk = os.read(output, 65536)
                if not chunk:
                    return
                self._last_words = (self._last_words + chunk)[-_LAST_WORDS_BYTES:]
            # The pipe alone would do, had our parent's forked children not inherited its other end.
            if self._wanted and (control in ready or os.getppid() != self._job["parent"]):
                self._wanted = False
                server.terminate()
                kill_at = time.monotonic() + self._job["grace_seconds"]
            if time.monotonic() >= kill_at:
                server.kill()


def main() -> None:
    # When a whole service is told to stop, our parent decides when it no longer needs the server. Handlers, because
    # the server would inherit "ignored".
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    with open(0, "rb", buffering=0) as control:
        line = control.readline()
        if not line.endswith(b"\n"):
            return
        # Stopped by somebody, it would see neither the end of its standard input nor of its parent.
        signal_at_parents_end(signal.SIGCONT)
        try:
            remove_abandoned(FOLDER_PREFIX, _YOUNG_SECONDS)
            ending = _Keeper(json.loads(line), control).run()
        except OSError as error:  # no temporary folder, or no process
            sys.exit(f"{error.filename or 'no process'}: {error.strerror or error}")
    with suppress(OSError):  # nobody is left to read it
        os.write(1, json.dumps(ending, ensure_ascii=False).encode())


if __name__ == "__main__":
    main()
