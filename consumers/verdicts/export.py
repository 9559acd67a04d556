"""`clipline verdicts export`: footage of judged events, cut out of the topics, as a data set for `clipline train`.

    labelled/
      fight/gate-1_20261128T020312_3f0c6a5e1b2d.mp4       right: its label
      normal/yard_20261128T031500_9a7be0c411f2.mp4        a false alarm: the label of what is none
      labels.csv                                          a row for each file: path,label,start,end,group,event …
      gone.csv                                            judged, and no footage left, with the reason

Segments are joined as they are; nothing is encoded again. What was exported before stays when retention has taken it
from the topics, so the command can run every night into one folder. A verdict that was corrected moves its file; what
verdicts contradict one another about is set aside, with a list of its own, until they agree. What is forgotten is in
none of it: files that show some of it are deleted, and cut anew around it where the footage is still there.
"""

from __future__ import annotations

import csv
import glob
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

from consumers.files import write_text
from consumers.footage_index import FootageIndex
from consumers.outputs.evidence import Evidence, evidence_of, write_evidence
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import rfc3339
from consumers.settings import Settings
from models import UNKNOWN, find, normal_label
from stream import SegmentError, SourceError, Transport

from .book import JudgedEvent, judged_events, stored_verdicts
from .withheld import ID_CHARACTERS, Withheld, remove, withheld

LIST: Final = "labels.csv"
GONE: Final = "gone.csv"
#: Footage of which nothing is certain any more. Hidden: no class of the data set.
_ASIDE: Final = ".set-aside"
_DIGITS: Final = 3
_NO_NAME: Final = re.compile(r"[^\w .-]+")


@dataclass(frozen=True, slots=True)
class Row:
    """One file of the list. Times are seconds of the file; other tools read all but the first five as they like."""

    path: str
    label: str
    start: str
    end: str
    #: All footage of one camera is one group: a split never shows a camera to both sides.
    group: str
    event: str
    verdict: str
    by: str
    began: str
    model: str
    score: str


@dataclass(frozen=True, slots=True)
class Gone:
    """An event that was judged and of which no file could be made."""

    event: str
    camera: str
    label: str
    verdict: str
    began: str
    why: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was done."""

    rows: tuple[Row, ...]
    #: Files that were not there before.
    cut: int
    gone: tuple[Gone, ...]
    #: What is to be said of others, in words.
    notes: tuple[str, ...]
    #: Judged events that are left out, as they are forgotten.
    forgotten: int = 0
    #: Files of earlier exports that were deleted, as they showed something that is forgotten since.
    removed: int = 0
    #: New files that lack some footage around their event, as that is forgotten.
    cut_around: int = 0


def quiet_label(settings: Settings, named: str | None) -> str:
    """The label of footage in which nothing happens: the one that is named, or the model's that raises no events.

    Raises:
        SourceError: the model has none.
        ModelError: there is no such model.
    """
    if named is not None:
        if not (label := normal_label(named)):
            raise SourceError("--false-as: expected the name of a label")
        return label
    contract = find(settings.worker.model).contract
    found = [label for label in contract.labels if label not in {*contract.thresholds, UNKNOWN}]
    if not found:
        raise SourceError(f"{settings.worker.model}: every label raises events; name one for false alarms, --false-as")
    return found[0]


def export_footage(
    transport: Transport,
    settings: Settings,
    folder: Path,
    false_as: str,
    *,
    lead_seconds: float = 0.0,
    tail_seconds: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
) -> Exported:
    """Cut what was judged since the last time, and list all of it.

    Args:
        transport: the broker.
        settings: names of topics.
        folder: of the data set; made if it is missing.
        false_as: label of the footage of false alarms.
        lead_seconds: footage before each event.
        tail_seconds: footage after it.
        stop: whether to end early; what was cut by then is listed.

    Raises:
        SourceError: the folder cannot be used.
        BrokerError: the broker is away, or has no verdicts.
    """
    with FootageIndex(transport, settings.topics) as index:
        return _exported(transport, index, settings, folder, false_as, (lead_seconds, tail_seconds), stop)


def _exported(
    transport: Transport,
    index: FootageIndex,
    settings: Settings,
    folder: Path,
    false_as: str,
    around: tuple[float, float],
    stop: Callable[[], bool],
) -> Exported:
    every = judged_events(stored_verdicts(transport, settings.topics))
    nobody = withheld(transport, settings, index.forgotten(), every)
    judged = {event: said for event, said in every.items() if event not in nobody.events}
    reports = _reports(transport, settings.topics.events, judged)
    listed, aside = _rows(folder / LIST), _rows(folder / _ASIDE / LIST)
    before = {event: _found(folder, row) for event, row in (aside | listed).items()}
    removed = _rid(folder, before, nobody)
    true = [(e.camera, e.start_us, e.end_us) for id_, e in reports.items() if judged[id_].judged == "right"]
    rows = {event: row for event in listed if event not in judged and (row := before[event]) is not None}
    aside = {event: row for event, row in aside.items() if event not in judged and before[event] is not None}
    gone: list[Gone] = []
    notes: list[str] = []
    cut = cut_around = 0
    for event, what in judged.items():
        old, report, said = before.get(event), reports.get(event), what.newest
        label = normal_label(said.label) if what.judged == "right" else false_as
        why = None
        if what.judged == "contested":
            why = "contested"
        elif what.judged == "false" and report is not None and _overlaps(report, true):
            why = "another event was right then"
        if why is not None:
            notes.append(f"{said.label} at {said.camera}, event {event[:12]}: left out, {why}")
            if old is not None:
                aside[event] = replace(old, path=_move(folder, old, Path(_ASIDE)))
        elif old is not None:
            path = _move(folder, old, Path(folder_name(label)))
            rows[event] = replace(old, path=path, label=label, verdict=what.judged, by=_by(what))
        elif not stop():
            made = _cut(transport, index, folder, label, what, report, around)
            if isinstance(made, Row):
                rows[event] = made
                cut += 1
                cut_around += report is not None and nobody.is_cut_around(report, around)
            else:
                gone.append(made)
    write_text(folder / GONE, _table(Gone, gone), SourceError)
    if aside or (folder / _ASIDE).is_dir():
        write_text(folder / _ASIDE / LIST, _table(Row, list(aside.values())), SourceError)
    write_text(folder / LIST, _table(Row, list(rows.values())), SourceError)
    done = Exported(tuple(rows.values()), cut, tuple(gone), tuple(notes))
    return replace(done, forgotten=len(every) - len(judged), removed=removed, cut_around=cut_around)


def _rid(folder: Path, before: dict[str, Row | None], nobody: Withheld) -> int:
    """Delete files of earlier exports that show something forgotten; return how many that were."""
    shown = {event: row for event, row in before.items() if row is not None and nobody.has_some(folder, row)}
    paths = {folder / row.path for row in shown.values()} | set(nobody.strays(folder))
    for path in paths:
        remove(path)
    before.update(dict.fromkeys(shown))
    return len(paths)


def _reports(transport: Transport, topic: str, judged: Mapping[str, JudgedEvent]) -> dict[str, Event]:
    """The newest reports of those events, by their ids."""
    found: dict[str, Event] = {}
    if not transport.existing([topic]):
        return found
    for record in transport.read(transport.offsets(topic)):
        id_ = dict(record.headers).get("ce_id", b"").decode(errors="replace").rpartition("-")[0]
        if id_ in judged:
            try:
                found[id_] = Event.decode(record.key, record.headers, record.value, record.where)
            except RecordError:
                continue  # an earlier report will do
    return found


def _cut(
    transport: Transport,
    index: FootageIndex,
    folder: Path,
    label: str,
    what: JudgedEvent,
    report: Event | None,
    around: tuple[float, float],
) -> Row | Gone:
    verdict = what.newest
    began = rfc3339(verdict.start_us)

    def gone(why: str) -> Gone:
        return Gone(verdict.event, verdict.camera, verdict.label, what.judged, began, why)

    if report is None:
        return gone("its event is no longer on the topic of events")
    try:
        found = evidence_of(transport, index, report, *around)
        path = _path(label, report, found)
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        write_evidence(found, place)
    except (SourceError, SegmentError) as error:
        return gone(str(error))
    except OSError as error:
        raise SourceError(f"{folder}: cannot be written ({error.strerror})") from None
    zero = found.zero_us(path.suffix)
    length = found.segments[-1].end_us - zero
    start, end = (min(max(0, time_us - zero), length) for time_us in (report.start_us, report.end_us))
    if start >= end:  # the event itself is gone, and what lies around it is left
        place.unlink()
        return gone("; ".join(found.missing) or "its footage is gone")
    return Row(
        path=path.as_posix(),
        label=label,
        start=f"{start / 1e6:.{_DIGITS}f}",
        end=f"{end / 1e6:.{_DIGITS}f}",
        group=report.camera,
        event=report.id,
        verdict=what.judged,
        by=_by(what),
        began=began,
        model=report.model,
        score=f"{report.peak_score:.3f}",
    )


def _by(what: JudgedEvent) -> str:
    return " ".join(dict.fromkeys("hand" if v.channel is None else v.channel for v in what.verdicts))


def _path(label: str, report: Event, found: Evidence) -> Path:
    """Where a clip lies below the folder: what others wrote names no place elsewhere."""
    suffix = ".mp4" if found.segments[0].container == "mpegts" else ".mkv"
    moment = re.sub(r"[^0-9T]", "", rfc3339(report.start_us)[:19])
    name = _NO_NAME.sub("_", f"{report.camera}_{moment}_{report.id[:ID_CHARACTERS]}").lstrip(".")
    return Path(folder_name(label)) / f"{name[:150]}{suffix}"


def folder_name(label: str) -> str:
    """The folder of a label; it differs from the label where that can be no folder."""
    return _NO_NAME.sub("_", label).lstrip(".")[:100].strip() or "_"


def _overlaps(report: Event, true: Sequence[tuple[str, int, int]]) -> bool:
    return any(
        camera == report.camera and begin < report.end_us and end > report.start_us for camera, begin, end in true
    )


def _rows(path: Path) -> dict[str, Row]:
    """The list as it was written before, by event; empty where there is none.

    Raises:
        SourceError: it is another file.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from None
    table = csv.DictReader(io.StringIO(text, newline=""))
    names = [each.name for each in fields(Row)]
    if table.fieldnames != names:
        raise SourceError(f"{path}: no list that `clipline verdicts export` wrote; name another folder with --output")
    found = [Row(**{name: row[name] or "" for name in names}) for row in table]
    if outside := [row.path for row in found if Path(row.path).is_absolute() or ".." in Path(row.path).parts]:
        raise SourceError(f"{path}: {outside[0]} is not below its folder")
    return {row.event: row for row in found}


def _found(folder: Path, row: Row) -> Row | None:
    """The row with the path of its file; None where there is none.

    One that was ended before it had written its lists may have moved the file to another folder than they say.
    """
    if (folder / row.path).is_file():
        return row
    name = glob.escape(Path(row.path).name)
    moved = next((path for path in sorted(folder.glob(f"*/{name}")) if name and path.is_file()), None)
    return None if moved is None else replace(row, path=moved.relative_to(folder).as_posix())


def _move(folder: Path, row: Row, to: Path) -> str:
    """Put the file of a row into another folder below; return its new path."""
    path = to / Path(row.path).name
    try:
        (folder / to).mkdir(parents=True, exist_ok=True)
        (folder / row.path).replace(folder / path)
    except OSError as error:
        raise SourceError(f"{folder / row.path}: cannot be moved to {to} ({error.strerror})") from None
    return path.as_posix()


def _table(kind: type[Row | Gone], rows: Sequence[Row] | Sequence[Gone]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [each.name for each in fields(kind)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()
