"""`clipline footage`: what footage there is, out of the index of segments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from consumers.footage_index import FootageIndex, FoundFootage, Interval, Stretch, stretches
from consumers.records.index.contents import IndexContents
from consumers.records.prediction import rfc3339
from consumers.settings import Settings
from consumers.terminal.console import Output, print_json
from consumers.terminal.wording import count, duration
from stream import KafkaTransport, SourceError

_HOUR_US: Final = 3_600_000_000
#: Stretches and gaps that are printed as text; of more, the newest.
_MOST: Final = 200


def list_cameras(settings: Settings, out: Output, now_us: int, *, as_json: bool) -> None:
    """Print which cameras have footage, from when to when, to a minute.

    Raises:
        BrokerError: the broker does not answer.
    """
    with FootageIndex(KafkaTransport(settings.broker, at_once=True), settings.topics) as index:
        kept = index.kept()
        found = sorted(index.all_contents().values(), key=lambda contents: contents.camera)
    for contents in found:
        body = _overview(contents, kept)
        if as_json:
            print_json(out, body)
        elif body["from"] is None:
            out.print(f"{contents.camera}: no footage is left", soft_wrap=True)
        else:
            ago = duration((now_us - contents.time_us) / 1e6)
            out.print(
                f"{contents.camera}: {_clock(body['from'])} to {_clock(body['to'])}, "
                f"{count(body['segments'], 'segment')}, indexed {ago} ago",
                soft_wrap=True,
            )
    if not found and not as_json:
        out.print("no camera is in the index", soft_wrap=True)


def show_footage(
    settings: Settings,
    camera: str,
    interval_us: tuple[int | None, int | None],
    out: Output,
    errors: Output,
    *,
    as_json: bool,
) -> None:
    """Print what there is of a camera in an interval of event time; of its last hour where it is open.

    Raises:
        SourceError: the index does not know the camera.
        BrokerError: the broker does not answer.
    """
    with FootageIndex(KafkaTransport(settings.broker, at_once=True), settings.topics) as index:
        found = index.find(camera, *_closed(index, camera, interval_us))
    if as_json:
        print_json(out, footage_body(found, settings.topics.segments))
    else:
        for line in _lines(found, settings.topics.segments):
            out.print(line, soft_wrap=True)
    for note in found.notes:
        errors.print(note, style="yellow", soft_wrap=True)


def footage_body(found: FoundFootage, topic: str) -> dict[str, Any]:
    """What was found, as JSON."""
    return {
        "camera": found.camera,
        "from": rfc3339(found.from_us),
        "to": rfc3339(found.to_us),
        "covered_seconds": found.covered_us / 1e6,
        "stretches": [_stretch_body(each, topic) for each in stretches(found.segments)],
        "gaps": [{"from": rfc3339(begin), "to": rfc3339(end)} for begin, end in found.gaps],
        "gone_segments": found.gone,
        "notes": list(found.notes),
    }


def _closed(index: FootageIndex, camera: str, interval_us: tuple[int | None, int | None]) -> Interval:
    begin, end = interval_us
    if end is None:
        standing = index.standing(camera)
        if standing.contents is None:
            raise SourceError(f"{camera}: the index knows no such camera; `clipline footage` lists those that it knows")
        end = max(standing.end_us, begin + 1 if begin is not None else 0)
    return max(0, end - _HOUR_US) if begin is None else begin, end


def _overview(contents: IndexContents, kept: dict[int, int]) -> dict[str, Any]:
    there = [page for page in contents.pages if page.last_offset >= kept.get(page.partition, 0)]
    return {
        "camera": contents.camera,
        "from": rfc3339(min(page.start_us for page in there)) if there else None,
        "to": rfc3339(max(page.end_us for page in there)) if there else None,
        "segments": sum(page.segments for page in there),
        "covered_seconds": sum(page.covered_us for page in there) / 1e6,
        "indexed": rfc3339(contents.time_us),
    }


def _lines(found: FoundFootage, topic: str) -> Iterator[str]:
    rows = [(each.first.start_us, _stretch_line(each, topic)) for each in stretches(found.segments)]
    rows += [(begin, _gap_line(begin, end)) for begin, end in found.gaps]
    rows.sort()
    if len(rows) > _MOST:
        yield f"({len(rows) - _MOST} older lines are left out; --json prints them)"
    yield from (line for _, line in rows[-_MOST:])
    gone = f", {count(found.gone, 'segment')} removed by retention" if found.gone else ""
    yield (
        f"{found.camera}: {duration(found.covered_us / 1e6)} of {duration((found.to_us - found.from_us) / 1e6)}, "
        f"{count(len(found.segments), 'segment')}, {sum(s.size for s in found.segments) / 1e6:.1f} MB{gone}"
    )


def _stretch_line(stretch: Stretch, topic: str) -> str:
    first, last = stretch.first, stretch.last
    return (
        f"{_clock(rfc3339(first.start_us))}  {duration((last.end_us - first.start_us) / 1e6):>12}  "
        f"{first.run.codec} {first.run.width}x{first.run.height}  "
        f"{topic}[{first.partition}]@{first.offset}-{last.offset}"
    )


def _gap_line(begin_us: int, end_us: int) -> str:
    return f"{_clock(rfc3339(begin_us))}  {duration((end_us - begin_us) / 1e6):>12}  no footage"


def _stretch_body(stretch: Stretch, topic: str) -> dict[str, Any]:
    first, last = stretch.first, stretch.last
    return {
        "from": rfc3339(first.start_us),
        "to": rfc3339(last.end_us),
        "place": f"{topic}[{first.partition}]@{first.offset}-{last.offset}",
        "segments": len(stretch.segments),
        "bytes": stretch.size,
        "first_number": first.number,
        "discontinuity": first.run.discontinuity,
        "container": first.run.container,
        "codec": first.run.codec,
        "width": first.run.width,
        "height": first.run.height,
        "epoch": rfc3339(first.run.epoch_us),
        "claim": first.run.claim,
        "feed": first.run.feed,
    }


def _clock(time: str) -> str:
    return f"{time[:10]} {time[11:23]}"
