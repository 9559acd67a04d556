"""`clipline check`: what is wrong is found before anything runs, and said with what to do."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from redis import Redis
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.files import hold_folder
from consumers.outputs.states import ensure_state_topics
from consumers.records.prediction import rfc3339
from consumers.records.states.camera_claim import CameraClaim
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.settings import CameraSettings, SegmentSettings, Settings, load_settings
from consumers.setup import check_cameras as cameras_room
from consumers.setup import checks, services
from consumers.setup.check_cameras import check_camera, check_cameras
from consumers.setup.checks import check_machine, check_model, check_services, read_settings
from consumers.setup.finding import Finding
from stream import FeedState, KafkaTransport
from stream.services import EmbeddedRedis
from tests.cameras import camera, need_rtsp
from tests.servers import free_port
from tests.videos import write_video

PLAIN = {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "clipline.toml"


@pytest.fixture
def free_ports(monkeypatch, nobody_at_the_usual_places):
    """Ports that nobody else on this machine wants."""
    for name in ("KAFKA_PORT", "REDIS_PORT"):
        port = free_port()
        monkeypatch.setattr(services, name, port)
        monkeypatch.setattr(checks, name, port)


def by_subject(findings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def settings_of(**values) -> Settings:
    return Settings.model_validate(values)


# -- settings


def test_every_wrong_line_of_the_file_is_told(file):
    file.write_text('kafak = "x"\n[worker]\nmax_batch = 0\n[cameras.dock]\nulr = "rtsp://u:hunter2@h"\n')
    settings, findings = read_settings(file)
    assert settings is None
    assert [f.level for f in findings] == ["error"] * 3
    text = "\n".join(f.text for f in findings)
    assert all(part in text for part in ("did you mean 'kafka'", "worker.max_batch = 0", "cameras.dock.ulr"))
    assert "hunter2" not in text


def test_settings_without_cameras_are_a_warning():
    assert [(f.level, "no cameras" in f.text) for f in read_settings(None)[1]] == [("ok", False), ("warning", True)]


# -- machine


@pytest.mark.parametrize(
    ("flags", "level", "said"),
    [
        ("flags : avx2 avx512f avx512_bf16", "ok", "AVX2, AVX-512, bf16"),
        ("flags : avx2", "ok", "with AVX2"),
        ("Features : asimd", "ok", "ARM NEON"),
        ("flags : sse2", "warning", "without AVX2"),
        ("nothing of the kind", "ok", "cannot be read"),
    ],
)
def test_the_processor_is_described_by_what_models_need(tmp_path, monkeypatch, flags, level, said):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    read = checks._flags
    monkeypatch.setattr(checks, "_flags", lambda: read(tmp_path / "cpuinfo"))
    found = by_subject(check_machine(Settings()))["processor"]
    assert (found.level, said in found.text) == (level, True), found
    bf16 = " in bf16" if "bf16" in flags else " in f32 (this processor has no bf16)"
    assert checks._precision("openvino") == ("" if "nothing" in flags else bf16)
    assert checks._precision("torch") == ""


def test_too_little_memory_is_a_warning():
    found = by_subject(check_machine(settings_of(run={"broker_max_megabytes": 1e9})))["memory"]
    assert found.level == "warning"
    assert "run.broker_max_megabytes" in found.text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    found = by_subject(check_machine(settings_of(run={"log_folder": "file/logs", "data": str(tmp_path)})))
    assert found["disk (logs)"].level == "error"
    assert found["disk (topics)"].level == "ok"


def test_a_run_that_goes_on_is_said_and_no_error(tmp_path):
    with hold_folder(tmp_path / "logs"):
        found = by_subject(check_machine(settings_of(run={"log_folder": str(tmp_path / "logs")})))
    assert found["disk (logs)"].level == "warning"
    assert "runs already: `clipline status`" in found["disk (logs)"].text


# -- model


def test_a_model_is_described_with_its_engine_and_its_events():
    found = by_subject(check_model(settings_of(tracker={"labels": {"fight": {"start": 0.9}}})))
    assert {f.level for f in found.values()} == {"ok"}
    assert "10 frames of 384x384 a window" in found["model"].text
    assert found["engine"].text.startswith("openvino")
    assert found["events"].text == "raised for fight (from 0.9)"


@pytest.mark.parametrize(
    ("values", "subject", "said"),
    [
        ({"worker": {"model": "no-such"}}, "model", "no-such"),
        ({"worker": {"model": "x3d-xs", "stride_seconds": 0.001}}, "events", "worker.stride_seconds"),
        ({"worker": {"model": "x3d-xs"}, "tracker": {"labels": {"flying": {"start": 0.5}}}}, "events", "flying"),
    ],
)
def test_what_does_not_fit_the_model_is_an_error(values, subject, said):
    found = by_subject(check_model(settings_of(**values)))[subject]
    assert found.level == "error"
    assert said in found.text


# -- services


def test_where_nothing_answers_it_says_what_would_be_started(free_ports):
    found = by_subject(check_services(settings_of()))
    assert {f.level for f in found.values()} == {"ok"}
    assert "starts the embedded broker" in found["broker"].text
    assert found[f"port {services.KAFKA_PORT}"].text == "free"


def test_a_taken_port_is_told_with_its_process(free_ports):
    with socket.create_server(("127.0.0.1", services.REDIS_PORT)):
        found = by_subject(check_services(settings_of()))[f"port {services.REDIS_PORT}"]
    assert found.level == "warning"
    assert found.text.startswith("taken by ")
    assert "(process " in found.text


@pytest.mark.parametrize("kind", ["own", "auto"])
def test_own_services_that_do_not_answer_are_errors(kind):
    away = {"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:1"}
    found = by_subject(check_services(settings_of(**away, run={"services": kind})))
    assert found["broker"].level == found["Redis"].level == "error"
    assert "127.0.0.1:1" in found["broker"].text


def test_apache_kafka_that_is_not_installed_is_an_error(monkeypatch, free_ports, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = by_subject(check_services(settings_of(run={"services": "apache"})))
    assert found["broker"].level == "error"
    assert "install a Java runtime" in found["broker"].text


def test_topics_that_are_too_small_are_errors(apache_broker, topics_prefix):
    settings = settings_of(kafka=apache_broker.address, topics={"prefix": topics_prefix}, run={"workers": 4})
    assert "made at the first start" in by_subject(check_services(settings))["topics"].text
    subject = f"topic {topics_prefix}.segments"
    with KafkaAdminClient(bootstrap_servers=apache_broker.address) as admin:
        admin.create_topics({f"{topics_prefix}.segments": {"num_partitions": 2, "configs": {}}})
        admin.wait_for_topics([f"{topics_prefix}.segments"], timeout_ms=10_000)
        found = by_subject(check_services(settings))
        assert found["broker"].text.startswith(f"{apache_broker.address} answers, Kafka 4.")
        assert found[subject].level == "warning"
        assert "2 partitions for 4 workers" in found[subject].text
        small = f"{topics_prefix}-small"
        limits = {"max.message.bytes": "1000000"}
        admin.create_topics({f"{small}.segments": {"num_partitions": 8, "configs": limits}})
        admin.wait_for_topics([f"{small}.segments"], timeout_ms=10_000)
    small_settings = settings_of(kafka=apache_broker.address, topics={"prefix": small})
    found = by_subject(check_services(small_settings))[f"topic {small}.segments"]
    assert found.level == "error"
    assert "1000000 bytes" in found.text


def test_cameras_that_another_agent_reads_are_warnings(embedded_broker, topics_prefix):
    topics = {"prefix": topics_prefix}
    cameras = {name: {"url": "film.mp4"} for name in ("claimed", "read", "ended", "over", "free")}
    settings = settings_of(kafka=embedded_broker.address, topics=topics, cameras=cameras)
    agent, now_us = ProcessInfo("hub-agent", "hub", 41, "1.0", 1_795_838_400_000_000), time.time_ns() // 1000
    transport = KafkaTransport(embedded_broker.address)
    ensure_state_topics(transport, settings.topics)
    producer = transport.producer()
    for name, at_us in (("claimed", now_us), ("over", now_us - 60_000_000), ("ended", now_us - 9_000_000)):
        producer.send(settings.topics.cameras_claims, *CameraClaim(name, at_us, agent, at_us).encode())
    for name, status in (("read", "live"), ("ended", "ended")):
        feed = FeedState(name, status, now_us)
        producer.send(settings.topics.cameras_state, *CameraState(feed, agent, now_us).encode())
    producer.flush()
    producer.close()
    found = {each.subject: each for each in check_services(settings) if each.subject.startswith("camera ")}
    assert set(found) == {"camera claimed", "camera read"}
    assert {each.level for each in found.values()} == {"warning"}
    assert found["camera read"].text.startswith(
        f"hub-agent (process 41 on hub) reads it already, since {rfc3339(agent.started_us)}: a second agent is refused"
    )
    assert f"since {rfc3339(now_us)}" in found["camera claimed"].text


def test_a_redis_that_drops_keys_is_a_warning(free_ports):
    with EmbeddedRedis() as running, Redis.from_url(running.address) as client:
        settings = settings_of(redis=running.address)
        assert by_subject(check_services(settings))["Redis"].level == "ok"
        client.config_set("maxmemory-policy", "allkeys-lru")
        found = by_subject(check_services(settings))["Redis"]
    assert found.level == "warning"
    assert "maxmemory-policy noeviction" in found.text


# -- cameras


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(cameras_room, "LISTEN_SECONDS", 1.5)
    monkeypatch.setattr(cameras_room, "MAX_LISTEN_SECONDS", 1.8)


@pytest.mark.slow
def test_a_live_camera_tells_its_codec_size_rate_and_keyframes(tmp_path, monkeypatch, hurried):
    need_rtsp()
    password = "p@ss/w%rd:é"
    monkeypatch.setenv("DOCK_PASSWORD", password)
    footage = write_video(tmp_path / "footage.mp4", 75, rate=25, gop=10, options=PLAIN)
    with camera(footage, password=password) as (port, _):
        address = f"rtsp://admin:${{DOCK_PASSWORD}}@127.0.0.1:{port}/cam"
        dock = CameraSettings(url=address)
        (found,) = check_cameras({"dock": dock}, SegmentSettings())
        assert (found.level, found.subject) == ("ok", "camera dock"), found
        assert "h264 160x96, 25 frames/s" in found.text
        assert "a keyframe every 0.4 s" in found.text
        (rare,) = check_camera("dock", dock, SegmentSettings(min_seconds=0.1, max_seconds=0.3))
        assert rare.level == "warning"
        assert "keyframes 0.4 s apart" in rare.text
        assert "interval to 0.3 s" in rare.text
        monkeypatch.setenv("DOCK_PASSWORD", "wrong")
        (refused,) = check_camera("dock", dock, SegmentSettings())
    assert refused.level == "error"
    assert "401" in refused.text or "uthoriz" in refused.text
    assert "wrong" not in refused.text


def test_all_cameras_are_asked_at_once_and_the_silent_ones_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam"
        silent = {f"cam-{i}": CameraSettings(url=address) for i in range(20)}
        begin = time.monotonic()
        found = check_cameras(silent, SegmentSettings(), limit_seconds=1.5)
    assert time.monotonic() - begin < 20, "one after the other they would take half a minute"
    assert [f.subject for f in found] == [f"camera cam-{i}" for i in range(20)]
    assert all("no answer within" in f.text for f in found)


def test_footage_is_opened_and_each_broken_file_is_told(tmp_path):
    write_video(tmp_path / "good.mp4", 30)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    found = check_camera("gate", CameraSettings(url=str(tmp_path)), SegmentSettings())
    assert [f.level for f in found] == ["warning", "ok"]
    assert "bad.mp4" in found[0].text
    assert "1 s of footage" in found[1].text
    (alone,) = check_camera("gate", CameraSettings(url=str(tmp_path / "bad.mp4")), SegmentSettings())
    assert alone.level == "error"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("missing.mp4", "no such file"),
        ("gopher://10.0.0.7/video", "expected a file, a folder or a camera's address (rtsp, "),
        ("rtsp://${NOT_SET}:${NEITHER}@h/x", "not set in the environment: NOT_SET, NEITHER"),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error(url, said):
    (found,) = check_camera("dock", CameraSettings(url=url), SegmentSettings())
    assert found.level == "error"
    assert said in found.text


def test_a_password_in_the_settings_is_a_warning_that_does_not_show_it(monkeypatch):
    monkeypatch.setattr(cameras_room, "_check_live", lambda *_: Finding("ok", "camera dock", "fine"))
    found = check_camera("dock", CameraSettings(url="rtsp://u:hunter2@h/x"), SegmentSettings())
    assert [f.level for f in found] == ["warning", "ok"]
    assert "hunter2" not in found[0].text


# -- the command


def test_the_table_fits_80_columns_and_never_cuts_a_name(file, tmp_path, monkeypatch, free_ports):
    monkeypatch.setenv("COLUMNS", "80")
    name = "a-camera-with-a-name-of-sixty-four-letters-which-is-the-longest0"
    file.write_text(f'[cameras.{name}]\nurl = "{"x" * 90}.mp4"\n')
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert f"error    camera {name}" in lines
    assert all(len(line) <= 80 or "x" * 90 in line for line in lines)
    assert "1 error, 0 warnings" in result.output


def test_json_tells_the_same_and_the_exit_code_is_0_where_nothing_is_wrong(file, tmp_path, free_ports):
    write_video(tmp_path / "gate.mp4", 30)
    file.write_text('[cameras.gate]\nurl = "gate.mp4"\n')
    result = CliRunner().invoke(app, ["check", "--json"])
    findings = json.loads(result.stdout)
    assert result.exit_code == 0
    assert {"level": "ok", "subject": "camera gate", "text": "h264 160x96, 1 s of footage"} in findings
    assert all(set(f) == {"level", "subject", "text"} for f in findings)
    assert load_settings().cameras["gate"].url == "gate.mp4"


def test_a_file_that_is_not_there_is_wrong_input(tmp_path):
    from consumers.settings import SettingsError

    result = CliRunner().invoke(app, ["check", "--settings", "missing.toml"])
    assert isinstance(result.exception, SettingsError)
