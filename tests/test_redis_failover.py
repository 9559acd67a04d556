"""Redis Sentinel and Redis Cluster, real servers: after a failover Redis shows the topics again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.projection import RedisProjection
from consumers.settings import Settings
from stream import MemoryTransport
from stream.services import EmbeddedRedis
from stream.services.processes import Plan
from tests.redis_topics import prediction, publish, report
from tests.waiting import eventually

pytestmark = pytest.mark.slow  # four or five servers each, and failovers that take seconds


def port_of(server: EmbeddedRedis) -> int:
    return int(server.address.rpartition(":")[2].partition("/")[0])


class Sentinel(EmbeddedRedis):
    """Watches a primary, called "lights"."""

    def __init__(self, primary: int) -> None:
        super().__init__()
        self._primary = primary

    def plan(self) -> Plan:
        plan = super().plan()
        (port,) = plan.ports
        text = (
            f"bind 127.0.0.1\nport {port}\ndir {{folder}}\nsentinel monitor lights 127.0.0.1 {self._primary} 2\n"
            "sentinel down-after-milliseconds lights 1000\nsentinel failover-timeout lights 3000\n"
        )
        command = (plan.job.commands[0][0], "{folder}/sentinel.conf", "--sentinel", "--dir", "{folder}")
        job = replace(plan.job, commands=(command,), files={"sentinel.conf": text.replace("dir {folder}\n", "")})
        return replace(plan, job=job, answers=lambda: b"PONG" in _reply(port))


def _reply(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100)
    except OSError:
        return b""


def settings_of(url: str) -> Settings:
    return Settings.model_validate({"redis": url, "topics": {"partitions": 2}})


def test_the_primary_that_sentinels_name_is_followed_through_a_failover():
    transport, said = MemoryTransport(), []
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        primary = first.enter_context(EmbeddedRedis())
        replica = stack.enter_context(EmbeddedRedis())
        with Redis.from_url(replica.address) as client:
            client.replicaof("127.0.0.1", port_of(primary))
            assert eventually(lambda: client.info("replication")["master_link_status"] == "up")
        sentinels = [stack.enter_context(Sentinel(port_of(primary))) for _ in range(3)]
        hosts = ",".join(f"127.0.0.1:{port_of(each)}" for each in sentinels)
        settings = settings_of(f"redis+sentinel://{hosts}/lights/0")
        watched = Redis(port=port_of(sentinels[0]), decode_responses=True)
        assert eventually(lambda: watched.sentinel_master("lights")["num-other-sentinels"] == 2, 60)
        assert eventually(lambda: watched.sentinel_master("lights")["num-slaves"] == 1, 60)
        publish(transport, settings, *map(prediction, range(20)), report(0))
        with RedisProjection(lambda: transport, settings, said.append) as projection:
            assert projection.catch_up(10)
            assert redis_differences(transport, settings) == []
            first.close()
            for number in range(20, 60):
                publish(transport, settings, prediction(number), report(number))
                time.sleep(0.05)
            assert eventually(lambda: projection.state.awaited is None and projection.catch_up(1), 60), said
            assert redis_differences(transport, settings) == []
        with Redis.from_url(replica.address) as client:
            assert client.info("replication")["role"] == "master"
            assert client.xlen("clipline:predictions:{lobby}") == 60
        watched.close()
    assert said[-1].startswith(f"Redis at redis+sentinel://{hosts}/lights/0 is back")


class Node(EmbeddedRedis):
    """A node of a Redis Cluster."""

    def plan(self) -> Plan:
        plan = super().plan()
        (self.bus,) = self.ports(1)
        more = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus), "--cluster-node-timeout", "1000")
        return replace(plan, job=replace(plan.job, commands=tuple((*c, *more) for c in plan.job.commands)))


@pytest.fixture
def cluster() -> Iterator[tuple[list[Node], ExitStack]]:
    """Three nodes that share the slots, and a replica of the first, which ends with the stack."""
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        nodes = [first.enter_context(Node()), *(stack.enter_context(Node()) for _ in range(3))]
        clients = [Redis.from_url(node.address, decode_responses=True) for node in nodes]
        for client, slots in zip(clients, ("0 5460", "5461 10922", "10923 16383"), strict=False):
            client.execute_command(f"CLUSTER ADDSLOTSRANGE {slots}")
        for node in nodes[1:]:
            clients[0].execute_command(f"CLUSTER MEET 127.0.0.1 {port_of(node)} {node.bus}")
        assert eventually(lambda: all(c.cluster("info")["cluster_known_nodes"] == "4" for c in clients), 60)
        assert eventually(lambda: clients[3].cluster("info")["cluster_state"] == "ok", 60)
        clients[3].execute_command(f"CLUSTER REPLICATE {clients[0].execute_command('CLUSTER MYID')}")
        assert eventually(lambda: clients[3].info("replication").get("master_link_status") == "up", 60)
        assert eventually(lambda: all(c.cluster("info")["cluster_state"] == "ok" for c in clients), 60)
        for client in clients:
            client.close()
        yield nodes, first


def test_a_cluster_shows_the_topics_through_a_failover_and_a_node_that_begins_anew(cluster):
    nodes, first = cluster
    # The first one named is the one that will be killed.
    settings = settings_of(f"redis://{','.join(f'127.0.0.1:{port_of(node)}' for node in nodes[:3])}")
    transport, said = MemoryTransport(), []
    cameras = [f"camera-{n}" for n in range(20)]
    publish(transport, settings, *(prediction(n, camera=c) for n in range(5) for c in cameras), report(0))
    with RedisProjection(lambda: transport, settings, said.append) as projection:
        assert projection.catch_up(20), (said, projection.state)
        assert redis_differences(transport, settings) == []
        with Redis.from_url(nodes[1].address) as client:
            assert client.dbsize() > 1
            client.flushall()  # as a node without a replica that restarts
        assert eventually(lambda: redis_differences(transport, settings) == [], 60), said
        first.close()
        for number in range(5, 25):
            publish(transport, settings, *(prediction(number, camera=c) for c in cameras), report(number))
            time.sleep(0.05)
        assert eventually(lambda: projection.state.awaited is None and projection.catch_up(1), 40), said
        assert redis_differences(transport, settings) == []
    with RedisCluster(host="127.0.0.1", port=port_of(nodes[1])) as client:
        assert {client.keyslot(f"clipline:camera:{{{c}}}:m-1") // 5461 for c in cameras} == {0, 1, 2}
