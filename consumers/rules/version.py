"""A version of a group's rules, as it lies on the rules' topic.

    key               value
    GROUP//SINCE      what holds from that event time on; the newest record of a key counts

One partition, compacted under keys of their own: every version stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import ValidationError

from consumers.records.fields import RecordError, field, json_object, to_json, what_is_wrong
from consumers.records.group_keys import group_key, name_of
from consumers.settings import RuleSettings, TrackerSettings
from stream import Headers

from .rule_set import version_of

_FORMAT: Final = 1
#: Before all footage.
EARLIEST_US: Final = 0
#: The end of the year 9998.
LATEST_US: Final = 253_370_764_800_000_000


@dataclass(frozen=True, slots=True)
class RulesVersion:
    """The rules of a group of workers from an event time on."""

    group: str
    #: Event time in microseconds since the Unix epoch; 0: before all footage.
    since_us: int
    #: Wall clock at which it was applied.
    applied_us: int
    tracker: TrackerSettings
    tables: tuple[RuleSettings, ...]

    @property
    def version(self) -> str:
        """Its name, see `version_of`."""
        return version_of(self.tracker, self.tables)

    @property
    def key(self) -> bytes:
        return group_key(self.group, f"/{self.since_us:020d}")

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _FORMAT,
            "group": self.group,
            "version": self.version,
            "since_us": self.since_us,
            "applied_us": self.applied_us,
            "tracker": self.tracker.model_dump(mode="json", exclude_none=True),
            "rules": [table.model_dump(mode="json", exclude_none=True) for table in self.tables],
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.key, [("content-type", b"application/json")], to_json(self.body()).encode()

    @classmethod
    def decode(cls, group: str, key: bytes | None, value: bytes | None, where: str) -> Self | None:
        """Read a record back; None where it is of another group, or deleted.

        Raises:
            RecordError: the record is of this group and cannot be used; the message begins with `where`.
        """
        if value is None or name_of(group, key) is None:
            return None
        body = json_object(value, where)
        try:
            found = cls(
                group=group,
                since_us=field(body, "since_us", int, where),
                applied_us=field(body, "applied_us", int, where),
                tracker=TrackerSettings.model_validate(field(body, "tracker", dict, where)),
                tables=tuple(RuleSettings.model_validate(table) for table in field(body, "rules", list, where)),
            )
        except ValidationError as error:
            raise RecordError(f"{where}: {what_is_wrong(error, 'the rules')}") from None
        if not EARLIEST_US <= found.since_us <= LATEST_US:
            raise RecordError(f"{where}: since_us = {found.since_us}: expected a time from 1970 to 9998")
        if found.key != key:
            raise RecordError(f"{where}: expected the key {found.key.decode()!r}, found {key!r}")
        return found
