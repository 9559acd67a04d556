"""Ports at which pages are to be served: whether somebody else has them, and who."""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

from stream.services import holder


def taken_port(listen: str) -> int | None:
    """The port of HOST:PORT, where somebody listens there; None where it is free, any port, or no address of ours."""
    try:
        parts = urlsplit(f"//{listen}")
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        return None
    return port if port and _is_taken(host, port) else None


def by_whom(port: int) -> str:
    """Who holds a port, as " by nginx (process 4711)"; empty where that cannot be seen."""
    found = holder(port)
    return f" by {found}" if found else ""


def not_served(section: str, listen: str) -> str | None:
    """That a page is not served as its port is taken, and what to do; None where the port is free.

    Args:
        section: of the settings, which is what the page is called.
        listen: where it would be.
    """
    port = taken_port(listen)
    if port is None:
        return None
    return (
        f"no {section} yet: port {port} is taken{by_whom(port)}: end that program, or name another port in "
        f"{section}.listen; it is tried again once a minute"
    )


def dashboard_note(listen: str, missing: str) -> str:
    """Where the dashboard is, or why it is not; `missing`: what it needs and is not installed, empty if all is."""
    without = "dashboard.enabled = false: do without"
    if missing:
        return f"no dashboard ({missing}; {without})"
    host = "127.0.0.1" if listen.startswith(":") else ""
    return not_served("dashboard", listen) or f"dashboard at http://{host}{listen}/ ({without})"


def _is_taken(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server does: connections that linger after another has gone do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:  # another reason is told by whoever is to listen there
        return error.errno == errno.EADDRINUSE
    return False
