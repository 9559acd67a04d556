"""The index of segments on real brokers, written by real agents."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from consumers.footage_index import FootageIndex, FoundFootage
from consumers.running.attaching import attach_camera
from consumers.running.ending import Ending
from consumers.settings import Settings
from stream import KafkaTransport, Reading, Segment
from stream.services import Service
from tests.videos import write_video
from tests.waiting import eventually

BEGIN_US = 1_795_507_200_000_000
ROOT = Path(__file__).resolve().parents[1]


def settings_for(broker: Service, prefix: str, folder: Path) -> Settings:
    return Settings.model_validate(
        {"kafka": broker.address, "topics": {"prefix": prefix, "partitions": 2}, "spool": {"folder": folder / "spool"}}
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 s."""
    path = tmp_path_factory.mktemp("film") / "gate.mp4"
    return write_video(path, 1500, rate=10, gop=10, size=(64, 48), options={"bf": "0", "preset": "ultrafast"})


def attach(settings: Settings, film: Path, camera: str = "gate", start_us: int = BEGIN_US) -> None:
    attach_camera(
        settings, str(film), camera, pace="max", loop=False, start_us=start_us, reading=Reading(), take_over=False,
        exit_after_seconds=None, ending=Ending(), progress=lambda _: None, hear=lambda _: None,
    )  # fmt: skip


def find(settings: Settings, begin: float, end: float, camera: str = "gate") -> FoundFootage:
    with FootageIndex(KafkaTransport(settings.kafka), settings.topics) as index:
        return index.find(camera, BEGIN_US + round(begin * 1e6), BEGIN_US + round(end * 1e6))


def stored(settings: Settings) -> dict[tuple[int, int], Segment]:
    transport = KafkaTransport(settings.kafka)
    records = transport.read(transport.offsets(settings.topics.segments))
    found = {(r.partition, r.offset): Segment.decode(r.key, r.headers, r.value, r.where) for r in records}
    return {place: segment for place, segment in found.items() if not segment.is_end}


def test_a_minute_of_an_attached_film_is_found_and_numbers_go_on(broker, topics_prefix, film, tmp_path):
    settings = settings_for(broker, topics_prefix, tmp_path)
    attach(settings, film)
    there = stored(settings)
    found = find(settings, 60, 120)
    assert (found.gaps, found.gone, found.notes) == ((), 0, ())
    for each in found.segments:
        segment = there[each.partition, each.offset]
        assert (each.start_us, each.end_us, each.size) == (segment.start_us, segment.end_us, len(segment.data))
        assert (each.begins, each.continued) == (not segment.continues, segment.continued)
    attach(settings, film, start_us=BEGIN_US + 200_000_000)
    found = find(settings, 0, 1000)
    assert [s.number for s in found.segments] == list(range(2 * len(there)))
    assert [s.run.discontinuity for s in found.segments] == [0] * len(there) + [1] * len(there)
    assert found.covered_us == 300_000_000
    with FootageIndex(KafkaTransport(settings.kafka), settings.topics) as index:
        wanted = [found.segments[n] for n in (5, 3)]
        assert list(index.footage("gate", wanted)) == [there[s.partition, s.offset] for s in wanted]


@pytest.mark.slow
def test_an_agent_that_is_killed_between_sending_and_indexing_leaves_nothing_unindexed(
    broker, topics_prefix, film, tmp_path
):
    settings = settings_for(broker, topics_prefix, tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_TOPICS__PARTITIONS": "2",
        "CLIPLINE_SPOOL__FOLDER": str(tmp_path / "spool"),
    }
    command = [sys.executable, "-m", "consumers.cli", "attach", str(film), "--camera", "gate", "--start"]
    killed_early, transport = 0, KafkaTransport(settings.kafka)
    for hour in range(3):
        process = subprocess.Popen([*command, f"2026-11-24T{hour:02}:00:00Z"], env=environment, cwd=tmp_path)
        try:
            before = len(find_all(settings))
            assert eventually(lambda before=before: len(find_all(settings)) > before + 2)
            # Right behind a segment that was just stored.
            ends = transport.offsets(settings.topics.segments)
            assert eventually(lambda ends=ends: transport.offsets(settings.topics.segments) != ends)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        killed_early += len(stored(settings)) > len(find_all(settings))
    assert killed_early, "all was indexed each time, which says nothing"
    attach(settings, film)
    there, found = stored(settings), find_all(settings)
    assert {(s.partition, s.offset) for s in found} == set(there)
    assert sorted(s.number for s in found) == list(range(len(there)))
    assert len({s.run.discontinuity for s in found}) == 4


def find_all(settings: Settings):
    transport = KafkaTransport(settings.kafka)
    if not transport.existing([settings.topics.segments_contents]):
        return ()
    with FootageIndex(transport, settings.topics) as index:
        return index.find("gate", 0, 1 << 60).segments


@pytest.mark.slow
def test_what_apache_kafka_has_deleted_is_said_and_not_returned(apache_broker, topics_prefix, film, tmp_path):
    settings = settings_for(apache_broker, topics_prefix, tmp_path)
    attach(settings, film)
    transport, there = KafkaTransport(settings.kafka), stored(settings)
    (partition,) = {number for number, _ in there}
    kept = sorted(offset for _, offset in there)[40]
    transport.delete_before({(settings.topics.segments, partition): kept})
    found = find(settings, 0, 150)
    assert min(s.offset for s in found.segments) == kept
    assert (found.gone, len(found.segments)) == (40, len(there) - 40)
    assert found.gaps == ((BEGIN_US, found.segments[0].start_us),)


@pytest.mark.slow
def test_the_index_is_compacted_and_kept_as_long_as_segments_are(apache_broker, topics_prefix, film, tmp_path):
    settings = settings_for(apache_broker, topics_prefix, tmp_path)
    attach(settings, film)
    admin = KafkaAdminClient(bootstrap_servers=[apache_broker.address])
    names = [settings.topics.segments, settings.topics.segments_index, settings.topics.segments_contents]
    said = admin.describe_configs([ConfigResource("TOPIC", name) for name in names])["topic"]
    admin.close()
    segments, index, contents = (said[name] for name in names)
    assert index["cleanup.policy"]["value"] == "compact,delete"
    assert index["retention.ms"]["value"] == segments["retention.ms"]["value"] == str(24 * 3600 * 1000)
    assert contents["cleanup.policy"]["value"] == "compact"


def test_a_camera_that_is_filmed_now_is_found_within_seconds(embedded_broker, topics_prefix, film, tmp_path):
    settings = settings_for(embedded_broker, topics_prefix, tmp_path)
    command = [sys.executable, "-m", "consumers.cli", "attach", str(film), "--camera", "gate", "--start", "now"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_TOPICS__PARTITIONS": "2",
        "CLIPLINE_SPOOL__FOLDER": str(tmp_path / "spool"),
    }
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        assert eventually(lambda: len(find_all(settings)) > 3, 90)
        # Segments of two seconds at most, an index that is written each second, and a busy machine.
        behind = time.time() - find_all(settings)[-1].end_us / 1e6
        assert behind < 20
    finally:
        process.terminate()
        process.wait(60)
    with FootageIndex(KafkaTransport(settings.kafka), settings.topics) as index:
        assert index.contents("gate").is_complete
