"""Records of other feeds under a camera's name."""

from __future__ import annotations

import itertools
from dataclasses import replace

from consumers.live.feed_guard import Arrival, FeedGuard, GuardState
from stream import Decoded, Record, Segment

NUMBERS = itertools.count()
EPOCHS = {"A": 1_000_000, "B": 2_000_000, "C": 3_000_000}


def arrival(name: str, data: bytes = b"bytes of it", claim: int = 0) -> Arrival:
    """`A3` is the fourth segment of epoch A; `A3end` its end."""
    epoch, sequence = EPOCHS[name[0]], int(name[1:].removesuffix("end"))
    is_end = name.endswith("end")
    start_us = epoch + sequence * 500_000
    segment = Segment(
        "gate", epoch, sequence, start_us, start_us + (0 if is_end else 500_000), "mpegts", "h264", 8, 8,
        0 if is_end else 5, 0, b"" if is_end else data + name.encode(), claim=claim,
    )  # fmt: skip
    return Arrival(Record("t", 0, next(NUMBERS), b"gate", [], segment.data), segment, Decoded((), []))


def names(arrived: Arrival) -> str:
    epoch = next(name for name, us in EPOCHS.items() if us == arrived.segment.epoch_us)
    return f"{epoch}{arrived.segment.sequence}{'end' if arrived.segment.is_end else ''}"


def outcome(guard: FeedGuard, *comes: str | Arrival) -> list[str]:
    """What becomes of records in order; those that are left out with the reason."""
    told, open_epoch = [], None
    for each in comes:
        for known, reason in guard.take(arrival(each) if isinstance(each, str) else each, open_epoch):
            told.append(names(known) + (f" {reason}" if reason else ""))
            if reason is None:
                open_epoch = None if known.segment.is_end else known.segment.epoch_us
    return told


def test_one_feed_goes_through_and_the_next_begins_with_its_second_segment_or_after_the_end():
    assert outcome(FeedGuard(), "A0", "A1", "B0", "B1", "B2") == ["A0", "A1", "B0", "B1", "B2"]
    assert outcome(FeedGuard(), "A0", "A1end", "B0") == ["A0", "A1end", "B0"]
    assert outcome(FeedGuard(), "A0", "B0", "B1end") == ["A0", "B0", "B1end"]
    assert outcome(FeedGuard(), "A0", "B0", "A1end", "B1") == ["A0", "A1end", "B0", "B1"]


def test_a_stray_ends_nothing_whether_it_is_older_or_newer():
    assert outcome(FeedGuard(), "B0", "B1", "A7", "B2") == ["B0", "B1", "A7 stale_epoch", "B2"]
    assert outcome(FeedGuard(), "A0", "A1", "C9", "A2", "A3") == ["A0", "A1", "C9 stray_epoch", "A2", "A3"]
    assert outcome(FeedGuard(), "A0", "B5", "C9", "C10") == ["A0", "B5 stray_epoch", "C9", "C10"]


def misnumbered(name: str, sequence: int) -> Arrival:
    return replace(arrival(name), segment=replace(arrival(name).segment, sequence=sequence, data=b"other bytes"))


def test_a_number_too_high_for_its_time_is_left_out_and_what_follows_is_not():
    assert outcome(FeedGuard(), "A0", "A1", misnumbered("A2", 1000), "A2", "A3", "A5") == [
        "A0", "A1", "A1000 stray_segment", "A2", "A3", "A5",
    ]  # fmt: skip
    assert outcome(FeedGuard(), "A0", misnumbered("A0", 2), "A1", "A2end", "B0") == [
        "A0", "A2 stray_segment", "A1", "A2end", "B0",
    ]  # fmt: skip


def test_a_leap_in_an_epoch_is_believed_when_another_segment_follows_it():
    assert outcome(FeedGuard(), "A0", "A1", "A999", "A2", "A3") == ["A0", "A1", "A999 stray_segment", "A2", "A3"]
    assert outcome(FeedGuard(), "A0", "A999", "A1000", "A1001") == ["A0", "A999", "A1000", "A1001"]
    assert outcome(FeedGuard(), "A0", "A999", "A1end", "B0") == ["A0", "A999 stray_segment", "A1end", "B0"]
    assert outcome(FeedGuard(), "A0", "A999", "A1000end") == ["A0", "A999", "A1000end"]


def test_of_two_feeds_that_take_turns_one_is_left_out():
    turns = [f"{epoch}{number}" for number in range(1, 4) for epoch in "AB"]
    assert outcome(FeedGuard(), "A0", *turns) == [
        "A0", "A1", "B1 stray_epoch", "A2", "B2 stray_epoch", "A3",
    ]  # fmt: skip
    assert outcome(FeedGuard(), "B0", *turns) == [
        "B0", "A1 stale_epoch", "B1", "A2 stale_epoch", "B2", "A3 stale_epoch", "B3",
    ]  # fmt: skip


def test_older_footage_is_taken_when_the_newer_has_ended():
    assert outcome(FeedGuard(), "B0", "B1end", "A0", "A1") == ["B0", "B1end", "A0", "A1"]


def test_another_film_with_the_same_times_is_refused_and_the_same_film_is_not():
    other = [arrival(f"A{number}", b"another film") for number in range(3)]
    film = ["A0", "A1", "A2", "A3end"]
    assert outcome(FeedGuard(), *film, *other) == [*film, *(f"A{n} other_bytes" for n in range(3))]
    assert outcome(FeedGuard(), *film, *film) == [*film, *film]
    assert outcome(FeedGuard(), "A0", other[0], "A1", other[1]) == ["A0", "A0 other_bytes", "A1", "A1 other_bytes"]


def test_a_segment_that_was_cut_short_when_its_agent_stopped_may_come_again_whole():
    whole = arrival("A1")
    interrupted = replace(whole, segment=replace(whole.segment, data=whole.segment.data[:5]))
    assert outcome(FeedGuard(), "A0", interrupted, "A2end", "A0", whole) == ["A0", "A1", "A2end", "A0", "A1"]


def test_what_was_held_back_is_there_when_the_open_feed_falls_silent():
    guard = FeedGuard()
    assert outcome(guard, "A0", "B0") == ["A0"]
    assert [names(a) for a in guard.waiting()] == ["B0"]
    assert guard.waiting() == []


def claimed(*comes: str) -> list[Arrival]:
    """`A0/7` is the first segment of epoch A, of the agent whose claim is 7."""
    return [arrival(name, claim=int(claim)) for name, _, claim in (each.partition("/") for each in comes)]


def test_the_higher_claim_wins_at_once_whichever_epoch_is_newer_and_the_other_is_fenced():
    assert outcome(FeedGuard(), *claimed("A0/1", "B0/2", "A1/1", "B1/2", "A2/1")) == [
        "A0", "B0", "A1 fenced", "B1", "A2 fenced",
    ]  # fmt: skip
    assert outcome(FeedGuard(), *claimed("B0/1", "A0/2", "B1/1", "A1/2", "C0/1", "C1/1", "B2end/1", "A2/2")) == [
        "B0", "A0", "B1 fenced", "A1", "C0 fenced", "C1 fenced", "B2end fenced", "A2",
    ]  # fmt: skip


def test_what_was_held_back_of_an_agent_was_its_own_when_another_claims_the_camera():
    """It may have died behind the first segment of an epoch."""
    assert outcome(FeedGuard(), *claimed("A0/1", "B0/1", "C0/2", "C1/2")) == ["A0", "B0", "C0", "C1"]
    assert outcome(FeedGuard(), *claimed("B0/1", "A0/1", "C0/2", "A1/1")) == ["B0", "A0 stale_epoch", "C0", "A1 fenced"]


def test_what_was_held_back_and_claims_nothing_is_fenced_by_one_that_does():
    assert outcome(FeedGuard(), *claimed("A0/0", "B0/0", "C0/2", "B1/0")) == ["A0", "B0 fenced", "C0", "B1 stale_epoch"]


def test_agents_that_claim_nothing_are_judged_as_before_also_after_one_that_claimed():
    assert outcome(FeedGuard(), *claimed("A0/5", "A1end/5"), "B0", "A0", "B1") == [
        "A0", "A1end", "B0", "A0 stale_epoch", "B1",
    ]  # fmt: skip


def test_a_guard_that_goes_on_for_another_knows_its_claim():
    assert outcome(FeedGuard(GuardState(claim=2)), *claimed("A0/1", "B0/2")) == ["A0 fenced", "B0"]
