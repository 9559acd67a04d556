"""Footage for players: HLS straight from Kafka, nothing encoded again.

    index of segments ──▶ live.py ──▶ playlist.py ──▶ routes/playing/playlists.py
                          the newest of each camera that somebody watches
    topic of segments ──▶ store.py ──▶ transport_stream.py ──▶ routes/playing/playlists.py
                          each once, whoever asks, and kept for a while

`Footage` is what routes work with.
"""

from .footage import Footage
from .live import LiveWindow
from .playlist import NotPlayableError, evidence_playlist, live_playlist, recorded_playlist
from .store import ServedSegment

__all__ = [
    "Footage",
    "LiveWindow",
    "NotPlayableError",
    "ServedSegment",
    "evidence_playlist",
    "live_playlist",
    "recorded_playlist",
]
