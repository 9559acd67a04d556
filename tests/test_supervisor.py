"""Processes that are kept running: what happens when one dies, hangs, or says that there is no use."""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers.running.child import EXIT_FINISHED, EXIT_REFUSED, EXIT_SERVICE_AWAY
from consumers.running.logs import BoundedLog
from consumers.running.supervising import supervisor as supervisor_module
from consumers.running.supervising.blame import Blame
from consumers.running.supervising.pulse import Pulse, Vigil
from consumers.running.supervising.supervisor import ChildSpec, ProcessFailedError, RestartPolicy, Supervisor
from consumers.topics import ensure_topics
from stream import KafkaTransport
from tests.servers import free_port
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "RESTART_SECONDS", (0.01, 0.05))


class Kept:
    """A supervisor of one script, and what it said."""

    def __init__(
        self,
        script: str,
        folder: Path,
        max_restarts: int = 3,
        *,
        is_needed: bool = True,
        stuck_seconds: float = 60,
        runs: str = "/bin/sh",
        blame: Blame | None = None,
    ) -> None:
        self.said: list[str] = []
        self.log = folder / "it.log"
        self.supervisor = Supervisor(
            [ChildSpec("it", [runs, "-c", script], dict(os.environ), is_needed, blame)],
            folder,
            max_restarts=max_restarts,
            window_seconds=60,
            stuck_seconds=stuck_seconds,
            say=self.said.append,
        )
        self.supervisor.start()

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            self.supervisor.check()
            time.sleep(0.005)
        assert holds(), self.said


def test_what_dies_is_started_again_and_the_reason_is_said(tmp_path):
    kept = Kept("echo 2026-11-28T00:00:00Z ERROR the disk is full; exit 3", tmp_path)
    kept.until(lambda: len(kept.said) == 2)
    kept.supervisor.stop(0.5)
    assert kept.said[0].startswith("it ended: exit code 3, the disk is full; starting it again in 0.01 s (restart 1 of")
    assert "in 0.02 s" in kept.said[1]
    assert kept.log.read_text().count("the disk is full") >= 2


@pytest.mark.parametrize(("code", "starts"), [(3, 4), (EXIT_REFUSED, 1)])
def test_what_is_not_needed_and_does_not_run_is_said_once_and_tried_again_much_later(
    tmp_path, monkeypatch, code, starts
):
    monkeypatch.setattr("consumers.running.supervising.supervisor._LATER_SECONDS", 0.3)
    monkeypatch.setattr("consumers.running.supervising.supervisor._BACK_SECONDS", 0.3)
    port = tmp_path / "port is free"
    kept = Kept(f"echo once; if [ -e '{port}' ]; then sleep 60; fi; exit {code}", tmp_path, is_needed=False)
    kept.until(lambda: kept.said[-1:] != [] and "it does not run, the others go on: " in kept.said[-1])
    said = list(kept.said)
    assert kept.log.read_text().count("once") == starts
    kept.until(lambda: kept.log.read_text().count("once") == starts + 2)
    assert kept.said == said
    port.touch()
    kept.until(lambda: kept.said != said)
    kept.supervisor.stop(0.5)
    assert kept.said == [*said, "it runs again"]


def test_what_dies_too_often_ends_everything_with_its_last_words(tmp_path):
    kept = Kept("echo one; echo two; kill -9 $$", tmp_path)
    with pytest.raises(ProcessFailedError) as caught:
        kept.until(lambda: False)
    kept.supervisor.stop(0.5)
    assert "it ended again: killed by SIGKILL" in str(caught.value)
    assert str(kept.log) in str(caught.value)
    assert str(caught.value).endswith("\n  one\n  two")
    assert len(kept.said) == 3


def test_what_waits_for_a_service_is_tried_as_long_as_it_takes(tmp_path):
    kept = Kept(f"exit {EXIT_SERVICE_AWAY}", tmp_path, max_restarts=1)
    kept.until(lambda: len(kept.said) == 4)
    kept.supervisor.stop(0.5)
    assert all(line.startswith("it waits for a service: ") for line in kept.said)


def test_what_cannot_be_done_is_not_tried_again(tmp_path):
    kept = Kept(f"echo 2026-11-28T00:00:00Z ERROR unknown model nope; exit {EXIT_REFUSED}", tmp_path)
    with pytest.raises(ProcessFailedError, match=r"^it: unknown model nope$"):
        kept.until(lambda: False)
    kept.supervisor.stop(0.5)


def test_what_did_run_and_is_refused_now_is_tried_again_much_later(tmp_path, monkeypatch):
    monkeypatch.setattr("consumers.running.supervising.supervisor._LATER_SECONDS", 0.2)
    monkeypatch.setattr("consumers.running.supervising.supervisor._BACK_SECONDS", 0.2)
    file = tmp_path / "url"
    file.touch()
    kept = Kept(
        f"[ -e '{file}' ] || {{ echo 2026-11-28T00:00:00Z ERROR no such file; exit {EXIT_REFUSED}; }}; sleep 60",
        tmp_path,
    )
    kept.until(lambda: kept.supervisor.pids() != {})
    deadline = time.monotonic() + 0.4
    kept.until(lambda: time.monotonic() > deadline)
    file.unlink()
    os.kill(kept.supervisor.pids()["it"], signal.SIGKILL)
    kept.until(lambda: len(kept.said) == 2)
    assert kept.said[1].startswith("it does not run, the others go on: no such file; it is tried again every")
    file.touch()
    kept.until(lambda: len(kept.said) == 3)
    kept.supervisor.stop(0.5)
    assert kept.said[2] == "it runs again"


def alive(folder: Path, then: str = "", stuck_seconds: float = 60) -> Kept:
    """A process that gives signs of life, and does something once there is a file `now`."""
    script = f"""
import os, time
from consumers.running.supervising.pulse import Pulse
pulse = Pulse()
pulse.begin()
print("begun", flush=True)
while not os.path.exists({str(folder / "now")!r}):
    time.sleep(0.01)
{then}
time.sleep(60)
"""
    kept = Kept(script, folder, stuck_seconds=stuck_seconds, runs=sys.executable)
    kept.until(lambda: "begun" in kept.log.read_text())
    return kept


def test_a_process_that_is_stopped_gives_no_sign_of_life_and_is_replaced(tmp_path):
    kept = alive(tmp_path, stuck_seconds=12)
    (pid,) = kept.supervisor.pids().values()
    deadline = time.monotonic() + 4
    kept.until(lambda: time.monotonic() > deadline)
    assert kept.said == [], "it says something each second, and so is let be"
    os.kill(pid, signal.SIGSTOP)
    kept.until(lambda: kept.supervisor.pids().get("it", pid) != pid)
    kept.supervisor.stop(0.5)
    (silent,) = re.findall(r"it ended: it hung \(no sign of life for (\S+) s\) and was killed, see ", kept.said[0])
    assert 3 <= float(silent) < 6


def test_a_main_loop_that_is_stuck_is_killed_and_its_log_says_where_it_was(tmp_path):
    then = """
def waits_for_ever():
    time.sleep(60)

pulse.watch(lambda: "stuck for 2 min while reading")
waits_for_ever()
"""
    kept = alive(tmp_path, then)
    (tmp_path / "now").touch()
    kept.until(lambda: kept.said != [])
    kept.supervisor.stop(0.5)
    assert kept.said[0].startswith("it ended: it hung (stuck for 2 min while reading) and was killed")
    assert "in waits_for_ever" in kept.log.read_text()


def test_an_interpreter_that_stands_still_is_seen_and_its_log_says_where_it_was(tmp_path):
    then = """
import ctypes

def holds_the_lock():
    ctypes.PyDLL(None).sleep(60)

holds_the_lock()
"""
    kept = alive(tmp_path, then, stuck_seconds=8)
    (tmp_path / "now").touch()
    kept.until(lambda: kept.said != [])
    kept.supervisor.stop(0.5)
    (silent,) = re.findall(r"it hung \(no sign of life for (\S+) s\)", kept.said[0])
    assert 2 <= float(silent) < 5
    assert "in holds_the_lock" in kept.log.read_text()


def test_time_in_which_the_supervisor_itself_stood_still_does_not_count():
    now = [0.0]
    line, theirs = socket.socketpair()
    with line, theirs:
        vigil = Vigil(line, 120, lambda: now[0])
        theirs.send(b"\n")
        assert vigil.hangs() is None
        now[0] = 3600
        assert vigil.hangs() is None
        for _ in range(14):
            now[0] += 2
            assert vigil.hangs() is None
        now[0] += 1
        assert vigil.hangs() == "no sign of life for 31 s"


def test_a_process_that_has_said_nothing_yet_may_still_be_read_from_a_slow_disk():
    now = [0.0]
    line, theirs = socket.socketpair()
    with line, theirs:
        vigil = Vigil(line, 120, lambda: now[0])
        for _ in range(60):
            now[0] += 2
            assert vigil.hangs() is None
        now[0] += 2
        assert vigil.hangs() == "no sign of life for 2 min 2 s"


def test_a_process_that_was_stopped_for_a_while_is_not_stuck_when_it_goes_on(tmp_path):
    then = """
turned = time.monotonic()
pulse.watch(lambda: "stuck" if time.monotonic() - turned > 3.5 else None)
print("turning", flush=True)
while True:
    turned = time.monotonic()
    time.sleep(0.2)
    if time.monotonic() - turned > 3:
        time.sleep(3)  # the rest of what it was at
        print("went on", flush=True)
"""
    kept = alive(tmp_path, then)
    (tmp_path / "now").touch()
    kept.until(lambda: "turning" in kept.log.read_text())
    (pid,) = kept.supervisor.pids().values()
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 4.5
    kept.until(lambda: time.monotonic() > deadline)
    os.kill(pid, signal.SIGCONT)
    kept.until(lambda: "went on" in kept.log.read_text() or kept.said != [])
    kept.supervisor.stop(0.5)
    assert kept.said == []


def test_of_what_was_said_while_nobody_listened_the_newest_counts():
    line, theirs = socket.socketpair()
    with line, theirs:
        vigil = Vigil(line, 120)
        theirs.send(b"\nstuck for 2 min while reading\n\n")
        assert vigil.hangs() is None
        theirs.send(b"\n" * 5000 + b"stuck for 3 min while reading\n")
        assert vigil.hangs() == "stuck for 3 min while reading"
        theirs.close()
        assert vigil.hangs() is None


@pytest.mark.parametrize("role", ["dashboard", "verdicts"])
def test_a_server_whose_loop_does_not_turn_is_said_to_be_stuck(role, monkeypatch):
    pytest.importorskip("fastapi")
    from consumers.records.states.process import ProcessInfo
    from consumers.running.child import ROLES
    from consumers.settings import Settings, override
    from consumers.verdicts.serving import VerdictPages
    from consumers.web import serving

    seen = threading.Event()

    async def blocks(_scope: object, _receive: object, _send: object) -> None:
        seen.wait(60)  # as a call would that was not meant for an event loop

    monkeypatch.setattr(serving, "make_app", lambda *_: blocks)
    monkeypatch.setattr(VerdictPages, "app", property(lambda _: blocks, lambda *_: None), raising=False)
    port = free_port()
    changes = {
        "kafka": "127.0.0.1:1",
        "dashboard": {"listen": f"127.0.0.1:{port}"},
        "verdicts": {"listen": f"127.0.0.1:{port}", "base_url": "http://x", "secret": "s" * 40},
    }
    pulse = Pulse()
    settings = override(Settings(), changes, "test")
    settings = settings.model_copy(update={"metrics": settings.metrics.model_copy(update={"stuck_seconds": 1.5})})
    with importlib.import_module(ROLES[role]).prepare(settings, ProcessInfo.current("it"), pulse):
        time.sleep(2)
        assert pulse.stuck() is None
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert eventually(lambda: (pulse.stuck() or "").startswith("stuck for "))
            seen.set()


@pytest.mark.parametrize(
    ("role", "place", "doing"),
    [
        ("notify", "consumers.notifying.desk:Desk.news", "notifying"),
        ("pictures", "consumers.pictures.follow:_Connection.poll", "making pictures"),
    ],
    ids=["notify", "pictures"],
)
def test_a_loop_that_hangs_is_said_to_be_stuck_and_one_that_goes_on_is_not(
    role, place, doing, embedded_broker, topics_prefix, redis_url, monkeypatch
):
    from consumers.records.states.process import ProcessInfo
    from consumers.running.child import ROLES
    from consumers.running.ending import Ending
    from consumers.settings import Settings

    pytest.importorskip("PIL")
    owner, _, name = place.rpartition(".")
    turns, goes_on = threading.Event(), threading.Event()
    goes_on.set()
    real = getattr(pkgutil.resolve_name(owner), name)

    def hangs(*arguments: object) -> object:
        turns.set()
        goes_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(pkgutil.resolve_name(owner), name, hangs)
    monkeypatch.setattr(os, "nice", lambda _: 0)  # of this process
    settings = Settings.model_validate(
        {
            "kafka": embedded_broker.address,
            "redis": redis_url,
            "topics": {"prefix": topics_prefix},
            "notify": {"group": f"{topics_prefix}-notify"},
            "pictures": {"group": f"{topics_prefix}-pictures"},
            "channels": {"ops": {"url": "http://127.0.0.1:1/"}},
            "metrics": {"stuck_seconds": 3.0},
        }
    )
    ensure_topics(KafkaTransport(settings.broker), settings.topics)
    pulse, ending = Pulse(), Ending()
    with importlib.import_module(ROLES[role]).prepare(settings, ProcessInfo.current("it"), pulse) as run:
        work = threading.Thread(target=run, args=(ending,))
        work.start()
        try:
            assert turns.wait(30)
            until = time.monotonic() + 4
            while time.monotonic() < until:
                assert pulse.stuck() is None
                time.sleep(0.1)
            goes_on.clear()
            assert eventually(lambda: pulse.stuck() is not None, 10)
            assert re.fullmatch(rf"stuck for \d\.\d s while {doing}", pulse.stuck())
            goes_on.set()
            assert eventually(lambda: pulse.stuck() is None, 10)
        finally:
            goes_on.set()
            ending.ask()
            work.join(30)
    assert not work.is_alive()


def test_a_death_that_is_a_cameras_doing_does_not_count_and_the_next_agent_is_told_of_it(tmp_path):
    script = """
import ctypes, faulthandler, os, threading, time
from consumers.running.supervising.pulse import Pulse
from consumers.running.supervising.turns import Turns
faulthandler.enable()
pulse = Pulse()
pulse.begin()
turns = Turns(os.environ.get("CLIPLINE_TURNS", ""), pulse.tell)

def read(camera):
    if (why := turns.admit(camera)) is not None:
        print(why, flush=True)
    elif camera == "dock":
        ctypes.CDLL(None).strlen(None)
    time.sleep(60)

for camera in ("gate", "dock"):
    threading.Thread(target=read, args=(camera,)).start()
"""
    kept = Kept(script, tmp_path, 0, runs=sys.executable, blame=Blame(["gate", "dock"]))
    kept.until(lambda: "set aside until " in kept.log.read_text(), 60)
    kept.supervisor.stop(0.5)
    assert len(kept.said) == 3
    for said, follows in zip(kept.said, (" (1 of 3", " (2 of 3", ", which is set aside until "), strict=True):
        assert said.startswith(f"it ended: killed by SIGSEGV; it was reading dock{follows}")
        assert said.endswith("; starting it again in 0.01 s")
    assert "reading it has ended the agent, 3 times by now (SIGSEGV)" in kept.log.read_text()


def test_what_has_finished_is_left_at_that(tmp_path):
    kept = Kept(f"exit {EXIT_FINISHED}", tmp_path)
    kept.until(lambda: bool(kept.said))
    time.sleep(0.05)
    kept.supervisor.check()
    assert kept.said == ["it has nothing more to do"]
    assert kept.supervisor.stop(0.5) == []


def test_a_process_that_will_not_end_is_killed_and_named(tmp_path):
    kept = Kept("trap '' TERM; echo ready; while :; do sleep 0.05; done", tmp_path)
    kept.until(lambda: "ready" in kept.log.read_text())
    (pid,) = kept.supervisor.pids().values()
    begin = time.monotonic()
    assert kept.supervisor.stop(0.5) == ["it"]
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_only_deaths_within_the_window_count_and_a_long_life_shortens_the_pause():
    policy = RestartPolicy(max_restarts=2, window_seconds=60)
    assert [policy.pause(now, 1, counts=True) for now in (0, 1)] == [0.01, 0.02]
    assert policy.pause(2, 1, counts=True) is None
    policy = RestartPolicy(max_restarts=2, window_seconds=60)
    assert [policy.pause(now, 1, counts=True) for now in (0, 1, 100)] == [0.01, 0.02, 0.04]
    assert policy.pause(1000, 900, counts=True) == 0.01


def test_a_log_never_grows_beyond_two_files(tmp_path):
    log = BoundedLog(tmp_path / "it.log", max_bytes=1000)
    for number in range(1000):
        log.write(b"line %d\n" % number)
    log.close()
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(files) == {"it.log", "it.log.1"}
    assert max(files.values()) < 1020
    assert (tmp_path / "it.log").read_bytes().endswith(b"line 999\n")


def test_a_log_that_somebody_takes_away_is_begun_anew_and_one_that_cannot_be_is_tried_again(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = BoundedLog(folder / "it.log", max_bytes=20)
    log.write(b"before")
    shutil.rmtree(folder)
    log.write(b"after")
    assert (folder / "it.log").read_bytes() == b"after\n"
    # Grown beyond its limit where it cannot be put aside.
    (folder / "it.log.1").mkdir()
    log.write(b"twenty characters and more")
    for _ in range(3):
        with pytest.raises(OSError, match=r"it\.log"):
            log.write(b"lost")
    (folder / "it.log.1").rmdir()
    log.write(b"last")
    log.close()
    assert (folder / "it.log").read_bytes() == b"last\n"


def test_what_cannot_be_started_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    kept = Kept("echo once; sleep 60", tmp_path)
    kept.until(lambda: "once" in kept.log.read_text())
    before = kept.supervisor.pids()["it"]
    started, refusals = subprocess.Popen, iter(range(2))

    def start(*args: object, **options: object) -> subprocess.Popen[bytes]:
        if next(refusals, None) is not None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return started(*args, **options)

    monkeypatch.setattr(supervisor_module.subprocess, "Popen", start)
    os.kill(before, signal.SIGKILL)
    kept.until(lambda: kept.log.read_text().count("once") == 2)
    kept.supervisor.stop(0.5)
    assert [line.partition("; trying")[0] for line in kept.said[1:]] == 2 * [
        "it cannot be started (Too many open files)"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to tell")
@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_a_child_ends_when_its_supervisor_is_killed_however_much_that_had_not_heard(tmp_path, is_stopped):
    """The end of a socket on which something is unread is no end of a file, but an error."""
    script = f"""
import os, sys, time
from pathlib import Path
from consumers.running.child import child_command, child_environment
from consumers.running.supervising.supervisor import ChildSpec, Supervisor
spec = ChildSpec("it", child_command("agent", "it"), child_environment(dict(os.environ)))
supervisor = Supervisor(
    [spec], Path({str(tmp_path)!r}), max_restarts=0, window_seconds=60, stuck_seconds=600, say=print
)
supervisor.start()
print(supervisor.pids()["it"], flush=True)
time.sleep(180)
"""
    settings = tmp_path / "clipline.toml"
    settings.write_text('kafka = "127.0.0.1:1"\n[cameras.dead]\nurl = "rtsp://127.0.0.1:1/cam"\n')
    environment = {**os.environ, "CLIPLINE_SETTINGS": str(settings), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert eventually(lambda: "waiting for Kafka" in (tmp_path / "it.log").read_text(), 150)
        if is_stopped:
            os.kill(child, signal.SIGSTOP)
        parent.kill()
    state = Path(f"/proc/{child}/stat")
    assert eventually(lambda: not state.exists() or ") Z " in state.read_text())


def test_a_record_is_one_line_even_with_a_traceback():
    script = (
        "import logging; from consumers.running.logs import log_to_stderr; log_to_stderr()\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: logging.getLogger('x').exception('two\\nlines')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line[10] == "T"
    assert "Z ERROR two | lines | Traceback" in line
    assert line.endswith("ZeroDivisionError: division by zero")


def test_what_libraries_tell_in_passing_is_in_no_log():
    """Some of it holds addresses, with whatever is secret in them."""
    script = (
        "import logging; from consumers.running.logs import log_to_stderr; log_to_stderr()\n"
        "for name in ('some.library', 'consumers.live', '__main__'):\n"
        "    logging.getLogger(name).info('info of %s', name)\n"
        "logging.getLogger('some.library').warning('trouble')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    said = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    assert said == ["INFO info of consumers.live", "INFO info of __main__", "WARNING trouble"]


def test_a_log_that_cannot_be_written_is_said_once_and_hangs_nobody(tmp_path):
    (tmp_path / "it.log").symlink_to("/dev/full")
    # More than a pipe holds: a child that nobody reads would hang.
    kept = Kept("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 0", tmp_path)
    kept.until(lambda: any("nothing more to do" in line for line in kept.said))
    kept.supervisor.stop(0.5)
    assert [line for line in kept.said if "No space left on device" in line] == [
        f"{kept.log} cannot be written (No space left on device): log lines are lost"
    ]


def test_the_first_ends_before_the_others_are_told_to_and_all_within_the_time(tmp_path):
    times = {name: tmp_path / f"{name}.end" for name in ("first", "stubborn", "last")}
    scripts = {name: f"trap 'date +%s.%N > {path}; exit 0' TERM; echo ready; " for name, path in times.items()}
    scripts["first"] = f"trap 'sleep 0.3; date +%s.%N > {times['first']}; exit 0' TERM; echo ready; "
    scripts["stubborn"] = "trap '' TERM; echo ready; "
    specs = [
        ChildSpec(name, ["/bin/sh", "-c", f"{script} while :; do sleep 0.05; done"], dict(os.environ))
        for name, script in scripts.items()
    ]
    supervisor = Supervisor(specs, tmp_path, max_restarts=0, window_seconds=60, stuck_seconds=60, say=lambda _: None)
    supervisor.start()
    assert eventually(lambda: all("ready" in (tmp_path / f"{name}.log").read_text() for name in scripts))
    begin = time.monotonic()
    assert supervisor.stop(4.0) == ["stubborn"]
    assert 3.9 < time.monotonic() - begin < 7.9, "not four seconds for each"
    assert float(times["first"].read_text()) < float(times["last"].read_text())
