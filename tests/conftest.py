"""Servers and data that tests share. One of each per test process, so any number of xdist workers may run."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.cores import usable_cores
from stream.broker.kafka import consumer as kafka_consumer
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, Service, processes
from tests.servers import free_ports

#: Set where Apache Kafka must be tested: without Java or the jars, tests fail there instead of being skipped.
REQUIRE_APACHE = "CLIPLINE_REQUIRE_APACHE"
#: How the tests were started: as any process, or at the lowest priority of all (`chrt -i 0`).
_POLICY = os.sched_getscheduler(0) if sys.platform == "linux" else 0


def pytest_runtest_teardown() -> None:
    """Take the processor as before: SVT-AV1, run by root, makes whoever encodes with it a real-time process.

    Brokers that a test starts after it would be, too, and starve those of other tests.
    """
    if sys.platform == "linux" and os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        os.sched_setscheduler(0, _POLICY, os.sched_param(0))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """One and a half for each core: tests wait for brokers and processes for almost half of their time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return max(1, usable_cores() * 3 // 2)


@pytest.fixture(autouse=True)
def _short_waits_for_groups(request: pytest.FixtureRequest) -> Iterator[None]:
    """The embedded broker lets a group's first member wait for half of its session; Apache Kafka takes none shorter."""
    call = getattr(request.node, "callspec", None)
    kinds = {"embedded_broker", "apache_broker"} & set(request.fixturenames)
    if "broker" in request.fixturenames and call is not None:
        kinds = {f"{call.params['broker']}_broker"}
    with pytest.MonkeyPatch.context() as patch:
        if kinds == {"embedded_broker"}:
            patch.setattr(kafka_consumer, "SESSION_TIMEOUT_SECONDS", 3.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ports_that_stay_free() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_free_ports", free_ports)
        yield


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Service]:
    """The broker that starts at once, as `up` and `run` start it; for tests to which the kind does not matter."""
    with EmbeddedBroker(max_bytes=500_000_000) as running:
        yield running


@pytest.fixture(scope="session")
def apache_broker() -> Iterator[Service]:
    """Apache Kafka, for tests of what only it does: transactions, topic configurations, retention."""
    reason = ApacheBroker.missing()
    if reason is not None:
        if os.environ.get(REQUIRE_APACHE) == "1":
            pytest.fail(f"{REQUIRE_APACHE}=1, but {reason}")
        pytest.skip(reason)
    with ApacheBroker() as running:
        yield running


@pytest.fixture(scope="session", params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest) -> Service:
    """Every kind of broker in turn."""
    return request.getfixturevalue(f"{request.param}_broker")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with EmbeddedRedis() as running:
        yield running.address


@pytest.fixture
def nobody_at_the_usual_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing answered where Kafka and Redis usually are, whatever runs on this machine."""
    from consumers.settings import Settings
    from consumers.setup import services

    usual, kafka, redis = Settings(), services.kafka_answers, services.redis_answers
    monkeypatch.setattr(services, "kafka_answers", lambda address: address != usual.broker and kafka(address))
    monkeypatch.setattr(services, "redis_answers", lambda url: url != usual.redis and redis(url))


@pytest.fixture
def topics_prefix(request: pytest.FixtureRequest) -> str:
    """What the names of topics, groups and Redis keys begin with, so that tests share a server without meeting."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
    return f"{readable}-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real footage beside the checkout; not part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real footage in ../shared/data, and {folder} is not there")
    return folder
