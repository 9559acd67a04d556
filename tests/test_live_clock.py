"""Event time of cameras whose clocks are wrong, on networks that delay: hours of it in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import pytest

from stream import Packet
from stream.feeds.times.live_clock import ArrivalTime, LiveClock, date_packets

Delay = Callable[[float], float]


@dataclass
class Dated:
    """What became of a simulated camera, in seconds."""

    clock: LiveClock = field(default_factory=LiveClock)
    #: Event time and when each picture was filmed.
    pictures: list[tuple[float, float]] = field(default_factory=list)
    #: Arrival less event time.
    behind: list[float] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        return [event - filmed for event, filmed in self.pictures]


def date(
    seconds: float,
    *,
    stamped: float = 25,
    sent: float = 25,
    delay: Delay = lambda _: 0.0,
    stamp: Callable[[float], float] = lambda pts: pts,
) -> Dated:
    """Date a camera that stamps `stamped` pictures a second and sends `sent`; a picture never overtakes another."""
    dated, arrival = Dated(), 0.0
    for number in range(round(seconds * sent)):
        filmed = number / sent
        arrival = max(arrival, filmed + delay(filmed))
        event = dated.clock.date(stamp(number / stamped), arrival)
        dated.pictures.append((event, filmed))
        dated.behind.append(arrival - event)
    events = [event for event, _ in dated.pictures]
    assert all(b > a for a, b in pairwise(events))
    return dated


def jitter(mean: float, seed: int = 1) -> Delay:
    randomness = random.Random(seed)
    return lambda _: randomness.expovariate(1 / mean)


def stalls(seed: int, *, every: float = 20, mean: float = 1.0) -> Delay:
    """Nothing comes for a second or more, now and then, and then all that was held up."""
    randomness, noise = random.Random(seed), jitter(0.01, seed)
    times = [
        (at := 5 + n * every + randomness.uniform(0, every / 2), at + randomness.expovariate(1 / mean))
        for n in range(30)
    ]
    return lambda t: max([noise(t), *(end - t for begin, end in times if begin <= t < end)])


def test_a_camera_whose_clock_is_right_keeps_its_own_times_to_the_microsecond():
    dated = date(1800, delay=jitter(0.01))
    offset = dated.errors[0]
    assert all(abs(error - offset) < 1e-6 for error in dated.errors)
    assert dated.clock.drift == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_a_network_holds_up_and_lets_go_leaves_no_trace(seed):
    dated = date(300, delay=stalls(seed))
    assert max(dated.behind) > 1
    assert all(abs(error - dated.errors[0]) < 1e-6 for error in dated.errors)


@pytest.mark.parametrize("sent", [15, 10, 24, 26, 30, 50])
@pytest.mark.parametrize("mean", [0.0, 0.01])
def test_a_camera_that_stamps_25_pictures_a_second_stays_within_half_a_second(sent, mean):
    dated = date(60, sent=sent, delay=jitter(mean) if mean else lambda _: 0.0)
    assert max(map(abs, dated.errors)) < 0.5
    assert max(map(abs, dated.errors[20 * sent :])) < 0.35
    assert dated.clock.drift == pytest.approx(1 - sent / 25, abs=0.03)


@pytest.mark.parametrize("ppm", [50, -50])
def test_a_clock_that_is_50_ppm_wrong_is_never_further_off_than_the_tolerance(ppm):
    dated = date(3 * 3600, stamped=5, sent=5 * (1 - ppm / 1e6), delay=jitter(0.01))
    assert max(map(abs, dated.errors)) < 0.08
    # Half a second in three hours was worked off, less what is tolerated.
    assert dated.clock.corrected_seconds == pytest.approx(ppm * 3 * 3600 / 1e6, abs=0.06)


@pytest.mark.parametrize("jump", [93_600.0, 3.0, -3.0, -93_600.0])
def test_a_jump_of_the_cameras_clock_is_none_of_event_time(jump):
    dated = date(60, stamp=lambda pts: pts if pts < 20 else pts + jump, delay=jitter(0.01))
    assert max(map(abs, dated.errors)) < 0.1
    assert dated.clock.jumps == 1
    assert dated.clock.jump_seconds == pytest.approx(jump, abs=0.1)


def test_a_tick_back_moves_nothing():
    clock = LiveClock()
    events = [clock.date(pts, pts) for pts in (0.0, 0.04, 0.08, 0.07999, 0.12, 0.16)]
    assert events == pytest.approx([0.0, 0.04, 0.08, 0.07999, 0.12, 0.16])


def test_timestamps_that_stand_still_give_times_near_arrival():
    clock = LiveClock()
    events = [clock.date(0.0, number / 25) for number in range(1000)]
    assert all(number / 25 - event < 4.1 for number, event in enumerate(events))


def test_what_a_camera_had_gathered_when_it_began_was_filmed_before():
    clock = LiveClock()
    held = [(n / 25, 100.0) for n in range(50)] + [(n / 25, 100 + (n - 50) / 25) for n in range(50, 64)]
    clock.begin(held)
    events = [clock.date(pts, arrival) for pts, arrival in held]
    assert events == pytest.approx([98 + n / 25 for n in range(64)])


@pytest.mark.parametrize("gathered", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("sent", [10, 15, 20])
def test_a_camera_that_sends_fewer_than_it_stamps_is_dated_right_from_its_first_steady_picture(sent, gathered):
    noise = jitter(0.005)
    filmed = [number / sent for number in range(10 * sent)]
    arrivals = [max(gathered, at + noise(at)) for at in filmed]
    now = iter([arrivals[0], *arrivals])
    packets = date_packets(
        (Packet(b"x", n * 3600, n * 3600, 3600, keyframe=n == 0) for n in range(len(filmed))),
        Fraction(1, 90_000),
        LiveClock(),
        lambda: next(now),
        not_before_us=-(10**12),
    )
    times = [(packet.pts or 0) / 1e6 for packet in packets]
    assert all(b > a for a, b in pairwise(times))
    assert max(abs(time - at) for time, at in zip(times, filmed, strict=True) if at >= gathered) < 0.12


def test_a_camera_that_gathers_pictures_of_one_time_begins():
    clock = LiveClock()
    clock.begin([(5.0, n / 10) for n in range(10)])
    assert clock.date(5.0, 0.0) == pytest.approx(0.0, abs=0.01)


def test_nothing_is_dated_before_what_was_sent_before_and_the_clock_then_comes_right():
    now = iter([50.0 + n / 25 for n in range(1501)])
    packets = date_packets(
        (Packet(b"x", n * 3600, n * 3600, 3600, keyframe=n == 0) for n in range(1500)),
        Fraction(1, 90_000),
        LiveClock(),
        lambda: next(now),
        not_before_us=50_500_000,
    )
    times = [packet.pts for packet in packets]
    assert times[0] == 50_500_000
    assert all(b > a for a, b in pairwise(times))
    assert abs(times[-1] - (50 + 1500 / 25) * 1e6) < 100_000


def reordered(numbers: Iterator[int]) -> Iterator[Packet]:
    for n in numbers:
        for shift in (3, 1, 2):  # P B B
            yield Packet(b"x", (3 * n + shift) * 3600, None, 0, keyframe=False)


def test_pictures_that_are_shown_in_another_order_keep_it():
    at = iter(n / 25 for n in range(301))
    packets = list(
        date_packets(reordered(iter(range(100))), Fraction(1, 90_000), LiveClock(), lambda: next(at), not_before_us=0)
    )
    shown = sorted(packets, key=lambda packet: packet.pts)
    gaps = {round((b.pts - a.pts) / 1000) for a, b in pairwise(shown)}
    assert [p.pts for p in packets[:3]] != sorted(p.pts for p in packets[:3])
    assert gaps == {40}


def test_the_time_of_arrival_never_goes_back_and_pays_back_what_it_is_ahead():
    wall, steady = [1000.0], [0.0]
    arrival = ArrivalTime(1010.0, wall=lambda: wall[0], steady=lambda: steady[0])
    assert arrival() == 1010.0
    wall[0], steady[0] = 1100.0, 100.0
    assert arrival() == pytest.approx(1109.0)
    wall[0], steady[0] = 500.0, 101.0  # the clock was set back
    assert arrival() == pytest.approx(1109.99)
    wall[0], steady[0] = 9000.0, 102.0  # and right again
    assert arrival() == 9000.0
