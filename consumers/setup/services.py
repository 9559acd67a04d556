"""Kafka and Redis for `clipline up` and `clipline run`: started here, or the operator's own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from consumers.forgetting.embedded import taking_out
from consumers.outputs.redis.connection import SinkError, check_redis_url, connect_redis, redis_hosts
from consumers.restarts import Restarts
from consumers.settings import RunSettings, Settings
from stream import BrokerError, EntryError, KafkaAddress, KafkaTransport, ServiceError, display_name
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, Kept, Service, holder, is_taken

KAFKA_PORT: Final = 9092
REDIS_PORT: Final = 6379
Kind = Literal["auto", "embedded", "apache", "own"]
#: Unread records that the broker let go are told this often at most.
_TELL_SECONDS: Final = 60.0
_REACH_SECONDS: Final = 1.0
_NOT_YET: Final = ", which does not answer (yet): it is waited for"
#: A server that neither ended nor answered for so long hangs. Children that wait for one are not stuck by then.
HUNG_SECONDS: Final = 30.0
#: The pauses between attempts to start one again: doubling from the first to the last.
_TRY_SECONDS: Final = (1.0, 30.0)


@dataclass(slots=True)
class Services:
    """Where Kafka and Redis are while their `with` block lasts."""

    kafka: str
    #: May hold a password.
    redis: str = field(repr=False)
    #: What an operator should know of how they were started: which ports were taken, which server was found.
    notes: list[str]
    _started: tuple[Service, ...] = ()
    #: The operator's own broker did not answer at the start.
    is_away: bool = False
    _told: dict[str, int] = field(default_factory=dict)
    _told_at: float = float("-inf")
    #: So often within so many seconds a server is started again by itself.
    _max_revivals: int = 5
    _window_seconds: float = 300.0
    _revivals: dict[str, Restarts] = field(default_factory=dict)
    #: What hangs and cannot be started again by itself, in words.
    _hung: str | None = None
    #: Servers that could not be started again just now: when that is tried next.
    _next_at: dict[str, float] = field(default_factory=dict)

    def failure(self) -> str | None:
        """Why one of the servers that were started here is of no use any more; None while all are.

        Ask every second or so.
        """
        left = (service for service in self._started if service.name not in self._next_at)
        return next((reason for service in left if (reason := service.ended()) is not None), self._hung)

    def news(self, kafka_silent: float = 0.0, redis_silent: float = 0.0) -> list[str]:
        """What happened to the servers that were started here, a line each. Ask each second or so, before `failure`.

        Args:
            kafka_silent: for how many seconds the broker has not answered; 0 where it does.
            redis_silent: for how many seconds Redis has not.
        """
        silent = [(each, redis_silent if isinstance(each, EmbeddedRedis) else kafka_silent) for each in self._started]
        revived = [line for service, seconds in silent if (line := self._revived(service, seconds)) is not None]
        return [*revived, *self._losses()]

    @property
    def started_broker(self) -> bool:
        """Whether the broker was started here, so that nobody else can be using it yet."""
        return any(not isinstance(service, EmbeddedRedis) for service in self._started)

    @property
    def is_embedded(self) -> bool:
        """Whether the broker is an embedded one that was started here."""
        return any(isinstance(service, EmbeddedBroker) for service in self._started)

    @property
    def lost(self) -> str:
        """What is lost with the servers that were started here, to be said behind that they start again."""
        return "; what was on the embedded broker is gone: footage, events, verdicts, rules" if self.is_embedded else ""

    def kept(self) -> Kept | None:
        """What the embedded broker holds and what it let go; None for any other broker."""
        return next((service.kept() for service in self._started if isinstance(service, EmbeddedBroker)), None)

    def _losses(self) -> list[str]:
        """A line for each consumer group that has lost unread records to the embedded broker's limit; once a minute."""
        kept = self.kept()
        if kept is None or kept.unread_records == self._told or time.monotonic() < self._told_at + _TELL_SECONDS:
            return []
        lines = [
            f"the embedded broker dropped {count - self._told.get(group, 0)} records that group {group} had not read: "
            f"the group is too slow or not running, and the broker keeps {kept.max_bytes / 1e6:.0f} MB "
            "(run.broker_max_megabytes)"
            for group, count in sorted(kept.unread_records.items())
            if count > self._told.get(group, 0)
        ]
        self._told, self._told_at = dict(kept.unread_records), time.monotonic()
        return lines

    def _revived(self, service: Service, silent_seconds: float) -> str | None:
        """That a server, started here, had ended or hung, and runs again where it was; None where it had not.

        What cannot be started again, was so too often, or has lost what others rely on has failed: see `failure`.
        """
        is_redis, now = isinstance(service, EmbeddedRedis), time.monotonic()
        revivals = self._revivals.setdefault(service.name, Restarts(self._window_seconds))
        reason = service.ended()
        # One that was just started again has not been asked yet.
        if reason is None and silent_seconds > HUNG_SECONDS and now - revivals.newest > HUNG_SECONDS:
            reason = self._hung = f"{service.name} on {service.address} hung: no answer for {HUNG_SECONDS:g} s"
        # Who writes Redis builds it anew.
        next_at = self._next_at.get(service.name, now)
        if reason is None or not (is_redis or service.keeps_all) or now < next_at:
            return None
        self._next_at.pop(service.name, None)
        if (count := revivals.within(now)) >= self._max_revivals:
            return None
        revivals.note(now)
        self._hung = None
        try:
            service.again()
        except ServiceError as error:
            # A port that is taken, a full disk: what passes is not to cost what it held.
            pause = min(_TRY_SECONDS[0] * 2.0**count, _TRY_SECONDS[1])
            self._next_at[service.name] = time.monotonic() + pause
            return f"{reason}; it cannot be started again: {error}; trying again in {pause:g} s"
        what = "and is built anew from the topics; pictures of events are gone" if is_redis else "and nothing is lost"
        return f"{reason}; it was started again {what}"


@contextlib.contextmanager
def open_services(
    settings: Settings, kind: Kind, *, data: Path | None = None, port: int | None = None, redis_port: int | None = None
) -> Iterator[Services]:
    """Start what `kind` asks for (see `RunSettings.services`), and stop it in the end.

    Args:
        settings: where the operator's own servers are, and how much the embedded broker keeps.
        kind: "auto" uses an own server where the settings name one, or one answers at the usual place, and starts an
            embedded one otherwise.
        data: where Apache Kafka keeps its topics.
        port: the broker's port. Left out: 9092, or any other where that is taken.
        redis_port: Redis' port. Left out: 6379, or any other where that is taken.

    Raises:
        ServiceError: a server cannot be started, or a port that was asked for is taken.
        EntryError: an own broker does not let us in. One that does not answer is waited for by whoever uses it.
        SinkError: the address of Redis is not understood.
    """
    notes: list[str] = []
    is_away = False
    started: list[Service] = []
    with contextlib.ExitStack() as stack:

        def start(service: Service, name: str, wanted: int) -> str:
            # Asked before it starts: afterwards the port is held by whoever took it, or by our own server.
            found = holder(wanted)
            stack.enter_context(service)
            started.append(service)
            if f":{wanted}" not in service.address:
                notes.append(f"port {wanted} is taken{f' by {found}' if found else ''}: {name} is at {service.address}")
            return service.address

        if is_own_broker(settings, kind):
            kafka = settings.kafka
            is_away = _is_away(settings.broker)
            notes.append(f"using the Kafka broker at {kafka}" + (_NOT_YET if is_away else ""))
        else:
            _check_port(port, "--port")
            wanted = port or KAFKA_PORT
            max_bytes = int(settings.run.broker_max_megabytes * 1e6)
            broker = (
                ApacheBroker(data, port=wanted)
                if kind == "apache"
                else EmbeddedBroker(port=wanted, max_bytes=max_bytes)
            )
            kafka = start(broker, "Kafka", wanted)
            if isinstance(broker, EmbeddedBroker):
                stack.enter_context(taking_out(broker, settings.topics))
        if is_own_redis(settings, kind):
            check_redis_url(settings.redis)
            redis = settings.redis
            # Workers wait for it, and write what it has missed.
            notes.append(f"using Redis at {display_name(redis)}" + ("" if redis_answers(redis) else _NOT_YET))
        else:
            _check_port(redis_port, "--redis-port")
            wanted = redis_port or REDIS_PORT
            redis = start(EmbeddedRedis(port=wanted), "Redis", wanted)
        limits = settings.run.max_restarts, settings.run.restart_window_seconds
        found = Services(
            kafka, redis, notes, tuple(started), is_away, _max_revivals=limits[0], _window_seconds=limits[1]
        )
        notes += not_heeded(settings, kind, found, data)
        yield found


def not_heeded(settings: Settings, kind: Kind, services: Services, data: Path | None) -> Iterator[str]:
    """A line for each setting that somebody chose and that means nothing for the services that are used.

    Args:
        settings: what was chosen; what is as by default was not.
        kind: what was asked for.
        services: what is used.
        data: where Apache Kafka is to keep its topics.
    """
    why = f"{kind} services were asked for"
    if _is_named(settings, "kafka") and settings.kafka != services.kafka:
        yield f"kafka = {settings.kafka} is not used ({why})"
    if _is_named(settings, "redis") and settings.redis != services.redis:
        yield f"redis = {display_name(settings.redis)} is not used ({why})"
    if data is not None and kind != "apache":
        yield f"run.data = {data} is not used: it is for Apache Kafka that is started here (run.services = apache)"
    if settings.run.broker_max_megabytes != RunSettings().broker_max_megabytes and not services.is_embedded:
        yield "run.broker_max_megabytes is not used: it is for the embedded broker (run.services = embedded)"


def without_transactions(settings: Settings, services: Services) -> Iterator[str]:
    """A line where `clipline run` gives workers less than somebody asked for: our own broker can do no more."""
    worker = settings.worker
    if services.is_embedded and "guarantee" in worker.model_fields_set and worker.guarantee != "at-least-once":
        yield (
            f"worker.guarantee = {worker.guarantee} cannot be kept: the embedded broker has no transactions, and "
            "workers go by at-least-once; run.services = own or apache keeps it"
        )


def _is_away(broker: KafkaAddress) -> bool:
    """Whether an own broker does not answer.

    Raises:
        EntryError: it does not let us in.
    """
    try:
        KafkaTransport(broker, at_once=True)
    except EntryError:
        raise
    except BrokerError:
        return True
    return False


def _check_port(port: int | None, option: str) -> None:
    if port is not None and is_taken(port):
        found = holder(port)
        raise ServiceError(
            f"{option} {port}: the port is taken{f' by {found}' if found else ''}; choose another, or leave {option} "
            "out to get one that is free"
        )


def is_own_broker(settings: Settings, kind: Kind) -> bool:
    """Whether the broker is the operator's own: it was named, has to be entered or answers, and none started here has.

    One that was named and is away is waited for. With an embedded one in its place, whoever reads from it would miss
    everything until somebody looked here.
    """
    _check_kind(settings.kafka_security.is_set, kind, "kafka_security")
    is_named = settings.kafka_security.is_set or _is_named(settings, "kafka")
    return kind == "own" or (kind == "auto" and (is_named or kafka_answers(settings.broker)))


def is_own_redis(settings: Settings, kind: Kind) -> bool:
    """Whether Redis is the operator's own: see `is_own_broker`."""
    _check_kind(settings.redis_security.is_set, kind, "redis_security")
    is_named = settings.redis_security.is_set or _is_named(settings, "redis")
    return kind == "own" or (kind == "auto" and (is_named or redis_answers(settings.redis)))


def _is_named(settings: Settings, name: Literal["kafka", "redis"]) -> bool:
    """Whether somebody chose a server: at the usual place there may be one, or not."""
    return bool(getattr(settings, name) != Settings.model_fields[name].default)


def _check_kind(is_secured: bool, kind: Kind, section: str) -> None:  # noqa: FBT001  the only question
    if is_secured and kind in {"embedded", "apache"}:
        raise ServiceError(
            f"[{section}] is for a server of your own, and run.services = {kind} starts one that asks for nothing: "
            f"leave out [{section}], or set run.services to own"
        )


def kafka_answers(address: KafkaAddress) -> bool:
    """Whether a Kafka broker is there; at once where nobody listens."""
    if not listens(address.servers):
        return False
    try:
        KafkaTransport(address)
    except BrokerError:
        return False
    return True


def redis_answers(url: str) -> bool:
    """Whether a Redis server is there; at once where nobody listens."""
    if not listens(redis_hosts(url), REDIS_PORT):
        return False
    try:
        connect_redis(url).close()
    except SinkError:
        return False
    return True


def listens(addresses: str, default_port: int = KAFKA_PORT) -> bool:
    """Whether anybody listens at one of the addresses: Kafka's and Redis' clients would try again for seconds."""
    return any(_reached(each.strip(), default_port) for each in addresses.split(","))


def _reached(address: str, default_port: int) -> bool:
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_REACH_SECONDS)
                probe.connect(address)
            return True
        parts = urlsplit(f"//{address}")
        place = (parts.hostname or "127.0.0.1", parts.port or default_port)
        socket.create_connection(place, timeout=_REACH_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
