"""The processes and services of `clipline run` and `clipline up`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from consumers.settings.section import MAX_COUNT, MAX_DAYS, MAX_MEGABYTES, Section


class RunSettings(Section):
    """`clipline run` and `clipline up`: which services, how many processes, and what happens when one dies."""

    workers: int = Field(
        1,
        ge=0,
        le=64,
        description="Worker processes. One uses all cores; more help only where a single process cannot. 0: only the "
        "agent is started, and workers elsewhere classify its cameras.",
    )
    services: Literal["auto", "embedded", "apache", "own"] = Field(
        "auto",
        description="Which Kafka broker and Redis to use. embedded: start both here, in memory. apache: start Apache "
        "Kafka and an embedded Redis (needs Java and `make kafka`). own: use those at `kafka` and `redis`. auto: own "
        "where you name them, or some answer at the usual place; else embedded.",
    )
    data: Path | None = Field(
        None,
        examples=["kafka-data"],
        description="Folder in which Apache Kafka keeps its topics over restarts. Left out: they are gone with it.",
    )
    broker_max_megabytes: float = Field(
        1024.0,
        ge=64,
        le=MAX_MEGABYTES,
        description="Megabytes of video that the embedded broker keeps in memory, at most. The oldest goes first.",
    )
    take_over: bool = Field(
        False,  # noqa: FBT003  a default
        description="Read cameras that another agent on this broker reads, which stops then. Left out: refuse.",
    )
    max_restarts: int = Field(
        5,
        ge=0,
        le=MAX_COUNT,
        description="Restarts of one process within restart_window_seconds, after which everything stops. Deaths "
        "of the agent that are a camera's doing do not count: that camera is set aside.",
    )
    restart_window_seconds: float = Field(
        300.0, gt=0, le=MAX_DAYS, description="Seconds in which max_restarts are counted."
    )
    log_folder: Path = Field(
        Path("clipline-logs"), description="Folder for the log files of the processes. It is made if it is missing."
    )
