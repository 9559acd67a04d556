"""Which processes `clipline run` starts, and what each of them is told."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from consumers.records.prediction import rfc3339
from consumers.records.states.process import ProcessInfo
from consumers.settings import Settings
from consumers.setup.services import Services
from stream import Beginning, camera_id

from .child import (
    INSTANCE,
    LOG_FORMAT,
    METRICS_PORT,
    RUN_START,
    SHUTDOWN_SECONDS,
    WORKER_GUARANTEE,
    WORKER_START,
    child_command,
    child_environment,
)
from .supervising.blame import Blame
from .supervising.supervisor import FIRST_SHARE, ChildSpec

#: Of the time in which everything is to end, so much is for the processes; the rest is for the services.
PROCESSES_SHARE: Final = 0.75
#: How much sooner than it would be killed a process gives up.
_SPARE_SECONDS: Final = 0.1
#: In the log folder: what the workers of the runs that log there are called in their group.
_NAME_FILE: Final = ".workers-name"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,60}")
#: Why no pictures of events can be made here; empty where they can.
NO_PICTURES: Final = "" if importlib.util.find_spec("PIL") else "Pillow is missing: pip install 'clipline[pictures]'"
#: Why the page behind links cannot be served here; empty where it can.
NO_PAGES: Final = "" if importlib.util.find_spec("uvicorn") else "uvicorn is missing: pip install 'clipline[serve]'"
#: Why the HTTP API cannot be served here; empty where it can.
NO_DASHBOARD: Final = "" if importlib.util.find_spec("fastapi") else "FastAPI is missing: pip install 'clipline[web]'"


def specs_of(services: Services, settings: Settings, environment: Mapping[str, str], name: str) -> list[ChildSpec]:
    # The names say whose children they are, and stay the same when they are started again.
    family = ProcessInfo.current().id
    # In the environment, not on a command line: addresses may hold passwords, and everybody can read `ps`.
    services_at = {"CLIPLINE_KAFKA": services.kafka, "CLIPLINE_REDIS": services.redis}
    each_seconds = max(_SPARE_SECONDS, FIRST_SHARE * PROCESSES_SHARE * settings.shutdown_seconds - _SPARE_SECONDS)
    given = {LOG_FORMAT: settings.log.format, SHUTDOWN_SECONDS: f"{each_seconds:g}"}
    now = Beginning.now()
    shared = child_environment({**environment, **services_at, **given, RUN_START: f"{now.time_us} {now.clock}"})
    if settings.worker.start == "now":
        # The agent may have sent the first segments before a worker has loaded its model.
        shared[WORKER_START] = rfc3339(now.time_us)
    if services.is_embedded:
        # All that our own broker can; asked for more, a worker warns of it.
        shared[WORKER_GUARANTEE] = "at-least-once"
    roles = {"agent": "agent"} | {f"worker-{n}": "worker" for n in range(1, settings.run.workers + 1)}
    specs = [
        ChildSpec(
            child,
            child_command(role, f"{family}-{child}"),
            {**shared, INSTANCE: f"{name}-{number}", **_port(settings, number)},
            blame=Blame(list(settings.cameras)) if role == "agent" else None,
        )
        for number, (child, role) in enumerate(roles.items())
    ]
    if makes_pictures(settings) and not NO_PICTURES:
        specs.append(ChildSpec("pictures", child_command("pictures", f"{family}-pictures"), shared, is_needed=False))
    if notifies(settings):
        specs.append(ChildSpec("notify", child_command("notify", f"{family}-notify"), shared, is_needed=False))
    if asks(settings) and not NO_PAGES:
        specs.append(ChildSpec("verdicts", child_command("verdicts", f"{family}-verdicts"), shared, is_needed=False))
    if settings.dashboard.enabled and not NO_DASHBOARD:
        specs.append(ChildSpec("dashboard", child_command("dashboard", f"{family}-dashboard"), shared, is_needed=False))
    return specs


def makes_pictures(settings: Settings) -> bool:
    return settings.pictures.enabled and settings.run.workers > 0


def notifies(settings: Settings) -> bool:
    return settings.notify.enabled and bool(settings.channels)


def asks(settings: Settings) -> bool:
    return settings.verdicts.enabled and settings.verdicts.is_set


def own_name(logs: Path) -> str:
    """What the workers of this run are called in their group, over restarts: nobody else writes to the folder."""
    path = logs / _NAME_FILE
    with contextlib.suppress(OSError, ValueError):
        name = path.read_text("ascii").strip()
        if _NAME.fullmatch(name):
            return name
    name = f"{camera_id(socket.gethostname())[:40]}-{secrets.token_hex(4)}"
    # Where it cannot be kept, others wait a while for workers that do not come back under their old name.
    with contextlib.suppress(OSError):
        path.write_text(f"{name}\n", "ascii")
    return name


def _port(settings: Settings, number: int) -> dict[str, str]:
    """The port of a child, as it is given it: each has its own, so that one that hangs or is gone is seen to be."""
    return {} if settings.metrics.port is None else {METRICS_PORT: str(settings.metrics.port + number)}
