"""Which offsets may be committed, without brokers or video."""

from __future__ import annotations

import random

from consumers.live.handover.offsets import Footage, OffsetLedger

P, Q = ("segments", 0), ("segments", 1)


def footage(end_us: int, camera: str = "gate") -> Footage:
    return Footage(camera, 0, end_us)


def needed_from(time_us: int):
    return lambda f: f.end_us > time_us


def test_nothing_is_due_before_anything_was_read_and_while_all_of_it_is_decoded():
    ledger = OffsetLedger()
    assert ledger.due(needed_from(0)) == {}
    ledger.read(P, 7)
    assert ledger.due(needed_from(10**9)) == {}
    assert ledger.partitions == {P}


def test_the_offset_after_the_last_record_is_due_when_nothing_is_needed():
    ledger = OffsetLedger()
    for offset in (7, 8, 12):  # a compacted or transactional log has holes
        ledger.read(P, offset)
        ledger.holds(P, offset, footage(offset))
    assert ledger.due(needed_from(8)) == {P: 9}
    assert ledger.due(needed_from(12)) == {P: 13}
    assert ledger.partitions == set()


def test_a_record_that_is_still_needed_holds_back_those_after_it():
    ledger = OffsetLedger()
    for offset, camera in enumerate(["gate", "lobby", "gate", "lobby"]):
        ledger.read(P, offset)
        ledger.holds(P, offset, footage(offset, camera))
    assert ledger.due(lambda f: f.camera == "lobby") == {P: 1}
    assert ledger.due(lambda f: f.camera == "gate") == {P: 2}
    assert ledger.due(lambda _: False) == {P: 4}


def test_dead_letters_are_settled_whatever_the_cameras_need():
    ledger = OffsetLedger()
    for offset in range(3):
        ledger.read(P, offset)
    ledger.settle(P, 1)
    assert ledger.due(lambda _: True) == {}, "the first one is on its way"
    ledger.settle(P, 0)
    assert ledger.due(lambda _: True) == {P: 2}


def test_an_offset_stays_due_until_it_is_known_to_be_committed():
    ledger = OffsetLedger()
    ledger.read(P, 0)
    ledger.settle(P, 0)
    first = ledger.due(needed_from(0))
    assert first == ledger.due(needed_from(0)) == {P: 1}, "the broker may have refused it"
    ledger.read(P, 1)
    ledger.settle(P, 1)
    second = ledger.due(needed_from(0))
    ledger.committed(first)
    assert ledger.due(needed_from(0)) == second == {P: 2}, "a newer one was due meanwhile"
    ledger.committed(second)
    assert ledger.due(needed_from(0)) == {}


def test_what_was_read_is_unacknowledged_until_it_is_known_to_be_committed():
    ledger = OffsetLedger()
    for offset in (3, 4, 9, 10):
        ledger.read(P, offset)
        ledger.holds(P, offset, footage(offset))
    assert ledger.unacknowledged == 4
    due = ledger.due(needed_from(9))
    assert (due, ledger.unacknowledged) == ({P: 10}, 4)
    ledger.read(Q, 0)
    ledger.committed(due)
    assert ledger.unacknowledged == 2
    ledger.revoke({Q})
    assert ledger.unacknowledged == 1
    ledger.committed(ledger.due(needed_from(10)))
    assert ledger.unacknowledged == 0


def test_a_partition_that_went_leaves_nothing_behind_and_others_are_not_touched():
    ledger = OffsetLedger()
    for partition in (P, Q):
        for offset in range(2):
            ledger.read(partition, offset)
        ledger.settle(partition, 0)
    ledger.due(needed_from(0))
    ledger.revoke({P})
    assert ledger.partitions == {Q}
    assert ledger.due(needed_from(0)) == {Q: 1}
    ledger.read(P, 0)  # it came back, read from an older commit
    ledger.settle(P, 0)
    assert ledger.due(needed_from(0)) == {P: 1, Q: 1}


def test_no_offset_passes_over_a_record_that_is_needed_or_on_its_way():
    """Whatever the order in which records are decoded, buried and no longer needed."""
    generator = random.Random(4)
    for _ in range(50):
        ledger, open_records, committed = OffsetLedger(), {}, {P: 0, Q: 0}
        next_offset = {P: 0, Q: 0}
        for _ in range(200):
            partition = generator.choice([P, Q])
            match generator.choice(["read", "holds", "settle", "release", "commit", "refused"]):
                case "read":
                    ledger.read(partition, next_offset[partition])
                    open_records[partition, next_offset[partition]] = "read"
                    next_offset[partition] += 1
                case "holds" if on_their_way := [k for k, v in open_records.items() if v == "read"]:
                    key = generator.choice(on_their_way)
                    ledger.holds(*key, Footage(f"{key[0][1]}", 0, key[1]))
                    open_records[key] = "needed"
                case "settle" if on_their_way := [k for k, v in open_records.items() if v == "read"]:
                    key = generator.choice(on_their_way)
                    ledger.settle(*key)
                    del open_records[key]
                case "release" if needed := [k for k, v in open_records.items() if v == "needed"]:
                    del open_records[generator.choice(needed)]
                case "commit" | "refused" as what:
                    due = ledger.due(
                        lambda f, o=open_records: o.get((("segments", int(f.camera)), f.end_us)) == "needed"
                    )
                    for p, offset in due.items():
                        assert all(not (q == p and at < offset) for q, at in open_records)
                        assert committed[p] < offset <= next_offset[p]
                    if what == "commit":
                        ledger.committed(due)
                        committed |= due
        due = {**committed, **ledger.due(lambda _: False)}
        first_on_its_way = {
            p: min((at for (q, at), v in open_records.items() if q == p and v == "read"), default=next_offset[p])
            for p in (P, Q)
        }
        assert due == first_on_its_way, "what nobody needs is committed"
