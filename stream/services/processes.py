"""Kafka and Redis without an installation: real servers, started for a demo or a test and gone with whoever asked.

    with EmbeddedBroker() as broker, EmbeddedRedis() as redis:
        KafkaProducer(bootstrap_servers=broker.address)
        Redis.from_url(redis.address)

How a server is tied to its user:

    this process ──stdin: the job, later one line or EOF──▶ keeper ──starts, drains, stops──▶ server
                 ◀──stdout: how the server ended, its last words──┘     (in a temporary folder of the keeper's own)

The keeper (keeper.py) is a bare Python process that outlives nobody: it stops the server and removes the folder as
soon as its stdin says a line, ends, or its parent is another one than before. A normal exit, an exception, Ctrl-C,
SIGTERM and SIGKILL of this process therefore all take the same road, and no signal handler is needed here.
PR_SET_PDEATHSIG on the server would be shorter, but it fires when the *thread* that forked ends (a broker started from
a worker thread would die with it), needs a `preexec_fn`, which is not safe in a process with threads, knows only Linux,
and nobody would be left to remove the folder. It stands behind the keeper instead, which has one thread: a keeper that
is killed takes its server along, and one that was stopped goes on when this process ends.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from stream.errors import ServiceError

from .keeper import FOLDER_PREFIX

_log: Final = logging.getLogger(__name__)
HOST: Final = "127.0.0.1"
#: How often other ports are tried when somebody took ours between picking and binding.
_ATTEMPTS: Final = 4
_POLL_SECONDS: Final = 0.02
#: A port is waited for so long, where a server is to have the one that it had.
_FREE_SECONDS: Final = 5.0
#: A keeper has so long to end beside the grace of its server.
_KEEPER_SECONDS: Final = 10.0
#: What was killed takes a moment to end. Where nobody buries orphans, they count as there for good.
_KILLED_SECONDS: Final = 1.0
#: What a server may inherit. Tansu and the JVM read settings from many more variables, meant for somebody else.
_ENVIRONMENT: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "JAVA_HOME", "JAVA_TOOL_OPTIONS")
_KEEPER: Final = Path(__file__).resolve().with_name("keeper.py")


@dataclass(frozen=True, slots=True)
class Job:
    """What the keeper is told. `{folder}` in a command stands for the keeper's temporary folder."""

    #: One after the other, each only after the one before has ended well. The last is the server.
    commands: tuple[tuple[str, ...], ...]
    #: Variables that the commands see beside those that every server inherits.
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    #: Outlives the server: appears as `data` in its folder, and is locked while it runs.
    data_dir: str | None = None
    lock_seconds: float = 0.0
    #: SIGTERM this long before SIGKILL. 0: nothing worth saving, SIGKILL at once.
    grace_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One attempt to start a server, on ports that were free a moment ago."""

    address: str
    ports: tuple[int, ...]
    job: Job
    #: Whether this very server answers; a stranger on the same port does not count.
    answers: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Ending:
    status: str
    by_itself: bool
    last_words: str


class Service(ABC):
    """A server process that lives as long as its `with` block, on loopback ports of its own choice.

    Entering returns once the server has answered a request; raises ServiceError when it is not installed, ends or
    stays silent. May be entered again after it was left.
    """

    #: What it is called in messages.
    name: ClassVar[str]
    _deadline_seconds: ClassVar[float] = 20.0

    def __init__(self, *, port: int | None = None) -> None:
        """`port` is taken if it is free, another one if it is not."""
        self._wanted_port = port
        self._running: tuple[Plan, _Keeper] | None = None
        self._told = False

    def ports(self, count: int) -> tuple[int, ...]:
        ports = _free_ports(count)
        if self._wanted_port is None or is_taken(self._wanted_port):
            return ports
        wanted, self._wanted_port = self._wanted_port, None  # a second attempt takes any
        return (wanted, *ports[1:])

    @abstractmethod
    def plan(self) -> Plan:
        """Pick ports and say how to start; raises ServiceError when something is not installed."""

    @staticmethod
    @abstractmethod
    def missing() -> str | None:
        """What has to be installed before it can start, in words; None when everything is there."""

    @property
    def address(self) -> str:
        if self._running is None:
            raise ServiceError(f"{self.name}: has an address only inside its `with` block")
        return self._running[0].address

    def __enter__(self) -> Self:
        if self._running is not None:
            raise ServiceError(f"{self.name}: already running on {self.address}")
        self._start()
        return self

    def _start(self) -> None:
        try:
            self._try_to_start()
        except OSError as error:  # no memory, no file descriptors: no process, no socket
            raise ServiceError(f"{self.name}: cannot be started ({error.strerror or error})") from error

    def _try_to_start(self) -> None:
        for _ in range(_ATTEMPTS):
            plan = self.plan()
            keeper = _Keeper(plan.job)
            try:
                answered = self._wait(plan, keeper)
            except BaseException:
                keeper.end()
                raise
            if answered:
                self._running, self._told = (plan, keeper), False
                return
            ending = keeper.end()
            if not (ending.by_itself and any(map(is_taken, plan.ports))):
                break
        found = f"ended with {ending.status}" if ending.by_itself else f"was silent for {self._deadline_seconds:g} s"
        raise ServiceError(
            f"{self.name}: expected an answer on {plan.address}, but it {found}. "
            f"Its last words: {ending.last_words.strip() or '(none)'}"
        )

    @property
    def keeps_all(self) -> bool:
        """Whether it holds after `again` what it held before."""
        return False

    def ended(self) -> str | None:
        """Why the server runs no more, in words; None while it runs. Ask now and then: nobody else notices."""
        if self._running is None:
            raise ServiceError(f"{self.name}: runs only inside its `with` block")
        plan, keeper = self._running
        if not keeper.has_ended():
            return None
        ending = keeper.end()
        self._told = True
        words = ending.last_words.strip().splitlines()[-1:] or ["(none)"]
        return f"{self.name} on {plan.address} ended by itself with {ending.status}; its last words: {words[0]}"

    def again(self) -> None:
        """Start anew at the address where it was, after it has ended by itself; what still runs is ended.

        Others may ask for its address meanwhile.

        Raises:
            ServiceError: it cannot be now; it has ended, then. May be called again.
        """
        assert self._running is not None
        before = plan, keeper = self._running
        keeper.end()
        port = plan.ports[0]
        # The server of a keeper that was killed may still be ending.
        deadline = time.monotonic() + _FREE_SECONDS
        while is_taken(port) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if is_taken(port):
            raise ServiceError(f"{self.name}: {plan.address} is taken by now")
        self._wanted_port = port
        self._start()
        _, new = self._running
        if self.address != plan.address:
            new.end()
            self._running = before
            raise ServiceError(f"{self.name}: {plan.address} is taken by now")

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        plan, keeper = self._running
        self._running = None
        ending = keeper.end()
        if ending.by_itself and not self._told:
            _log.warning(
                "%s on %s had ended by itself with %s. Its last words: %s",
                self.name,
                plan.address,
                ending.status,
                ending.last_words.strip() or "(none)",
            )

    def _wait(self, plan: Plan, keeper: _Keeper) -> bool:
        deadline = time.monotonic() + self._deadline_seconds
        while time.monotonic() < deadline and not keeper.has_ended():
            if plan.answers():
                return True
            time.sleep(_POLL_SECONDS)
        return False


def _free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:  # all open at once, or the system may hand out the same port twice
            each.bind((HOST, 0))
        return tuple(each.getsockname()[1] for each in sockets)


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that linger after a server has gone do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


class _Keeper:
    """Starts the keeper process and ends it."""

    def __init__(self, job: Job) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"LC_ALL": "C.UTF-8", "NO_COLOR": "1", **job.environment}
        self._grace_seconds = job.grace_seconds
        self._ending: _Ending | None = None
        # By its path: as a module it would first import this package, and with it libav and Kafka's client.
        self._process = subprocess.Popen(  # noqa: S603  our own file, our own interpreter
            [sys.executable, "-I", "-S", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            # Out of the terminal's reach: Ctrl-C is for us, and we may still need the server to end in order.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"parent": os.getpid(), **asdict(job)}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended, and says why when asked
            return

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> _Ending:
        """Stop the server, if it still runs, and return when it and its folder are gone. May be called again."""
        if self._ending is None:
            self._ending = self._end()
        return self._ending

    def _end(self) -> _Ending:
        if not self.has_ended():
            # One that somebody has stopped would not hear us.
            os.killpg(self._process.pid, signal.SIGCONT)
        try:
            # A line, not only the end of the pipe: a process that we forked may hold the other end open.
            output, _ = self._process.communicate(b"\n", timeout=self._grace_seconds + _KEEPER_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill_all()
            return _Ending(f"its keeper, process {self._process.pid}, hanging", by_itself=True, last_words="")
        text = output.decode(errors="replace")
        try:
            report = json.loads(text)
        except ValueError:  # killed, or a traceback
            self._kill_all()
            return _Ending(f"its keeper's status {self._process.returncode}", by_itself=True, last_words=text)
        return _Ending(f"status {report['status']}", by_itself=report["by_itself"], last_words=report["last_words"])

    def _kill_all(self) -> None:
        """End the keeper and what it leaves: its server, which is of its process group, and its folder."""
        deadline = time.monotonic() + _KILLED_SECONDS
        # macOS forbids signals to a group of which only zombies are left.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
            while time.monotonic() < deadline:
                self._process.poll()  # buries the keeper
                os.killpg(self._process.pid, 0)  # an error once nobody is left
                time.sleep(_POLL_SECONDS)
        temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
        for folder in temporary.glob(f"{FOLDER_PREFIX}{self._process.pid}-*"):
            shutil.rmtree(folder, ignore_errors=True)
