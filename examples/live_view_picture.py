"""Draw the live view of a real `clipline demo`, while an event goes on, as the SVG that the README shows.

python examples/live_view_picture.py docs/live-view.svg
"""

from __future__ import annotations

import argparse
import io
import sys
import threading
from pathlib import Path

from consumers.live.figures.snapshot import WorkerSnapshot
from consumers.terminal.console import Output
from consumers.terminal.demo.demo import run_demo
from consumers.terminal.live_view import LiveView

#: So that the picture shows what has ended beside what goes on.
ENDED_BEFORE = 2
#: Wide enough for the score's bar and frames a second, narrow enough for a README.
WIDTH, HEIGHT = 104, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    stop = threading.Event()

    def watch(view: LiveView, snapshot: WorkerSnapshot) -> None:
        alarming = [c for c in snapshot.cameras if c.active and c.newest and c.newest.label == c.active[0].label]
        ended = [event for event in snapshot.newest_events if event.state == "ended"]
        if stop.is_set() or not alarming or len(ended) < ENDED_BEFORE:
            return
        picture = Output(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
        picture.print(view)
        picture.save_svg(str(arguments.output), title="clipline demo")
        stop.set()

    # Drawn all the time, also where nobody looks: frames a second are counted from drawing to drawing.
    run_demo(Output(force_terminal=True), None, None, "realtime", stop, watch)
    if not stop.is_set():
        sys.exit("no event went on while the demo ran: nothing was drawn")


if __name__ == "__main__":
    main()
