"""Why a camera gives nothing, or has ended, in one word for programs: sentences are for people, and change."""

from __future__ import annotations

from typing import Final

#: Its film was sent whole.
FOOTAGE_IS_OVER: Final = "the footage is over"
#: Its agent was told to stop.
AGENT_STOPPED: Final = "the agent stopped"
CAMERA_ENDED: Final = "the camera ended the stream"
NO_FRAME: Final = "no frame could be read"
NO_ANSWER: Final = "no answer for"
NO_VIDEO: Final = "cannot be read as video"
#: Reading it has ended its agent again and again: it is read later.
SET_ASIDE: Final = "set aside"
#: One of the agent's cameras does that, and it is being found out which.
ITS_TURN: Final = "waits for its turn: reading one of the cameras ends the agent, and it is not known which"

#: By what reasons begin with: our own, and those of libav and the system that cameras are known for.
_CODES: Final = {
    FOOTAGE_IS_OVER: "over",
    AGENT_STOPPED: "stopped",
    CAMERA_ENDED: "closed",
    NO_FRAME: "no-frame",
    NO_ANSWER: "no-answer",
    NO_VIDEO: "no-video",
    SET_ASIDE: "set-aside",
    ITS_TURN: "its-turn",
    "invalid data found": "no-video",
    "connection timed out": "no-answer",
    "connection refused": "refused",
    "connection reset": "closed",
    "no route to host": "unreachable",
    "network is unreachable": "unreachable",
    "server returned 401": "not-let-in",
    "server returned 403": "not-let-in",
    "server returned 404": "no-such-stream",
    "no such file or directory": "no-such-file",
}
CODES: Final = frozenset(_CODES.values())


def code_of(why: str | None) -> str | None:
    """The code of a reason; None where it has none, as one of few cameras."""
    if why is None:
        return None
    said = why.lower()
    return next((code for begin, code in _CODES.items() if said.startswith(begin)), None)
