"""What chaos.py does to what runs. Each fault takes the stand, and does its part at once or later.

It returns False where that is not possible as things are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from chaos_stand import Agent, Command, Stand

#: Longer than a member of a group may be silent.
_STOPPED_SECONDS: Final = (7.0, 10.0)
#: An agent has claimed its camera, and told of it, when it has been running for so long.
_SETTLED_SECONDS: Final = 8.0
#: An intruder is told within so long, where the broker answers.
_TELL_SECONDS: Final = 25.0
#: How long `clipline run`'s children may live on once it was killed.
_ORPHAN_SECONDS: Final = 20.0
#: What is left of a disk: nothing at all, part of a segment, a few of them.
_ROOM_BYTES: Final = (0, 3_000, 40_000)


def kill_worker(stand: Stand) -> bool:
    """SIGKILL; started again at once, as a supervisor would."""
    return _kill(stand, stand.workers)


def kill_agent(stand: Stand) -> bool:
    """Likewise."""
    return _kill(stand, [agent.command for agent in stand.agents])


def _kill(stand: Stand, commands: Sequence[Command]) -> bool:
    if not (running := [command for command in commands if command.runs]):
        return False
    stand.random.choice(running).kill()
    stand.kills += 1
    return True


def kill_run(stand: Stand) -> bool:
    """SIGKILL for `clipline run`: its children end by themselves."""
    house = stand.house
    if house is None or not house.runs:
        return False
    orphans = house.descendants()
    house.kill()
    stand.kills += 1

    def look() -> None:
        left = [each for each in orphans if Path(f"/proc/{each}/exe").exists()]
        if left:
            stand.violations.append(f"children of `clipline run` lived on for {_ORPHAN_SECONDS:g} s: {left}")

    stand.after(_ORPHAN_SECONDS, look)
    return True


def kill_child(stand: Stand) -> bool:
    """SIGKILL for the agent or the worker of `clipline run`, which starts it again."""
    if stand.house is None or not (children := stand.house.descendants()):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(stand.random.choice(children), signal.SIGKILL)
        stand.kills += 1
    return True


def stop_worker(stand: Stand) -> bool:
    """SIGSTOP for longer than a session, then SIGCONT: it does not know that it was away."""
    _stop(stand, stand.random.choice(stand.workers), stand.random.uniform(*_STOPPED_SECONDS))
    return True


def stop_agent(stand: Stand) -> bool:
    """Likewise, for a while."""
    _stop(stand, stand.random.choice(stand.agents).command, stand.random.uniform(1, 8))
    return True


def _stop(stand: Stand, command: Command, seconds: float) -> None:
    command.signal(signal.SIGSTOP)
    stand.after(seconds, lambda: command.signal(signal.SIGCONT))


def roll_workers(stand: Stand) -> bool:
    """SIGTERM one worker after the other, as an update does."""
    for number, worker in enumerate(stand.workers):
        stand.after(number * 2.0, lambda each=worker: stand.terminate(each))  # type: ignore[misc]
    return True


def join_worker(stand: Stand) -> bool:
    """A further worker comes, and leaves after a while."""
    visitor = stand.worker(f"visitor-{stand.done['join_worker']}")
    visitor.finished = True
    visitor.start()
    stand.guests.append(visitor)
    stand.after(stand.random.uniform(3, 9), lambda: stand.terminate(visitor))
    return True


def kill_broker(stand: Stand) -> bool:
    """SIGKILL for a broker; it comes back with its data. One at a time."""
    number = stand.random.randrange(len(stand.brokers.nodes))
    done = stand.brokers.kill(number, stand.random.uniform(0.2, 5))
    stand.kills += done
    return done


def kill_redis(stand: Stand) -> bool:
    """SIGKILL for Redis; it comes back empty, and at times it is killed again while it is filled."""
    stand.redis.kill()
    stand.wait(stand.random.uniform(0.2, 4))
    stand.redis.__enter__()
    stand.kills += 1
    if stand.random.random() < 0.5:
        stand.wait(stand.random.uniform(0.1, 1.5))
        stand.redis.kill()
        stand.redis.__enter__()
        stand.kills += 1
    return True


def slow_network(stand: Stand) -> bool:
    """All that goes to the brokers and comes from them is late."""
    stand.brokers.slow(stand.random.uniform(0.05, 0.3))
    stand.after(stand.random.uniform(2, 6), lambda: stand.brokers.slow(0.0))
    return True


def cut_network(stand: Stand) -> bool:
    """No broker can be reached, for a moment."""
    stand.take_brokers_away(stand.random.uniform(0.1, 5))
    return True


def long_outage(stand: Stand) -> bool:
    """No broker can be reached for so long that agents write to disk, and at times fill what they may have of it."""
    stand.take_brokers_away(stand.random.uniform(10, 25))
    return True


def full_disk(stand: Stand) -> bool:
    """The brokers are away, and no file of a live camera's agent can be written beyond a size."""
    room = stand.random.choice(_ROOM_BYTES)
    hurt = [agent.command for agent in stand.agents if agent.is_live]
    for command in hurt:
        command.limit_files(room)

    def heal() -> None:
        for command in hurt:
            command.limit_files(None)

    stand.take_brokers_away(stand.random.uniform(5, 12))
    stand.after(stand.random.uniform(5, 12), heal)
    return True


def cut_cameras(stand: Stand) -> bool:
    """Cameras break off, and refuse for a moment."""
    stand.feeds.proxy.cut()
    stand.after(stand.random.uniform(0.1, 4), stand.feeds.proxy.heal)
    return True


def take_over(stand: Stand) -> bool:
    """A second agent on a camera's id, with --take-over: the first one is fenced, and ends once it hears of it.

    At times the first one does not hear of it for a while, and goes on where it was.
    """
    if (agent := _settled(stand)) is None:
        return False
    first = agent.command
    first.finished = True
    stand.guests.append(first)
    if stand.random.random() < 0.5:
        _stop(stand, first, stand.random.uniform(2, 6))
    agent.command = stand.agent_command(agent, "--take-over")
    agent.command.start()
    return True


def intrude(stand: Stand) -> bool:
    """A second agent on a camera's id, without --take-over: it is told, and ends."""
    if (agent := _settled(stand)) is None:
        return False
    first, process = agent.command, agent.command.process
    intruder = stand.agent_command(agent)
    intruder.finished = True
    intruder.start()
    stand.guests.append(intruder)

    def look() -> None:
        if not intruder.runs:
            # Where both came while nobody read the camera, the later claim wins.
            if "reads it already" not in intruder.log and "has taken it over" not in intruder.log:
                stand.violations.append(f"{intruder.name} ended, and not because it was told of {first.name}")
        elif first.process is process and min(first.age, time.monotonic() - stand.away_at) > _TELL_SECONDS:
            stand.violations.append(f"{intruder.name} goes on beside {first.name}")
        # Else the first one was killed meanwhile, or the broker is away.
        stand.terminate(intruder)

    stand.after(_TELL_SECONDS, look)
    return True


def _settled(stand: Stand) -> Agent | None:
    found = [agent for agent in stand.agents if agent.command.age > _SETTLED_SECONDS and not agent.command.finished]
    return stand.random.choice(found) if found else None


#: How often each fault comes, of all.
FAULTS: Final[dict[str, tuple[Callable[[Stand], bool], int]]] = {
    each.__name__: (each, weight)
    for each, weight in [
        (kill_worker, 8),
        (kill_agent, 5),
        (kill_run, 2),
        (kill_child, 3),
        (stop_worker, 2),
        (stop_agent, 1),
        (roll_workers, 1),
        (join_worker, 2),
        (kill_broker, 2),
        (kill_redis, 2),
        (slow_network, 1),
        (cut_network, 2),
        (long_outage, 1),
        (full_disk, 1),
        (cut_cameras, 1),
        (take_over, 2),
        (intrude, 2),
    ]
}
