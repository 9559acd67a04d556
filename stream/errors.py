"""What can go wrong on the way from a feed to a clip.

StreamError
├── SourceError       a feed that cannot be opened or read
├── SegmentError      a record that is not a segment we can decode
├── BrokerError       a broker that is unreachable or refuses
│   ├── RecordTooLargeError
│   ├── UnansweredError   nothing that is a broker answers there
│   └── EntryError    it does not let us in, or not do this
├── FencedError       another process has the name of this one
├── GpuError          video cannot be decoded on a GPU here
└── ServiceError      an embedded service that cannot be started

Vendor exceptions (libav, kafka-python) are mapped to these where the vendor is called, once. Every message
names the thing (file, camera, record, address), says what was found and what was expected.
"""

from __future__ import annotations

from typing import Final, Literal

_MAX_REASON: Final = 1000
#: Why a record is no segment: of another kind or version; with headers that contradict; cut off or changed; in order,
#: and no pictures come of it; compressed as nobody here can read.
SegmentFault = Literal["foreign", "malformed", "damaged", "undecodable", "unreadable", "fatal"]


class StreamError(Exception):
    """Base of every error that `stream` raises on purpose."""


class SourceError(StreamError):
    """A file, folder or camera cannot be opened or read as video."""

    def __init__(self, message: str, *, cause: str | None = None) -> None:
        """Say what is wrong with which source.

        Args:
            message: names the source, without its secrets.
            cause: the same in a few words and without the source's address, for whoever may not know it.
        """
        super().__init__(message)
        self.cause = cause or "cannot be read as video"


class SegmentError(StreamError):
    """A record is not a segment that this version can decode."""

    def __init__(self, where: str, reason: str, fault: SegmentFault = "undecodable") -> None:
        # It may quote what is in the record, and that may be megabytes.
        reason = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]} …"
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason
        self.fault: SegmentFault = fault


class BrokerError(StreamError):
    """The broker cannot be reached, or refused what was asked."""


class UnansweredError(BrokerError):
    """No broker answers at an address."""

    def __init__(self, why: str, advice: str) -> None:
        """Say why, and what to do, which whoever started or named that broker has no use for."""
        super().__init__(f"{why}: {advice}")
        self.why = why


class EntryError(BrokerError):
    """The broker does not let us in, or does not let us do this: somebody has to set something, here or there.

    The message says what. It may also be renewed without us, so that waiting is not always in vain.
    """


class FencedError(StreamError):
    """Another process has joined the group under our name: there is nothing left to do for this one."""


class GpuError(StreamError):
    """Video cannot be decoded on a GPU here; says what is missing, or what was found."""


class RecordTooLargeError(BrokerError):
    """A record is larger than records on the wire may be; it was not sent, others can be."""


class ServiceError(StreamError):
    """An embedded service is not installed or did not come up."""
