"""Write events and truth for NIST's ActEV_Scorer: four JSON files, with a camera in place of a video file.

The format is that of the ActEV evaluation plans, protocol ActEV_SDL_V2: `filesProcessed`, equal to the files of the
file index; and for each activity its name, id, confidence, frame of the alert, and for each file a map from frame to 1
where the activity begins and to 0 where it has ended.
"""

from __future__ import annotations

from typing import Any, Final

from .judgement import Judgement

#: ActEV counts in frames; cameras differ in frame rate, so event time is counted in frames of this rate.
FRAMES_PER_SECOND: Final = 30


def actev_files(judgement: Judgement) -> dict[str, dict[str, Any]]:
    """Content by file name: the system's output, the reference, and the indices of activities and files."""
    cameras = [timeline.camera for timeline in judgement.timelines]
    detections = [
        {
            **_activity(number, d.camera, d.label, d.start, d.end),
            "presenceConf": d.score,
            "alertFrame": _frame(d.alert),
        }
        for number, d in enumerate(judgement.event_set.detections, start=1)
    ]
    truth = [
        _activity(number, t.camera, t.label, t.start, t.end)
        for number, t in enumerate(judgement.event_set.truth, start=1)
    ]
    files = {
        timeline.camera: {
            "framerate": FRAMES_PER_SECOND,
            "selected": {"1": 1, str(_frame((timeline.pieces[-1].end_us - timeline.begin_us) / 1e6)): 0},
        }
        for timeline in judgement.timelines
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
    # An activity shorter than a frame lasts one: the scorer refuses a map with one entry.
    place = {camera: {str(first): 1, str(max(first + 1, _frame(end))): 0}}
    return {"activity": label, "activityID": number, "localization": place, "objects": []}
