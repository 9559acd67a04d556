"""Which camera brought its agent down is found out; it is set aside, and the others go on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from consumers.running.supervising.blame import ASIDE_SECONDS, FATAL_TRIES, Blame, LastWords
from consumers.running.supervising.turns import Turn, Turns, decode_turns, encode_turns
from stream import ITS_TURN
from stream.feeds.reasons import code_of

ASIDE, LONGEST = ASIDE_SECONDS
HOUR = 3600.0


def last_words(thread: int | None = None) -> LastWords:
    words = LastWords()
    if thread is not None:
        words.read(b"Fatal Python error: Segmentation fault\n")
        words.read(f"Current thread 0x{thread:016x} (most recent call first):\n".encode())
    return words


class Site:
    """An agent and its cameras, of which some end it so many seconds after it has begun with them."""

    def __init__(self, cameras: str, deadly: dict[str, float]) -> None:
        self.cameras, self.deadly, self.now = list(cameras), deadly, 0.0
        self.blame = Blame(self.cameras, clock=lambda: self.now, wall_us=lambda: int(self.now * 1e6))
        self.said: list[str | None] = []
        #: For how long each camera was not read, of the time in which the agent lived.
        self.missed = dict.fromkeys(cameras, 0.0)
        self.turns: dict[str, Turn] = {}

    def live(self, seconds: float, *, has_witness: bool = False, killed_after: float = float("inf")) -> bool:
        """Whether the agent lives for so long; time goes on to its death, and a second behind it."""
        self.turns, born = self.blame.turns(), self.now
        begins = {c: self.turns[c].seconds if c in self.turns else 0.0 for c in self.cameras}
        deaths = [(begins[c] + after, c) for c, after in self.deadly.items()] + [(killed_after, "")]
        at, camera = min(deaths)
        lived = min(at, seconds)
        for each in sorted(self.cameras, key=begins.get):
            if begins[each] <= lived:
                self.now = born + begins[each]
                self.blame.heard(f"{1000 + self.cameras.index(each)} {each}")
            self.missed[each] += min(begins[each], lived)
        self.now = born + lived
        if at > seconds:
            return True
        words = last_words(1000 + self.cameras.index(camera) if has_witness and camera else None)
        code = -signal.SIGSEGV if has_witness else -signal.SIGKILL
        self.said.append(self.blame.died(code, words, self.now))
        self.now += 1.0
        return False

    @property
    def aside(self) -> dict[str, float]:
        """Cameras that the newest agent has set aside, and for how much longer."""
        return {c: turn.seconds for c, turn in self.turns.items() if code_of(turn.why) == "set-aside"}

    def until_it_lives(self, seconds: float = 300.0, **how: bool) -> list[str | None]:
        """What was said of the deaths until the agent lives for so long."""
        before = len(self.said)
        while not self.live(seconds, **how):
            assert len(self.said) < 100, self.said
        return self.said[before:]


def counted(said: list[str | None]) -> int:
    """Deaths that nobody has explained: these end `clipline run` when there are too many."""
    return said.count(None)


# -- with a witness


@pytest.mark.parametrize("deadly", ["c", "bc", "abcd"])
def test_a_camera_whose_thread_gets_the_signal_three_times_is_set_aside_and_no_such_death_counts(deadly):
    site = Site("abcd", dict.fromkeys(deadly, 2.0))
    said = site.until_it_lives(has_witness=True)
    assert len(said) == FATAL_TRIES * len(deadly)
    assert counted(said) == 0
    assert set(site.aside) == set(deadly)
    assert "it was reading " in said[0]
    assert f"(1 of {FATAL_TRIES} times, then it is set aside)" in said[0]
    assert "which is set aside until 1970-01-01T00:" in said[-1]
    for camera in set("abcd") - set(deadly):
        assert site.missed[camera] == 0
    why = site.turns[deadly[0]].why
    assert why.startswith("set aside until 1970-01-01T00:")
    assert why.endswith("reading it has ended the agent, 3 times by now (SIGSEGV)")


def test_a_camera_that_is_still_deadly_is_set_aside_for_twice_as_long_each_time_up_to_a_bound():
    site = Site("ab", {"b": 5.0})
    pauses = []
    for _ in range(9):
        site.until_it_lives(10.0, has_witness=True)
        pauses.append(site.aside["b"])
        site.live(1e9, has_witness=True)  # to its next death
    assert [round(pause, -1) for pause in pauses[:3]] == [ASIDE, 2 * ASIDE, 4 * ASIDE]
    assert [round(pause, -1) for pause in pauses[-2:]] == [LONGEST, LONGEST]
    assert len(site.said) == FATAL_TRIES + 9


def test_a_camera_that_was_read_for_an_hour_since_begins_anew():
    site = Site("ab", {"b": 5.0})
    site.until_it_lives(ASIDE + 1, has_witness=True)
    del site.deadly["b"]
    assert site.live(ASIDE + HOUR)
    site.deadly["b"] = 5.0
    assert len(site.until_it_lives(has_witness=True)) == FATAL_TRIES
    assert round(site.aside["b"], -1) == ASIDE


def test_deaths_of_a_camera_that_are_far_apart_set_nothing_aside():
    site = Site("ab", {"b": 0.6 * HOUR})
    for _ in range(20):
        site.live(HOUR, has_witness=True)
    assert len(site.said) == 20
    assert site.aside == {}


def test_a_signal_in_another_thread_and_an_exit_are_no_cameras_doing():
    site = Site("ab", {})
    for _ in range(10):
        site.live(1.0)
        assert site.blame.died(-signal.SIGABRT, last_words(7), site.now) is None
        assert site.blame.died(1, last_words(), site.now) is None
        assert site.blame.died(-signal.SIGTERM, last_words(), site.now) is None
    # A thread that has looked at a camera for a moment is not taken for it later.
    site.blame.heard("7 a")
    site.blame.heard("7 ")
    assert site.blame.died(-signal.SIGABRT, last_words(7), site.now) is None
    assert site.blame.turns() == {}


# -- without one


def test_one_unexplained_death_changes_nothing():
    site = Site("abcdefghi", {})
    site.live(HOUR, killed_after=1.0)
    assert site.said == [None]
    assert site.live(HOUR)
    assert site.turns == {}


@pytest.mark.parametrize("cameras", ["ab", "abc", "abcdefghi", "".join(map(chr, range(0x4E00, 0x4E00 + 64)))])
@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("after", [0.1, 8.0])
def test_a_camera_that_ends_the_agent_soon_after_it_is_begun_is_found_without_a_witness(cameras, place, after):
    site = Site(cameras, {cameras[place]: after})
    said = site.until_it_lives(seconds=HOUR / 7)
    assert set(site.aside) == {cameras[place]}
    assert counted(said) == 2
    assert len(said) <= 2 + 1 + FATAL_TRIES
    others = [missed for camera, missed in site.missed.items() if camera != cameras[place]]
    assert max(others) <= 30 * len(cameras) ** 0.5 + 30


@pytest.mark.parametrize("after", [15.0, 18.0])
def test_one_that_takes_longer_is_found_a_little_later(after):
    site = Site("abcdefghi", {"b": after})
    said = site.until_it_lives(seconds=HOUR / 7)
    assert set(site.aside) == {"b"}
    assert counted(said) <= 5


@pytest.mark.parametrize("deadly", ["af", "ab", "hi", "aei"])
def test_several_at_the_same_time_are_found_without_a_witness(deadly):
    site = Site("abcdefghi", dict.fromkeys(deadly, 3.0))
    said = site.until_it_lives(seconds=HOUR / 9)
    assert set(site.aside) == set(deadly)
    assert counted(said) == 2
    assert len(said) <= 2 + len(deadly) * (1 + FATAL_TRIES)


def test_deaths_that_no_camera_has_caused_set_none_aside_and_all_count():
    site = Site("abcdefghi", {})
    for _ in range(12):
        site.live(HOUR, killed_after=200.0)
    assert counted(site.said) == len(site.said) == 12
    assert site.aside == {}


@pytest.mark.parametrize("after", [3.0, 12.0, 25.0, 33.0, 45.0, 55.0, 65.0])
@pytest.mark.parametrize("cameras", [2, 4, 9, 50])
def test_an_agent_that_dies_after_so_long_whatever_it_reads_is_not_started_again_for_ever(cameras, after):
    site = Site("".join(map(chr, range(0x4E00, 0x4E00 + cameras))), {})
    for _ in range(40):
        site.live(2 * HOUR, killed_after=after)
    # More than run.max_restarts in run.restart_window_seconds end it; these come one right after the other.
    assert counted(site.said[-14:]) > 5 or counted(site.said[:14]) > 5


def test_a_single_camera_is_never_found_guilty_without_a_witness():
    site = Site("a", {"a": 1.0})
    for _ in range(10):
        site.live(HOUR)
    assert counted(site.said) == 10
    assert site.turns == {}


def test_a_camera_that_is_back_after_it_was_set_aside_is_suspected_alone():
    site = Site("abcd", {"c": 2.0})
    site.until_it_lives(60.0)
    deaths = len(site.said)
    site.live(HOUR)
    assert "it had just begun with c, which is set aside until" in site.said[deaths]
    assert site.live(HOUR / 6)
    assert round(site.aside["c"], -1) == 2 * ASIDE


def test_a_hang_is_put_on_what_was_begun_before_its_last_sign_of_life():
    site = Site("abcd", {})
    for _ in range(2):
        site.live(HOUR, killed_after=30.0)
    site.blame.turns()
    for camera, at in (("a", 0.0), ("b", 0.0), ("c", 10.0)):
        site.now += at
        site.blame.heard(f"{ord(camera)} {camera}")
    begun = site.now
    site.now += 75.0
    assert "it had just begun with c (1 of" in site.blame.died(-signal.SIGKILL, last_words(), begun + 1.0)


# -- the agent's side


def test_turns_come_through_the_environment_as_they_were():
    turns = {"gate": Turn(10.0), "dock": Turn(599.5, "set aside until …: reading it has ended the agent")}
    assert decode_turns(encode_turns(turns)) == turns
    assert decode_turns("") == {}
    # One variable of the environment has at most 128 KiB.
    assert len(encode_turns({f"camera-{n}-of-a-large-site": Turn(10.0 * n) for n in range(2000)})) < 128 * 1024


def test_an_agent_begins_with_a_camera_in_its_turn_and_says_so_first(monkeypatch):
    now, told = [100.0], []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    turns = Turns(encode_turns({"gate": Turn(10.0)}), told.append)
    now[0] = 200.0
    turns.begin()
    admit: Callable[[str], str | None] = turns.admit
    assert admit("gate") == ITS_TURN
    assert told == []
    assert admit("dock") is None
    now[0] = 210.0
    assert admit("gate") is None
    assert [words.split(" ")[1] for words in told] == ["dock", "gate"]
    assert (turns.waits("gate"), turns.waits("dock")) == (True, False)
    with turns.reading("yard"):
        assert told[-1].endswith(" yard")
    assert told[-1].endswith(" ")


def test_why_a_camera_is_not_read_has_a_code():
    site = Site("ab", {"b": 1.0})
    site.until_it_lives(has_witness=True)
    assert code_of(site.turns["b"].why) == "set-aside"
    assert code_of(ITS_TURN) == "its-turn"


def test_agents_that_are_killed_while_they_have_long_read_all_cameras_make_none_wait():
    site = Site("abcd", {})
    for _ in range(20):
        site.live(HOUR, killed_after=31.0)
        assert site.turns == {}
    assert counted(site.said) == 20
