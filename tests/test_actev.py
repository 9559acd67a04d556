"""What is exported for NIST's ActEV_Scorer has the form that it takes.

The scorer is in no package index, so it does not run here. Its form is written down once more below, field by field,
from `lib/protocols/actev_sdl_v2_schema.json` of its repository (usnistgov/ActEV_Scorer on GitHub) and from what its
`ActEV_Scorer.py` reads of the two indices.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import jsonschema
import pytest

from consumers.replaying.judging.actev import actev_files
from consumers.replaying.judging.judgement import Judgement
from consumers.replaying.judging.metrics import Detection, EventSet, Truth
from stream import CAMERA_ID, camera_id

FILE = r"^[A-Za-z0-9_\-.]+$"
#: A signal: by frame the value from there on, with its begin and its end.
SIGNAL = {
    "type": "object",
    "patternProperties": {r"^-?[0-9]+$": {"type": "integer", "minimum": 0, "maximum": 1}},
    "additionalProperties": False,
    "minProperties": 2,
}
ACTIVITY = {
    "type": "object",
    "properties": {
        "activity": {"type": "string"},
        "activityID": {"type": "integer"},
        "presenceConf": {"type": "number"},
        "alertFrame": {"type": "integer"},
        "localization": {
            "type": "object",
            "patternProperties": {FILE: SIGNAL},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    },
    "required": ["activity", "activityID", "localization"],
}
FORM = {
    "type": "object",
    "properties": {
        "filesProcessed": {"type": "array", "items": {"type": "string", "pattern": FILE}},
        "activities": {"type": "array", "items": ACTIVITY},
    },
    "required": ["filesProcessed", "activities"],
}
SYSTEM_FORM = {**FORM, "properties": {**FORM["properties"], "activities": {"type": "array", "items": dict(ACTIVITY)}}}
SYSTEM_FORM["properties"]["activities"]["items"]["required"] = [*ACTIVITY["required"], "presenceConf"]
FILE_INDEX_FORM = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"framerate": {"type": "number", "exclusiveMinimum": 0}, "selected": SIGNAL},
        "required": ["framerate", "selected"],
    },
}


def timeline(camera: str, seconds: float) -> SimpleNamespace:
    return SimpleNamespace(camera=camera, begin_us=0, pieces=[SimpleNamespace(end_us=round(seconds * 1e6))])


@pytest.fixture
def files() -> dict[str, dict]:
    truth = (Truth("gate", "fight", 4, 8, 0), Truth("a-x.1", "fight", 10.001, 10.002, 1))
    events = (Detection("gate", "fight", 0, 6.5, 0.75, 3.2, 0), Detection("a-x.1", "fight", 9, 9.001, 1.0, 9.4, 1))
    event_set = EventSet(truth, events, {"gate": 60.0, "a-x.1": 30.5}, {0: 60.0, 1: 30.5})
    timelines = (timeline("gate", 60), timeline("a-x.1", 30.5))
    return actev_files(Judgement(timelines, {"fight": None}, (), (), event_set, (0, None)))


def area(signal: dict[str, int]) -> int:
    """Frames at 1, as the scorer sums them."""
    steps = sorted((int(frame), value) for frame, value in signal.items())
    return sum((later - frame) * value for (frame, value), (later, _) in itertools.pairwise(steps))


def test_every_file_has_the_form_that_the_scorer_takes(files):
    jsonschema.validate(files["system.json"], SYSTEM_FORM)
    jsonschema.validate(files["reference.json"], FORM)
    jsonschema.validate(files["file-index.json"], FILE_INDEX_FORM)
    assert files["activity-index.json"] == {"fight": {}}
    # It refuses a system whose files are not exactly those of the index.
    assert set(files["system.json"]["filesProcessed"]) == set(files["file-index.json"])
    # A false alarm a minute is one by this: the sum of all signals over the first file's frame rate.
    seconds = sum(area(f["selected"]) / f["framerate"] for f in files["file-index.json"].values())
    assert seconds == pytest.approx(90.5)
    assert len({f["framerate"] for f in files["file-index.json"].values()}) == 1


def test_intervals_are_those_of_the_events_and_what_is_shorter_than_a_frame_lasts_one(files):
    first, short = files["system.json"]["activities"]
    assert (first["activity"], first["presenceConf"], first["alertFrame"]) == ("fight", 0.75, 97)
    assert first["localization"] == {"gate": {"1": 1, "196": 0}}
    assert area(first["localization"]["gate"]) == 6.5 * 30
    assert short["localization"] == {"a-x.1": {"271": 1, "272": 0}}
    _, short = files["reference.json"]["activities"]
    assert area(short["localization"]["a-x.1"]) == 1
    for name in ("system.json", "reference.json"):
        ids = [activity["activityID"] for activity in files[name]["activities"]]
        assert ids == [1, 2]


def test_every_camera_id_is_a_file_name_for_the_scorer():
    for camera in ("A", "gate_1", "a-x.1", camera_id("Ünï cödé/x y"), "9" * 64):
        assert CAMERA_ID.fullmatch(camera)
        jsonschema.validate(camera, {"type": "string", "pattern": FILE})
