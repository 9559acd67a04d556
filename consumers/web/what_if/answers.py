"""What two rules do to the same scores, for clients of the API: one at a time, a few wait, and more are refused.

The same question about the same scores, verdicts and forgotten stretches is worked out once.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from anyio import CapacityLimiter

from consumers.replaying.tuning.kept import least_score
from consumers.rules.rule import Rule
from consumers.verdicts.book import JudgedEvent

from .compare import Compared, compared
from .scores import PastScores

#: Those that wait or are answered: each reads scores for seconds, and compares for seconds.
_MOST: Final = 4
#: Answers that are kept, some thousands of alarms each.
_KEPT: Final = 8
#: Windows that may belong to an event, of which each rule takes two seconds.
_MOST_WINDOWS: Final = 200_000
#: Comparing takes no longer, whatever there is.
_MOST_SECONDS: Final = 15.0


class TooManyQuestionsError(Exception):
    """As many as there may be are asked at once."""


class Answers:
    """Works them out. For one event loop, and one thread at a time: see `room`."""

    def __init__(self) -> None:
        #: Whoever is answered next waits here, and in no thread.
        self.room = CapacityLimiter(1)
        self._open = 0
        self._kept: OrderedDict[Hashable, Compared] = OrderedDict()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while a question is answered.

        Raises:
            TooManyQuestionsError: there is none.
        """
        if self._open >= _MOST:
            raise TooManyQuestionsError(f"{_MOST} questions are being answered already")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def compare(
        self, scores: PastScores, now: Rule, then: Rule, judged: Sequence[JudgedEvent]
    ) -> tuple[PastScores, Compared]:
        """The newest of the scores, as many as can be looked at, and what both rules do to them.

        Raises:
            TooLongError: it takes too long.
        """
        scores = scores.newest(_MOST_WINDOWS, min(least_score(now), least_score(then)))
        key = (scores.identity, now, then, tuple((each.newest, each.judged) for each in judged))
        if (found := self._kept.get(key)) is None:
            found = self._kept[key] = compared(scores, now, then, judged, time.monotonic() + _MOST_SECONDS)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return scores, found
