"""What gates save, and what they cost: `python benchmarks/gates.py [--clips 12] [--model default]`.

    tapes       still views in which people appear, in four sizes and four weathers (gate_tapes.py), with a seed; fights
                are true events. Of the events that are found when every window is computed: how many are found gated
    static      a view in which nothing happens, in each weather
    vtest       OpenCV's courtyard, in which somebody always walks, where it lies at ../shared

Each is replayed as by `clipline replay --against ungated`, by the same code. Where ../shared has no surveillance clips,
fights are those of the rendered demo (examples/scenes).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
from gate_tapes import SIZES, WEATHERS, Tape, sources, write_still, write_tapes

from consumers.replaying.command import replay_and_judge
from consumers.replaying.session import UNGATED, ReplayOptions, Session, classify_footage, open_session
from consumers.settings import Settings
from consumers.terminal.console import Output
from models import Classifier
from stream import Decoded, Image, Sample, decode

ROOT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = ROOT / "build" / "gates"
DEMO: Final = ROOT / "consumers" / "footage"
SHARED: Final = ROOT.parent / "shared" / "data"
VTEST: Final = SHARED / "footage" / "vtest.avi"
VIEW: Final = DEMO / "courtyard.mp4"
#: Of the events that are found ungated.
RECALL: Final = 0.99


class Counted:
    """A model that counts the pictures it is given."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.pictures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    def encode(self, pictures: Sequence[Image]) -> Sequence[np.ndarray]:
        self.pictures += len(pictures)
        return self._classifier.encode(pictures)


class Watched:
    """Decodes, and counts the segments of which only keyframes were decoded in the end."""

    def __init__(self) -> None:
        self.segments = 0
        self._stand_ins: list[Sample] = []

    def __call__(self, *arguments: Any, **named: Any) -> Decoded:
        decoded = decode(*arguments, **named)
        self.segments += 1
        self._stand_ins += [sample for sample in decoded.samples if sample.rest is not None][:1]
        return decoded

    @property
    def undecoded(self) -> int:
        return sum(sample.rest is not None and not sample.rest.is_decoded for sample in self._stand_ins)


@dataclass(frozen=True, slots=True)
class Shares:
    """What was left of the work, and what the scores of windows that were not computed would have been."""

    windows_computed: float
    pictures_encoded: float
    #: Of those that need nothing but their bytes.
    segments_undecoded: float
    core_seconds: float
    core_seconds_ungated: float
    #: Windows whose score is above a threshold, ungated, and those of them that were not computed gated.
    alarming: int
    alarming_gated: int

    @property
    def row(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


def measure(session: Session) -> Shares:
    """Classify the footage gated and ungated; predictions are kept."""
    encoded, seconds, traces = [], [], []
    watched = Watched()
    for still in (session.setup.still, None):
        counted = Counted(session.classifier)
        how = replace(session, setup=replace(session.setup, scorer=counted, still=still))
        began = time.process_time()
        with mock.patch("consumers.live.decode_queue.decode", watched if still else decode):
            replayed = classify_footage(how, _never)
        assert replayed is not None
        seconds.append(time.process_time() - began)
        encoded.append(counted.pictures)
        traces.append([piece.trace for timeline in replayed.timelines for piece in timeline.pieces])
    alarming = alarming_gated = 0
    for gated, ungated in zip(*traces, strict=True):
        rules = [(ungated.labels.index(label), rule.start) for label, rule in session.rules.items()]
        above = np.any([ungated.scores[:, column] >= start for column, start in rules], axis=0)
        alarming += int(above.sum())
        alarming_gated += int(above[gated.gated].sum())
    windows = sum(len(t.places) for t in traces[0])
    core_seconds, core_seconds_ungated = seconds
    return Shares(
        1 - sum(len(t.gated) for t in traces[0]) / windows,
        encoded[0] / encoded[1],
        watched.undecoded / max(1, watched.segments),
        core_seconds,
        core_seconds_ungated,
        alarming,
        alarming_gated,
    )


def found_of(ungated: Sequence[Mapping[str, Any]], gated: Sequence[Mapping[str, Any]]) -> Counter[bool]:
    """How many of the events there are, and not, when windows are gated."""
    by_camera = defaultdict(list)
    for event in gated:
        by_camera[event["camera"], event["label"]].append(event)
    return Counter(
        any(
            other["start_seconds"] < event["end_seconds"] and event["start_seconds"] < other["end_seconds"]
            for other in by_camera[event["camera"], event["label"]]
        )
        for event in ungated
    )


def _never() -> bool:
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=12, help="so many clips, each in all sizes and weathers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="default")
    parser.add_argument("--demo", action="store_true", help="the rendered clips of the demo, although there are others")
    parser.add_argument("--weathers", nargs="+", choices=WEATHERS, default=WEATHERS)
    arguments = parser.parse_args()
    errors = Output(stderr=True)
    settings = Settings.model_validate({"worker": {"model": arguments.model}})
    clips = sources(Path("/none") if arguments.demo else SHARED, DEMO, arguments.clips)
    tapes = [Tape(clip, size, weather) for clip in clips for size in SIZES for weather in arguments.weathers]
    folder = BUILD / f"tapes-{arguments.seed}"
    truth = write_tapes(tapes, folder, VIEW, arguments.seed)
    rows: dict[str, Any] = {}
    total: Counter[bool] = Counter()
    for weather in arguments.weathers:
        files = [str(folder / f"{tape.name}.mp4") for tape in tapes if tape.weather == weather]
        options = _options(files, truth)
        with open_session(settings, options, errors) as session:
            shares = measure(session)
            result = replay_and_judge(session, _never)
        assert result is not None
        content = result.content
        ungated = content["against"]["events"]
        found = found_of(ungated, content["events"])
        total += found
        late = [_delay(event, content["events"]) for event in ungated]
        outcomes = [event["outcome"] for event in ungated]
        row = {
            "events_ungated": len(ungated),
            "found": found[True],
            "true_found_ungated": outcomes.count("detected"),
            "true_found_gated": sum(e["outcome"] == "detected" for e in content["events"]),
            "later_at_most_s": max((d for d in late if d is not None), default=None),
            **shares.row,
        }
        rows[f"tapes, {weather}"] = row
        print(f"tapes, {weather}: {json.dumps(row)}", flush=True)
    for weather in arguments.weathers:
        still = BUILD / f"still-{weather}.mp4"
        if not still.is_file():
            write_still(still, VIEW, 60, weather, arguments.seed)
        rows[f"static, {weather}"] = _without_truth(settings, still, errors)
    if VTEST.is_file():
        rows["vtest"] = _without_truth(settings, VTEST, errors)
    recall = total[True] / total.total() if total else None
    print(json.dumps({"model": arguments.model, "recall": recall, "rows": rows}, indent=1))
    return int(recall is None or recall < RECALL)


def _options(files: Sequence[str], truth: Path | None) -> ReplayOptions:
    return ReplayOptions(
        sources=tuple(files),
        camera=None,
        start_us=None,
        labels=truth,
        renamed={},
        match="overlap",
        overlap=0.0,
        onset_window=(2.0, 10.0),
        resume=False,
        against=UNGATED if truth is not None else None,
    )


def _delay(event: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> float | None:
    """How much later it is told when windows are gated, in seconds."""
    same = [o for o in others if o["camera"] == event["camera"] and o["start_seconds"] < event["end_seconds"]]
    return min((o["alert_seconds"] - event["alert_seconds"] for o in same), key=abs, default=None)


def _without_truth(settings: Settings, file: Path, errors: Output) -> dict[str, float]:
    with open_session(settings, _options([str(file)], None), errors) as session:
        shares = measure(session)
    row = shares.row
    print(f"{file.name}: {json.dumps(row)}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
