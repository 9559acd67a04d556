"""Between the bench and what it measures: a process for each path, a job to set it up, an ask for each round."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict

_FOLDER: Final = Path(__file__).resolve().parents[1]


class MissingError(Exception):
    """Something that a path needs is not installed, or not there; the message says what."""


class WrongWorkError(Exception):
    """A path did not do what it was measured for."""


class Addresses(TypedDict):
    """Where the servers of a `Job` are."""

    kafka: str
    redis: str


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to measure."""

    path: str
    model: str = ""
    #: One of `models.ENGINES`.
    engine: str = "auto"
    kafka: str = ""
    redis: str = ""
    guarantee: str = "exactly-once"
    #: Whether the process is confined to one core: where a figure is by core-second, since two cores that work at once
    #: slow each other down, and a path that uses one only would look better for it.
    one_core: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """What one round is made of."""

    footage: str = ""
    cameras: int = 1
    gated: bool = False
    #: Where the scores of its first camera go, as .npy (W, L).
    scores: str = ""
    #: Begins the names of topics.
    prefix: str = ""
    #: Windows that end the round of a worker; as many as the footage holds, if 0.
    windows: int = 0
    #: Of a broker.
    records: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave: of these figures the ones that its path has."""

    camera_seconds: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    windows: int = 0
    #: Of them those that were not computed.
    gated_windows: int = 0
    peak_megabytes: float = 0.0
    in_mb_per_s: float = 0.0
    out_mb_per_s: float = 0.0
    #: Processor seconds by part, and what else is known of it.
    parts: dict[str, float] = field(default_factory=dict)


class Measuring:
    """A process of `paths.process`."""

    def __init__(self, job: Job, environment: dict[str, str], log: Path) -> None:
        self.job, self._log = job, log
        with log.open("a", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "price.paths.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=_FOLDER,
            )
        self._say(asdict(job))
        answer = self._hear()
        if "missing" in answer:
            self.close()
            raise MissingError(answer["missing"])
        #: What it computes with.
        self.engine = str(answer["engine"])

    def round(self, ask: Ask) -> Round:
        self.begin(ask)
        return self.result()

    def begin(self, ask: Ask) -> None:
        self._say(asdict(ask))

    def result(self) -> Round:
        return Round(**self._hear())

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.communicate()

    def kill(self) -> None:
        """End it amid a round."""
        self._process.kill()
        self.close()

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        if self._process.returncode is not None:
            raise self._ended()
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            raise self._ended()
        return dict(json.loads(answer))

    def _ended(self) -> WrongWorkError:
        words = self._log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        told = f"a measured process ended with status {self._process.returncode}"
        return WrongWorkError(": ".join([told, *words]))
