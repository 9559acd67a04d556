"""What `clipline attach` shows: how far it has come, and what was sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.progress import Progress, TextColumn

from consumers.records.prediction import rfc3339
from consumers.terminal.console import Output
from consumers.terminal.wording import duration, moment
from stream import Attached, FeedState


@contextlib.contextmanager
def attach_progress(console: Output, camera: str, begins: str = "connecting") -> Iterator[Callable[[Attached], None]]:
    """Yield a function that is told how far an attachment has come, and shows it in one line until it ends.

    `begins` is shown until something was sent.
    """
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(camera, total=None, state=begins)

        def show(attached: Attached) -> None:
            progress.update(task, state=_sent(attached))

        yield show


class QuietNotes:
    """Says when a camera gives nothing any more, why and since when, and when it is back."""

    def __init__(self, console: Output) -> None:
        self._console = console
        self._since_us: int | None = None
        self._why: str | None = None

    def hear(self, state: FeedState) -> None:
        """Take its state; call it a few times a second."""
        if state.status in {"failed", "stalled"}:
            if self._since_us is None:
                self._since_us = state.data_us or state.since_us
            elif state.why == self._why:
                return
            self._why = state.why
            why = f" ({state.why})" if state.why else ""
            self._say(state, f"no data since {moment(rfc3339(self._since_us))}{why}", "yellow")
        elif self._since_us is not None:
            if state.status == "live" and state.data_us is not None:
                self._say(state, f"live again, after {duration((state.data_us - self._since_us) / 1e6)}", "green")
            self._since_us = None if state.status not in {"connecting", "opening"} else self._since_us

    def _say(self, state: FeedState, text: str, style: str) -> None:
        self._console.print(f"{state.camera}: {text}", style=style, markup=False, soft_wrap=True)


def attach_summary(camera: str, attached: Attached) -> str:
    """What was sent of a camera, and what was skipped, in one line."""
    skipped = "".join(f", {n} frames skipped ({reason})" for reason, n in sorted(attached.skipped.items()))
    return f"{camera}: {attached.frames} frames in {_sent(attached)}{skipped}"


def _sent(attached: Attached) -> str:
    waits = f", {attached.on_disk} of them wait on disk" if attached.on_disk else ""
    unsent = f", {attached.unsent} of them not sent: the broker is away" if attached.unsent else ""
    sent = f"{attached.segments} segments, {attached.seconds:.1f} s of footage, {attached.bytes / 1e6:.1f} MB"
    return f"{sent}{waits}{unsent}"
