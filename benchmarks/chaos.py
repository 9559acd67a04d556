"""Cameras, workers, a broker and a Redis, hurt at random instants; then every window and report is counted.

    python benchmarks/chaos.py                      one run, about two minutes
    python benchmarks/chaos.py --kills 300          runs until so many processes were killed
    python benchmarks/chaos.py --seed 7 --runs 1    a run again
    python benchmarks/chaos.py --faults kill_worker,stop_worker

Real commands on Apache Kafka, with its data on disk, behind a proxy that can be slow or cut. When the faults are over,
what was published (read committed) is compared with what `clipline replay` makes of the same segments. Writes
build/chaos.json, and exits with 1 if a window or a report was lost, doubled, or is another.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import chaos_judge
from chaos_judge import Verdict
from chaos_stand import Command, KillableRedis, ProxiedBroker, Proxy

from consumers.settings import Settings
from consumers.settings.loading import load_settings
from stream import KafkaTransport

_FOOTAGE: Final = Path(__file__).resolve().parents[1] / "consumers" / "footage"
#: Longer than a member of a group may be silent.
_STOPPED_SECONDS: Final = (7.0, 10.0)
#: How long a run may take to come to rest once nothing hurts it any more.
_REST_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is."""

    seed: int
    seconds: float
    cameras: int = 5
    workers: int = 3
    model: str = "x3d-xs"
    #: Seconds between two faults, about.
    pause_seconds: float = 2.5
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Stand:
    """All that runs."""

    plan: Plan
    folder: Path
    random: random.Random
    proxy: Proxy
    broker: ProxiedBroker
    redis: KillableRedis
    settings: Settings
    file: Path
    agents: list[Command] = field(default_factory=list)
    workers: list[Command] = field(default_factory=list)
    visitors: list[Command] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    #: What is to be undone, and when.
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.later.append((time.monotonic() + seconds, act))

    def look(self) -> None:
        """Undo what is due, and start again what has ended."""
        now = time.monotonic()
        due = [act for at, act in self.later if at <= now]
        self.later = [(at, act) for at, act in self.later if at > now]
        for act in due:
            act()
        for command in [*self.agents, *self.workers]:
            command.look()

    def worker(self, name: str) -> Command:
        return Command(name, ["work"], self.file, self.folder)

    def wait(self, seconds: float, ready: Callable[[], bool] = lambda: False) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            if ready():
                return True
            time.sleep(0.1)
        return ready()


def kill_worker(stand: Stand) -> None:
    """SIGKILL; started again at once, as a supervisor would."""
    stand.random.choice(stand.workers).kill()
    stand.kills += 1


def kill_agent(stand: Stand) -> None:
    if running := [agent for agent in stand.agents if agent.runs]:
        stand.random.choice(running).kill()
        stand.kills += 1


def stop_worker(stand: Stand) -> None:
    """SIGSTOP for longer than a session, then SIGCONT: it does not know that it was away."""
    worker = stand.random.choice(stand.workers)
    worker.signal(signal.SIGSTOP)
    stand.after(stand.random.uniform(*_STOPPED_SECONDS), lambda: worker.signal(signal.SIGCONT))


def roll_workers(stand: Stand) -> None:
    """SIGTERM one worker after the other, as an update does."""
    for number, worker in enumerate(stand.workers):
        stand.after(number * 2.0, lambda each=worker: _count_slow(stand, each))  # type: ignore[misc]


def _count_slow(stand: Stand, worker: Command) -> None:
    if not worker.end():
        stand.done["(SIGTERM was not enough)"] += 1


def join_worker(stand: Stand) -> None:
    """A further worker comes, and leaves after a while."""
    visitor = stand.worker(f"visitor-{len(stand.visitors)}")
    stand.visitors.append(visitor)
    visitor.start()
    stand.after(stand.random.uniform(3, 9), lambda: _count_slow(stand, visitor))


def kill_broker(stand: Stand) -> None:
    """SIGKILL for the broker; it comes back with its data."""
    stand.broker.kill()
    stand.kills += 1
    stand.wait(stand.random.uniform(0.5, 6))
    stand.broker.__enter__()


def kill_redis(stand: Stand) -> None:
    """SIGKILL for Redis; it comes back empty."""
    stand.redis.kill()
    stand.kills += 1
    stand.wait(stand.random.uniform(0.2, 4))
    stand.redis.__enter__()


def slow_network(stand: Stand) -> None:
    stand.proxy.delay_seconds = stand.random.uniform(0.05, 0.3)
    stand.after(stand.random.uniform(2, 6), stand.proxy.heal)


def cut_network(stand: Stand) -> None:
    stand.proxy.cut()
    stand.after(stand.random.uniform(0.1, 5), stand.proxy.heal)


#: How often each fault comes, of all.
FAULTS: Final[dict[str, tuple[Callable[[Stand], None], int]]] = {
    each.__name__: (each, weight)
    for each, weight in [
        (kill_worker, 8),
        (kill_agent, 4),
        (stop_worker, 2),
        (roll_workers, 1),
        (join_worker, 2),
        (kill_broker, 1),
        (kill_redis, 2),
        (slow_network, 1),
        (cut_network, 2),
    ]
}


def run(plan: Plan, folder: Path) -> tuple[Verdict, dict[str, Any]]:
    """Run once; return what was found, and what was done."""
    chance = random.Random(plan.seed)  # noqa: S311  a run that can be run again
    proxy = Proxy()
    broker, redis = ProxiedBroker(folder / "kafka", proxy), KillableRedis()
    broker.__enter__()
    redis.__enter__()
    try:
        file = folder / "clipline.toml"
        file.write_text(_settings(broker.proxied_address, redis.address, plan.model), "utf-8")
        stand = Stand(plan, folder, chance, proxy, broker, redis, load_settings(file), file)
        try:
            _watch(stand)
        finally:
            for command in [*stand.agents, *stand.workers, *stand.visitors]:
                command.finished = True
                command.kill()
        verdict = chaos_judge.judge(stand.settings, [agent.name for agent in stand.agents], folder / "traces")
        return verdict, {
            "seed": plan.seed,
            "kills": stand.kills,
            "faults": dict(stand.done),
            "ended_by_themselves": sum(c.endings for c in [*stand.agents, *stand.workers]),
            **verdict.figures(),
        }
    finally:
        redis.__exit__(None, None, None)
        broker.__exit__(None, None, None)
        proxy.close()


def _watch(stand: Stand) -> None:
    """Attach, work, hurt, and wait until all is at rest."""
    plan = stand.plan
    films = sorted(_FOOTAGE.glob("*.mp4"))
    for number in range(plan.cameras):
        # Recorded footage is the same whenever it is sent; what is sent as of now begins anew with each start.
        is_recorded = number % 2 == 0
        name = f"{'recorded' if is_recorded else 'live'}-{number}"
        begin = f"2026-01-0{1 + number % 9}T08:00:00Z" if is_recorded else "now"
        arguments = ["attach", str(films[number % len(films)]), "--camera", name, "--start", begin]
        stand.agents.append(
            Command(name, arguments if is_recorded else [*arguments, "--loop"], stand.file, stand.folder, is_recorded)
        )
    stand.workers += [stand.worker(f"worker-{number}") for number in range(plan.workers)]
    for command in [*stand.agents, *stand.workers]:
        command.start()
    names = list(plan.faults or FAULTS)
    weights = [FAULTS[name][1] for name in names]
    began = time.monotonic()
    stand.wait(4.0)
    while time.monotonic() - began < plan.seconds:
        (name,) = stand.random.choices(names, weights)
        stand.done[name] += 1
        print(f"  {time.monotonic() - began:5.1f} s {name}", flush=True)
        FAULTS[name][0](stand)
        stand.wait(stand.random.expovariate(1 / plan.pause_seconds))
    stand.wait(15.0, lambda: not stand.later)
    stand.wait(90.0, lambda: all(agent.finished for agent in stand.agents if agent.ends))
    for agent in stand.agents:
        agent.finished = True
        agent.end()
    _rest(stand)
    for worker in stand.workers:
        worker.finished = True
        worker.end()


def _rest(stand: Stand) -> None:
    """Wait until the group has acknowledged everything, and nothing new is published."""
    transport, seen, since = KafkaTransport(stand.settings.kafka), (-1, -1), time.monotonic()
    topics = stand.settings.topics

    def at_rest() -> bool:
        nonlocal seen, since
        published = sum(end for _, end in transport.offsets(topics.predictions).values())
        events = sum(end for _, end in transport.offsets(topics.events).values())
        if (published, events) != seen:
            seen, since = (published, events), time.monotonic()
        return time.monotonic() - since > 12

    stand.wait(_REST_SECONDS, at_rest)


def _settings(kafka: str, redis: str, model: str) -> str:
    return f"""
kafka = "{kafka}"
redis = "{redis}"

[worker]
model = "{model}"
engine = "openvino-f32"
threads = 1

[topics]
partitions = 6

[tracker]
min_seconds = 1.0
cooldown_seconds = 2.0
update_seconds = 3.0

[tracker.labels.fight]
start = 0.3
end = 0.25
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one adds one")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0, help="run until so many processes were killed")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each run is hurt")
    parser.add_argument("--faults", default="", help=f"of {', '.join(FAULTS)}")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and the broker's data")
    options = parser.parse_args()
    # That servers ended is what this is about.
    logging.getLogger("stream.services").setLevel(logging.ERROR)
    faults = tuple(filter(None, options.faults.split(",")))
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"unknown faults {', '.join(unknown)}: expected some of {', '.join(FAULTS)}")
    runs: list[dict[str, Any]] = []
    while len(runs) < options.runs or sum(each["kills"] for each in runs) < options.kills:
        plan = Plan(options.seed + len(runs), options.seconds, faults=faults)
        folder = Path(tempfile.mkdtemp(prefix="clipline-chaos-"))
        print(f"seed {plan.seed}, in {folder}", flush=True)
        verdict, figures = run(plan, folder)
        runs.append(figures)
        print(f"seed {plan.seed}: {json.dumps(figures)}", flush=True)
        if not verdict.is_clean:
            print(f"To run it again: python benchmarks/chaos.py --seed {plan.seed} --seconds {options.seconds:g}")
            for name in verdict.__slots__:
                if isinstance(found := getattr(verdict, name), list):
                    for each in found[:5]:
                        print(f"  {name}: {each}")
        if verdict.is_clean and not options.keep:
            shutil.rmtree(folder)
        _write(runs)
    print(json.dumps({k: v for k, v in _sum(runs).items() if k != "each"}))
    sys.exit(0 if all(_is_clean(each) for each in runs) else 1)


def _is_clean(figures: dict[str, Any]) -> bool:
    return not any(figures[name] for name in Verdict().figures() if name not in {"windows", "events"})


def _sum(runs: list[dict[str, Any]]) -> dict[str, Any]:
    names = ["kills", *Verdict().figures(), "ended_by_themselves"]
    faults: Counter[str] = Counter()
    for each in runs:
        faults.update(each["faults"])
    return {"runs": len(runs), **{n: sum(r[n] for r in runs) for n in names}, "faults": dict(faults), "each": runs}


def _write(runs: list[dict[str, Any]]) -> None:
    target = Path("build") / "chaos.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(_sum(runs), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
