"""The Makefile and its installer, in a clone whose path has a space, with stand-ins for uv and Python packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[1]
#: Stands in for uv, notes its calls, and installs commands that note theirs.
UV = """#!/bin/bash
echo "uv $*" >> calls
[ -e fails ] && { echo "no such index"; exit 3; }
if [ -e waits ]; then touch waiting; sleep 300 & wait; fi
for name in python clipline ruff mypy lint-imports; do
  rm -f ".venv/bin/$name"
  printf '#!/bin/bash\\necho "%s $*" >> calls\\n' "$name" > ".venv/bin/$name" && chmod +x ".venv/bin/$name"
done
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    for name in ("bin", "stream", "models", "consumers"):
        (folder / name).mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "tools", folder / "tools")
    (folder / "bin" / "uv").write_text(UV)
    (folder / "bin" / "uv").chmod(0o755)
    return folder


def make(clone: Path, *arguments: str) -> subprocess.Popen[str]:
    # These tests are themselves run by a make, whose arguments are not for this one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in {"ARGS", "FOOTAGE"}}
    return subprocess.Popen(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=clone,
        env=environment | {"PATH": f"{clone / 'bin'}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def made(clone: Path, *arguments: str, status: int = 0) -> str:
    process = make(clone, *arguments)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    return output


def calls(clone: Path) -> list[str]:
    found = (clone / "calls").read_text().splitlines()
    (clone / "calls").unlink()
    return found


def test_demo_installs_what_a_demo_needs_and_a_second_call_nothing(clone: Path) -> None:
    output = made(clone, "demo", "FOOTAGE=my videos")
    assert "Installing what a demo needs: " in output
    assert "about 0.5 GB" in output
    packages, demo = calls(clone)
    assert (
        packages == "uv pip install --python .venv/bin/python -c constraints.txt pip -e .[edge,services,pictures,web]"
    )
    assert demo == "clipline demo my videos"
    assert made(clone, "demo") == ""
    assert calls(clone) == ["clipline demo"]


def test_other_targets_install_the_rest_into_the_same_environment_and_say_how_large(clone: Path) -> None:
    made(clone, "demo")
    calls(clone)
    assert "torch and tools; about 7 GB" in made(clone, "test")
    assert calls(clone)[0].endswith("-e .[full,dev]")
    assert made(clone, "test", "check", "demo") == ""
    assert not [call for call in calls(clone) if call.startswith("uv")]


def test_full_install_serves_the_demo(clone: Path) -> None:
    made(clone, "install")
    calls(clone)
    assert made(clone, "demo") == ""
    assert calls(clone) == ["clipline demo"]


def test_new_constraints_are_installed(clone: Path) -> None:
    made(clone, "demo")
    calls(clone)
    os.utime(clone / "constraints.txt", (time.time() + 5,) * 2)
    made(clone, "demo")
    assert calls(clone)[0].startswith("uv pip install")


@pytest.mark.parametrize("whom", ["all, as a terminal does", "make alone"])
def test_interrupted_install_leaves_nothing_running_and_the_next_call_begins_anew(clone: Path, whom: str) -> None:
    (clone / "waits").touch()
    process = make(clone, "demo")
    assert eventually((clone / "waiting").exists, 60)
    (clone / ".venv" / "half").touch()
    if whom == "make alone":
        process.send_signal(signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # returns once nobody holds its output any more
    assert process.returncode != 0
    assert "interrupted" in output
    assert "Traceback" not in output
    assert not [call for call in calls(clone) if call.startswith("clipline")]

    def is_running() -> bool:
        return str(clone) in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

    assert eventually(lambda: not is_running())

    (clone / "waits").unlink()
    assert "the last install did not end" in made(clone, "demo")
    assert not (clone / ".venv" / "half").exists()
    assert calls(clone)[-1] == "clipline demo"


def test_where_uv_fails_pip_installs_the_same(clone: Path) -> None:
    made(clone, "demo")
    calls(clone)
    (clone / "fails").touch()
    output = made(clone, "install")
    assert "no such index" in output
    assert "trying pip" in output
    _, pip = calls(clone)
    assert pip.startswith("python ")
    assert pip.endswith("pip install --disable-pip-version-check -c constraints.txt pip -e .[full,dev]")


def test_failure_is_told_with_its_last_lines_and_tried_again_by_the_next_call(clone: Path) -> None:
    made(clone, "demo")
    calls(clone)
    (clone / "fails").touch()
    (clone / ".venv" / "bin" / "python").write_text("#!/bin/bash\necho disk is full; exit 1\n")
    assert "disk is full" in made(clone, "install", status=2)
    (clone / "fails").unlink()
    made(clone, "install")
    assert "Nothing to be done" in made(clone, "install")


def test_older_python_is_refused_with_the_way_out(clone: Path) -> None:
    old = clone / "old-python"
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    output = made(clone, "demo", f"PYTHON=./{old.name}", status=2)
    assert "needs Python 3.11 or newer; './old-python' is older" in output


def test_help_lists_every_target_and_names_sizes(clone: Path) -> None:
    output = made(clone, "help")
    targets = [line.split()[1] for line in (clone / "Makefile").read_text().splitlines() if line.startswith(".PHONY")]
    assert all(f"make {target} " in output for target in targets)
    assert "(0.5 GB)" in output
    assert "(7 GB)" in output
