"""Scripts beside the packages start: type checks reach them, and few of them run in tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Those of docs/ write pages, and tests call what they do.
SCRIPTS = sorted(
    path
    for room in ("benchmarks", "examples", "tools")
    for path in (ROOT / room).glob("*.py")
    if "__main__" in path.read_text("utf-8")
)
#: In one process: most of the time that a script takes to start is for what all of them import.
HELP = """
import contextlib, io, json, runpy, sys, traceback

found = {}
for script in sys.argv[1:]:
    sys.argv, sys.path[0], said = [script, "--help"], script.rpartition("/")[0], io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        found[script] = "" if ended.code == 0 and said.getvalue().startswith("usage: ") else f"{ended.code}: no usage"
    except BaseException:
        found[script] = traceback.format_exc()
    else:
        found[script] = "it does not end with its usage"
print(json.dumps(found))
"""


@pytest.mark.slow
def test_each_script_says_how_it_is_used() -> None:
    assert len(SCRIPTS) > 20
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HELP, *map(str, SCRIPTS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(SCRIPTS)
    assert {script: wrong for script, wrong in found.items() if wrong} == {}
