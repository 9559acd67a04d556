"""What an agent's courier needs of a broker: topics, a producer, our claims, and what of ours is stored already."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from consumers.outputs.states import ensure_state_topics
from consumers.records.states.process import ProcessInfo
from consumers.running.state_topics import read_states
from consumers.settings import Settings, SettingsError
from consumers.topics import ensure_topics
from stream import Producer, Transport

from .claims import ClaimWatch, claim_cameras, holder_of, newest_ends, read_claims, taken_words
from .courier import Link
from .spool import Place, place_of

log = logging.getLogger(__name__)

#: What was sent is looked for from so much earlier on.
_EARLIER_US: Final = 5_000_000
#: How long another agent, that was just fenced, has to end its feed.
_GRACE_SECONDS: Final = 2.0


class AgentLink:
    """Opens the broker for an agent's cameras; claims them the first time."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        agent: ProcessInfo,
        watch: ClaimWatch,
        cameras: Collection[str],
        *,
        take_over: bool,
        must_have_all: bool,
        claimed: Callable[[Mapping[str, int], Mapping[str, int]], None] = lambda _, __: None,
    ) -> None:
        """Prepare.

        Args:
            connect: opens the transport.
            settings: names of topics.
            agent: who we are.
            watch: told of our claims.
            cameras: to be claimed.
            take_over: also those that another agent reads.
            must_have_all: a camera that another agent reads is an error.
            claimed: told of our claims, and at which event time what was sent of each camera before ends.
        """
        self._connect, self._settings, self._agent, self._watch = connect, settings, agent, watch
        self._cameras, self._take_over, self._must_have_all = cameras, take_over, must_have_all
        self._claimed = claimed
        self._claims: dict[str, int] | None = None
        self._before_us: dict[str, int] = {}
        #: Event time at which what was sent of each camera before ends; 0 where nobody knows.
        self.ends_us: dict[str, int] = dict.fromkeys(cameras, 0)
        #: Cameras that another agent has, and who.
        self.taken: dict[str, ProcessInfo] = {}

    def open(self) -> Link:
        """Connect.

        Raises:
            BrokerError: the broker does not answer.
            SettingsError: another agent reads a camera, and it is not to be taken over.
        """
        transport, topics = self._connect(), self._settings.topics
        ensure_topics(transport, topics)
        ensure_state_topics(transport, topics)
        producer = transport.producer()
        try:
            if self._claims is None:
                self._claims = self._claim(transport, producer)
        except BaseException:
            producer.close()
            raise
        return Link(producer, self._claims, self._before_us, lambda since: self._stored(transport, since))

    def _claim(self, transport: Transport, producer: Producer) -> dict[str, int]:
        topics = self._settings.topics
        before, states = read_claims(transport, topics), read_states(transport, topics).cameras
        holders = {camera: holder_of(before.get(camera), states.get(camera)) for camera in self._cameras}
        taken = {c: a for c, a in holders.items() if a is not None and a.id != self._agent.id}
        if not self._take_over:
            self._refuse(taken)
        wanted = [camera for camera in self._cameras if self._take_over or camera not in taken]
        ours, lost = claim_cameras(transport, producer, topics, wanted, self._agent, before)
        self._refuse({camera: claim.agent for camera, claim in lost.items()})
        self._watch.add(ours)
        if self._take_over and taken:
            for camera, agent in taken.items():
                log.warning("camera %s: taken over from %s (process %d on %s)", camera, agent.id, agent.pid, agent.host)
            time.sleep(_GRACE_SECONDS)
        self._before_us = {camera: claim.time_us for camera, claim in before.items()}
        self.ends_us |= newest_ends(transport, topics, states, ours)
        numbers = {camera: claim.claim for camera, claim in ours.items()}
        self._claimed(numbers, {camera: self.ends_us[camera] for camera in ours})
        return numbers

    def _refuse(self, taken: Mapping[str, ProcessInfo]) -> None:
        self.taken |= taken
        for camera, agent in taken.items():
            words = taken_words(f"camera {camera}", agent, self._settings.kafka)
            if self._must_have_all:
                raise SettingsError(
                    f"{words}; end that one, give this one another --camera name, or take over with --take-over"
                )
            log.warning("%s: it is not read here", words)

    def _stored(
        self, transport: Transport, since: Mapping[str, int]
    ) -> Mapping[tuple[str, int, Place], tuple[int, int]]:
        topic = self._settings.topics.segments
        begins = transport.sent_since(topic, min(since.values()) - _EARLIER_US)
        found: dict[tuple[str, int, Place], tuple[int, int]] = {}
        bounds = transport.offsets(topic)
        ranges = {p: (max(first, begins.get(p, first)), end) for p, (first, end) in bounds.items()}
        for record in transport.read({p: (first, end) for p, (first, end) in ranges.items() if first < end}):
            camera = (record.key or b"").decode(errors="replace")
            if camera in since:
                try:
                    what = camera, int(dict(record.headers).get("claim", b"0")), place_of(record.headers)
                    found.setdefault(what, (record.partition, record.offset))
                except (ValueError, KeyError):
                    continue  # whoever classifies it says so
        return found
