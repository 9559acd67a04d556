"""Every command line of README and docs is run as a reader would run it, in a folder that has what the lines name.

tests/test_docs.py finds the lines. Each runs in a folder of its own with topics of its own, but for those that look
at what is going on: these look at one `clipline run` that goes on meanwhile.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import pytest

from consumers.records.dead_letter import DeadLetter
from consumers.settings import TopicSettings
from consumers.terminal.demo.demo import FOOTAGE
from consumers.topics import ensure_topics
from stream import KafkaTransport, Record
from stream.services import ApacheBroker, Service
from tests.test_docs import REPOSITORY, command_lines
from tests.videos import write_video

pytestmark = pytest.mark.slow

CHECKPOINTS = REPOSITORY / "models" / "checkpoints"

#: Lines that are not run, and why.
NOT_RUN = {
    **dict.fromkeys(
        (
            "train labels.csv --from X3D_S.pyth --trained-stages 2",
            "train labels.csv --from kinetics/x3d_s --trained-stages 2 --layer-decay 0.5",
            "train labels.csv --from kinetics/x3d_s --trained-stages 2 --layer-decay 0.5 -o own.safetensors",
        ),
        "PyTorchVideo's weights come from the internet, and X3D-S takes minutes on a CPU; tests/test_transfer.py",
    ),
    **dict.fromkeys(
        (
            "distill movenet-motion recordings/ -o student.safetensors",
            "distill movenet-motion recordings/ --also cnn-lstm",
            "distill own.safetensors recordings/ --arch x3d_xs -o small.safetensors",
            "distill own.safetensors recordings/ --labelled labels.csv --arch x3d_s",
            "distill own.safetensors recordings/ --labelled labels.csv --arch x3d_s --size 112",
            "train labels.csv --arch cnn_lstm --trials 20 -o own.safetensors",
        ),
        "takes minutes on a CPU; tests/test_distilling.py, tests/test_trials.py",
    ),
    **dict.fromkeys(
        (
            "tune --from-verdicts --budget '3 per night' -o rules.toml",
            "tune --from-verdicts --budget '3 per night' --time-zone Europe/Berlin -o rules.toml",
            "tune --from-verdicts --camera 'gate*' --since 7d",
        ),
        "nobody has given a verdict where these lines are run; tests/test_tune_from_verdicts.py",
    ),
    "train labels.csv labelled/labels.csv -o better.safetensors": (
        "nothing was exported where this line is run; tests/test_verdict_footage.py reads such a list as training does"
    ),
    "export own.safetensors --compare held-out.csv --json forms.json": (
        "takes a minute, and the line of docs/export.md that has --calibration, too, does all of it"
    ),
    **dict.fromkeys(
        ("evidence verify event.html", "evidence verify event.html --public-key 'sha256:…'"),
        "the file of another line, and a key of the reader's; tests/test_bundles.py",
    ),
    "shares revoke 5e21c7": "there is no such link where this line is run; tests/test_web_shares.py revokes some",
    "dashboard password bo": "it asks whoever sits there; tests/test_web_access.py",
    "deadletter purge --before 2026-11-01T00:00:00Z": (
        "the embedded broker cannot delete records; tests/test_dead_letters.py deletes some on Apache Kafka"
    ),
}

#: Exit codes other than 0 of lines that end by themselves, and why.
CODES = {
    # 1 is an answer: what is found in so little footage is no matter of the docs.
    "replay footage/ --labels truth.csv --fail-if 'misses>2 or false_alarms_per_hour>0.5'": {0, 1},
    # Nobody listens where the channels of these lines send to, and whether a busy machine is in time is an answer, too.
    "drill --camera gate": {0, 1},
    "drill --camera gate --clip gate.mp4 --timeout 30": {0, 1},
    "drill --camera gate --acknowledge 300 --json": {0, 1},
    # Where there is no Redis, nobody knows what it holds.
    "forget --camera lobby --from 2026-11-24 --to 2026-11-25": {0, 1},
    "forget --camera lobby --from 2026-11-24T08:00:00Z --to 2026-11-24T08:10:00Z --dry-run": {0, 1},
    "forget --camera lobby --from 2026-11-24T08:00:00Z --to 2026-11-24T08:10:00Z --why 'request 17'": {0, 1},
    # Nobody has to say who asks: it is refused.
    "dashboard --listen 0.0.0.0:8320": {2},
    # Nobody listens where the message of a test goes.
    "notify test ops": {1},
    # Whether a busy machine keeps up with two cameras is one, too.
    "status": {0, 1},
    "status --json": {0, 1},
}

#: What a command that runs until it is stopped has printed, once it does what it is there for.
BEGUN = {
    "attach": " frames in ",
    "demo": "Kafka is at ",
    "run": ": live",
    "up": "export CLIPLINE_REDIS=",
    "work": "raises events for fight",
    "status": "gate",
    "events": "fight",
    "pictures": "making pictures",
    "notify": "channels: ops",
    "verdicts": "verdicts at ",
    "dashboard": "dashboard at ",
}

#: Those that neither print anything to a file nor send anything before they end are stopped after so many seconds.
QUIET = {"status"}
QUIET_SECONDS = 30.0

#: Stands in for a camera that a reader has and this machine has not.
CAMERA = "gate.mp4"

#: Commands that look at what is going on: their lines share one `clipline run`.
_OF_WATCHED = {"status", "events", "evidence", "pictures", "notify", "deliveries", "verdicts", "drill", "share"}
_QUICK = {"preset": "ultrafast", "bf": "0"}


@dataclass(frozen=True)
class Sandbox:
    """A folder with what the docs name, and the services and topics that its commands use."""

    folder: Path
    environment: dict[str, str]

    @property
    def prefix(self) -> str:
        return self.environment["CLIPLINE_TOPICS__PREFIX"]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `clipline`; what it prints is in the files `out` and `err`, so that no full pipe stops it."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", "consumers.cli", *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def printed(self) -> str:
        return (self.folder / "out").read_text("utf-8", errors="replace")

    def complaints(self) -> str:
        return (self.folder / "err").read_text("utf-8", errors="replace")

    def run(self, *words: str, seconds: float = 900.0) -> int:
        """Run `clipline` to its end and return the exit code."""
        process = self.start(*words)
        try:
            return process.wait(timeout=seconds)
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def running(self, *words: str, until: Callable[[], bool], seconds: float = 300.0) -> Iterator[subprocess.Popen]:
        """`clipline` running, from when `until` holds; ended by Ctrl-C.

        Fails if it ends before `until` holds, or has not got there in `seconds`.
        """
        process = self.start(*words)
        try:
            deadline = time.monotonic() + seconds
            while not until():
                assert process.poll() is None, self.said(process)
                assert time.monotonic() < deadline, f"nothing after {seconds:.0f} s\n{self.said(process)}"
                time.sleep(0.1)
            yield process
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()

    def said(self, process: subprocess.Popen) -> str:
        return f"exit code {process.poll()}\n{self.printed()}\n{self.complaints()}"


def shorter(source: Path, target: Path, begin: float, end: float) -> Path:
    """The pictures of `source` between two times in seconds, as a video of its own."""
    with av.open(str(source)) as container:
        rate = int(container.streams.video[0].average_rate)
        images = [
            frame.to_ndarray(format="rgb24")
            for frame in container.decode(video=0)
            if begin <= (frame.time or 0.0) < end
        ]
    height, width = images[0].shape[:2]
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_video(
        target,
        len(images),
        rate=rate,
        gop=rate,
        size=(width, height),
        options=_QUICK,
        frame=lambda number, *_: images[number],
    )


def examples(folder: Path, times: dict[str, list[tuple[str, float]]], seconds: float = 2.0) -> None:
    """Clips of what ships in a folder for each label; `times` has the footage and the begin of each, in seconds."""
    for label, begins in times.items():
        for name, begin in begins:
            clip = folder / label / f"{name}-{begin:g}.mp4"
            shorter(FOOTAGE / f"{name}.mp4", clip, begin, begin + seconds)


def table(path: Path, folder: str) -> None:
    """List the clips of a folder, each a group of its own."""
    clips = sorted((path.parent / folder).rglob("*.mp4"))
    rows = [f"{clip.relative_to(path.parent)},{clip.parent.name},{folder}-{n}" for n, clip in enumerate(clips)]
    path.write_text("\n".join(["path,label,group", *rows]) + "\n")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the docs name."""
    folder = tmp_path_factory.mktemp("docs") / "prepared"
    gate = shorter(FOOTAGE / "gate.mp4", folder / "gate.mp4", 0.0, 15.0)
    lobby = shorter(FOOTAGE / "lobby.mp4", folder / "lobby.mp4", 0.0, 10.0)
    for video in (gate, lobby):
        (folder / "footage").mkdir(exist_ok=True)
        shutil.copy(video, folder / "footage" / video.name)
    shutil.copytree(folder / "footage", folder / "recordings")
    shutil.copy(gate, folder / "footage.mp4")
    (folder / "truth.csv").write_text("camera,label,start,end\ngate,fight,3.0,10.5\n")

    learnt = {
        "fight": [("gate", 3.5), ("gate", 5.5), ("gate", 7.5), ("gate", 24.5), ("gate", 26.5)],
        "normal": [("courtyard", 2.0), ("courtyard", 10.0), ("courtyard", 20.0), ("lobby", 3.0), ("lobby", 8.0)],
    }
    held_out = {
        "fight": [("gate", 9.0), ("gate", 28.5)],
        "normal": [("courtyard", 15.0), ("lobby", 13.0)],
    }
    examples(folder / "data", learnt)
    examples(folder / "held-out", held_out)
    table(folder / "labels.csv", "data")
    table(folder / "footage.csv", "data")
    table(folder / "held-out.csv", "held-out")
    table(folder / "test.csv", "held-out")
    (folder / "mined.csv").write_text("path,label,start,end,group\nfootage/lobby.mp4,normal,1.0,4.0,lobby\n")

    # x3d-xs is the smallest and the quickest; a copy of it is a user's own.
    for name in ("own.safetensors", "better.safetensors"):
        shutil.copy(CHECKPOINTS / "x3d-xs.safetensors", folder / name)
    for suffix in (".xml", ".bin"):
        shutil.copy(CHECKPOINTS / f"cnn-lstm{suffix}", folder)
    settings = "".join(f'[cameras.{name}]\nurl = "{name}.mp4"\nloop = true\n\n' for name in ("gate", "lobby"))
    settings += '[channels.ops]\nurl = "http://127.0.0.1:9/"\nstates = ["started", "ended"]\n'
    settings += '[verdicts]\nbase_url = "http://127.0.0.1:9"\nsecret = "of-the-docs-and-no-other"\n'
    settings += 'listen = "127.0.0.1:0"\n'
    for name in ("clipline.toml", "site.toml"):
        (folder / name).write_text(settings)
    (folder / "dusk.toml").write_text('[[rules]]\ncamera = "dock-*"\nstart = 0.9\n')
    return folder


@pytest.fixture(scope="module")
def make_sandbox(
    prepared: Path, embedded_broker: Service, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Sandbox]:
    cache = tmp_path_factory.mktemp("cache")

    def make() -> Sandbox:
        folder = tmp_path_factory.mktemp("sandbox") / "site"
        shutil.copytree(prepared, folder)
        name = f"docs-{secrets.token_hex(4)}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLIPLINE_") or k.endswith("_LIBS")}
        environment |= {
            "CLIPLINE_KAFKA": embedded_broker.address,
            "CLIPLINE_REDIS": redis_url,
            # Groups of its own, too: members of one group wait for one another, whichever topics they read.
            "CLIPLINE_TOPICS__PREFIX": name,
            "CLIPLINE_WORKER__GROUP": name,
            "CLIPLINE_PICTURES__GROUP": f"{name}-pictures",
            "CLIPLINE_NOTIFY__GROUP": f"{name}-notify",
            "CLIPLINE_EVIDENCE__KEY": str(folder / "evidence.key"),
            # Each run serves one.
            "CLIPLINE_DASHBOARD__LISTEN": "127.0.0.1:0",
            "DOCK_URL": CAMERA,
            "XDG_CACHE_HOME": str(cache),
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "120",
        }
        return Sandbox(folder, environment)

    return make


@pytest.fixture
def sandbox(make_sandbox: Callable[[], Sandbox]) -> Iterator[Sandbox]:
    made = make_sandbox()
    yield made
    shutil.rmtree(made.folder)


@pytest.fixture
def watched(make_sandbox: Callable[[], Sandbox]) -> Iterator[Sandbox]:
    """A site that `clipline run` watches, from when its first event has ended."""
    site, asking = make_sandbox(), make_sandbox()
    # The docs look at what goes on, whatever finds it: the default may be behind on a busy machine without AVX-512.
    site.environment["CLIPLINE_WORKER__MODEL"] = "movenet-motion"
    asking = Sandbox(asking.folder, site.environment)

    with site.running("run", until=lambda: "ended" in states(asking)):
        yield asking


def states(site: Sandbox) -> dict[str, str]:
    """Ids of the stored events by their state."""
    if site.run("events", "--json") != 0:
        assert "does not exist: nothing was sent yet" in site.complaints()  # only before the first process began
        return {}
    reports = [json.loads(line) for line in site.printed().splitlines()]
    return {report["state"]: report["event"] for report in reports}


def has_segments(site: Sandbox) -> bool:
    """Whether footage is on the topic of segments."""
    transport, topic = KafkaTransport(site.environment["CLIPLINE_KAFKA"]), TopicSettings(prefix=site.prefix).segments
    return bool(transport.existing([topic])) and any(first < end for first, end in transport.offsets(topic).values())


def send_dead_letters(site: Sandbox) -> None:
    """Dead letters, so many that one lies wherever the docs look for one."""
    transport, topics = KafkaTransport(site.environment["CLIPLINE_KAFKA"]), TopicSettings(prefix=site.prefix)
    ensure_topics(transport, topics)
    producer = transport.producer()
    for number, camera in itertools.product(range(20), range(20)):
        record = Record(topics.segments, 0, number, str(camera).encode(), [], b"no segment")
        producer.send(topics.deadletter, *DeadLetter.of(record, "truncated").encode())
    producer.flush()
    producer.close()


def runs_until_stopped(words: tuple[str, ...]) -> bool:
    """Whether it has no end of its own, or plays footage in real time."""
    command, *rest = words
    return (
        words in {("pictures",), ("notify",)}
        or words[:2] == ("verdicts", "serve")
        or words == ("dashboard",)
        or command in {"run", "up", "work"}
        or (command == "status" and "--watch" in rest)
        or (command == "events" and {"--follow", "--serve"} & set(rest))
        or (command in {"attach", "demo"} and "max" not in rest)
    )


def for_here(words: tuple[str, ...], site: Sandbox) -> list[str]:
    """The line with what only the reader has replaced: cameras, ids of events, the names of topics."""
    found = []
    for word in words:
        name, mark, address = word.rpartition("=")
        if address.startswith("rtsp://"):
            found.append(f"{name}{mark}{CAMERA}")
        elif word == "3f0c6a":
            found.append(states(site)["ended"])
        elif word in {"127.0.0.1:8300", "127.0.0.1:8310"}:
            found.append("127.0.0.1:0")
        else:
            found.append(re.sub(r"^(kafka://)?clipline\.", rf"\g<1>{site.prefix}.", word))
    return found


@pytest.mark.parametrize("line", NOT_RUN)
def test_what_is_not_run_is_in_the_docs(line: str):
    assert tuple(shlex.split(line)) in command_lines()


def skip_what_cannot_run(words: tuple[str, ...]) -> None:
    if (line := shlex.join(words)) in NOT_RUN:
        pytest.skip(NOT_RUN[line])
    if "apache" in words and (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)


def check(words: tuple[str, ...], site: Sandbox) -> None:
    """Run a line as long as it takes, and look at how it ended."""
    here = for_here(words, site)
    if runs_until_stopped(words):
        begin, word = time.monotonic(), "events at http://" if "--serve" in words else BEGUN[words[0]]
        quiet = words[0] in QUIET

        def begun() -> bool:
            if words[0] == "attach":  # it prints when it ends
                return has_segments(site)
            return time.monotonic() - begin > QUIET_SECONDS if quiet else word in site.printed()

        with site.running(*here, until=begun) as process:
            pass
        assert word in site.printed(), site.said(process)
        # 130: footage was not played to its end.
        expected, code = {0, 130}, process.returncode
    else:
        expected, code = CODES.get(shlex.join(words), {0}), site.run(*here)
    assert code in expected, f"exit code {code}\n{site.printed()}\n{site.complaints()}"
    assert "Traceback" not in site.printed() + site.complaints()


@pytest.mark.parametrize("words", [line for line in command_lines() if line[0] not in _OF_WATCHED], ids=shlex.join)
def test_every_command_line_in_the_docs_runs(words: tuple[str, ...], sandbox: Sandbox):
    skip_what_cannot_run(words)
    if words[0] == "init":
        (sandbox.folder / "clipline.toml").unlink()
    if words[0] in {"work", "footage", "forget"} or any("kafka://" in word for word in words):
        # What it reads is there before it starts.
        assert sandbox.run("attach", "lobby.mp4", "--pace", "max") == 0, sandbox.complaints()
    if words[0] == "deadletter":
        send_dead_letters(sandbox)
    check(words, sandbox)


def test_every_command_line_in_the_docs_that_looks_at_a_run_runs(watched: Sandbox):
    # In one test: a run takes a third of two cores for as long as it goes on.
    for words in command_lines():
        if words[0] in _OF_WATCHED and shlex.join(words) not in NOT_RUN:
            check(words, watched)
