"""`clipline run` as an operator meets it: real services, a real camera, killed processes, nothing left behind."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.running.children import specs_of
from consumers.running.run import _plan, _refuse_taken_cameras
from consumers.running.watch import Watch
from consumers.settings import Settings, SettingsError, TopicSettings
from consumers.setup.services import Services
from consumers.terminal.demo.demo import FOOTAGE
from stream import FeedState, KafkaAddress, KafkaTransport
from stream.services import ApacheBroker
from tests.cameras import camera as rtsp_camera
from tests.cameras import need_rtsp
from tests.servers import free_port
from tests.videos import write_video
from tests.waiting import eventually

PASSWORD = "hunter2"
QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 10, "gop": 10}

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


class Run:
    """`clipline run` in a folder of its own; every process that it starts has the folder as its TMPDIR.

    Every one of them imports `sitecustomize` from `site` first, if given.
    """

    def __init__(self, folder: Path, settings: str, *arguments: str, site: Path | None = None) -> None:
        self.folder = folder
        (folder / "clipline.toml").write_text(settings)
        (folder / "tmp").mkdir()
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("CLIPLINE_")}
        self._environment |= {"TMPDIR": str(folder / "tmp"), "COLUMNS": "120"}
        places = [Path(__file__).resolve().parents[1], *([] if site is None else [site])]
        self._environment["PYTHONPATH"] = os.pathsep.join(map(str, places))
        self._environment |= {"OMP_NUM_THREADS": "1", "DOCK_PASSWORD": PASSWORD}
        # Its address is one for the whole machine, and tests run beside one another.
        self._environment["CLIPLINE_DASHBOARD__ENABLED"] = str("[dashboard]" in settings).lower()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", "run", *arguments],
            cwd=folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._new.put(line.rstrip("\n"))
        self._new.put(None)

    def until(self, words: str, *, after: int = 0, times: int = 1, seconds: float = 60.0) -> str:
        """Wait until so many lines hold `words`, of those behind the first `after`; return the last of these."""
        deadline = time.monotonic() + seconds
        while True:
            found = [line for line in self.lines[after:] if words in line]
            if len(found) >= times:
                return found[times - 1]
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"not {times} lines with {words!r}:\n" + "\n".join(self.lines))
            self.lines.append(line)

    def clipline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "consumers.cli", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def status(self, kafka: str) -> tuple[int, dict]:
        done = self.clipline("status", "--json", "--kafka", kafka)
        assert done.returncode in {0, 1}, done.stderr
        return done.returncode, json.loads(done.stdout)

    def pids(self, words: str = "") -> list[int]:
        """Processes of this run whose command line holds `words`."""
        mark = f"TMPDIR={self.folder / 'tmp'}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") and words.encode() in (
                    entry / "cmdline"
                ).read_bytes().replace(b"\0", b" "):
                    found.append(int(entry.name))
            except OSError:  # ended meanwhile, or a zombie
                continue
        return found

    def end(self, number: signal.Signals = signal.SIGTERM, seconds: float = 40.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


@contextmanager
def running(folder: Path, settings: str, *arguments: str, site: Path | None = None) -> Iterator[Run]:
    run = Run(folder, settings, *arguments, site=site)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()
        # Whatever outlives its keeper stays for ever: keepers get the time to stop their servers.
        eventually(lambda: not run.pids(), 10)
        for pid in run.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def film(tmp_path) -> Path:
    return write_video(tmp_path / "film.mp4", 1200, **QUICK)


@pytest.mark.slow
@needs_proc
def test_one_file_and_one_command_watch_all_cameras(tmp_path, film):
    need_rtsp()
    with rtsp_camera(film, password=PASSWORD) as (port, _):
        settings = f"""
            [cameras.dock-1]
            url = "rtsp://admin:${{DOCK_PASSWORD}}@127.0.0.1:{port}/cam"
            [cameras.gate]
            url = "{film}"
            loop = true
            [cameras.dead]
            url = "rtsp://admin:${{DOCK_PASSWORD}}@127.0.0.1:1/cam"
            [run]
            services = "embedded"
        """
        with running(tmp_path, settings) as run:
            run.until("3 cameras: dock-1, gate, dead")
            kafka = run.until("Kafka at ").partition("Kafka at ")[2].partition(",")[0]
            run.until("clipline status")
            run.until("classified, first ", times=2)
            # Said at the first attempt; a camera counts as failed when nothing has come of it for ten seconds.
            run.until("dead: connecting (connection refused)")
            wanted = {"dock-1": "live", "gate": "live", "dead": "failed"}
            deadline = time.monotonic() + 60
            while True:
                code, now = run.status(kafka)
                states = {c["camera"]: c for c in now["cameras"]}
                if {name: c["status"] for name, c in states.items()} == wanted and len(now["problems"]) == 1:
                    break
                assert time.monotonic() < deadline, now
            assert code == 1
            assert now["problems"][0].startswith("dead: no data for ")
            assert states["gate"]["worker"] == states["dock-1"]["worker"] == now["workers"][0]["worker"]["id"]
            assert (len(now["agents"]), len(now["workers"])) == (1, 1)
            table = run.clipline("status", "--kafka", kafka)
            assert table.returncode == 1
            assert table.stdout.rstrip().splitlines()[-1].startswith("dead: no data for ")

            # A process of all cameras, and none of them shows an address.
            (agent,) = run.pids("running.child agent")
            assert all(PASSWORD.encode() not in Path(f"/proc/{p}/cmdline").read_bytes() for p in run.pids())
            before = len(run.lines)
            os.kill(agent, signal.SIGKILL)
            assert "killed by SIGKILL; starting it again in 0.5 s (restart 1 of" in run.until("agent ended: ")
            run.until("dock-1: live", after=before)
            (worker,) = run.pids("running.child worker")
            os.kill(worker, signal.SIGKILL)
            assert "killed by SIGKILL" in run.until("worker-1 ended: ")
            assert eventually(lambda: run.pids("running.child worker") not in ([], [worker]))

            assert run.end(signal.SIGTERM) == 0
            assert eventually(lambda: not run.pids(), 25)
    logs = tmp_path / "clipline-logs"
    text = "".join(path.read_text() for path in logs.glob("*.log"))
    assert "camera dead: rtsp://127.0.0.1:1/cam: cannot be opened" in text
    assert "no transactions" not in text  # our own broker is to alarm nobody
    assert PASSWORD not in text + "\n".join(run.lines) + json.dumps(now)


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("number", "after", "seconds"),
    [
        (signal.SIGINT, "", 0.3),
        (signal.SIGINT, "Ctrl-C ends", 0.0),
        (signal.SIGTERM, "Ctrl-C ends", 1.2),
        (signal.SIGKILL, "Ctrl-C ends", 0.3),
        (signal.SIGKILL, ": working, model", 0.0),
    ],
)
def test_nothing_is_left_running_whenever_it_ends(tmp_path, number, after, seconds):
    film = write_video(tmp_path / "film.mp4", 30, **QUICK)
    settings = f'[cameras.gate]\nurl = "{film}"\nloop = true\n[run]\nservices = "embedded"\n'
    with running(tmp_path, settings) as run:
        if after:
            run.until(after)
        time.sleep(seconds)
        code = run.end(number)
        assert code in ({-signal.SIGKILL} if number == signal.SIGKILL else {0, 130, -signal.SIGINT})
        assert eventually(lambda: not run.pids(), 25), [Path(f"/proc/{p}/cmdline").read_bytes() for p in run.pids()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ("", 2, "`clipline init` writes a file"),
        ('[cameras.a]\nurl = "rtsp://x:${NO_SUCH_VARIABLE}@h/"', 2, "NO_SUCH_VARIABLE"),
        (f'[cameras.a]\nurl = "{FOOTAGE}"\n[worker]\nmodel = "nope"', 1, "worker-1: unknown model 'nope'"),
        ('[cameras.a]\nurl = "no/such.mp4"', 2, "cameras.a: no/such.mp4: no such file"),
        (
            '[cameras.a]\nurl = "gopher://x:${PATH}@h/a"',
            2,
            "cameras.a: gopher://h/a: expected a file, a folder",
        ),
    ],
    ids=["no cameras", "no variable", "no model", "no file", "no address of a camera"],
)
def test_what_cannot_run_is_said_and_ends_it(tmp_path, settings, code, words):
    with running(tmp_path, f'{settings}\n[run]\nservices = "embedded"\n') as run:
        assert words in run.until("clipline: ")
        assert run.process.wait(timeout=60) == code
        assert eventually(lambda: not run.pids(), 25)


def test_without_workers_only_the_agent_is_started(tmp_path):
    without = {"run": {"workers": 0}, "metrics": {"port": 9400}, "dashboard": {"enabled": False}}
    settings = Settings.model_validate(without)
    services = Services("127.0.0.1:9092", "redis://127.0.0.1:6379/0", [])
    assert [spec.name for spec in specs_of(services, settings, {}, "hub")] == ["agent"]
    assert _plan(services, settings, tmp_path).notes[-1].endswith("/metrics (agent)")


@pytest.mark.parametrize(
    ("enabled", "missing", "children"),
    [
        (True, "", ["agent", "worker-1", "pictures"]),
        (False, "", ["agent", "worker-1"]),
        (True, "x", ["agent", "worker-1"]),
    ],
)
def test_pictures_of_events_are_made_where_that_is_wanted_and_possible(
    tmp_path, monkeypatch, enabled, missing, children
):
    for room in ("children", "run"):
        monkeypatch.setattr(f"consumers.running.{room}.NO_PICTURES", missing)
    given = {"pictures": {"enabled": enabled}, "metrics": {"port": 9400}, "dashboard": {"enabled": False}}
    settings = Settings.model_validate(given)
    services = Services("127.0.0.1:9092", "redis://127.0.0.1:6379/0", [])
    specs = specs_of(services, settings, {}, "hub")
    assert [spec.name for spec in specs] == children
    assert [spec.is_needed for spec in specs] == [name != "pictures" for name in children]
    assert any("no pictures of events" in note for note in _plan(services, settings, tmp_path).notes) == bool(missing)


@pytest.mark.parametrize(
    ("missing", "words"), [("", "dashboard at http://127.0.0.1:8320/ "), ("x", "no dashboard (x; ")]
)
def test_the_api_is_served_beside_it_where_that_is_possible(tmp_path, monkeypatch, missing, words):
    for room in ("children", "run"):
        monkeypatch.setattr(f"consumers.running.{room}.NO_DASHBOARD", missing)
    services = Services("127.0.0.1:9092", "redis://127.0.0.1:6379/0", [])
    specs = specs_of(services, Settings(), {}, "hub")
    assert [spec.is_needed for spec in specs if spec.name == "dashboard"] == ([] if missing else [False])
    assert _plan(services, Settings(), tmp_path).notes[-1].startswith(words)


@needs_proc
@pytest.mark.parametrize("section", ["dashboard", "verdicts"])
def test_that_another_program_has_the_port_of_a_page_is_said_at_the_start(tmp_path, section):
    services = Services("127.0.0.1:9092", "redis://127.0.0.1:6379/0", [])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        page = {"listen": f"127.0.0.1:{port}"}
        given = {"dashboard": {"enabled": False}, "verdicts": {"base_url": "https://example.org/v", "secret": "s" * 32}}
        settings = Settings.model_validate({**given, section: {**given[section], **page, "enabled": True}})
        notes = _plan(services, settings, tmp_path).notes
        elsewhere = settings.model_copy(
            update={section: getattr(settings, section).model_copy(update={"listen": f"127.0.0.2:{port}"})}
        )
        assert not any("taken" in note for note in _plan(services, elsewhere, tmp_path).notes)
    said = [note for note in notes if f"port {port} is taken by " in note]
    assert len(said) == 1
    assert f"(process {os.getpid()})" in said[0]
    assert f"{section}.listen" in said[0]
    assert not any(f"http://127.0.0.1:{port}" in note for note in notes)


@pytest.mark.slow
def test_a_run_serves_its_cameras_over_http(tmp_path):
    httpx = pytest.importorskip("httpx")
    film = write_video(tmp_path / "film.mp4", 30, **QUICK)
    port = free_port()
    settings = f'[cameras.gate]\nurl = "{film}"\nloop = true\n[run]\nservices = "embedded"\n'
    with running(tmp_path, f'{settings}[dashboard]\nlisten = "127.0.0.1:{port}"\n') as run:
        run.until(f"dashboard at http://127.0.0.1:{port}/ ")

        def status() -> str | None:
            try:
                found = httpx.get(f"http://127.0.0.1:{port}/api/v1/cameras/gate")
            except httpx.TransportError:
                return None
            return found.json().get("status")

        assert eventually(lambda: status() == "live", 60)
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/health", timeout=60).json()["redis"] is None


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    film = write_video(tmp_path / "film.mp4", 30, **QUICK)
    settings = f'[cameras.gate]\nurl = "{film}"\nloop = true\n[run]\nservices = "embedded"\n'
    with running(tmp_path, settings) as run:
        run.until("Ctrl-C ends")
        second = run.clipline("run")
        assert second.returncode == 2
        assert "another `clipline run` writes to clipline-logs" in second.stderr


def test_a_camera_that_another_agent_reads_is_refused(embedded_broker, topics_prefix):
    settings = Settings(topics=TopicSettings(prefix=topics_prefix), cameras={"gate": {"url": "gate.mp4"}})
    services = Services(embedded_broker.address, "", [])
    _refuse_taken_cameras(services, settings)
    elsewhere = ProcessInfo("hub-1-agent", "hub", 1, "0", 0)
    producer = KafkaTransport(embedded_broker.address).producer()

    def say(status: str, agent: ProcessInfo) -> None:
        state = CameraState(FeedState("gate", status, 0), agent, time.time_ns() // 1000)
        producer.send(settings.topics.cameras_state, *state.encode())
        producer.flush()

    say("live", elsewhere)
    with pytest.raises(SettingsError, match=r"cameras\.gate: hub-1-agent \(process 1 on hub\) reads it already"):
        _refuse_taken_cameras(services, settings)
    say("ended", elsewhere)
    _refuse_taken_cameras(services, settings)
    say("live", replace(ProcessInfo.current(), pid=2**22 + 1))  # beyond every process number: it died without a word
    _refuse_taken_cameras(services, settings)
    producer.close()


def test_a_silent_broker_is_not_taken_for_dead_processes(embedded_broker, topics_prefix):
    clock = [100.0]
    settings = Settings(topics=TopicSettings(prefix=topics_prefix))
    away = [True]
    watch = Watch(KafkaAddress(embedded_broker.address), settings, lambda: clock[0], lambda: away[0])
    list(watch.poll())
    assert watch.overview() is None
    producer = KafkaTransport(embedded_broker.address).producer()
    state = CameraState(FeedState("gate", "live", 0), ProcessInfo.current(), time.time_ns() // 1000)

    def hear() -> None:
        producer.send(settings.topics.cameras_state, *state.encode())
        producer.flush()
        assert eventually(lambda: list(watch.poll()) == [] and watch._heard_at == clock[0])

    hear()
    assert [line.status for line in watch.overview().cameras] == ["live"]
    while (said := watch.news()) is None:
        clock[0] += 2
        list(watch.poll())
    assert clock[0] == 112
    assert f"{embedded_broker.address} does not answer" in said
    assert (watch.news(), watch.overview().cameras, watch.overview().problems) == (None, (), (said,))
    away[0] = False
    assert watch.news() == "no agent or worker has said anything for 10 s: nobody knows how cameras are"
    # One camera is heard again; of another the newest record is from before.
    old = replace(state, feed=FeedState("dock", "live", 0), time_us=time.time_ns() // 1000 - 20_000_000)
    producer.send(settings.topics.cameras_state, *old.encode())
    hear()
    assert watch.news().startswith("agents and workers are heard of again")
    assert {line.status for line in watch.overview().cameras} == {"live"}
    for _ in range(9):
        clock[0] += 2
        hear()
        assert watch.news() is None
    assert {line.state.feed.camera: line.status for line in watch.overview().cameras} == {
        "gate": "live",
        "dock": "lost",
    }
    watch.close()
    producer.close()


def test_whoever_was_stopped_itself_takes_nobody_for_silent_or_dead(embedded_broker, topics_prefix):
    clock = [100.0]
    settings = Settings(topics=TopicSettings(prefix=topics_prefix))
    watch = Watch(KafkaAddress(embedded_broker.address), settings, lambda: clock[0])
    list(watch.poll())
    producer = KafkaTransport(embedded_broker.address).producer()
    # What was said last before it was stopped, together with the others; a minute goes by.
    state = CameraState(FeedState("gate", "live", 0), ProcessInfo.current(), time.time_ns() // 1000 - 60_000_000)
    producer.send(settings.topics.cameras_state, *state.encode())
    producer.flush()
    assert eventually(lambda: list(watch.poll()) == [] and watch._heard_at is not None, 5)
    clock[0] += 60
    for _ in range(4):
        list(watch.poll())
        assert watch.news() is None
        assert [line.status for line in watch.overview().cameras] == ["live"]
        clock[0] += 2
    # Where nobody goes on, that is said as always.
    list(watch.poll())
    clock[0] += 2
    list(watch.poll())
    assert watch.news() == "no agent or worker has said anything for 10 s: nobody knows how cameras are"
    watch.close()
    producer.close()


def stored_predictions(address: str) -> int:
    transport, topic = KafkaTransport(address), Settings().topics.predictions
    if not transport.existing([topic]):
        return 0
    return sum(end - first for first, end in transport.offsets(topic).values())


@pytest.mark.slow
@needs_proc
def test_a_broker_that_is_away_at_the_start_and_again_later_is_waited_for(tmp_path, redis_url):
    """A machine that boots before its broker; and the broker is killed and comes back with its data."""
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    film = write_video(tmp_path / "film.mp4", 300, **QUICK)
    port = free_port()
    settings = f"""
        kafka = "127.0.0.1:{port}"
        redis = "{redis_url}"
        [cameras.gate]
        url = "{film}"
        loop = true
        [run]
        services = "own"
    """
    with running(tmp_path, settings) as run:
        run.until(f"using the Kafka broker at 127.0.0.1:{port}, which does not answer (yet): it is waited for")
        run.until(f"waiting for Kafka at 127.0.0.1:{port} since")
        told = 0
        for _ in range(2):
            before = len(run.lines)
            with ApacheBroker(tmp_path / "data", port=port):
                run.until("is back, after", after=before)
                seen, deadline = told, time.monotonic() + 90
                while seen < told + 5 and time.monotonic() < deadline:
                    seen = stored_predictions(f"127.0.0.1:{port}")
                    time.sleep(0.5)
                assert seen >= told + 5, "\n".join(run.lines)
                told = seen
            run.until(f"waiting for Kafka at 127.0.0.1:{port} since", after=before)
        assert run.end(signal.SIGTERM) == 0
        assert eventually(lambda: not run.pids(), 25)


def server(run: Run, words: str) -> int:
    """The process of a server that a keeper of this run holds; some write over their environment."""
    children = [
        int(pid)
        for keeper in run.pids("keeper.py")
        for pid in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    ]
    (found,) = [
        pid for pid in children if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    ]
    return found


@pytest.mark.slow
@needs_proc
def test_servers_that_die_are_started_again_alone_and_too_often_take_everything_with_them(tmp_path):
    settings = (
        '[cameras.dead]\nurl = "rtsp://127.0.0.1:1/cam"\n[run]\nservices = "embedded"\nworkers = 0\nmax_restarts = 1\n'
    )
    with running(tmp_path, settings) as run:
        run.until("dead: connecting")
        (agent,) = run.pids("running.child agent")
        redis, broker = server(run, "valkey-server"), server(run, "broker --cluster-id")
        os.kill(redis, signal.SIGKILL)
        assert "it was started again" in run.until("embedded Redis (Valkey) on redis://127.0.0.1:")
        assert server(run, "valkey-server") != redis
        os.kill(broker, signal.SIGKILL)
        assert "it was started again and nothing is lost" in run.until("embedded broker (Tansu) on 127.0.0.1:")
        assert server(run, "broker --cluster-id") != broker
        assert run.pids("running.child agent") == [agent]
        before = len(run.lines)
        os.kill(server(run, "broker --cluster-id"), signal.SIGKILL)
        run.until("everything starts again", after=before)
        said = [line.partition(" ")[2] for line in run.lines[before:]]
        # Who asks the broker every two seconds may find out first.
        said = [line for line in said if not line.startswith(("waiting for Kafka at ", "Kafka at "))]
        assert said[0].startswith("embedded broker (Tansu) on ")
        assert said[1] == "ending"
        assert "what was on the embedded broker is gone" in said[-1]
        run.until("Ctrl-C ends everything", after=before)
        assert run.end() == 0


@pytest.mark.slow
@needs_proc
def test_an_agent_and_a_worker_that_hang_are_replaced_and_a_broker_that_hangs_too(tmp_path):
    film = write_video(tmp_path / "film.mp4", 300, **QUICK)
    settings = f"""
        [cameras.gate]
        url = "{film}"
        loop = true
        [run]
        services = "embedded"
        [worker]
        model = "movenet-motion"
        [metrics]
        stuck_seconds = 40
    """
    with running(tmp_path, settings) as run:
        kafka = run.until("Kafka at ").partition("Kafka at ")[2].partition(",")[0]
        run.until("gate: live")
        for name in ("agent", "worker"):
            (pid,) = run.pids(f"running.child {name}")
            os.kill(pid, signal.SIGSTOP)
            hung = run.until("it hung (no sign of life for ", times=1 + (name == "worker"))
            assert re.search(r"for 1[0-9] s\) and was killed, see ", hung), hung
            assert eventually(lambda name=name, pid=pid: run.pids(f"running.child {name}") not in ([], [pid]))
        before = len(run.lines)
        os.kill(server(run, "broker --cluster-id"), signal.SIGSTOP)
        run.until("hung: no answer for 30 s; it was started again and nothing is lost", after=before, seconds=90)
        run.until("is back, after", after=before)
        seen = stored_predictions(kafka)
        assert eventually(lambda: stored_predictions(kafka) > seen, 60)
        assert run.end() == 0
