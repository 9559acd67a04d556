"""A broker whose answers about its topics many subscribers of one process share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from consumers.outputs.outages import ASK_SECONDS
from stream import BrokerError, Existing, KafkaAddress, KafkaTransport

#: An answer is good for so long: a little less than whoever asks waits before asking again.
_GOOD_SECONDS: Final = 0.9 * ASK_SECONDS

_Answer = Mapping[str, Existing] | BrokerError


class Answers:
    """What was asked last, and the answer. Any thread may ask; one asks the broker, and the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[frozenset[str], tuple[float, _Answer]] = {}

    def get(
        self, topics: Iterable[str], ask: Callable[[Iterable[str]], Mapping[str, Existing]]
    ) -> Mapping[str, Existing]:
        """The answer of `ask`, or one that is not older than two seconds.

        Raises:
            BrokerError: that was the answer.
        """
        asked = frozenset(topics)
        with self._lock:
            at, answer = self._answers.get(asked, (-_GOOD_SECONDS, {}))
            if time.monotonic() - at >= _GOOD_SECONDS:
                try:
                    answer = ask(asked)
                except BrokerError as error:
                    answer = error
                self._answers[asked] = time.monotonic(), answer
        if isinstance(answer, BrokerError):
            raise type(answer)(*answer.args)
        return answer


class SharedTransport(KafkaTransport):
    """A connection of one subscriber. To ask for topics costs a connection of its own each time: that is shared."""

    def __init__(self, address: KafkaAddress, answers: Answers, together: Iterable[str] = ()) -> None:
        """Connect; see `KafkaTransport`.

        Args:
            address: of the broker.
            answers: that are shared.
            together: topics for which others with these answers ask, so that one question is that of all.
        """
        self._answers, self._together = answers, frozenset(together)
        super().__init__(address, at_once=True)

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        asked = frozenset(topics)
        found = self._answers.get(max(self._together, asked), super().existing)
        return {topic: each for topic, each in found.items() if topic in asked}
