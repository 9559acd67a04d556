"""`clipline run` with cameras that end their agent: they are set aside, the others go on, and they come back."""

from __future__ import annotations

import re
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumers.running.state_topics import read_states
from consumers.settings import TopicSettings
from stream import KafkaTransport
from tests.test_run import QUICK, Run, needs_proc, running
from tests.videos import write_video
from tests.waiting import eventually

#: How a camera's thread ends its process: a fault amid C code, where Python's lock is not held, no memory, and a call
#: that holds the lock for ever.
FAULT = "ctypes.CDLL(None).strlen(None)"
NO_MEMORY = "os.kill(os.getpid(), signal.SIGKILL)"
HANG = "ctypes.PyDLL(None).sleep(3600)"
ASIDE_SECONDS = 30.0


def site(folder: Path, how: str) -> Path:
    """What has an agent die after so many pictures as the name of a film says, "deadly-5", while a file is there."""
    place = folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import ctypes, os, signal, sys
            if "consumers.running.child" in sys.orig_argv and "agent" in sys.orig_argv:
                from stream.feeds.source import Feed

                packets = Feed.packets

                def deadly(feed):
                    for number, packet in enumerate(packets(feed)):
                        if f"deadly-{{number}}." in feed.name and os.path.exists({str(folder / "is deadly")!r}):
                            {how}
                        yield packet

                Feed.packets = deadly
            elif "run" in sys.orig_argv:
                from consumers.running.supervising import blame

                blame.ASIDE_SECONDS, blame._PROBATION_SECONDS = ({ASIDE_SECONDS}, 3600.0), 3.0
        """)
    )
    (folder / "is deadly").touch()
    return place


def site_settings(folder: Path, cameras: dict[str, str], max_restarts: int) -> str:
    for name in set(cameras.values()):
        write_video(folder / f"{name}.mp4", 1200, **QUICK)
    tables = "".join(f'[cameras.{camera}]\nurl = "{name}.mp4"\nloop = true\n' for camera, name in cameras.items())
    return (
        f'{tables}[run]\nservices = "embedded"\nworkers = 0\nmax_restarts = {max_restarts}\n'
        "[segments]\nmin_seconds = 0.5\nmax_seconds = 1.0\n[metrics]\nstuck_seconds = 40\n"
    )


class Seen:
    """What the topic of states says of the cameras of a run."""

    def __init__(self, run: Run) -> None:
        self.kafka = run.until("Kafka at ").partition("Kafka at ")[2].partition(",")[0]
        self._transport = KafkaTransport(self.kafka)

    def feed(self, camera: str) -> Any:
        found = read_states(self._transport, TopicSettings()).cameras.get(camera)
        return None if found is None else found.feed

    def sent(self, camera: str) -> int:
        """How many segments of a camera are on the topic."""
        topic = TopicSettings().segments
        return sum(r.key == camera.encode() for r in self._transport.read(self._transport.offsets(topic)))

    def grows(self, camera: str) -> Callable[[], bool]:
        before = self.sent(camera)
        return lambda: self.sent(camera) >= before + 3


@pytest.mark.slow
@needs_proc
def test_two_cameras_with_a_fault_are_set_aside_the_third_goes_on_and_they_come_back(tmp_path):
    cameras = {"gate": "film", "dock": "deadly-5", "yard": "deadly-15"}
    settings = site_settings(tmp_path, cameras, max_restarts=0)
    with running(tmp_path, settings, site=site(tmp_path, FAULT)) as run:
        seen = Seen(run)
        for camera in ("dock", "yard"):
            run.until(f"reading {camera}, which is set aside until", seconds=180)
            for number in (1, 2):
                run.until(f"agent ended: killed by SIGSEGV; it was reading {camera} ({number} of 3 times")
        ends = [line for line in run.lines if "agent ended: " in line]
        assert all("starting it again in 0.5 s" in line for line in ends)
        log = (tmp_path / "clipline-logs" / "agent.log").read_text()
        assert log.count("Fatal Python error: Segmentation fault") >= 6
        assert eventually(seen.grows("gate"), 40)
        for camera in ("dock", "yard"):
            feed = seen.feed(camera)
            assert feed.code == "set-aside"
            assert re.search(r"reading it has ended the agent, \d times by now \(SIGSEGV\)$", feed.why)
        # Once more, and then not any more: the second pause is twice as long.
        run.until("yard, which is set aside until", times=2, seconds=120)
        (tmp_path / "is deadly").unlink()
        run.until("yard: no data for", after=len(run.lines) - 1)
        code, status = run.status(seen.kafka)
        assert code == 1
        assert any("yard: no data for" in line and "(set aside until " in line for line in status["problems"]), status
        for camera in ("dock", "yard"):
            assert eventually(lambda camera=camera: seen.feed(camera).status == "live", 4 * ASIDE_SECONDS)
            assert eventually(seen.grows(camera), 40)
        assert eventually(seen.grows("gate"), 40)
        assert run.end(signal.SIGTERM) == 0


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize(
    ("how", "ended"),
    [(NO_MEMORY, "killed by SIGKILL"), (HANG, "it hung (no sign of life for 10 s) and was killed")],
    ids=["no memory", "hang"],
)
def test_a_camera_that_has_the_agent_killed_is_found_and_set_aside(tmp_path, how, ended):
    cameras = {"gate": "film", "dock": "deadly-5", "yard": "film", "hall": "film"}
    settings = site_settings(tmp_path, cameras, max_restarts=2)
    with running(tmp_path, settings, site=site(tmp_path, how)) as run:
        seen = Seen(run)
        line = run.until("which is set aside until", seconds=300)
        assert f"agent ended: {ended}" in line
        assert "; it had just begun with dock, which is set aside until" in line
        ends = [each for each in run.lines if "agent ended: " in each]
        assert len(ends) <= 6
        assert sum("restart" in each for each in ends) == 2
        for camera in ("gate", "yard", "hall"):
            assert eventually(seen.grows(camera), 40)
        assert seen.feed("dock").code == "set-aside"
        (tmp_path / "is deadly").unlink()
        assert eventually(lambda: seen.feed("dock").status == "live", 4 * ASIDE_SECONDS)
        assert run.end(signal.SIGTERM) == 0
