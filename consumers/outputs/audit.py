"""Who changes something from the command line: whoever runs it at this machine."""

from __future__ import annotations

import getpass
import secrets
import socket
import time

from consumers.records.audit import AuditEntry


def who() -> str:
    """The name of whoever runs this, as the system has it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def entry_by_hand(action: str, subject: str, camera: str | None, value: str | None) -> AuditEntry:
    """That somebody at this machine changes something, now."""
    return AuditEntry(
        id=secrets.token_hex(12),
        time_us=time.time_ns() // 1000,
        actor=who(),
        way="local",
        role="admin",
        address=socket.gethostname(),
        action=action,
        subject=subject,
        camera=camera,
        value=value,
    )
