"""What is wrong with a camera, an agent, a worker or a channel: as a kind with its figures, and as an English sentence.

Programs and the command line read the sentence; pages say it in the language of who looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from consumers.printable import printable
from consumers.records.states.away import Away
from consumers.terminal.wording import count, duration

TroubleKind = Literal[
    "nothing_said", "all_silent", "agent_dead", "agent_disk", "worker_dead", "camera_quiet", "camera_given_up",
    "camera_fenced", "no_worker", "unclaimed", "behind", "degraded", "awaits", "waiting", "channel_disabled",
    "channel_silent", "broker_away",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong."""

    kind: TroubleKind
    #: The camera, agent, worker or channel; empty where it is about none.
    name: str = ""
    #: Since when, or by how much.
    seconds: float | None = None
    #: Frames or segments.
    count: int | None = None
    #: Of cameras.
    names: tuple[str, ...] = ()
    #: In words, as whoever noticed it says it; empty where nobody says.
    why: str = ""
    #: `why` in one word, as cameras have it; None where it has none.
    code: str | None = None
    #: What `why` is made of, where that is a service that does not answer.
    away: Away | None = None

    @property
    def sentence(self) -> str:
        """In English, without a full stop."""
        told = {
            "name": self.name,
            "time": "" if self.seconds is None else duration(self.seconds),
            "names": ", ".join(self.names),
            "why": printable(self.why),
            "in_brackets": f" ({printable(self.why)})" if self.why else "",
            "frames": count(self.count or 0, "frame"),
            "segments": count(self.count or 0, "segment"),
        }
        return _SENTENCES[self.kind].format_map(told)


_SENTENCES: dict[TroubleKind, str] = {
    "nothing_said": "no camera and no worker has said anything: start them with `clipline run`, or `attach` and `work`",
    "all_silent": "nobody has been heard of for {time} ({names}): they died together, or the broker has taken nothing "
    "since",
    "agent_dead": "agent {name} died without a word {time} ago ({names})",
    "agent_disk": "agent {name} has no disk for segments while the broker is away ({why})",
    "worker_dead": "worker {name} died without a word {time} ago",
    "camera_quiet": "{name}: no data for {time}{in_brackets}",
    "camera_given_up": "{name}: its agent has given up{in_brackets}",
    "camera_fenced": "{name}: an agent that another one has taken it over from still sends it; {frames} of that are "
    "left out",
    "no_worker": "no worker runs",
    "unclaimed": "no worker has {names}",
    "behind": "{name} is {time} behind",
    "degraded": "{name} is classified in part only, until it is no longer behind (see [load])",
    "awaits": "worker {name} waits for {why}",
    "waiting": "{segments} wait for worker {name}",
    "channel_disabled": "channel {name} wants no messages any more ({why})",
    "channel_silent": "channel {name} has got nothing for {time} ({why})",
    "broker_away": "waiting for {why}",
}
