"""What runs while chaos.py hurts it: the real commands, on servers of chaos_services.py.

Processes are `clipline attach`, `clipline work` and `clipline run`, each in a session of its own. Whatever ends by
itself is started again, as a supervisor would, and counted.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import chaos_judge
from chaos_services import Brokers, KillableRedis, LiveFeeds, children
from kafka import KafkaAdminClient

from consumers.settings import Settings
from consumers.times import parse_time_us
from stream import KafkaTransport

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
FOOTAGE: Final = sorted((_REPOSITORY / "consumers" / "footage").glob("*.mp4"))
#: How long a run may take to come to rest once nothing hurts it any more, and how long nothing is told then.
_REST_SECONDS: Final = 240.0
_QUIET_SECONDS: Final = 6.0
#: How long a process may take to end when it is told to.
_END_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is."""

    seed: int
    seconds: float
    workers: int = 3
    brokers: int = 1
    model: str = "x3d-xs"
    #: Seconds between two faults, about.
    pause_seconds: float = 2.0
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Command:
    """A command of ours that is to run: started again when it ends, until it may."""

    name: str
    arguments: list[str]
    settings: Path
    log_folder: Path
    #: Footage that ends: exit status 0 is its end.
    ends: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    #: Exit statuses with which it ended without having been hurt.
    endings: list[int] = field(default_factory=list)
    hurt: bool = False
    #: It is not started again.
    finished: bool = False
    started_at: float = 0.0
    _log: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._log = self._log or (self.log_folder / f"{self.name}.log").open("ab")
        environment = os.environ | {"PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self.hurt, self.started_at = False, time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *self.arguments, "--settings", str(self.settings)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=environment | self.environment,
            cwd=self.log_folder,
        )

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def age(self) -> float:
        """Seconds that it has been running."""
        return time.monotonic() - self.started_at if self.runs else 0.0

    @property
    def log(self) -> str:
        return (self.log_folder / f"{self.name}.log").read_text("utf-8", "replace")

    def limit_files(self, size: int | None) -> None:
        """Let no file be written beyond a size in bytes, as on a disk that is full; None takes that back."""
        if self.process is not None and self.runs:
            with contextlib.suppress(ProcessLookupError):
                limit = resource.RLIM_INFINITY if size is None else size
                resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def descendants(self) -> list[int]:
        """The processes that it has started, and those that they have."""
        found = [self.process.pid] if self.process is not None and self.runs else []
        for each in found:
            with contextlib.suppress(OSError):
                found += children(each)
        return found[1:]

    def signal(self, number: int) -> None:
        if self.process is not None and self.runs:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.runs:
            self.hurt = True
            self.signal(signal.SIGKILL)
            assert self.process is not None
            self.process.wait()

    def end(self, seconds: float = 30.0) -> bool:
        """SIGTERM; False where it had to be killed after `seconds`."""
        if self.process is None or not self.runs:
            return True
        self.hurt = True
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def look(self) -> None:
        """Start it again where it has ended and should not have."""
        if self.finished or self.process is None or self.runs:
            return
        if self.ends and self.process.returncode == 0:
            self.finished = True
            return
        if not self.hurt:
            self.endings.append(self.process.returncode)
        self.start()


@dataclass(slots=True)
class Agent:
    """A camera and the process that attaches it."""

    camera: str
    film: Path
    source: str
    #: Of recorded footage: the time of its first frame.
    start: str | None
    command: Command
    #: How many have been made for it.
    commands: int = 0

    @property
    def is_live(self) -> bool:
        """Whether its segments wait on disk while the broker is away."""
        return "://" in self.source

    def recorded(self) -> chaos_judge.Film | None:
        if self.start is None:
            return None
        return chaos_judge.Film(self.camera, self.film, parse_time_us(self.start))


@dataclass(slots=True)
class Stand:
    """All that runs."""

    plan: Plan
    folder: Path
    random: random.Random
    brokers: Brokers
    redis: KillableRedis
    feeds: LiveFeeds
    settings: Settings
    file: Path
    #: The agent of each camera, as it is now.
    agents: list[Agent] = field(default_factory=list)
    workers: list[Command] = field(default_factory=list)
    #: `clipline run`, with a camera and a worker of its own.
    house: Command | None = None
    #: Processes that have to end by themselves, and when that is looked at, or are ended by us.
    guests: list[Command] = field(default_factory=list)
    cameras: list[str] = field(default_factory=list)
    films: list[chaos_judge.Film] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    #: What nobody may do, seen.
    violations: list[str] = field(default_factory=list)
    kills: int = 0
    hurts: bool = True
    #: Until when no broker can be reached.
    away_until: float = 0.0
    #: When a broker was away last.
    away_at: float = 0.0
    #: What is to be done, and when.
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def supervised(self) -> list[Command]:
        return [*(a.command for a in self.agents), *self.workers, *([self.house] if self.house else [])]

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.later.append((time.monotonic() + seconds, act))

    def take_brokers_away(self, seconds: float) -> None:
        """Cut all connections to the brokers, and refuse new ones."""
        self.away_until = max(self.away_until, time.monotonic() + seconds)
        self.brokers.cut()

    def look(self) -> None:
        """Do what is due, and start again what has ended."""
        now = time.monotonic()
        due = [act for at, act in self.later if at <= now]
        self.later = [(at, act) for at, act in self.later if at > now]
        for act in due:
            act()
        self.brokers.look()
        if self.away_until or not self.brokers.are_up:
            self.away_at = now
        if self.away_until and now >= self.away_until:
            self.away_until = 0.0
            self.brokers.heal()
        for command in self.supervised:
            command.look()
        for agent in list(self.agents):
            if agent.start is not None and agent.command.finished and self.hurts:
                # Its film is over: the next one comes.
                self.agents.remove(agent)
                self.guests.append(agent.command)
                self.attach("recorded")

    def attach(self, kind: str) -> None:
        """Begin a camera: a recorded film, a film again and again from now on, or a live camera."""
        number = len(self.cameras)
        film, camera = FOOTAGE[number % len(FOOTAGE)], f"{kind}-{number}"
        start = f"2026-01-{1 + number // 24 % 28:02}T{number % 24:02}:00:00Z" if kind == "recorded" else None
        agent = Agent(camera, film, self.feeds.url(film) if kind == "live" else str(film), start, self.blank())
        agent.command = self.agent_command(agent)
        agent.command.start()
        self.agents.append(agent)
        self.cameras.append(camera)
        if (recorded := agent.recorded()) is not None:
            self.films.append(recorded)

    def blank(self) -> Command:
        return Command("", [], self.file, self.folder)

    def agent_command(self, agent: Agent, *more: str) -> Command:
        """A command that attaches an agent's camera."""
        arguments = ["attach", agent.source, "--camera", agent.camera, *more]
        if not agent.is_live:
            arguments += ["--start", agent.start] if agent.start is not None else ["--start", "now", "--loop"]
        agent.commands += 1
        return Command(
            f"{agent.camera}.{agent.commands}", arguments, self.file, self.folder, ends=agent.start is not None
        )

    def worker(self, name: str, instance: str | None = None) -> Command:
        environment = {} if instance is None else {"CLIPLINE_WORKER__INSTANCE": instance}
        return Command(name, ["work"], self.file, self.folder, environment=environment)

    def start(self) -> None:
        """Start everything."""
        for kind in ("recorded", "looped", "live", "recorded", "live"):
            self.attach(kind)
        # The first is a static member of its group, the others are not.
        self.workers += [self.worker(f"worker-{n}", None if n else "worker-0") for n in range(self.plan.workers)]
        (self.folder / "house.toml").write_text(
            f'{self.file.read_text("utf-8")}\n[cameras.house]\nurl = "{self.feeds.url(FOOTAGE[0])}"\n', "utf-8"
        )
        self.house = Command("house", ["run"], self.folder / "house.toml", self.folder)
        self.cameras.append("house")
        for command in [*self.workers, self.house]:
            command.start()

    def wait(self, seconds: float, ready: Callable[[], bool] = lambda: False) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            if ready():
                return True
            time.sleep(0.1)
        return ready()

    def rest(self) -> None:
        """Let everything end in order: footage, agents, what is to be classified, workers."""
        self.hurts = False
        self.wait(60.0, lambda: not self.later and not self.away_until and self.brokers.are_up)
        self.wait(120.0, lambda: all(agent.command.finished for agent in self.agents if agent.start is not None))
        for guest in self.guests:
            if not self.wait(60.0, lambda guest=guest: not guest.runs):  # type: ignore[misc]
                self.violations.append(f"{guest.name} had to end, and goes on")
        self.end(*(agent.command for agent in self.agents), *([self.house] if self.house else []))
        if not self._comes_to_rest():
            self.violations.append(f"not at rest after {_REST_SECONDS:g} s")
        self.end(*self.workers)

    def end(self, *commands: Command) -> None:
        """SIGTERM, and wait until they have ended."""
        for command in commands:
            command.finished = True
            self.terminate(command)
        self.wait(_END_SECONDS, lambda: not any(command.runs for command in commands))
        self.look()

    def terminate(self, command: Command) -> None:
        """SIGTERM, as an update or a scheduler does; it is to be enough."""
        process = command.process
        if process is None or not command.runs:
            return
        command.hurt = True
        command.signal(signal.SIGCONT)
        command.signal(signal.SIGTERM)

        def look() -> None:
            if command.process is process and command.runs:
                self.violations.append(f"{command.name}: SIGTERM was not enough within {_END_SECONDS:g} s")
                command.kill()

        self.after(_END_SECONDS, look)

    def _comes_to_rest(self) -> bool:
        """Wait until the group has acknowledged everything, and nothing new is published."""
        transport, topics = KafkaTransport(self.settings.kafka), self.settings.topics
        seen, since = (-1, -1), time.monotonic()

        def at_rest() -> bool:
            nonlocal seen, since
            ends = [transport.offsets(topic) for topic in (topics.predictions, topics.events)]
            told = tuple(sum(end for _, end in each.values()) for each in ends)
            if told != seen:
                seen, since = told, time.monotonic()  # type: ignore[assignment]
            quiet = time.monotonic() - since > _QUIET_SECONDS
            return quiet and unacknowledged(self.settings) == 0

        return self.wait(_REST_SECONDS, at_rest)

    def kill_all(self) -> None:
        """Leave nothing behind."""
        for command in [*self.supervised, *self.guests]:
            command.finished = True
            command.kill()


def unacknowledged(settings: Settings) -> float:
    """Segments on the topic that the group of workers has not acknowledged."""
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.split(","))
    try:
        (found,) = admin.list_group_offsets([settings.worker.group]).values()
    finally:
        admin.close()
    acknowledged = {(each.topic, each.partition): at.offset for each, at in found.items()}
    bounds = KafkaTransport(settings.kafka).offsets(settings.topics.segments)
    return float(sum(end - acknowledged.get(partition, first) for partition, (first, end) in bounds.items()))
