"""Cameras, agents, workers and channels at one moment, from the topics of their states, and what is wrong with them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.records.states.camera_state import CameraState, DiskTrouble
from consumers.records.states.process import HEARTBEAT_SECONDS, ProcessInfo
from consumers.records.states.worker_state import WorkerCamera, WorkerState
from consumers.terminal.wording import count, duration

from .newest_states import FORGET_CAMERA_SECONDS, ChannelTrouble, States
from .troubles import Trouble

#: A process that has said nothing for so long is dead.
DEAD_SECONDS: Final = 3 * HEARTBEAT_SECONDS
#: What ended is shown for so long, and a worker that died; a camera that nobody reads any more longer, as long as its
#: state is kept (`FORGET_CAMERA_SECONDS`).
FORGET_SECONDS: Final = 15 * 60
#: All of several processes that were heard of last within so long of one another fell silent together.
_TOGETHER_SECONDS: Final = 2 * HEARTBEAT_SECONDS
_SEVERAL: Final = 2
#: So long after something of a fenced agent came it counts as one that still sends.
_FENCED_SECONDS: Final = 30.0
#: A live camera may be without a worker for so long: a group that was joined just now shares cameras out anew.
_UNCLAIMED_SECONDS: Final = 20.0
#: Predictions may be so far behind, and so many records may wait for each camera of a worker.
MAX_BEHIND_SECONDS: Final = 30.0
_MAX_LAG: Final = 60


#: A worker that lists a camera, and what it says of it.
Claim = tuple[WorkerState, WorkerCamera]


@dataclass(frozen=True, slots=True)
class CameraLine:
    """One camera as it is shown."""

    state: CameraState
    #: The feed's status; "failed" also where its agent has given up, or "lost": its agent died without a word.
    status: str
    #: Why it gives nothing, in words; empty while it is live.
    trouble: str
    #: The worker that has classified it last, and what that one says; None where no worker has it.
    worker: WorkerState | None
    classified: WorkerCamera | None
    #: Of one that is "lost": nobody else is heard either, so that its agent need not have died.
    is_with_all: bool = False


@dataclass(frozen=True, slots=True)
class AgentLine:
    """One agent as it is shown: what its cameras' records say together."""

    agent: ProcessInfo
    cameras: int
    live: int
    age_seconds: float
    dead: bool
    #: It has stopped reading all of its cameras, as it should.
    ended: bool
    #: When it was heard of last, as it says itself; wall clock in microseconds.
    heard_us: int
    #: Why its segments cannot wait on disk; None where they can, or it does not say.
    disk: DiskTrouble | None
    #: Segments that wait there for the broker; None where it does not say.
    spooled: int | None


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker as it is shown."""

    state: WorkerState
    age_seconds: float
    dead: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one moment."""

    time_us: int
    cameras: tuple[CameraLine, ...]
    agents: tuple[AgentLine, ...]
    workers: tuple[WorkerLine, ...]
    #: What is wrong, the gravest first; empty where all is well.
    problems: tuple[str, ...]
    #: By name, those through which nothing gets.
    channels: Mapping[str, ChannelTrouble] = field(default_factory=dict)
    #: The same as `problems`, one by one; empty where there are words for them only.
    troubles: tuple[Trouble, ...] = ()
    #: The broker that was asked; None where nobody asks which.
    kafka: str | None = None
    #: Cameras that tell how they are and that the settings do not name, if they name any.
    unnamed: tuple[str, ...] = ()
    #: Cameras that the settings name and that have never told anything.
    never_reported: tuple[str, ...] = ()
    #: For how many seconds nobody has been heard of, where several fell silent at one time: that they died, or that the
    #: broker takes nothing. None where somebody is heard.
    silent_together: float | None = None

    @property
    def sentence(self) -> str:
        """How it is, in one sentence."""
        if self.problems:
            return "; ".join(self.problems) + "."
        by_status = Counter(line.status for line in self.cameras)
        live = f"{count(by_status['live'], 'camera')} live"
        others = [f"{by_status[status]} {status}" for status in ("connecting", "opening", "ended") if by_status[status]]
        working = sum(line.state.status == "working" for line in self.workers)
        waiting = any(line.status == "live" and line.worker is None for line in self.cameras)
        settled = by_status["live"] and not by_status["connecting"] and not by_status["opening"] and not waiting
        counts = ", ".join([live, *others, count(working, "worker")])
        return f"{'All is well' if settled else 'Nothing is wrong yet'}: {counts}."

    def body(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "time_us": self.time_us,
            "ok": not self.problems,
            "sentence": self.sentence,
            "problems": list(self.problems),
            "silent_together": self.silent_together,
            "kafka": self.kafka,
            "unnamed": list(self.unnamed),
            "never_reported": list(self.never_reported),
            "cameras": [
                {
                    **line.state.body(),
                    "status": line.status,
                    "trouble": line.trouble or None,
                    "worker": line.worker.worker.id if line.worker else None,
                    "behind_seconds": line.classified.behind_seconds if line.classified else None,
                    "label": line.classified.label if line.classified else None,
                    "score": line.classified.score if line.classified else None,
                    "events": list(line.classified.events) if line.classified else [],
                    "fenced": line.classified.fenced if line.classified else 0,
                }
                for line in self.cameras
            ],
            "agents": [
                {
                    **line.agent.body(),
                    "cameras": line.cameras,
                    "live": line.live,
                    "age_seconds": round(line.age_seconds, 3),
                    "dead": line.dead,
                    "ended": line.ended,
                    "disk": None if line.disk is None else line.disk.why,
                    "spooled": line.spooled,
                }
                for line in self.agents
            ],
            "workers": [
                {**line.state.body(), "age_seconds": round(line.age_seconds, 3), "dead": line.dead}
                for line in self.workers
            ],
            "channels": [
                {"channel": name, "since_us": each.since_us, "why": each.why, "detail": each.detail}
                for name, each in self.channels.items()
            ],
        }


def overview(states: States, now_us: int, forget_seconds: float = FORGET_SECONDS) -> Overview:
    """Judge the states as they are at `now_us`, wall clock in microseconds.

    Args:
        states: the newest of each camera and worker.
        now_us: the time at which they are judged.
        forget_seconds: for how long a worker is there that says nothing any more.
    """
    workers = tuple(_workers(states.workers, now_us, forget_seconds))
    alive = [line.state for line in workers if not line.dead and line.state.status == "working"]
    claims: dict[str, list[Claim]] = {}
    for worker in alive:
        for seen in worker.cameras:
            claims.setdefault(seen.camera, []).append((worker, seen))
    together = _silent_together(states, workers, now_us)
    cameras = tuple(
        _camera(state, claims.get(state.feed.camera, ()), now_us, together)
        for _, state in sorted(states.cameras.items())
        if _age(state.time_us, now_us) <= (FORGET_SECONDS if state.feed.shown == "ended" else FORGET_CAMERA_SECONDS)
    )
    agents = tuple(_agents(cameras, now_us))
    silent = (line.state.name for line in workers if line.dead), (line.agent.id for line in agents if line.dead)
    dead = [Trouble("all_silent", seconds=together, names=tuple(itertools.chain(*silent)))]
    if together is None:
        dead = list(_dead(cameras, agents, workers))
    found = _troubles(cameras, workers, alive, dead, now_us), _unreached(states.channels, now_us)
    troubles = tuple(itertools.chain(*found))
    channels = dict(sorted(states.channels.items()))
    sentences = tuple(each.sentence for each in troubles)
    return Overview(now_us, cameras, agents, workers, sentences, channels, troubles, silent_together=together)


def judged_at(now_us: int, missed_seconds: float) -> int:
    """The time at which states are to be judged: an earlier one where the broker was away until a moment ago.

    Nobody could be heard meanwhile, nor before everybody had the time to say something again.

    Args:
        now_us: wall clock.
        missed_seconds: how long it was away; 0 where it was not, or where that is longer ago than `DEAD_SECONDS`.
    """
    # It was away some seconds before anybody noticed.
    return now_us - round((missed_seconds + DEAD_SECONDS) * 1e6) if missed_seconds else now_us


def any_dead(now: Overview) -> bool:
    """Whether a process has said nothing for too long."""
    return any(line.dead for line in now.agents) or any(line.dead for line in now.workers)


def _silent_together(states: States, workers: Sequence[WorkerLine], now_us: int) -> float | None:
    """See `Overview.silent_together`."""
    ages = {line.state.worker.id: line.age_seconds for line in workers if line.state.status != "ended"}
    for state in states.cameras.values():
        if state.feed.status != "ended":
            age = _age(state.time_us, now_us)
            ages[state.agent.id] = min(ages.get(state.agent.id, age), age)
    if len(ages) < _SEVERAL or min(ages.values()) <= DEAD_SECONDS:
        return None
    return min(ages.values()) if max(ages.values()) - min(ages.values()) <= _TOGETHER_SECONDS else None


def silent_overview(now_us: int, why: str) -> Overview:
    """The overview where the broker tells nothing, and why it does not."""
    return Overview(now_us, (), (), (), (why,))


def _age(time_us: int, now_us: int) -> float:
    # Other machines' clocks differ: nothing is younger than now.
    return max(0.0, (now_us - time_us) / 1e6)


def _workers(states: Mapping[str, WorkerState], now_us: int, forget_seconds: float) -> Iterator[WorkerLine]:
    #: Of those with a name, which another process may go on under: when it was heard of last.
    heard_us: dict[tuple[str, str], int] = {}
    for state in states.values():
        if state.instance is not None:
            name = state.group, state.instance
            heard_us[name] = max(state.time_us, heard_us.get(name, 0))
    for _, state in sorted(states.items()):
        age = _age(state.time_us, now_us)
        is_silent = age > DEAD_SECONDS and state.status != "ended"
        is_succeeded = state.instance is not None and state.time_us < heard_us[state.group, state.instance]
        if age <= forget_seconds and not (is_silent and is_succeeded):
            yield WorkerLine(state, age, dead=is_silent)


def _camera(state: CameraState, claims: Sequence[Claim], now_us: int, together: float | None) -> CameraLine:
    feed = state.feed
    # A camera that two list has just moved, or is classified by two models.
    worker, classified = min(claims, key=lambda claim: claim[1].silent_seconds, default=(None, None))
    age = _age(state.time_us, now_us)
    quiet = duration(_quiet_seconds(state, now_us))
    if age > DEAD_SECONDS and feed.status != "ended":
        words = f"its agent died without a word {duration(age)} ago"
        if together is not None:
            words = f"its agent has not been heard of for {duration(age)}, nor has anybody else"
        return CameraLine(state, "lost", words, worker, classified, is_with_all=together is not None)
    if feed.has_failed:
        return CameraLine(state, feed.shown, given_up_words(feed.why), worker, classified)
    if feed.status in {"failed", "stalled"}:
        return CameraLine(
            state, feed.status, f"no data for {quiet}" + (f" ({feed.why})" if feed.why else ""), worker, classified
        )
    if feed.status == "live":
        return CameraLine(state, "live", "", worker, classified)
    return CameraLine(state, feed.status, feed.why or "", worker, classified)


def given_up_words(why: str | None) -> str:
    """That an agent has given a camera up, and why."""
    return f"its agent has given up ({why})" if why else "its agent has given up"


def _quiet_seconds(state: CameraState, now_us: int) -> float:
    return _age(state.feed.data_us or state.agent.started_us, now_us)


def _agents(cameras: Sequence[CameraLine], now_us: int) -> Iterator[AgentLine]:
    by_id: dict[str, list[CameraLine]] = {}
    for line in cameras:
        by_id.setdefault(line.state.agent.id, []).append(line)
    for _, lines in sorted(by_id.items()):
        newest = max(lines, key=lambda line: line.state.time_us)
        running = [line for line in lines if line.state.feed.status != "ended"]
        yield AgentLine(
            agent=newest.state.agent,
            cameras=len(lines),
            live=sum(line.status == "live" for line in lines),
            age_seconds=_age(newest.state.time_us, now_us),
            dead=bool(running) and all(line.status == "lost" for line in running),
            ended=not running,
            heard_us=newest.state.time_us,
            disk=newest.state.disk,
            spooled=newest.state.spooled,
        )


def _troubles(
    cameras: Sequence[CameraLine],
    workers: Sequence[WorkerLine],
    alive: Sequence[WorkerState],
    dead: Sequence[Trouble],
    now_us: int,
) -> Iterator[Trouble]:
    if not cameras and not workers:
        yield Trouble("nothing_said")
        return
    yield from dead
    for line in cameras:
        name, seen = line.state.feed.camera, line.classified
        if line.status in {"failed", "stalled"}:
            yield _unread(line.state, now_us)
        if seen is not None and seen.fenced_seconds is not None and seen.fenced_seconds < _FENCED_SECONDS:
            yield Trouble("camera_fenced", name, count=seen.fenced)
    yield from _unclassified([line for line in cameras if line.status == "live"], alive, now_us)


def _unread(state: CameraState, now_us: int) -> Trouble:
    feed = state.feed
    if feed.has_failed:
        return Trouble("camera_given_up", feed.camera, why=feed.why or "", code=feed.code)
    return Trouble("camera_quiet", feed.camera, _quiet_seconds(state, now_us), why=feed.why or "", code=feed.code)


def _dead(
    cameras: Sequence[CameraLine], agents: Sequence[AgentLine], workers: Sequence[WorkerLine]
) -> Iterator[Trouble]:
    for agent in agents:
        if agent.dead:
            lost = tuple(line.state.feed.camera for line in cameras if line.state.agent.id == agent.agent.id)
            yield Trouble("agent_dead", agent.agent.id, agent.age_seconds, names=lost)
        elif agent.disk is not None and not agent.ended:
            yield Trouble("agent_disk", agent.agent.id, why=agent.disk.why)
    for worker in workers:
        if worker.dead:
            yield Trouble("worker_dead", worker.state.name, worker.age_seconds)


def _unreached(channels: Mapping[str, ChannelTrouble], now_us: int) -> Iterator[Trouble]:
    for name, trouble in sorted(channels.items()):
        if trouble.why == "disabled":
            yield Trouble("channel_disabled", name, why=trouble.detail or "disabled")
        else:
            said = f"{trouble.why}: {trouble.detail}" if trouble.detail else trouble.why
            yield Trouble("channel_silent", name, _age(trouble.since_us, now_us), why=said)


def _unclassified(live: Sequence[CameraLine], alive: Sequence[WorkerState], now_us: int) -> Iterator[Trouble]:
    unclaimed = tuple(
        line.state.feed.camera
        for line in live
        if line.worker is None and _age(line.state.feed.since_us, now_us) > _UNCLAIMED_SECONDS
    )
    if unclaimed:
        yield Trouble("unclaimed", names=unclaimed) if alive else Trouble("no_worker")
    for line in live:
        name = line.state.feed.camera
        behind = line.classified.behind_seconds if line.classified else None
        if behind is not None and behind > MAX_BEHIND_SECONDS:
            yield Trouble("behind", name, behind)
        if line.classified and line.classified.degraded:
            yield Trouble("degraded", name)
    for state in alive:
        known = {str(each): each for each in state.away}
        for service in state.awaited:
            yield Trouble("awaits", state.name, why=service, away=known.get(service))
        if waiting := too_many_waiting(state):
            yield Trouble("waiting", state.name, count=waiting)


def too_many_waiting(state: WorkerState) -> int:
    """How many segments wait for a worker, where these are more than it should be; else 0."""
    waiting = state.lag if state.waiting is None else state.waiting
    return waiting if waiting > _MAX_LAG * max(1, len(state.cameras)) else 0
