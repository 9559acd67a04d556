"""A camera that speaks RTSP, for tests that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

#: Set where cameras must be tested: without GStreamer's RTSP server, tests fail there instead of being skipped.
REQUIRE_RTSP = "CLIPLINE_REQUIRE_RTSP"
SYSTEM_PYTHON = "/usr/bin/python3"


def need_rtsp() -> None:
    """Skip the test where no RTSP server can be started; fail it where one must be there."""
    if (reason := _missing()) is not None:
        if os.environ.get(REQUIRE_RTSP) == "1":
            pytest.fail(f"{REQUIRE_RTSP}=1, but {reason}")
        pytest.skip(reason)


def _missing() -> str | None:
    if shutil.which(SYSTEM_PYTHON) is None:
        return f"needs {SYSTEM_PYTHON}"
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        return "needs GStreamer's RTSP server for Python (Debian: python3-gi gir1.2-gst-rtsp-server-1.0)"
    return None


@contextmanager
def camera(
    footage: Path, port: int = 0, password: str = "", sent_rate: float = 0
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Serve `footage` as rtsp://127.0.0.1:PORT/cam, with a password for the user "admin"; yield port and server.

    `sent_rate` is how many pictures it sends a second, whatever they are stamped with.
    """
    command = [SYSTEM_PYTHON, str(Path(__file__).with_name("rtsp_server.py")), str(footage), str(port), str(sent_rate)]
    login = ["admin", password] if password else []
    with subprocess.Popen([*command, *login], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            word, _, number = server.stdout.readline().partition(" ")
            assert word == "ready"
            yield int(number), server
        finally:
            server.kill()
