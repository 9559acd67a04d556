"""Consumer groups as Tansu stores them."""

from __future__ import annotations

import json


def subscribes(group: bytes, topic: str) -> bool:
    """Whether a member of a group, as Tansu stores it, subscribes to a topic."""
    name = len(topic).to_bytes(2, "big") + topic.encode()
    members = json.loads(group).get("members", {}).values()
    return any(name in bytes(member["join_response"]["metadata"]) for member in members)


def without_lost_leader(group: bytes) -> bytes | None:
    """A group as Tansu stores it, without a leader that is no member any more; None where there is nothing to mend.

    Tansu 0.6 waits for ever for the leader of a group that forms, also where that has left or died meanwhile: whoever
    joins afterwards gets no partition.
    """
    stored = json.loads(group)
    forming = stored["state"].get("Forming") if isinstance(stored.get("state"), dict) else None
    if not forming or forming.get("leader") is None or forming["leader"] in stored.get("members", {}):
        return None
    forming["leader"] = None
    return json.dumps(stored).encode()
