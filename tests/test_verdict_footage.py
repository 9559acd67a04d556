"""Footage of judged events becomes a data set, as it was sent, by what people say of it; what is gone is named."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.learning.footage.datasets import find_examples
from consumers.records.event import Event, event_id
from consumers.records.forgotten import Forgotten
from consumers.records.verdict import Verdict
from consumers.settings import Settings
from consumers.terminal.demo.demo import FOOTAGE
from consumers.times import parse_time_us
from consumers.topics import ensure_topic_of_forgotten, ensure_topic_of_verdicts, ensure_topics
from consumers.verdicts.book import write_verdict
from consumers.verdicts.export import Exported, Row, export_footage, folder_name, quiet_label
from stream import (
    KafkaTransport,
    MemoryTransport,
    Partition,
    Record,
    Segment,
    SegmentError,
    SourceError,
    Transport,
    attach,
    joined_times_us,
    write_joined,
)
from stream.services import Service
from tests.videos import decoded_frames

START_US = 1_700_000_000_000_000
END_US = START_US + 86_400_000_000


def site(transport: Transport, settings: Settings) -> None:
    """Real footage of two cameras on the topic of segments."""
    ensure_topics(transport, settings.topics)
    ensure_topic_of_verdicts(transport, settings.topics, 24)
    for camera in ("gate", "lobby"):
        film = FOOTAGE / f"{camera}.mp4"
        attach(str(film), camera, transport.producer(), settings.topics.segments, pace="max", start_us=START_US)


def happened(
    transport: Transport, settings: Settings, camera: str, seconds: tuple[float, float], label: str = "fight"
) -> Event:
    """An event as a worker reports it, with the place of its footage."""
    start_us, end_us = (START_US + round(each * 1e6) for each in seconds)
    places: list[Record] = []
    for record in transport.read(transport.offsets(settings.topics.segments)):
        segment = Segment.decode(record.key, record.headers, record.value, record.where)
        if segment.camera == camera and segment.start_us < end_us and segment.end_us > start_us:
            places.append(record)
    first, last = places[0], places[-1]
    report = Event(
        camera=camera,
        model="m",
        label=label,
        state="ended",
        revision=1,
        id=event_id(camera, START_US, label, start_us, "m"),
        start_us=start_us,
        end_us=end_us,
        peak_score=0.9,
        peak_us=start_us,
        windows=3,
        ending="below_threshold",
        segments=f"{first.topic}[{first.partition}]@{first.offset}-{last.offset}",
    )
    producer = transport.producer()
    producer.send(settings.topics.events, *report.encode())
    producer.flush()
    producer.close()
    return report


def said(transport: Transport, settings: Settings, of: Event, answer: str, channel: str | None = "ops") -> None:
    now = time.time_ns() // 1000
    id_ = f"{of.id}-{channel}-{answer}"
    fields = (of.id, of.camera, of.label, of.start_us, of.end_us, now, channel)
    write_verdict(transport, settings.topics.verdicts, Verdict(id_, answer, *fields))  # type: ignore[arg-type]


@pytest.mark.slow
def test_real_footage_is_cut_as_it_was_sent_and_read_as_training_reads_it(
    broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = Settings.model_validate({"kafka": broker.address, "topics": {"prefix": topics_prefix, "partitions": 2}})
    transport = KafkaTransport(settings.broker)
    site(transport, settings)
    fight = happened(transport, settings, "gate", (4.0, 7.5))
    nothing = happened(transport, settings, "lobby", (3.0, 5.0))
    said(transport, settings, fight, "right")
    said(transport, settings, nothing, "false")
    done = export_footage(transport, settings, tmp_path / "labelled", "normal")
    assert (done.cut, done.gone, done.notes) == (2, (), ())
    by_folder = find_examples(tmp_path / "labelled", {})
    assert sorted((e.label, e.path.parent.name) for e in by_folder) == [("fight", "fight"), ("normal", "normal")]
    by_list = {e.label: e for e in find_examples(tmp_path / "labelled" / "labels.csv", {})}
    assert {e.path for e in by_list.values()} == {e.path for e in by_folder}
    assert {label: Path(e.group).name for label, e in by_list.items()} == {"fight": "gate", "normal": "lobby"}
    for event, example in ((fight, by_list["fight"]), (nothing, by_list["normal"])):
        assert example.end_seconds is not None
        assert example.end_seconds - example.start_seconds == pytest.approx((event.end_us - event.start_us) / 1e6)
        source = dict(decoded_frames(FOOTAGE / f"{event.camera}.mp4"))
        zero = (event.start_us - START_US) / 1e6 - example.start_seconds
        clip = decoded_frames(example.path)
        assert len(clip) > 20
        for at_us, image in clip:
            nearest = min(source, key=lambda each: abs(each - at_us - zero * 1e6))
            assert np.array_equal(image, source[nearest]), at_us


class Shortened(MemoryTransport):
    """A broker whose retention has removed all footage."""

    def __init__(self, whole: MemoryTransport, topic: str) -> None:
        self._whole, self._topic = whole, topic

    def existing(self, topics):
        return self._whole.existing(topics)

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        bounds = self._whole.offsets(topic)
        return {p: (end, end) for p, (_, end) in bounds.items()} if topic == self._topic else bounds

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        return (record for record in self._whole.read(ranges) if record.topic != self._topic)


@pytest.fixture(scope="module")
def whole() -> MemoryTransport:
    transport = MemoryTransport()
    site(transport, Settings())
    return transport


@pytest.fixture
def memory(whole: MemoryTransport, topics_prefix: str) -> tuple[MemoryTransport, Settings]:
    """The same footage, with events and verdicts of its own."""
    settings = Settings.model_validate({"topics": {"prefix": topics_prefix}})
    ensure_topics(whole, settings.topics)
    ensure_topic_of_verdicts(whole, settings.topics, 24)
    return whole, settings


def at_segments(whole: MemoryTransport, settings: Settings, *event: object) -> Event:
    """An event on the topics of a test, with its footage on those that all share."""
    report = happened(whole, Settings(), *event)  # type: ignore[arg-type]
    producer = whole.producer()
    producer.send(settings.topics.events, *report.encode())
    producer.flush()
    return report


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).parts[0] for path in folder.rglob("*.mp4")}


def test_what_was_exported_stays_when_it_is_gone_from_the_topic_and_moves_when_it_is_corrected(memory, tmp_path):
    whole, settings = memory
    event = at_segments(whole, settings, "gate", (2.0, 4.0))
    said(whole, settings, event, "right")
    assert export_footage(whole, settings, tmp_path, "normal").cut == 1
    (before,) = tmp_path.rglob("*.mp4")
    content, written = before.read_bytes(), before.stat().st_mtime_ns
    later = Shortened(whole, Settings().topics.segments)
    again = export_footage(later, settings, tmp_path, "normal")
    assert (again.cut, again.gone, len(again.rows)) == (0, (), 1)
    assert before.stat().st_mtime_ns == written
    said(whole, settings, event, "false", None)
    corrected = export_footage(later, settings, tmp_path, "normal")
    assert [(row.label, row.verdict, row.by) for row in corrected.rows] == [("normal", "false", "hand")]
    assert files(tmp_path) == {"normal"}
    assert next(tmp_path.rglob("*.mp4")).read_bytes() == content


def test_what_is_gone_is_named_and_contested_or_true_footage_teaches_nothing_false(memory, tmp_path):
    whole, settings = memory
    gone = at_segments(whole, settings, "gate", (2.0, 4.0))
    unknown = replace(gone, id="0" * 24, camera="yard")
    contested = at_segments(whole, settings, "lobby", (2.0, 4.0))
    true = at_segments(whole, settings, "gate", (8.0, 10.0))
    meanwhile = at_segments(whole, settings, "gate", (9.0, 11.0), "fall")
    for of, answer, channel in (
        (gone, "false", "ops"),
        (unknown, "right", "ops"),
        (contested, "right", "ops"),
        (contested, "false", "guard"),
        (true, "right", "ops"),
        (meanwhile, "false", "ops"),
    ):
        said(whole, settings, of, answer, channel)
    done: Exported = export_footage(Shortened(whole, Settings().topics.segments), settings, tmp_path, "normal")
    assert {row.event for row in done.gone} == {gone.id, unknown.id, true.id}
    assert "retention" in next(row.why for row in done.gone if row.event == gone.id)
    assert "no longer on the topic of events" in next(row.why for row in done.gone if row.event == unknown.id)
    with (tmp_path / "gone.csv").open() as file:
        assert {row["event"] for row in csv.DictReader(file)} == {gone.id, unknown.id, true.id}
    assert [note.rpartition(", ")[2] for note in done.notes] == ["contested", "another event was right then"]
    assert done.rows == ()


def test_what_becomes_contested_is_set_aside_and_is_no_class(memory, tmp_path):
    whole, settings = memory
    event, other = (at_segments(whole, settings, "gate", seconds) for seconds in ((2.0, 4.0), (6.0, 7.0)))
    said(whole, settings, event, "right")
    said(whole, settings, other, "right")
    export_footage(whole, settings, tmp_path, "normal")
    said(whole, settings, event, "false", "guard")
    done = export_footage(whole, settings, tmp_path, "normal")
    assert [row.event for row in done.rows] == [other.id]
    assert len(list((tmp_path / ".set-aside").glob("*.mp4"))) == 1
    assert [e.label for e in find_examples(tmp_path, {})] == ["fight"]
    # It comes back when they agree, whether its footage is still on the topic or not.
    said(whole, settings, event, "right", None)
    done = export_footage(Shortened(whole, Settings().topics.segments), settings, tmp_path, "normal")
    assert {row.event for row in done.rows} == {event.id, other.id}
    assert done.gone == ()
    assert all((tmp_path / row.path).is_file() for row in done.rows)
    assert not list((tmp_path / ".set-aside").glob("*.mp4"))


@pytest.mark.parametrize("corrected", ["false", "contested"])
def test_what_was_moved_is_found_though_it_was_ended_before_it_wrote_its_lists(
    memory, tmp_path, monkeypatch, corrected
):
    whole, settings = memory
    event = at_segments(whole, settings, "gate", (2.0, 4.0))
    said(whole, settings, event, "right")
    export_footage(whole, settings, tmp_path, "normal")
    later = Shortened(whole, Settings().topics.segments)
    said(whole, settings, event, "false", None if corrected == "false" else "guard")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("consumers.verdicts.export.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            export_footage(later, settings, tmp_path, "normal")
    said(whole, settings, event, "right", None)
    done = export_footage(later, settings, tmp_path, "normal")
    assert [(row.event, row.label) for row in done.rows] == [(event.id, "fight")]
    assert done.gone == ()
    assert files(tmp_path) == {"fight"}


def test_no_label_or_list_leads_out_of_the_folder(memory, tmp_path):
    whole, settings = memory
    event = at_segments(whole, settings, "gate", (2.0, 4.0), "../../climbing a rope/naïvely")
    said(whole, settings, event, "right")
    (row,) = export_footage(whole, settings, tmp_path / "here", "normal").rows
    assert row.label == "../../climbing a rope/naïvely"
    assert (tmp_path / "here" / row.path).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert folder_name("..") not in {"", ".", ".."}
    table = tmp_path / "here" / "labels.csv"
    table.write_text(table.read_text().replace(row.path, "../../etc/passwd"))
    with pytest.raises(SourceError, match="is not below its folder"):
        export_footage(whole, settings, tmp_path / "here", "normal")
    table.write_text("path,label\n")
    with pytest.raises(SourceError, match="no list that"):
        export_footage(whole, settings, tmp_path / "here", "normal")


def test_false_alarms_are_taught_as_the_label_that_raises_no_events():
    assert quiet_label(Settings(), None) == "normal"
    assert quiet_label(Settings(), " nothing ") == "nothing"
    with pytest.raises(SourceError, match="--false-as"):
        quiet_label(Settings(), " ")


# --- what is forgotten ------------------------------------------------------------------------------------------------


def forget(transport: MemoryTransport, settings: Settings, seconds: tuple[float, float], *events: str) -> Forgotten:
    ensure_topic_of_forgotten(transport, settings.topics)
    begin_us, end_us = (START_US + round(each * 1e6) for each in seconds)
    one = Forgotten("gate", begin_us, end_us, END_US, "ana", "asked").with_events(events)
    transport.producer().send(settings.topics.forgotten, *one.encode())
    return one


def shown_times_us(folder: Path, row: Row) -> list[int]:
    """Event times of all pictures in a file, by the row of the list, also those for decoders only."""
    zero_us = parse_time_us(row.began) - round(float(row.start) * 1e6)
    return [zero_us + each for each in joined_times_us(folder / row.path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_when_pictures_of_a_file_are_is_told_also_of_those_before_its_begin(
    memory: tuple[MemoryTransport, Settings], tmp_path: Path, suffix: str
) -> None:
    whole, _ = memory
    records = whole.read(whole.offsets(Settings().topics.segments))
    segments = [Segment.decode(r.key, r.headers, r.value, r.where) for r in records if r.key == b"gate"][:4]
    # Others than MP4 cannot hide what stands before.
    zero_us = segments[2 if suffix == ".mp4" else 0].start_us
    write_joined(segments, tmp_path / f"some{suffix}", zero_us)
    times = joined_times_us(tmp_path / f"some{suffix}")
    assert min(times) == pytest.approx(segments[0].start_us - zero_us, abs=1_000)
    assert max(times) == pytest.approx(segments[3].end_us - zero_us, abs=100_000)
    (tmp_path / "none.mp4").write_bytes(b"no video")
    with pytest.raises(SegmentError, match=r"none\.mp4"):
        joined_times_us(tmp_path / "none.mp4")


def test_nothing_of_what_is_forgotten_is_exported_and_the_rest_is(
    memory: tuple[MemoryTransport, Settings], tmp_path: Path
) -> None:
    whole, settings = memory
    gone, near = (at_segments(whole, settings, "gate", seconds) for seconds in ((4.0, 5.0), (8.0, 9.0)))
    # Of this one, which was judged when it had just begun, nothing but the verdict is left.
    begun = replace(gone, id="1" * 24, start_us=START_US, end_us=START_US + 1)
    for each in (gone, near, begun):
        said(whole, settings, each, "right")
    one = forget(whole, settings, (3.5, 6.0), begun.id)
    done = export_footage(whole, settings, tmp_path, "normal", lead_seconds=7.0)
    assert (done.forgotten, done.cut, done.cut_around, done.removed, done.gone) == (2, 1, 1, 0, ())
    (row,) = done.rows
    times = shown_times_us(tmp_path, row)
    assert not any(one.from_us <= each < one.to_us for each in times)
    # What was before it is there, at its time.
    assert min(times) < one.from_us
    assert max(times) > near.end_us - 100_000
    assert min(times) + float(row.start) * 1e6 == pytest.approx(near.start_us, abs=2_000)
    text = "".join(path.read_text() for path in tmp_path.glob("*.csv"))
    assert near.id in text
    assert not any(each.id in text for each in (gone, begun))
    again = export_footage(whole, settings, tmp_path, "normal", lead_seconds=7.0)
    assert (again.cut, again.removed, len(again.rows)) == (0, 0, 1)


def test_files_of_earlier_exports_are_rid_of_what_is_forgotten_since(
    memory: tuple[MemoryTransport, Settings], tmp_path: Path
) -> None:
    whole, settings = memory
    gone, near, far = (at_segments(whole, settings, "gate", s) for s in ((4.0, 5.0), (8.0, 9.0), (12.0, 13.0)))
    contested = at_segments(whole, settings, "gate", (4.0, 5.5), "fall")
    other = at_segments(whole, settings, "lobby", (4.0, 5.0))
    for each in (gone, near, far, contested, other):
        said(whole, settings, each, "right")
    folders = [tmp_path / name for name in ("there", "removed")]
    for folder in folders:
        assert export_footage(whole, settings, folder, "normal", lead_seconds=3.0).cut == 5
        # Somebody was ended before this one stood on the list.
        (folder / "fight" / f"gate_{gone.id[:12]}.mp4").write_bytes(b"a copy")
    said(whole, settings, contested, "false", "guard")
    for folder in folders:
        assert export_footage(whole, settings, folder, "normal").cut == 0
    one = forget(whole, settings, (3.5, 6.0))
    done = export_footage(whole, settings, tmp_path / "there", "normal", lead_seconds=3.0)
    assert (done.forgotten, done.removed, done.cut, done.cut_around, done.gone) == (2, 4, 1, 1, ())
    assert {row.event for row in done.rows} == {near.id, far.id, other.id}
    for row in done.rows:
        if row.event != other.id:
            assert not any(one.from_us <= each < one.to_us for each in shown_times_us(tmp_path / "there", row))
    # Where retention has taken the footage, it cannot be cut anew.
    later = Shortened(whole, Settings().topics.segments)
    done = export_footage(later, settings, tmp_path / "removed", "normal", lead_seconds=3.0)
    assert (done.forgotten, done.removed, done.cut) == (2, 4, 0)
    assert [each.event for each in done.gone] == [near.id]
    assert {row.event for row in done.rows} == {far.id, other.id}
    assert {path.stem[-12:] for path in (tmp_path / "removed").rglob("*.mp4")} == {far.id[:12], other.id[:12]}
