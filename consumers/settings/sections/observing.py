"""The sections about how processes are seen from outside: logs, metrics and probes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from consumers.settings.section import Section


class LogSettings(Section):
    """How processes log."""

    format: Literal["text", "json"] = Field(
        "text",
        description="text: lines to be read. json: one JSON object a line, with time, level, logger, role and id of "
        "the process, message, and camera, topic, partition and offset where the message is about one.",
    )


class MetricsSettings(Section):
    """The port of a worker or agent with /metrics for Prometheus, and the probes /livez and /readyz."""

    port: int | None = Field(
        None,
        examples=[9400],
        ge=1,
        le=65535,
        description="Port to listen on. `clipline run` gives its agent this one, and its workers those that follow. "
        "Left out: none.",
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on. 0.0.0.0 lets other machines ask, who need no password.",
    )
    stuck_seconds: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Seconds without a sign of life from its main loop after which a process counts as stuck: /livez "
        "says so, and `clipline run` ends it and starts it again. Waiting for a broker that is away does not count.",
    )
