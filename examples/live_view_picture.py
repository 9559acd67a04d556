"""Draw the live view of a real `clipline demo`, some seconds into it, as the SVG that the README shows.

python examples/live_view_picture.py docs/live-view.svg --after 14
"""

from __future__ import annotations

import argparse
import io
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from consumers.terminal import demo
from consumers.terminal.live_view import LiveView


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--after", type=float, default=14.0, help="seconds after the view appeared (default 14)")
    arguments = parser.parse_args()
    stop = threading.Event()
    timers: list[threading.Timer] = []

    def draw(view: LiveView) -> None:
        picture = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
        picture.print(view)
        picture.save_svg(str(arguments.output), title="make demo")
        stop.set()

    class Watched(LiveView):
        def __init__(self, *a: Any, **k: Any) -> None:
            super().__init__(*a, **k)
            timers.append(threading.Timer(arguments.after, draw, [self]))
            timers[-1].start()

    demo.LiveView = Watched  # type: ignore[misc]
    demo.run_demo(Console(), None, None, "realtime", stop)


if __name__ == "__main__":
    main()
