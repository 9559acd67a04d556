"""What a worker and an agent show to Prometheus and to who supervises them; dashboard and alerts ask for no more."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from consumers.live.assemble import Serving
from consumers.live.figures.accounts import MAX_ACCOUNTS, OTHERS, CameraCounts
from consumers.live.worker import Worker
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.states.process import ProcessInfo
from consumers.running import run as run_module
from consumers.running.attaching import attach_camera
from consumers.running.child import METRICS_PORT
from consumers.running.children import specs_of
from consumers.running.ending import Ending
from consumers.running.monitoring import monitors
from consumers.running.monitoring.endpoint import endpoint
from consumers.running.monitoring.monitors import WorkerMonitor
from consumers.running.roles import worker as worker_module
from consumers.running.roles.worker import keep_working
from consumers.running.supervising.liveness import Liveness
from consumers.settings import MetricsSettings, Settings, SettingsError
from stream import KafkaTransport, Reading
from tests.brightness_worker import RULES, SPEC, Brightness
from tests.servers import free_port
from tests.videos import write_video

ROOT = Path(__file__).resolve().parents[1]
ALERTS = ROOT / "docker/prometheus/alerts.yml"
DASHBOARD = ROOT / "docker/grafana/clipline.json"


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(holds, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@dataclass
class Shown:
    """What was answered."""

    metrics: dict[str, Metric]
    live: tuple[int, str]
    ready: tuple[int, str]
    ready_before: tuple[int, str]

    @classmethod
    def by(cls, port: int, before: tuple[int, str]) -> Shown:
        _, text = ask(port, "/metrics")
        return cls(
            {m.name: m for m in text_string_to_metric_families(text)}, ask(port, "/livez"), ask(port, "/readyz"), before
        )

    def value(self, name: str, **labels: str) -> float:
        family = self.metrics[name]
        samples = [s for s in family.samples if not s.name.endswith("_created") and labels.items() <= s.labels.items()]
        return sum(s.value for s in samples)


@pytest.fixture(scope="module")
def shown(embedded_broker, redis_url, tmp_path_factory) -> Iterator[Mapping[str, Shown]]:
    """A worker and an agent at work on real services."""
    folder = tmp_path_factory.mktemp("metrics")
    film = write_video(folder / "gate.mp4", 300, rate=25, gop=25, size=(64, 48))
    own = {"kafka": embedded_broker.address, "redis": redis_url, "topics": {"prefix": "seen", "partitions": 1}}

    def settings(port: int) -> Settings:
        spool = {"folder": folder}
        return Settings.model_validate(
            {**own, "metrics": {"port": port}, "spool": spool, "worker": {"start": "earliest", "group": "seen"}}
        )

    agent, worker = settings(free_port()), settings(free_port())
    ending, may_load = Ending(), threading.Event()

    @contextlib.contextmanager
    def open_worker(settings: Settings) -> Iterator[Serving]:
        assert may_load.wait(30)
        transport = KafkaTransport(settings.kafka)
        with RedisProjection(lambda: transport, settings) as projection:
            model = SimpleNamespace(id="brightness", engine="numpy")
            yield Serving(Worker(transport, Brightness(), SPEC, RULES, settings), model, projection, tuple)

    def attach() -> None:
        attach_camera(
            agent, str(film), "gate", pace="realtime", loop=True, start_us=None, reading=Reading(), take_over=False,
            exit_after_seconds=None, ending=ending, progress=lambda _: None, hear=lambda _: None,
        )  # fmt: skip

    def work() -> None:
        keep_working(worker, ProcessInfo.current("w-1"), ending, lambda _: contextlib.nullcontext())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_module, "open_worker", open_worker)
        threads = [threading.Thread(target=each, daemon=True) for each in (attach, work)]
        for thread in threads:
            thread.start()
        try:
            port = worker.metrics.port
            until(lambda: _answers(port))
            before = ask(port, "/readyz")
            may_load.set()
            producer = KafkaTransport(embedded_broker.address).producer()
            producer.send("seen.segments", b"gate", [], b"nonsense")
            producer.flush()
            until(
                lambda: (
                    "clipline_clip_latency_seconds_count 0.0" not in (text := ask(port, "/metrics")[1])
                    and "_latency_" in text
                )
            )
            until(lambda: ask(port, "/readyz")[0] == 200)
            yield {"agent": Shown.by(agent.metrics.port, (0, "")), "worker": Shown.by(port, before)}
        finally:
            ending.ask()
            for thread in threads:
                thread.join(20)


def _answers(port: int) -> bool:
    with contextlib.suppress(urllib.error.URLError):
        return bool(ask(port, "/livez"))
    return False


def test_a_worker_shows_what_became_of_each_frame(shown):
    worker = shown["worker"]
    fates = {s.labels["fate"]: s.value for s in worker.metrics["clipline_frames"].samples}
    assert set(fates) == {"classified", "skipped", "dead_lettered"}
    assert fates["classified"] > 0
    assert worker.value("clipline_segments", camera="gate") > 0
    assert worker.value("clipline_frames_skipped", camera="gate") == fates["skipped"]
    assert worker.value("clipline_dead_letters", reason="foreign") == 1
    assert worker.value("clipline_transactions", outcome="committed") > 0
    for name in ("clip_latency_seconds", "batch_windows", "inference_seconds", "decode_seconds", "commit_seconds"):
        assert worker.value(f"clipline_{name}") > 0, name
    labels = worker.metrics["clipline_info"].samples[0].labels
    assert (labels["role"], labels["id"], labels["model"], labels["engine"]) == ("worker", "w-1", "brightness", "numpy")


def test_an_agent_shows_its_feeds_and_what_waits(shown):
    agent = shown["agent"]
    assert agent.value("clipline_feed_segments", camera="gate") > 0
    assert agent.value("clipline_sent_segments") > 0
    assert agent.value("clipline_spool_bytes") == 0
    status = {s.labels["status"]: s.value for s in agent.metrics["clipline_feed_status"].samples}
    assert sum(status.values()) == 1


@pytest.mark.parametrize("role", ["agent", "worker"])
def test_what_works_is_live_and_ready(shown, role: str):
    assert (shown[role].live, shown[role].ready) == ((200, "live\n"), (200, "ready\n"))
    assert shown[role].value("clipline_ready") == 1
    assert shown[role].value("clipline_broker_away") == 0


def test_a_worker_that_loads_its_model_says_so_and_is_not_ready(shown):
    assert shown["worker"].ready_before == (503, "loading the model\n")


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["summary"]
            yield rule["expr"]
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_dashboard_and_alerts_ask_for_what_is_there(shown):
    there: dict[str, set[str]] = {"up": {"job", "instance"}}
    for each in shown.values():
        for family in each.metrics.values():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            for suffix in suffixes:
                names = {name for s in family.samples if s.name == family.name + suffix for name in s.labels}
                there.setdefault(family.name + suffix, {"job", "instance"}).update(names)
    # Nothing was dropped or skipped, so that there is no series yet.
    for name in ("spool_dropped_frames", "frames_skipped"):
        there[f"clipline_{name}_total"] |= {"camera", "reason"}
    asked = list(expressions())
    assert len(asked) > 30
    for expression in asked:
        names = re.findall(r"\b(?:clipline|process)_\w+|\bup\b", expression)
        assert names, expression
        for name in names:
            assert name in there, f"{name} of {expression}"
        for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
            wanted = set(re.findall(r"(\w+)\s*[=!]~?", selector))
            assert wanted <= there[name], f"{name}{{{selector}}}"
        for by in re.findall(r"\bby \(([^)]*)\)", expression):
            assert {label.strip() for label in by.split(",")} <= set().union(*(there[name] for name in names))


def test_a_loop_that_does_not_turn_is_stuck_but_not_while_its_broker_is_away():
    now = 0.0
    live = Liveness(120.0, lambda: now)
    now = 100.0
    assert live.stuck(live.age_seconds(None, is_excused=False), "loading the model") is None
    now = 221.0
    assert live.age_seconds(101.0, is_excused=False) == 120.0
    now = 222.0
    assert live.stuck(live.age_seconds(101.0, is_excused=False), "working") == "stuck for 2 min 1 s while working"
    assert live.age_seconds(101.0, is_excused=True) == 0.0
    now = 300.0
    assert live.age_seconds(101.0, is_excused=False) == 78.0


def test_probes_answer_503_and_say_why():
    settings = Settings.model_validate({"metrics": {"port": free_port(), "stuck_seconds": 1e-6}})
    monitor = WorkerMonitor(settings, ProcessInfo.current("w"), lambda: "Kafka at hub:9092 since 12:00:00 UTC")
    with endpoint(settings.metrics, monitor):
        port = settings.metrics.port
        assert ask(port, "/readyz") == (503, "waiting for Kafka at hub:9092 since 12:00:00 UTC\nloading the model\n")
        assert ask(port, "/livez") == (200, "live\n")
        monitor._kafka_away = lambda: None
        status, text = ask(port, "/livez")
        assert status == 503
        assert re.fullmatch(r"stuck for [0-9]+\.[0-9] s while loading the model\n", text)
        assert ask(port, "/")[0] == 404
        with pytest.raises(SettingsError, match=rf"metrics.port: 127.0.0.1:{port} cannot be listened on"):
            endpoint(settings.metrics, monitor).__enter__()


def test_without_a_port_nobody_listens():
    with endpoint(MetricsSettings(), WorkerMonitor(Settings(), ProcessInfo.current())) as address:
        assert address is None


def test_series_are_bounded():
    counts = {f"c-{n}": CameraCounts(frames=2, segments=1) for n in range(MAX_ACCOUNTS + 100)}
    counts["c-0"].skipped.update({f"reason_{n}": 1 for n in range(1000)})
    families = {family.name: family for family in monitors._accounts(counts)}
    segments = {s.labels["camera"]: s.value for s in families["clipline_segments"].samples}
    assert len(segments) <= MAX_ACCOUNTS
    assert segments[OTHERS] > 100
    assert sum(segments.values()) == MAX_ACCOUNTS + 100
    reasons = {s.labels["reason"]: s.value for s in families["clipline_frames_skipped"].samples}
    assert len(reasons) == 33
    assert sum(reasons.values()) == 1000


def test_a_counter_never_goes_back_and_goes_on_from_there():
    shown = monitors._Monotonic()

    def windows(number: int) -> float:
        families = list(shown(monitors._accounts({"gate": CameraCounts(windows=number)})))
        return next(s.value for f in families if f.name == "clipline_windows" for s in f.samples)

    assert [windows(n) for n in (5, 3, 4, 6)] == [5, 5, 5, 6]


def test_each_process_of_a_run_has_a_port_of_its_own():
    settings = Settings.model_validate(
        {"metrics": {"port": 9400}, "run": {"workers": 2}, "dashboard": {"enabled": False}}
    )
    services = SimpleNamespace(kafka="k:1", redis="redis://r", is_embedded=False)
    specs = specs_of(services, settings, {}, "hub")
    assert [(s.name, s.environment.get(METRICS_PORT)) for s in specs] == [
        ("agent", "9400"), ("worker-1", "9401"), ("worker-2", "9402"), ("pictures", None)
    ]  # fmt: skip
    last = Settings.model_validate({"metrics": {"port": 65535}, "cameras": {"a": {"url": "rtsp://h/s"}}})
    with pytest.raises(SettingsError, match="expected 2 ports from there on"):
        run_module.run_everything(last, {}, SimpleNamespace(), lambda: True)
