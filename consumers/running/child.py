"""A process of `clipline run`: `python -m consumers.running.child agent|worker|pictures|notify|verdicts|dashboard ID`.

It reads settings as every command does (CLIPLINE_SETTINGS and the other variables), logs to its standard error output
and lives no longer than its parent: the end of its standard input is the parent's end. The other way it gives signs of
life there.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from consumers.files import remove_abandoned_folders
from consumers.records.states.process import ProcessInfo
from consumers.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, load_settings
from stream import BrokerError, StreamError
from stream.services import signal_at_parents_end

from .allocation import give_back_early
from .ending import Ending
from .logs import log_to_stderr
from .supervising.pulse import Pulse

log = logging.getLogger(__name__)

#: Everything that there was to do is done: not started again.
EXIT_FINISHED: Final = 0
#: Something unforeseen; the traceback is in the log.
EXIT_FAILED: Final = 1
#: What was asked for cannot be done: starting again would not help.
EXIT_REFUSED: Final = 2
#: The broker or Redis is away: sysexits' EX_TEMPFAIL.
EXIT_SERVICE_AWAY: Final = 75
#: Told to stop; 128 + SIGTERM, as a shell says it.
EXIT_STOPPED: Final = 143
#: Where each role is. Imported when it is asked for: an agent needs no model, and a worker no cameras.
ROLES: Final = {
    name: f"consumers.running.roles.{name}"
    for name in ("agent", "worker", "pictures", "notify", "verdicts", "dashboard")
}
#: How long an orphan has to end in order. The embedded services are gone by then.
ORPHAN_SECONDS: Final = 4.0
#: The setting `log.format` as a child is given it.
LOG_FORMAT: Final = f"{ENVIRONMENT_PREFIX}LOG__FORMAT"
#: The settings `worker.start`, `worker.guarantee` and `metrics.port`, likewise.
WORKER_START: Final = f"{ENVIRONMENT_PREFIX}WORKER__START"
WORKER_GUARANTEE: Final = f"{ENVIRONMENT_PREFIX}WORKER__GUARANTEE"
METRICS_PORT: Final = f"{ENVIRONMENT_PREFIX}METRICS__PORT"
#: The setting `worker.instance`, likewise.
INSTANCE: Final = f"{ENVIRONMENT_PREFIX}WORKER__INSTANCE"
#: When the run began: event time in microseconds, and seconds of the monotonic clock.
RUN_START: Final = f"{ENVIRONMENT_PREFIX}RUN_START"
#: The setting `shutdown_seconds`, likewise: its share of the time that `clipline run` has.
SHUTDOWN_SECONDS: Final = f"{ENVIRONMENT_PREFIX}SHUTDOWN_SECONDS"
#: No setting: when an agent may begin with cameras (supervising/blame.py).
TURNS: Final = "CLIPLINE_TURNS"

Run = Callable[[Ending], None]


class Role(Protocol):
    """What a module of `ROLES` holds."""

    #: Errors after which another start may succeed, because a service is away; and those after which none can.
    AWAY: tuple[type[Exception], ...]
    REFUSED: tuple[type[Exception], ...]

    def prepare(self, settings: Settings, process: ProcessInfo, pulse: Pulse) -> AbstractContextManager[Run]:
        """Get ready; give the function that works until it is asked to end or everything is done."""


def child_command(role: str, name: str) -> list[str]:
    """What starts a role whose records carry `name`."""
    # -P: a folder `models` or `stream` where the user happens to be is none of ours.
    return [sys.executable, "-P", "-m", "consumers.running.child", role, name]


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with the place where a child finds these packages, installed or not."""
    given = environment.get("PYTHONPATH")
    places = [str(Path(__file__).resolve().parents[2]), *([given] if given else [])]
    return {**environment, "PYTHONPATH": os.pathsep.join(places)}


class _Child:
    """A role at work, and who may end it."""

    def __init__(self) -> None:
        # Nothing is in hand yet, and loading a model takes seconds.
        self.ending = Ending(seconds=0, code=EXIT_STOPPED)
        self.pulse = Pulse()

    def outlive_nobody(self) -> None:
        """End when standard input does, whatever this process is at by then."""
        signal_at_parents_end(signal.SIGCONT)  # stopped by somebody, it would not see that
        threading.Thread(target=self._wait_for_parent, name="parent", daemon=True).start()

    def _wait_for_parent(self) -> None:
        # One that ends before it has heard our last sign of life resets the line: its end, too.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        if self.ending.seconds is not None:
            self.ending.seconds = min(self.ending.seconds, ORPHAN_SECONDS)
        self.ending.ask(for_good=True)

    def run(self, module: str, name: str) -> int:
        """Run the role in `module`; return the exit code, with the reason in the log."""
        away: tuple[type[Exception], ...] = (BrokerError,)
        refused: tuple[type[Exception], ...] = (SettingsError, StreamError)
        try:
            role: Role = importlib.import_module(module)
            away, refused = away + role.AWAY, refused + role.REFUSED
            settings = load_settings()
            with role.prepare(settings, ProcessInfo.current(name), self.pulse) as run:
                self.ending.seconds = settings.shutdown_seconds
                run(self.ending)
        except Exception as error:
            if isinstance(error, away):
                log.error("%s", error)  # noqa: TRY400  expected: its message says it all
                return EXIT_STOPPED if self.ending.stop.is_set() else EXIT_SERVICE_AWAY
            if isinstance(error, refused):
                log.error("%s", error)  # noqa: TRY400
                return EXIT_REFUSED
            log.exception("unexpected error")
            return EXIT_FAILED
        return EXIT_STOPPED if self.ending.stop.is_set() else EXIT_FINISHED


def main() -> None:
    """Run the role that the command line names."""
    # Where a signal ends us, the log says in which thread, and our supervisor reads it there.
    faulthandler.enable()
    give_back_early()
    remove_abandoned_folders()
    child = _Child()
    role, name = sys.argv[1:]
    with child.ending.listen():
        child.outlive_nobody()
        # Said by the parent, whatever file it has read: what is wrong with settings is to be logged like all else.
        log_to_stderr(os.environ.get(LOG_FORMAT, "text"), role, name)
        child.pulse.begin()
        code = child.run(ROLES[role], name)
        logging.shutdown()
        # Not `sys.exit`: threads that are inside libav would be waited for, or cut off amid a call.
        os._exit(code)


if __name__ == "__main__":
    main()
