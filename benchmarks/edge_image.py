"""Run the edge image without a daemon, and check what it does: `make image-test`. Needs root and buildah.

    edge_image.py IMAGE

Its agent sends a sample camera to Apache Kafka, its worker classifies it, each as the image says (command, user,
variables, folder), as process 1 of its own, on a file system that it cannot write but for its home and /tmp. Fails
unless predictions come, the health check of the image answers, nothing runs as root, and SIGTERM ends both in time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumers.settings import Settings
from consumers.terminal.demo.demo import FOOTAGE
from stream import BrokerError, KafkaTransport
from stream.services import ApacheBroker, EmbeddedRedis, Service

CAMERA: Final = "lobby"
#: As the agent of compose.yaml has them in a file.
_CAMERA_SETTINGS: Final = {
    f"CLIPLINE_CAMERAS__{CAMERA.upper()}__URL": f"/mnt/{CAMERA}.mp4",
    f"CLIPLINE_CAMERAS__{CAMERA.upper()}__LOOP": "true",
    "CLIPLINE_RUN__SERVICES": "own",
    "CLIPLINE_RUN__WORKERS": "0",
}
#: What an image that is only run does without.
ABSENT: Final = ("pip", "gcc", "cc", "make", "git")
_DEADLINE_SECONDS: Final = 120.0
#: `docker stop` waits for ten.
_STOP_SECONDS: Final = 10.0
#: Become process 1 of a container: what the image holds, read-only, as user $2, in folder $3.
_ENTER: Final = """
set -e
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
mount -t tmpfs -o "uid=${2%:*},gid=${2#*:},mode=700" tmpfs "$1$3"
mount --bind "$4" "$1/mnt"
mount -o remount,bind,ro "$1"
root=$1 user=$2 folder=$3
shift 4
exec chroot --userspec="$user" --groups= "$root" env -i -C "$folder" "$@"
"""


class WrongImageError(Exception):
    """The image is not what it is to be, or did not do what it is for."""


@dataclass(frozen=True, slots=True)
class Image:
    """A container's files, and how the image wants them run."""

    root: Path
    config: Mapping[str, Any]

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, name: str) -> Iterator[Image]:
        """The image as a container that is gone afterwards."""
        if not _output("buildah", "images", "--quiet", "--filter", f"reference={name}"):
            raise WrongImageError(f"there is no image {name}: `make images IMAGES=edge` builds it")
        container = _output("buildah", "from", "--pull=never", name)
        try:
            described = json.loads(_output("buildah", "inspect", container))
            yield cls(Path(_output("buildah", "mount", container)), described["Docker"]["config"])
        finally:
            _output("buildah", "rm", container)

    def variables(self, given: Mapping[str, str]) -> dict[str, str]:
        return {**dict(entry.split("=", 1) for entry in self.config["Env"]), **given}

    @contextlib.contextmanager
    def running(self, given: Mapping[str, str], *arguments: str) -> Iterator[Container]:
        """Its command with `arguments` as process 1, until the body ends."""
        variables = self.variables(given)
        words = [f"{name}={value}" for name, value in variables.items()]
        command = [*self.config["Entrypoint"], *arguments]
        unshare = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "sh", "-c", _ENTER, "sh"]
        with subprocess.Popen(
            [*unshare, str(self.root), self.config["User"], self.config["WorkingDir"], str(FOOTAGE), *words, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield Container(self, process, variables, " ".join(command))
            finally:
                process.kill()


@dataclass(frozen=True, slots=True)
class Container:
    """A command of an image that runs."""

    image: Image
    process: subprocess.Popen[str]
    variables: Mapping[str, str]
    command: str

    def pid(self) -> int:
        """Of the process that is process 1 in there, as it is numbered here."""
        while self.process.poll() is None:  # at first, its parent is still making room for it
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.05)
        raise WrongImageError(f"{self.command}: ended with {self.process.returncode}: {self._end()}")

    def owners(self) -> str:
        """Real, effective, saved and file system user of process 1."""
        status = Path(f"/proc/{self.pid()}/status").read_text()
        return next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith("Uid:"))

    def is_healthy(self) -> bool:
        """Ask what the image's HEALTHCHECK asks."""
        kind, *test = self.image.config["Healthcheck"]["Test"]
        if kind != "CMD":
            raise WrongImageError(f"HEALTHCHECK is {kind}, expected CMD")
        words = [f"{name}={value}" for name, value in self.variables.items()]
        chroot = ["chroot", f"--userspec={self.image.config['User']}", str(self.image.root), "env", "-i", *words]
        return subprocess.run([*chroot, *test], capture_output=True, check=False, timeout=10).returncode == 0

    def stopped(self) -> float:
        """Send SIGTERM as `docker stop` does; the seconds that the end took."""
        begun = time.monotonic()
        os.kill(self.pid(), getattr(signal, self.image.config.get("StopSignal") or "SIGTERM"))
        try:
            status = self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise WrongImageError(f"{self.command}: runs {_STOP_SECONDS:.0f} s after SIGTERM: {self._end()}") from None
        if status != 0:
            raise WrongImageError(f"{self.command}: status {status} after SIGTERM: {self._end()}")
        return time.monotonic() - begun

    def _end(self) -> str:
        self.process.kill()
        assert self.process.stdout is not None
        return "\n".join(self.process.stdout.read().splitlines()[-20:])


def check(name: str) -> Iterator[str]:
    """Run the image; what was seen, a line each.

    Raises:
        WrongImageError: it is not as it has to be.
    """
    with Image.mounted(name) as image, ApacheBroker() as kafka, EmbeddedRedis() as redis:
        if (user := image.config["User"]).split(":")[0] in {"", "0", "root"}:
            raise WrongImageError(f"its user is {user!r}, expected one that is not root")
        _check_files(image.root)
        agent_settings, worker_settings = (_settings(kafka, redis, port) for port in _free_ports())
        agent_settings |= _CAMERA_SETTINGS
        with image.running(agent_settings, "run") as agent, image.running(worker_settings, "work") as worker:
            prediction = _first_prediction(kafka.address, (agent, worker))
            yield f"prediction: {json.dumps(prediction)[:300]}"
            for container in (worker, agent):
                _await(container.is_healthy, f"{container.command}: its health check fails")
                owners = container.owners()
                if "0" in owners.split():
                    raise WrongImageError(f"{container.command}: runs as root ({owners})")
                seconds = container.stopped()
                yield f"{container.command}: user {owners.split()[0]}, healthy, gone {seconds:.1f} s after SIGTERM"
                if container.is_healthy():
                    raise WrongImageError(f"{container.command}: its health check holds after its end")


def _check_files(root: Path) -> None:
    places = [root / folder for folder in ("usr/bin", "usr/local/bin", "opt/clipline/bin")]
    found = [f"{place}/{tool}" for place in places for tool in ABSENT if (place / tool).exists()]
    left = [file for folder in ("root/.cache", "tmp", "src") for file in (root / folder).rglob("*") if file.is_file()]
    left += [file for file in (root / "etc/pip.conf", root / "etc/pip-ca.pem") if file.exists()]
    found += map(str, left)
    if found:
        raise WrongImageError(f"it holds {', '.join(found[:10])}")


def _settings(kafka: Service, redis: Service, port: int) -> dict[str, str]:
    # Its own network is the one thing of a container that is missing here, so everybody listens on this machine alone.
    return {
        "CLIPLINE_KAFKA": kafka.address,
        "CLIPLINE_REDIS": redis.address,
        "CLIPLINE_METRICS__PORT": str(port),
        "CLIPLINE_METRICS__HOST": "127.0.0.1",
    }


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _first_prediction(kafka: str, containers: tuple[Container, ...]) -> dict[str, Any]:
    topic = Settings().topics.predictions
    found: list[dict[str, Any]] = []
    consumer = None

    def came() -> bool:
        nonlocal consumer
        for container in containers:
            container.pid()
        if consumer is None:
            try:
                consumer = KafkaTransport(kafka).consumer([topic])
            except BrokerError:  # the worker has not made its topics yet
                return False
        found.extend(json.loads(record.value or b"") for record in consumer.poll(0.5).records)
        return bool(found)

    try:
        _await(came, f"no prediction on {topic}")
    finally:
        if consumer is not None:
            consumer.close()
    if found[0]["camera"] != CAMERA:
        raise WrongImageError(f"a prediction of {found[0]['camera']}, expected {CAMERA}")
    return found[0]


def _await(holds: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + _DEADLINE_SECONDS
    while not holds():
        if time.monotonic() > until:
            raise WrongImageError(f"{otherwise} within {_DEADLINE_SECONDS:.0f} s")
        time.sleep(0.5)


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        raise WrongImageError(f"needs {command[0]} (Debian: apt install {command[0]})") from None
    except subprocess.CalledProcessError as error:
        raise WrongImageError(f"{' '.join(command)}: {error.stderr.strip()}") from None


def main() -> int:
    """Check and print; 1 if the image fails, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", metavar="IMAGE")
    image: str = parser.parse_args().image
    if os.geteuid() != 0:
        sys.stderr.write("edge image: needs root, to mount the image's files\n")
        return 1
    try:
        for line in check(image):
            print(line, flush=True)
    except WrongImageError as error:
        sys.stderr.write(f"edge image: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
