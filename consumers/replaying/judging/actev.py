"""Events and truth as NIST's ActEV_Scorer takes them: four JSON files, in which a camera stands for a video file.

The forms are those of the ActEV evaluation plans, protocol ActEV_SDL_V2: `filesProcessed`, which must be the files of
the file index, and per activity its name, an id, the confidence, the frame of the alert, and by file a map from frame
to 1 where it begins and to 0 where it has ended.
"""

from __future__ import annotations

from typing import Any, Final

from .judge import Judgement

#: ActEV counts in frames; cameras differ in how many there are, so event time is counted in these.
FRAMES_PER_SECOND: Final = 30


def actev_files(judgement: Judgement) -> dict[str, dict[str, Any]]:
    """By file name: the system's output, the reference, and the indices of activities and files."""
    cameras = [course.camera for course in judgement.courses]
    detections = [
        {
            **_activity(number, d.camera, d.label, d.start, d.end),
            "presenceConf": d.score,
            "alertFrame": _frame(d.alert),
        }
        for number, d in enumerate(judgement.scene.detections, start=1)
    ]
    truth = [
        _activity(number, t.camera, t.label, t.start, t.end) for number, t in enumerate(judgement.scene.truth, start=1)
    ]
    files = {
        course.camera: {
            "framerate": FRAMES_PER_SECOND,
            "selected": {"1": 1, str(_frame((course.pieces[-1].end_us - course.begin_us) / 1e6)): 0},
        }
        for course in judgement.courses
    }
    return {
        "system.json": {"filesProcessed": cameras, "activities": detections},
        "reference.json": {"filesProcessed": cameras, "activities": truth},
        "activity-index.json": {label: {} for label in judgement.rules},
        "file-index.json": files,
    }


def _frame(seconds: float) -> int:
    """Frames are counted from 1."""
    return max(1, round(seconds * FRAMES_PER_SECOND) + 1)


def _activity(number: int, camera: str, label: str, start: float, end: float) -> dict[str, Any]:
    first = _frame(start)
    # What is shorter than a frame lasts one: the scorer refuses a map with one entry.
    place = {camera: {str(first): 1, str(max(first + 1, _frame(end))): 0}}
    return {"activity": label, "activityID": number, "localization": place, "objects": []}
