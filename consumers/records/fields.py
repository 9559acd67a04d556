"""Reading the JSON of a record back, with errors that say where it lies and what was expected there."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeVar

from pydantic import ValidationError

from consumers.times import parse_time_us

_T = TypeVar("_T")
#: How much of a value that was not expected is shown.
_SHOWN_CHARACTERS: Final = 80
#: Times that can be written again as they are read, whatever zone they name: of the years 1000 to 9999, in UTC.
_EARLIEST_US: Final = parse_time_us("1000-01-01T00:00:00Z")
_LATEST_US: Final = parse_time_us("9999-12-31T23:59:59.999999Z")


class RecordError(ValueError):
    """A record is not what its topic holds; the message says where it lies and what is wrong with it."""


class OtherRecordError(RecordError):
    """A record is of another kind than the one that is looked for, and has its place on the topic."""


def what_is_wrong(error: ValidationError, whole: str = "the record") -> str:
    """The first thing that is wrong with what was to be read, and where in `whole` it is. Shows no values."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"


def to_json(body: Any) -> str:
    """The JSON of a record.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know.
    """
    return json.dumps(body, allow_nan=False)


def json_object(value: bytes | None, where: str) -> dict[str, Any]:
    """Return a record's value as the JSON object that it has to be.

    Raises:
        RecordError: it is not JSON, or another thing than an object.
    """
    try:
        body = json.loads(value or b"", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: expected a JSON object ({error})") from None
    if not isinstance(body, dict):
        raise RecordError(f"{where}: expected a JSON object, found {_shown(body)}")
    return body


def field(body: Mapping[str, Any], name: str, kind: type[_T], where: str) -> _T:
    """Return the value of `name`, which has to be a `kind` (an int will do for a float).

    Raises:
        RecordError: it is missing or of another kind.
    """
    value = body.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:  # a number of hundreds of digits
            value = math.inf
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        found = "nothing" if name not in body else _shown(value)
        raise RecordError(f"{where}: expected {name} to be of type {kind.__name__}, found {found}")
    if (
        isinstance(value, str) and not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)
    ):  # "\ud800" is JSON
        raise RecordError(f"{where}: expected {name} to be text of Unicode, found {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):  # "1e999" is JSON
        raise RecordError(f"{where}: expected {name} to be a finite number, found {value}")
    return value


def optional(body: Mapping[str, Any], name: str, kind: type[_T], where: str) -> _T | None:
    """As `field`, where null and absence are None."""
    return None if body.get(name) is None else field(body, name, kind, where)


def one_of(body: Mapping[str, Any], name: str, choices: frozenset[str], where: str) -> str:
    """As `field`, for one of a few texts."""
    value = field(body, name, str, where)
    if value not in choices:
        raise RecordError(f"{where}: expected {name} to be one of {', '.join(sorted(choices))}, found {_shown(value)}")
    return value


def time_us(body: Mapping[str, Any], name: str, where: str) -> int:
    """Return the event time that `name` gives as text, in microseconds since the Unix epoch.

    Raises:
        RecordError: it is missing, or no such time.
    """
    text = field(body, name, str, where)
    with contextlib.suppress(ValueError, OverflowError):
        if _EARLIEST_US <= (found := parse_time_us(text)) <= _LATEST_US:
            return found
    raise RecordError(f"{where}: expected {name} to be a time like 2026-11-24T08:00:00.000000Z, found {_shown(text)}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN_CHARACTERS]
