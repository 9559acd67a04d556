"""The footage of an event comes out of the topic as it went in, and what is gone is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import numpy as np
import pytest
from kafka import KafkaAdminClient, TopicPartition

from consumers.footage_index import FootageIndex
from consumers.outputs.evidence import find_evidence, write_evidence
from consumers.running.sending import indexing
from consumers.running.sending.indexing import Indexer
from consumers.topics import ensure_topics
from stream import KafkaTransport, MemoryTransport, Partition, Record, SourceError
from tests.replays import SETTINGS, Overheard, blinking, live
from tests.videos import decoded_frames, write_video
from tests.waiting import eventually

START_US = 1_700_000_000_000_000


@pytest.fixture(scope="module", params=["no B-frames", "B-frames over a long group"])
def footage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "gate.mp4"
    plain = request.param == "no B-frames"
    return write_video(
        path,
        500,
        rate=25,
        gop=25 if plain else 200,
        size=(64, 48),
        frame=blinking((150, 300)),
        options={"bf": "0"} if plain else {"bf": "2", "b-pyramid": "none"},
    )


def recorded(footage: Path, transport: MemoryTransport | KafkaTransport, settings=SETTINGS) -> Overheard:
    live(footage, "hall", START_US, transport=transport, settings=settings)
    return live(footage, "gate", START_US, transport=transport, settings=settings)[2]


def test_clip_is_the_event_with_lead_and_tail_frame_for_frame(footage: Path, tmp_path: Path):
    transport = MemoryTransport()
    event = next(e for e in recorded(footage, transport).events if e.camera == "gate" and e.state == "ended")
    assert event.segments is not None
    found = find_evidence(transport, SETTINGS.topics, event.id[:10], 2.0, 1.0)
    assert found.missing == ()
    write_evidence(found, tmp_path / "clip.mp4")
    begin_us, end_us = found.segments[0].start_us, found.segments[-1].end_us
    # Whole segments, of two seconds at most.
    assert -2.1e6 <= begin_us - (event.start_us - 2_000_000) <= 0
    assert 0 <= end_us - (event.end_us + 1_000_000) <= 2.1e6
    source = dict(decoded_frames(footage))
    clip = decoded_frames(tmp_path / "clip.mp4")
    # What decoders need from before, in a long group of pictures, is there and is not shown.
    offset = begin_us - START_US
    assert len(clip) == (end_us - begin_us) / 40_000
    for time, image in clip:
        nearest = min(source, key=lambda t: abs(t - time - offset))
        assert abs(nearest - time - offset) < 2_000
        assert np.array_equal(image, source[nearest]), time


@pytest.mark.slow
def test_clip_of_a_real_broker_plays(footage: Path, embedded_broker, topics_prefix: str, tmp_path: Path):
    settings = SETTINGS.model_copy(update={"topics": SETTINGS.topics.model_copy(update={"prefix": topics_prefix})})
    transport = KafkaTransport(embedded_broker.address)
    settings = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"group": topics_prefix}), "kafka": embedded_broker.address}
    )
    event = next(e for e in recorded(footage, transport, settings).events if e.camera == "gate" and e.state == "ended")
    write_evidence(find_evidence(transport, settings.topics, event.id, 1.0, 1.0), tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.duration is not None
        # Whole segments.
        assert 2 <= container.duration / 1e6 - (event.end_us - event.start_us) / 1e6 <= 2 + 2 * 2


class Shortened(MemoryTransport):
    """A broker whose retention has removed what lies before an offset."""

    def __init__(self, whole: MemoryTransport, kept: int) -> None:
        self._whole, self._kept = whole, kept

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        bounds = self._whole.offsets(topic)
        if topic != SETTINGS.topics.segments:
            return bounds
        return {p: (min(self._kept, end), end) for p, (_, end) in bounds.items()}

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for record in self._whole.read(ranges):
            if record.topic != SETTINGS.topics.segments or record.offset >= self._kept:
                yield record


def test_what_retention_removed_is_named(footage: Path, tmp_path: Path):
    whole = MemoryTransport()
    event = next(e for e in recorded(footage, whole).events if e.camera == "gate" and e.state == "ended")
    assert event.segments is not None
    first, last = map(int, event.segments.rpartition("@")[2].split("-"))
    assert last > first
    found = find_evidence(Shortened(whole, first + 1), SETTINGS.topics, event.id, 2.0, 1.0)
    assert len(found.missing) == 1
    assert "removed by retention, which keeps offsets from" in found.missing[0]
    write_evidence(found, tmp_path / "clip.mp4")
    with pytest.raises(SourceError, match=r"is gone: retention has removed everything before offset"):
        find_evidence(Shortened(whole, last + 1), SETTINGS.topics, event.id, 2.0, 1.0)


@pytest.mark.slow
def test_what_apache_kafka_deleted_is_named(footage: Path, apache_broker, topics_prefix: str, tmp_path: Path):
    transport = KafkaTransport(apache_broker.address)
    settings = SETTINGS.model_copy(
        update={
            "topics": SETTINGS.topics.model_copy(update={"prefix": topics_prefix}),
            "worker": SETTINGS.worker.model_copy(update={"group": topics_prefix}),
            "kafka": apache_broker.address,
        }
    )
    event = next(e for e in recorded(footage, transport, settings).events if e.camera == "gate" and e.state == "ended")
    assert event.segments is not None
    place, _, offsets = event.segments.rpartition("@")
    first = int(offsets.split("-")[0])
    topic, _, number = place.rpartition("[")
    admin = KafkaAdminClient(bootstrap_servers=[apache_broker.address])
    admin.delete_records({TopicPartition(topic, int(number.rstrip("]"))): first + 1})
    admin.close()
    found = find_evidence(transport, settings.topics, event.id, 2.0, 1.0)
    (missing,) = found.missing
    assert missing.endswith(f"removed by retention, which keeps offsets from {first + 1}")
    write_evidence(found, tmp_path / "clip.mp4")
    assert len(decoded_frames(tmp_path / "clip.mp4")) > 25
    with pytest.raises(SourceError, match="there is no folder"):
        write_evidence(found, tmp_path / "absent" / "clip.mp4")


def test_unknown_event_and_ambiguous_beginning_are_errors(footage: Path):
    transport = MemoryTransport()
    recorded(footage, transport)
    with pytest.raises(SourceError, match=r"no such event on clipline\.events"):
        find_evidence(transport, SETTINGS.topics, "feedface", 0, 0)
    with pytest.raises(SourceError, match="the beginning of 2 ids"):
        find_evidence(transport, SETTINGS.topics, "", 0, 0)


@pytest.mark.parametrize("value", [b"[" * 100_000, b"{}", b"7", b"\xff", b'{"camera": "gate", "state": "ended"}', None])
def test_a_damaged_report_of_an_event_is_said_in_one_line(value: bytes | None):
    transport = MemoryTransport()
    ensure_topics(transport, SETTINGS.topics)
    transport.append(SETTINGS.topics.events, b"gate", [("ce_id", b"beef-0")], value)
    with pytest.raises(SourceError, match=r"^event 'beef': clipline\.events\[0\]@0: expected ") as said:
        find_evidence(transport, SETTINGS.topics, "beef", 0, 0)
    assert len(str(said.value)) < 300


class Remade(MemoryTransport):
    """A broker whose topic of segments was made anew, while events are still those of before."""

    def __init__(self, before: MemoryTransport, now: MemoryTransport) -> None:
        self._before, self._now = before, now

    def _of(self, topic: str) -> MemoryTransport:
        return self._now if topic == SETTINGS.topics.segments else self._before

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        return self._of(topic).offsets(topic)

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for (topic, number), interval in ranges.items():
            yield from self._of(topic).read({(topic, number): interval})


def test_other_footage_at_the_offsets_of_an_event_is_not_taken_for_its_own(footage: Path):
    before, now = MemoryTransport(), MemoryTransport()
    event = next(e for e in recorded(footage, before).events if e.camera == "gate" and e.state == "ended")
    for camera in ("hall", "gate"):
        live(footage, camera, START_US + 3600_000_000, transport=now, settings=SETTINGS)
    with pytest.raises(SourceError, match=r"its footage is gone: .* holds other footage"):
        find_evidence(Remade(before, now), SETTINGS.topics, event.id, 2.0, 1.0)


class Counting(MemoryTransport):
    """Counts records of segments that are read, by camera."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[bytes] = Counter()

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for record in super().read(ranges):
            if record.topic == SETTINGS.topics.segments:
                self.reads[record.key or b""] += 1
            yield record


def test_footage_that_the_index_names_is_the_same_and_no_other_record_is_read(footage: Path, monkeypatch):
    monkeypatch.setattr(indexing, "WRITE_SECONDS", 0.05)
    monkeypatch.setattr(indexing, "_OPEN_SECONDS", 0.0)
    settings = SETTINGS.model_copy(update={"topics": SETTINGS.topics.model_copy(update={"partitions": 1})})
    transport = Counting()
    event = next(e for e in recorded(footage, transport, settings).events if e.camera == "gate" and e.state == "ended")
    looked_for = find_evidence(transport, settings.topics, event.id, 2.0, 1.0)
    assert looked_for.missing == ()
    with Indexer(lambda: transport, settings.topics) as index:
        index.claimed({"gate": 7}, {})

        def is_indexed() -> bool:
            with FootageIndex(transport, settings.topics) as found:
                return bool(found.find("gate", 0, 1 << 60).segments)

        assert eventually(is_indexed)
    transport.reads.clear()
    assert find_evidence(transport, settings.topics, event.id, 2.0, 1.0) == looked_for
    wanted = len(looked_for.context) + len(looked_for.segments)
    assert transport.reads == {b"gate": wanted}
    # More than there is: records around it are looked through, as for footage that is in no index.
    assert find_evidence(transport, settings.topics, event.id, 1000.0, 0.0).segments[0].start_us == START_US
    assert transport.reads[b"hall"]
