"""What `clipline attach` shows: how far it has come, and what was sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import Progress, TextColumn

from consumers.terminal.console import Output
from stream import Attached


@contextlib.contextmanager
def attach_progress(console: Output, camera: str) -> Iterator[Callable[[Attached], None]]:
    """Yield a function that is told how far an attachment has come, and shows it in one line until it ends."""
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(camera, total=None, state="connecting")

        def show(attached: Attached) -> None:
            progress.update(task, state=_sent(attached))

        yield show


def attach_summary(camera: str, attached: Attached) -> str:
    """What was sent of a camera, and what was skipped, in one line."""
    skipped = "".join(f", {n} frames skipped ({reason})" for reason, n in sorted(attached.skipped.items()))
    return f"{camera}: {attached.frames} frames in {_sent(attached)}{skipped}"


def _sent(attached: Attached) -> str:
    return f"{attached.segments} segments, {attached.seconds:.1f} s of footage, {attached.bytes / 1e6:.1f} MB"
