"""`clipline pictures show`: the pictures of one event, as files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from consumers.outputs.evidence import newest_report
from consumers.records.event_pictures import Missing
from consumers.settings import Settings
from stream import SourceError, Transport

from .maker import PictureMaker


def show_pictures(transport: Transport, settings: Settings, event: str, targets: Mapping[str, Path]) -> Iterator[str]:
    """Write pictures of an event, and yield a line about each.

    Args:
        transport: the broker.
        settings: topics, and how pictures are made.
        event: the event's id, or the beginning of it.
        targets: by picture, "strip" or "peak", where to write it.

    Raises:
        SourceError: there is no such event, its picture cannot be made, or the path cannot be written.
        BrokerError: the broker is gone.
    """
    for path in targets.values():
        if path.suffix.lower() != ".webp":
            raise SourceError(f"{path}: expected a name that ends in .webp")
    report = newest_report(transport, settings.topics, event)
    began = time.monotonic()
    made = PictureMaker(settings).make(transport, report)
    seconds = time.monotonic() - began
    for name, path in targets.items():
        picture = made.strip if name == "strip" else made.peak
        if isinstance(picture, Missing):
            raise SourceError(f"event {report.id}: no {name} ({picture.reason}: {picture.detail})")
        try:
            path.write_bytes(picture.data)
        except OSError as error:
            raise SourceError(f"{path}: cannot be written ({error.strerror})") from None
        yield (
            f"{path}: {picture.width}x{picture.height}, {len(picture.data) / 1024:.0f} KiB, {len(picture.frames_us)} "
            f"frames; both pictures made in {seconds:.2f} s"
        )
