"""Pictures of pages, as `python docs/screenshots.py` takes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from tests.browsers import chromium

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "screenshots.py"


def test_a_page_is_taken_at_a_width_in_a_theme_and_a_language(tmp_path: Path):
    with chromium():
        pass
    asked = ["--cameras", "0", "--page", "wall", "--page", "login", "--width", "390", "--theme", "dark"]
    command = [sys.executable, str(SCRIPT), "--folder", str(tmp_path), *asked, "--language", "de"]
    subprocess.run(command, check=True, timeout=120)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["login-390-dark-de.png", "wall-390-dark-de.png"]
    with av.open(str(tmp_path / "wall-390-dark-de.png")) as picture:
        frame = next(picture.decode(video=0))
    assert frame.width == 390
    assert frame.to_ndarray(format="rgb24")[-1, -1].max() < 64
