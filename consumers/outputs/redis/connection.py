"""Reaching Redis or Valkey: one server, the primary that sentinels name, or a cluster.

redis://user:password@host:6379/0                  rediss:// for TLS; further hosts behind commas are tried in turn
unix:///run/redis.sock
redis+sentinel://host:26379,host:26379/mymaster/0  rediss+sentinel:// for TLS, to the sentinels, too
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from stream import display_name, split_address

CONNECT_TIMEOUT_SECONDS: Final = 5.0
_LONGEST_PAUSE_SECONDS: Final = 1.0
_NOT_UNDERSTOOD: Final = "its host, port or parameters are not understood"
_SENTINEL: Final = "+sentinel://"
_SENTINEL_PORT: Final = 26379
#: Codes of OpenSSL.
_WRONG_HOST: Final = (62, 64)

_AWAY: Final = (ConnectionRefusedError, TimeoutError, socket.gaierror)

#: What a server says that has no room, is a replica, loads its data, or may not be used by this user (yet).
_PASSING_WORDS: Final = (
    *("OOM", "READONLY", "LOADING", "MISCONF", "BUSY", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"),
    *("NOAUTH", "NOPERM", "WRONGPASS", "MOVED", "ASK", "UNBLOCKED", "NOSCRIPT"),
)
#: Errors after which another try may succeed: connections, and what a server says of its own state.
PASSING: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
    redis.exceptions.ClusterDownError,
    redis.exceptions.MasterDownError,
    redis.exceptions.TryAgainError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.NoPermissionError,
    OSError,
)

Client = redis.Redis | RedisCluster


#: Everything that a client raises when the server, or what is between, is the reason.
REDIS_ERRORS: Final = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)


_UNKNOWN_USER: Final = (
    "does not accept this user and password: check redis_security.user and password (or password_file)"
)
#: Of a server that wants a certificate, the alert that says so may be lost when it closes the connection.
_CLOSED: Final = ("EOF occurred in violation of protocol", "Connection reset by peer", "Broken pipe")
_CLOSED_WORDS: Final = (
    "closes the connection amid TLS; it may want a certificate of ours: "
    "set redis_security.certificate_file and key_file"
)
_NO_TLS: Final = "speaks no TLS there: begin its address with redis://, or redis+sentinel:// for sentinels"
#: What to set, by the signs of it in what a server or OpenSSL says.
_REFUSALS: Final = {
    ("WRONGPASS", "NOAUTH"): _UNKNOWN_USER,
    ("NOPERM", "no permissions"): "does not allow its user this: add the ACL of docs/security.md",
    (
        *("CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE", "ALERT_UNKNOWN_CA"),
        "alert certificate required",
    ): "wants a certificate of ours that is valid: set redis_security.certificate_file and key_file",
    ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"): _NO_TLS,
}


class RefusedError(redis.ConnectionError):
    """A server is there and does not let us in, or not do this; the message says what to set."""


class SinkError(Exception):
    """Redis cannot be reached or refused."""


def is_passing(error: Exception) -> bool:
    """Whether the server, and not the record that was to be written, is the reason."""
    if isinstance(error, PASSING):
        return True
    # Inside a script, servers before Redis 7 report it as an error of the script.
    words = str(error).replace(":", " ").replace("-", " ").split()
    return isinstance(error, redis.RedisError) and any(word in words for word in _PASSING_WORDS)


def connect_redis(url: str) -> redis.Redis:
    """Return a client that has been answered.

    Raises:
        SinkError: nothing answers at `url`; the message says what to do.
    """
    try:
        return _answered(url, Retry(ExponentialBackoff(cap=_LONGEST_PAUSE_SECONDS, base=0.1), retries=5))
    except REDIS_ERRORS as error:
        raise SinkError(str(error) if isinstance(error, RefusedError) else _not_answered(url, str(error))) from None


def open_redis(url: str) -> Client:
    """Return a client of the server, or of the cluster that it is a node of; each call of it is tried once.

    Raises:
        RedisError, RedisClusterException, OSError: nothing answers at `url`.
        SinkError: the address is not understood.
    """
    client = _answered(url, Retry(NoBackoff(), 0))
    if not _is_cluster(client):
        return client
    client.close()
    return _connect_cluster(url)


def ping_redis(url: str) -> None:
    """See whether somebody answers, once.

    Raises:
        RedisError, RedisClusterException, OSError: nobody does.
        SinkError: the address is not understood.
    """
    _answered(url, Retry(NoBackoff(), 0)).close()


def check_redis_url(url: str) -> None:
    """See whether an address can be used, without connecting.

    Raises:
        SinkError: it cannot.
    """
    try:
        for connect in _clients(url, Retry(NoBackoff(), 0)):
            connect().close()
    except (ValueError, TypeError):
        raise SinkError(_not_answered(url, _NOT_UNDERSTOOD)) from None


def redis_hosts(url: str) -> str:
    """The hosts with their ports, separated by commas, or a socket's path: of the sentinels, where they are named."""
    parts = split_address(url)
    place = url if parts is None else parts.place
    return place.partition("?")[0] if place.startswith("/") else place.partition("/")[0].partition("?")[0]


def _answered(url: str, retry: Retry) -> redis.Redis:
    failure: Exception = redis.ConnectionError("nobody is named")
    for connect in _clients(url, retry):
        try:
            client = connect()
            client.ping()
        except REDIS_ERRORS as error:
            failure = error
        except (ValueError, TypeError):
            # What is not understood of an address may be its password, which the vendor's words quote.
            raise SinkError(_not_answered(url, _NOT_UNDERSTOOD)) from None
        else:
            return client
    if (refusal := _not_let_in(failure, url)) is not None:
        raise RefusedError(f"Redis at {display_name(url)} {refusal}") from None
    raise failure


def _not_answered(url: str, why: str) -> str:
    return (
        f"no Redis answers at {display_name(url)} ({why}): "
        "start one with `clipline up`, or set CLIPLINE_REDIS=redis://host:port/0"
    )


def _not_let_in(error: BaseException, url: str) -> str | None:
    """What to set where Redis is there and does not let us in; None for another reason."""
    words = str(error)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unverified(cause)
        words += f" {cause}"
    if isinstance(error, redis.AuthenticationError):
        return _UNKNOWN_USER
    if any(sign in words for sign in _CLOSED) and url.startswith("rediss") and "ssl_certfile" not in url:
        return _CLOSED_WORDS
    return next((told for signs, told in _REFUSALS.items() if any(sign in words for sign in signs)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _unverified(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _WRONG_HOST:
        return f"shows a certificate for other hosts: set redis to a host that it names ({error.verify_message})"
    if "expired" in error.verify_message:
        return "shows a certificate that has expired: renew it there"
    return (
        f"shows a certificate that nobody signed whom we trust ({error.verify_message}): set redis_security.ca_file to "
        "the certificate of the CA that signed it"
    )


def _clients(url: str, retry: Retry) -> list[Callable[[], redis.Redis]]:
    """What connects to each server that the address names, in their order. It raises ValueError or TypeError where the
    address is not understood.
    """
    options = {**_timeouts(), "retry": retry}
    if _SENTINEL in url:
        return [lambda: _primary(url, options)]
    return [lambda one=one: redis.Redis.from_url(one, **options) for one in _each(url)]  # type: ignore[misc]


def _each(url: str) -> list[str]:
    """An address for each host that `url` names."""
    parts = split_address(url)
    if parts is None or parts.scheme.lower().startswith("unix") or "," not in redis_hosts(url):
        return [url if parts is None else parts.escaped()]
    escaped, hosts = parts.escaped(), redis_hosts(url)
    before, _, after = escaped.rpartition(hosts)
    return [f"{before}{host}{after}" for host in hosts.split(",")]


def _primary(url: str, options: dict[str, Any]) -> redis.Redis:
    """A client whose connections ask the sentinels for the primary; `url` is named in the module's docstring."""
    parts = split_address(url)
    if parts is None or not parts.place:
        raise ValueError("no sentinels are named")
    hosts, _, path = parts.place.partition("/")
    path, question, parameters = path.partition("?")
    name, _, database = path.partition("/")
    if not name:
        raise ValueError("the name of the primary is missing: redis+sentinel://host:port/NAME/0")
    # User, password, database and parameters are read as the vendor reads those of one server.
    one = replace(parts, scheme="redis://", place=f"-/{database}{question}{parameters}")
    options = {**parse_url(one.escaped()), **options, "ssl": parts.scheme.lower().startswith("rediss")}  # type: ignore[no-untyped-call]
    del options["host"]
    tls = {key: value for key, value in options.items() if key.startswith("ssl")}
    sentinels = [
        (host, int(port) if port else _SENTINEL_PORT)
        for host, _, port in (each.partition(":") for each in hosts.split(","))
    ]
    watch = _Sentinels(sentinels, sentinel_kwargs={**_timeouts(), **tls, "retry": Retry(NoBackoff(), 0)})  # type: ignore[no-untyped-call]
    found: redis.Redis = watch.master_for(name, **options)  # type: ignore[no-untyped-call]
    return found


class _Sentinels(Sentinel):
    """Keeps the reason where no sentinel lets us in, of which the vendor's error holds the words only."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            reasons = list(self._reasons())
            told = f"no sentinel names a primary {service_name!r}"
            if not reasons:
                raise MasterNotFoundError(told) from None
            # One that is there and refuses tells more than one that is not.
            first = min(reasons, key=lambda reason: any(isinstance(cause, _AWAY) for cause in _causes(reason)))
            raise MasterNotFoundError(f"{told}: {first}") from first
        return found

    def _reasons(self) -> Iterator[Exception]:
        for sentinel in self.sentinels:
            try:
                sentinel.ping()
            except (redis.ConnectionError, redis.TimeoutError) as reason:
                yield reason


def _connect_cluster(url: str) -> RedisCluster:
    nodes = [parse_url(one) for one in _each(url)]  # type: ignore[no-untyped-call]
    rest = {key: value for key, value in nodes[0].items() if key not in {"host", "port", "db", "connection_class"}}
    return RedisCluster(
        startup_nodes=[ClusterNode(node.get("host", "127.0.0.1"), node.get("port", 6379)) for node in nodes],  # type: ignore[no-untyped-call]
        ssl=url.lower().startswith("rediss"),
        # A failover must be noticed by whoever writes: what the old primary did not pass on is written again.
        retry=Retry(NoBackoff(), 0),
        **{**_timeouts(), **rest},
    )


def _is_cluster(client: redis.Redis) -> bool:
    try:
        return bool(client.info("cluster").get("cluster_enabled"))
    except redis.ResponseError:
        return False  # a user that may not ask


def _timeouts() -> dict[str, Any]:
    return {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS, "socket_timeout": CONNECT_TIMEOUT_SECONDS}
