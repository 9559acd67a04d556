"""When a camera counts as silent: not while anything of it may wait, and only in time in which somebody looked."""

from __future__ import annotations

import pytest

from consumers.live.silence import SilenceWatch

P, Q = ("segments", 0), ("segments", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> SilenceWatch:
    return SilenceWatch(60.0, clock)


def look(watch: SilenceWatch, clock: Clock, seconds: float, worked_off, ends, step: float = 1.0) -> float | None:
    """Work on as a worker does; return after how long a camera was silent, None if none was."""
    begun = clock.now
    while clock.now - begun < seconds:
        clock.now += step
        if watch.is_due and watch.look(worked_off, ends):
            return clock.now - begun
    return None


def test_a_camera_is_silent_when_all_is_worked_off_and_nothing_came(watch, clock):
    watch.heard("gate", P)
    assert 60 <= look(watch, clock, 100, {P: 7}, {P: 7}) <= 75


def test_a_camera_whose_records_may_wait_is_not_silent(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 300, {P: 7}, {P: 8}) is None
    assert look(watch, clock, 300, {P: 7, Q: 3}, {P: 8, Q: 3}) is None
    assert look(watch, clock, 20, {P: 8}, {P: 8}) is not None, "what waited was worked off, and not of this camera"


def test_others_of_its_partition_that_always_wait_a_little_do_not_keep_it(watch, clock):
    watch.heard("gate", P)
    silent, offset = None, 0
    while silent is None and offset < 1000:
        clock.now += 1
        offset += 1
        if watch.is_due and watch.look({P: 5 * offset}, {P: 5 * offset + 3}):
            silent = offset
    assert silent is not None
    assert 60 <= silent <= 80


def test_a_pause_of_the_process_is_not_silence(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 20, {P: 7}, {P: 7}) is None
    for _ in range(3):
        clock.now += 70
        assert watch.look({P: 7}, {P: 7}) == []
    assert look(watch, clock, 60, {P: 7}, {P: 7}) is not None, "looks count all the same"


def test_time_in_which_the_broker_does_not_answer_is_not_silence(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 300, {}, None) is None
    assert look(watch, clock, 50, {P: 7}, {P: 7}) is None
    assert look(watch, clock, 50, {P: 7}, {P: 7}) is not None


def test_a_camera_that_was_heard_or_is_gone_is_not_silent(watch, clock):
    watch.heard("gate", P)
    for _ in range(10):
        assert look(watch, clock, 30, {P: 7}, {P: 7}) is None
        watch.heard("gate", P)
    watch.forget("gate")
    assert look(watch, clock, 300, {P: 7}, {P: 7}) is None


def test_a_partition_that_came_back_begins_anew(watch, clock):
    watch.heard("gate", P)
    look(watch, clock, 50, {P: 7}, {P: 7})
    watch.forget("gate")
    look(watch, clock, 50, {Q: 7}, {Q: 7})
    watch.heard("gate", P)
    assert look(watch, clock, 50, {P: 3}, {P: 7}) is None
