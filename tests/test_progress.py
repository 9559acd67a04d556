"""A run that is cut anywhere, and goes on from what was committed, says what an undisturbed run says."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from consumers.live.effort.stillness import StillRule
from consumers.live.figures.measures import Measures
from consumers.live.handover.progress import (
    CameraProgress,
    PartitionProgress,
    decode_progress,
    encode_progress,
    progress_key,
)
from consumers.live.intake import Intake
from consumers.live.pipeline import Outcome, ScoredWindow
from consumers.live.silence import SilenceWatch
from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.load_change import LoadChange
from consumers.rules.rule import Rule
from consumers.settings import LoadSettings
from stream import EVERYTHING, ClipSpec, Decoded, Effort, Partition, Record, Sample, Segment, SegmentError
from tests.scorers import WholeClips

TOPIC, GROUP = "clipline.segments", "a/group"
SECOND = 1_000_000
FRAME_US = 100_000
RULES = {"bright": Rule(0.6, 0.4, 0.8, 1.0, 1.5), "dark": Rule(0.7, 0.3, 1.0, 0.0, 3.0, smoothing=3)}
SPECS = [
    ClipSpec(4, 200_000, 400_000, 1, 1),
    ClipSpec(3, 100_000, 700_000, 1, 1),
    ClipSpec(8, 300_000, 300_000, 1, 1),
]


class Brightness(WholeClips):
    id, labels = "brightness", ("dark", "bright")

    def predict(self, frames: np.ndarray) -> np.ndarray:
        light = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


@dataclass(frozen=True)
class Read:
    """A record is read; without a segment it is one that cannot be used."""

    record: Record
    segment: Segment | None


@dataclass(frozen=True)
class Idle:
    """A camera counts as gone."""

    camera: str


class Pictures:
    """What decoding gives: of a long group only behind its begin, its last picture with the next segment."""

    def __init__(self, spec: ClipSpec, *, in_a_hurry: bool = False) -> None:
        self._spec, self._in_a_hurry = spec, in_a_hurry
        self._group: dict[str, tuple[Segment, int]] = {}
        self._late: dict[str, list[Sample]] = {}

    def decode(self, segment: Segment) -> Decoded:
        effort = self._effort(segment) if self._in_a_hurry else EVERYTHING
        if effort.skipped is not None and not (segment.continues or segment.continued or segment.is_end):
            return Decoded((), [], missing=effort.skipped, effort=effort)
        return replace(self._decode(segment), effort=replace(effort, skipped=None))

    @staticmethod
    def _effort(segment: Segment) -> Effort:
        """More or less, as the segment says: the same whenever it is decoded."""
        which = zlib.crc32(f"{segment.camera} {segment.epoch_us} {segment.sequence // 4}".encode()) % 6
        return [EVERYTHING, EVERYTHING, Effort(1, 2), Effort(2, 4), Effort(2, 3), Effort(1, skipped="behind")][which]

    def _decode(self, segment: Segment) -> Decoded:
        times = tuple(range(segment.start_us, segment.end_us, FRAME_US))[: segment.frames]
        newest, from_us = self._group.get(segment.camera, (None, 0))
        if newest is not None and segment.epoch_us == newest.epoch_us and segment.sequence <= newest.sequence:
            return Decoded((), [], missing="duplicate")
        goes_on = (
            newest is not None
            and segment.sequence == newest.sequence + 1
            and segment.decode_from_us == from_us
            and segment.continues
        )
        late = self._late.pop(segment.camera, [])
        if segment.is_end:
            self._group.pop(segment.camera, None)
            return Decoded((), [], late)
        if segment.continues and not goes_on:
            self._group.pop(segment.camera, None)
            return Decoded(times, [], late, missing="no_keyframe")
        samples = [self._sample(at) for at in self._spec.sample_times_us(segment)]
        if segment.continued:
            self._group[segment.camera] = segment, from_us if goes_on else segment.start_us
            self._late[segment.camera] = samples[-1:]
            samples = samples[:-1]
        else:
            self._group.pop(segment.camera, None)
        return Decoded(times, samples, late)

    @staticmethod
    def _sample(at_us: int) -> Sample:
        if at_us // (8 * SECOND) % 3 == 0:  # nothing moves
            light = 10
        else:
            light = 230 if at_us // (2 * SECOND) % 3 == 0 else 10 + at_us // FRAME_US % 100
        return Sample(at_us, at_us, np.full((1, 1, 3), light, np.uint8))


class Feed:
    """Makes a camera's segments: epochs, gaps, long groups of pictures, strays, and footage that is sent again."""

    def __init__(self, camera: str, chance: random.Random) -> None:
        self.camera, self._chance = camera, chance
        self._begin(1_000 * SECOND)

    def _begin(self, epoch_us: int) -> None:
        self._epoch_us = self._at_us = epoch_us
        self._number, self._group_us = 0, None
        self._sent: list[Segment] = []

    @property
    def is_amid_a_group(self) -> bool:
        return self._group_us is not None

    def next(self) -> list[Segment | None]:  # noqa: C901, PLR0911  one case after the other
        """The next segments; None for a record that cannot be used."""
        chance = self._chance
        match chance.choices(
            ["on", "lose", "bury", "again", "end", "epoch", "behind a gap", "stray", "older", "film", "cut", "other"],
            [50, 3, 3, 5, 3, 2, 3, 4, 3, 1, 2, 2],
        )[0]:
            case "lose":
                self._segment()
                return []
            case "bury":
                self._segment()
                return [None]
            case "again" if self._sent:
                return [chance.choice(self._sent[-4:])]
            case "end":
                end = replace(
                    self._segment(), end_us=self._at_us, start_us=self._at_us, frames=0, data=b"", continued=False
                )
                end = replace(end, decode_from_us=None)
                self._begin(self._at_us + chance.choice([0, 5 * SECOND]))
                return [end]
            case "epoch":
                self._begin(self._at_us + chance.randint(0, 3) * SECOND)
            case "behind a gap" if self._group_us is not None:
                self._at_us += 12 * SECOND
                self._epoch_us = self._at_us
            case "stray" | "older" as what:
                epoch_us = self._at_us + 100 * SECOND if what == "stray" else 500 * SECOND
                return [self._plain(epoch_us, chance.randint(0, 9))]
            case "film" if self._sent and not self._sent[0].continues:
                film = [s for s in self._sent if s.epoch_us == self._sent[0].epoch_us]
                last = film[-1]
                end = replace(last, start_us=last.end_us, frames=0, data=b"", sequence=last.sequence + 1)
                end = replace(end, decode_from_us=None, continued=False)
                if all(s.epoch_us == self._epoch_us for s in self._sent):
                    self._begin(self._at_us + SECOND)
                    return [end, *film, end]
            case "cut" if self._sent and self._sent[-1].epoch_us == self._epoch_us:
                return [replace(self._sent[-1], data=b"other bytes entirely")]
            case "other":
                return [None]
        return [self._segment()]

    def _segment(self) -> Segment:
        frames = self._chance.randint(3, 12)
        continued = self._chance.random() < (0.8 if self._group_us is not None else 0.1)
        found = Segment(
            self.camera, self._epoch_us, self._number, self._at_us, self._at_us + frames * FRAME_US, "mpegts", "h264",
            8, 8, frames, 0, f"{self.camera} {self._epoch_us} {self._number} is so long".encode(),
            skipped={"no_timestamp": 1} if self._chance.random() < 0.1 else {},
            decode_from_us=self._group_us, continued=continued,
        )  # fmt: skip
        if continued:
            self._group_us = self._at_us if self._group_us is None else self._group_us
        else:
            self._group_us = None
        self._number += 1
        self._at_us = found.end_us
        self._sent.append(found)
        return found

    def _plain(self, epoch_us: int, number: int) -> Segment:
        start_us = epoch_us + number * SECOND
        data = f"a stray {epoch_us} {number}".encode()
        return Segment(self.camera, epoch_us, number, start_us, start_us + SECOND, "mpegts", "h264", 8, 8, 10, 0, data)


def course(seed: int, length: int = 150) -> list[Read | Idle]:
    chance = random.Random(seed)
    feeds = [Feed(f"camera-{n}", chance) for n in range(3)]
    offsets, steps = {0: 0, 1: 0}, []

    def put(partition: int, key: bytes, segment: Segment | None) -> None:
        headers = [("frames", b"5")] if segment is None else []
        record = Record(TOPIC, partition, offsets[partition], key, headers, b"" if segment is None else segment.data)
        offsets[partition] += chance.randint(1, 2)
        steps.append(Read(record, segment))

    while len(steps) < length:
        number = chance.randrange(3)
        if chance.random() < 0.02:
            put(number % 2, b"not a camera", None)
        if chance.random() < 0.02 and not feeds[number].is_amid_a_group:
            steps.append(Idle(feeds[number].camera))
        for segment in feeds[number].next():
            put(number % 2, feeds[number].camera.encode(), segment)
    return steps


class Box:
    """Keeps what is said, by camera."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = defaultdict(list)

    def letter(self, letter: DeadLetter) -> None:
        self.said["letters"].append((letter.origin, letter.reason))

    def load(self, change: LoadChange) -> None:
        self.said[f"load of {change.camera}"].append(change)

    def results(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, ScoredWindow):
                self.said[outcome.camera].append(outcome.prediction)
        for event in events:
            self.said[f"events of {event.camera}"].append((event, event.segments))


class Run:
    """A worker without a broker: `kept` and `offsets` are what it committed."""

    def __init__(self, spec: ClipSpec, *, in_a_hurry: bool = False, gated: bool = True) -> None:
        self.spec, self.in_a_hurry, self.gated = spec, in_a_hurry, gated
        self.kept: dict[bytes, bytes] = {}
        self.begin({})

    def begin(self, offsets: dict[Partition, int]) -> None:
        """Begin with what is kept, as another process."""
        self.offsets = dict(offsets)
        self.box = Box()
        silence = SilenceWatch(60.0)
        self.intake = Intake(
            Brightness(),
            self.spec,
            RULES,
            self.box,
            measures=Measures(),
            silence=silence,
            max_reread_seconds=600.0,
            load=LoadSettings(policy="degrade"),
            # Not for "dark": it is always one or the other.
            still=StillRule({"bright": 0.25}, 3, 20 * SECOND) if self.gated else None,
        )
        self.pictures = Pictures(self.spec, in_a_hurry=self.in_a_hurry)
        known = [decode_progress(GROUP, key, value, "kept") for key, value in self.kept.items()]
        self.intake.restore(TOPIC, [each for each in known if each is not None])

    def feed(self, step: Read | Idle) -> None:
        if isinstance(step, Idle):
            if step.camera in self.intake.status.cameras:
                self.intake.close(step.camera)
            return
        partition = step.record.topic, step.record.partition
        self.intake.ledger.read(partition, step.record.offset)
        if step.segment is None:
            outcome: Any = SegmentError(step.record.where, "cannot be used")
        else:
            outcome = step.segment, self.pictures.decode(step.segment)
        if steps := self.intake.take(step.record, outcome):
            self.intake.publish(steps)

    def commit(self) -> Box:
        """Store what is known; return what was said since the last commit."""
        for _, change in self.intake.changes():
            if isinstance(change, str):
                self.kept.pop(progress_key(GROUP, change), None)
            else:
                key, value = encode_progress(GROUP, change)
                self.kept[key] = value
        due = self.intake.due()
        self.intake.ledger.committed(due)
        self.offsets |= due
        box, self.box.said = self.box.said, defaultdict(list)
        said = Box()
        said.said = box
        return said

    def accounts(self) -> dict[str, str]:
        return {name: counts.summary() for name, counts in self.intake.counts.items()}


def restart(run: Run, steps: Sequence[Read | Idle]) -> None:
    """Go on as another process: read from the committed offsets on what had been read before."""
    run.begin(run.offsets)
    for step in steps:
        if isinstance(step, Read) and step.record.offset >= run.offsets.get((TOPIC, step.record.partition), 0):
            run.feed(step)


def gather(said: dict[str, list[Any]], box: Box) -> None:
    for name, values in box.said.items():
        said.setdefault(name, []).extend(values)


def undisturbed(
    steps: Sequence[Read | Idle], spec: ClipSpec, *, in_a_hurry: bool = False, gated: bool = True
) -> tuple[dict[str, list[Any]], Run]:
    run, said = Run(spec, in_a_hurry=in_a_hurry, gated=gated), {}
    for step in steps:
        run.feed(step)
    gather(said, run.commit())
    return said, run


@pytest.fixture(autouse=True)
def quiet(caplog) -> Iterator[None]:
    with caplog.at_level(logging.ERROR, logger="consumers.live"):
        yield


@pytest.mark.parametrize("in_a_hurry", [False, True])
@pytest.mark.parametrize("seed", range(24))
def test_a_run_that_is_cut_again_and_again_says_what_an_undisturbed_one_says(seed, in_a_hurry):
    steps, spec, chance = course(seed), SPECS[seed % len(SPECS)], random.Random(seed)
    expected, whole = undisturbed(steps, spec, in_a_hurry=in_a_hurry)
    run, said, done, committed = Run(spec, in_a_hurry=in_a_hurry), {}, 0, 0
    cuts = 0
    while done < len(steps):
        run.feed(steps[done])
        done += 1
        if chance.random() < 0.2:
            gather(said, run.commit())
            committed = done
        if chance.random() < 0.25:
            cuts += 1
            restart(run, steps[:committed])
            assert not run.box.said, "what was read again says nothing"
            done = committed if chance.random() < 0.8 else done
            if done != committed:
                for step in steps[committed:done]:
                    run.feed(step)
    gather(said, run.commit())
    assert cuts > 10
    assert said == expected
    assert run.accounts() == whole.accounts()
    assert all(
        "0 pending" in line or run.intake.pipeline.cameras[n].clipper.epoch_us for n, line in run.accounts().items()
    )


def test_what_is_told_in_a_hurry_is_a_part_of_what_is_told_else():
    told, left_out, changes = 0, set(), set()
    for seed in range(24):
        steps, spec = course(seed), SPECS[seed % len(SPECS)]
        # What is carried on depends on which windows were computed before.
        everything, _ = undisturbed(steps, spec, gated=False)
        part, run = undisturbed(steps, spec, in_a_hurry=True, gated=False)
        for name, values in part.items():
            if name.startswith("camera"):
                known = {value.id: value for value in everything.get(name, [])}
                told += sum(value.id in known for value in values)
                # What was lost when it was first sent may be made of footage that is sent again, if nothing was since.
                assert all(known.get(value.id, value) == value for value in values)
            elif name.startswith("load"):
                changes |= {change.change for change in values}
                assert all(after.level != before.level for before, after in itertools.pairwise(values))
        for counts in run.intake.counts.values():
            left_out |= set(counts.skipped)
            assert counts.frames == counts.classified + counts.skipped.total() + counts.dead_lettered + counts.pending
    assert told > 500
    assert left_out >= {"behind", "degraded"}
    assert changes == {"entered", "changed", "left"}


def test_the_courses_hold_what_they_should():
    reasons, events, epochs, gated = set(), 0, set(), 0
    for seed in range(24):
        said, run = undisturbed(course(seed), SPECS[seed % len(SPECS)])
        events += sum(len(values) for name, values in said.items() if name.startswith("events"))
        for counts in run.intake.counts.values():
            reasons |= set(counts.skipped)
        predictions = [p for name, values in said.items() if name.startswith("camera") for p in values]
        gated += sum(p.gated for p in predictions)
        assert len({p.id for p in predictions}) == len(predictions), "a window is told once"
        epochs |= {(seed, p.camera, p.epoch_us) for p in predictions}
        assert any(location for name, values in said.items() if name.startswith("events") for _, location in values)
    assert reasons >= {"head", "tail", "gap", "duplicate", "stale_epoch", "stray_epoch", "no_keyframe", "no_timestamp"}
    assert gated > 100
    assert events > 100
    assert len(epochs) > 100


@pytest.mark.parametrize("change", ["model", "grid"])
def test_with_another_model_or_grid_open_events_end_and_no_time_is_told_twice(change, monkeypatch):
    steps = [step for step in course(3) if isinstance(step, Read)]
    run = Run(SPECS[0])
    for cut, step in enumerate(steps, 1):
        run.feed(step)
        active = [e for camera in run.intake.pipeline.cameras.values() for e in camera.tracker.active]
        if active and cut > 40:
            break
    made = {
        name: camera.clipper.needed_from_us
        for name, camera in run.intake.pipeline.cameras.items()
        if camera.clipper.epoch_us is not None
    }
    epochs = {name: run.intake.pipeline.cameras[name].clipper.epoch_us for name in made}
    run.commit()
    if change == "model":
        monkeypatch.setattr(Brightness, "id", "another")
    else:
        run.spec = SPECS[1]
    restart(run, steps[:cut])
    ended = [event for name, values in run.box.said.items() if name.startswith("events") for event, _ in values]
    assert sorted(e.id for e in ended) == sorted(e.id for e in active)
    assert {(e.state, e.ending) for e in ended} == {("ended", "gap")}
    for step in steps[cut:]:
        run.feed(step)
    windows = [p for name, values in run.commit().said.items() if name in made for p in values]
    assert windows
    assert all(p.start_us >= made[p.camera] for p in windows if p.epoch_us == epochs[p.camera])


def test_pictures_that_are_not_there_any_more_are_a_gap():
    steps = [step for step in course(5, 40) if isinstance(step, Read)]
    run = Run(SPECS[0])
    for step in steps[:30]:
        run.feed(step)
    run.commit()
    run.begin({})
    for step in steps[30:]:  # the topic holds nothing older
        run.feed(step)
    said, _ = undisturbed(steps, SPECS[0])
    for name, values in run.commit().said.items():
        if name.startswith("camera"):
            assert values
            assert all(p in said[name] for p in values)


def test_progress_that_cannot_be_used_says_what_is_wrong_with_it():
    key, value = encode_progress(GROUP, PartitionProgress(3, 17))
    assert decode_progress(GROUP, key, value, "state[0]@1") == PartitionProgress(3, 17)
    assert decode_progress("another", key, value, "state[0]@1") is None
    assert decode_progress("a", b"a/group/camera-1", b"{}", "state[0]@1") is None
    for damaged, words in (
        (b"{", "Invalid JSON"),
        (value.replace(b'"version":1', b'"version":2'), "version"),
        (value.replace(b'"partition":3', b'"partition":4'), "expected the progress of '/3', found that of '/4'"),
    ):
        with pytest.raises(RecordError, match=f"state.0.@1: .*{words}"):
            decode_progress(GROUP, key, damaged, "state[0]@1")
    run = Run(SPECS[0])
    for step in course(1, 60):
        run.feed(step)
    for _, change in list(run.intake.changes()):
        if isinstance(change, CameraProgress):
            assert decode_progress(GROUP, *encode_progress(GROUP, change), "state[0]@1") == change


def with_number(value: Any, path: tuple[Any, ...], number: int) -> Any:
    """JSON with another number at a path."""
    if not path:
        return number
    copied = value.copy()
    copied[path[0]] = with_number(value[path[0]], path[1:], number)
    return copied


def paths_of_numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of_numbers(each, (*path, key))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path


@pytest.mark.slow
@pytest.mark.parametrize("number", [-2, 1 << 32, 1 << 62, 10**25])
def test_no_number_on_the_state_topic_ends_a_worker(number):
    steps, chance = course(7), random.Random(number)
    run = Run(SPECS[0], in_a_hurry=True)
    for step in steps[:100]:
        run.feed(step)
    run.commit()
    kept, offsets = dict(run.kept), dict(run.offsets)
    for key, value in kept.items():
        body = json.loads(value)
        for path in chance.sample(found := list(paths_of_numbers(body)), min(40, len(found))):
            run.kept = kept | {key: json.dumps(with_number(body, path, number)).encode()}
            run.offsets = dict(offsets)
            with contextlib.suppress(RecordError):  # as the state topic tells it: it begins anew
                restart(run, steps[:100])
                for step in steps[100:]:
                    run.feed(step)
                run.commit()
