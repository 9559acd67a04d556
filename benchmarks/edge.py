"""Check what an install without torch serves, and how large it is: `make edge`.

    edge.py PYTHON      the Python of an environment with `pip install '.[edge]'`

Starts a broker and Redis, and lets that environment attach a sample camera and classify it with the model that ships by
default. Fails unless every frame is accounted for, and model id and scores are those of the checkpoint in torch here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumers.settings import Settings
from consumers.terminal.demo.demo import FOOTAGE
from models import Classifier, find
from models.windows.windowing import sliding_windows
from stream import KafkaTransport, sample_file
from stream.services import EmbeddedBroker, EmbeddedRedis

CAMERA: Final = "lobby"
#: What an edge install is there to do without.
ABSENT: Final = ("torch", "torchvision", "pytorchvideo", "scipy", "sklearn", "matplotlib")
_DEADLINE_SECONDS: Final = 120.0
#: Of a score: float32 in another order.
_TOLERANCE: Final = 1e-4


class WrongWorkError(Exception):
    """The edge install did not do what it is for."""


class Edge:
    """Commands of the edge environment, run where the checkout is not on its path."""

    def __init__(self, python: Path, folder: Path, settings: dict[str, str]) -> None:
        self._python, self._folder = str(python.absolute()), folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CLIPLINE_", "PYTHON"))}
        # A cache of its own: what the full environment converted must not help.
        self._environment = {**inherited, **settings, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._python, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Both outputs of a command that must end with `code`."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=_DEADLINE_SECONDS)
        if process.returncode != code:
            raise WrongWorkError(f"{' '.join(arguments)}: status {process.returncode}, expected {code}\n{out}{err}")
        return out + err


def check(python: Path) -> list[str]:
    """Serve a camera in the environment of `python`; what was seen, a line each."""
    footage = FOOTAGE / f"{CAMERA}.mp4"
    with tempfile.TemporaryDirectory(prefix="clipline-edge-") as scratch, EmbeddedBroker() as kafka:
        folder = Path(scratch)
        with EmbeddedRedis() as redis:
            edge = Edge(python, folder, {"CLIPLINE_KAFKA": kafka.address, "CLIPLINE_REDIS": redis.address})
            found = edge.run(
                "-c", f"import importlib.util as u; print([m for m in {ABSENT} if u.find_spec(m) is not None])"
            )
            if found.strip() != "[]":
                raise WrongWorkError(f"{python}: has {found.strip()}; expected an environment without")
            refused = edge.run("-m", "consumers.cli", "work", "--engine", "torch", code=2)
            if "needs torch" not in refused:
                raise WrongWorkError(f"`clipline work --engine torch` does not say what to do: {refused}")
            edge.run("-m", "consumers.cli", "attach", str(footage), "--camera", CAMERA, "--pace", "max")
            ours = _expected(footage)
            predictions, summary = _serve(edge, kafka.address, len(ours))
    if (ids := {p["model"] for p in predictions}) != {find("default").id}:
        raise WrongWorkError(f"predictions are of {ids}, expected {find('default').id}")
    theirs = np.array([[p["scores"][label] for label in find("default").contract.labels] for p in predictions])
    if abs(len(ours) - len(theirs)) > 1:
        raise WrongWorkError(f"{len(theirs)} windows, expected {len(ours)}")
    both = min(len(ours), len(theirs))
    apart = float(np.abs(ours[:both] - theirs[:both]).max())
    if apart > _TOLERANCE:
        raise WrongWorkError(f"scores differ by {apart:.1g}, expected {_TOLERANCE} at most")
    return [
        summary,
        f"scores differ by {apart:.1g} at most from those of the checkpoint in torch",
        f"`clipline work --engine torch`: {refused.strip()}",
    ]


def _serve(edge: Edge, kafka: str, expected: int) -> tuple[list[dict[str, Any]], str]:
    """Predictions in the order of their windows, and the worker's account."""
    consumer = KafkaTransport(kafka).consumer([Settings().topics.predictions])
    predictions: dict[str, dict[str, Any]] = {}
    until = time.monotonic() + _DEADLINE_SECONDS
    with edge.start("-m", "consumers.cli", "work", "--from", "earliest", "--engine", "openvino-f32") as process:
        try:
            # The last window may wait for footage that does not come.
            while len(predictions) < expected - 1 and process.poll() is None and time.monotonic() < until:
                for record in consumer.poll(0.2).records:
                    body = json.loads(record.value or b"")
                    predictions[body["id"]] = body
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            consumer.close()
    accounts = [line for line in out.splitlines() if re.search(rf"\b{CAMERA} \d+ frames = ", line)]
    summary = accounts[-1] if accounts else ""
    if process.returncode != 0 or " 0 dead-lettered" not in summary or not predictions:
        raise WrongWorkError(f"the worker ended with {process.returncode}, {len(predictions)} windows: {out}{err}")
    return sorted(predictions.values(), key=lambda p: (p["epoch_us"], p["window"])), summary


def _expected(footage: Path) -> np.ndarray:
    """Scores (N, L) of the checkpoint in torch, window by window."""
    classifier = Classifier.load("default", "torch")
    contract = classifier.contract
    [frames] = sample_file(
        footage,
        spacing_seconds=contract.spacing_seconds,
        height=contract.height,
        width=contract.width,
        fit=contract.fit,
    )
    return classifier.predict(frames[sliding_windows(len(frames), contract.frames)])


def megabytes(prefix: str) -> float:
    """What the files of an environment take, each counted once."""
    seen = {}
    for folder, _, names in os.walk(prefix):
        for name in names:
            status = os.lstat(os.path.join(folder, name))  # noqa: PTH118  a hundred thousand files
            seen[status.st_ino] = status.st_size
    return sum(seen.values()) / 1e6


def main() -> int:
    """Check and print; 1 if the edge install fails, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", metavar="PYTHON", type=Path)
    python: Path = parser.parse_args().python
    if not python.is_file():
        parser.error(f"{python}: no such file")
    try:
        lines = check(python)
    except (WrongWorkError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"edge: {error}\n")
        return 1
    print("\n".join(lines))
    print(f"edge environment: {megabytes(str(python.absolute().parents[1])):.0f} MB")
    print(f"full environment, with the tools of development: {megabytes(sys.prefix):.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
