"""Records of today can be read by readers of every published version, and theirs by ours."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "schemas.py"
_SPEC = importlib.util.spec_from_file_location("schemas", _SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
schemas = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(schemas)


def test_what_is_written_today_breaks_no_reader_of_a_published_version():
    found = [each for each in schemas.broken() if each not in schemas.ACCEPTED]
    assert found == [], (
        "keep the old part beside the new one, or make what is new optional; where neither will do, say why in "
        "ACCEPTED of docs/schemas.py and in CHANGELOG.md, under Changed"
    )


def test_nothing_is_accepted_that_breaks_nothing():
    assert set(schemas.ACCEPTED) <= set(schemas.broken())


def event(contract: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = contract["event"]["payload"]
    return payload


def rename(contract: dict[str, Any]) -> None:
    properties = event(contract)["properties"]
    properties["tag"] = properties.pop("label")


def remove(contract: dict[str, Any]) -> None:
    del event(contract)["properties"]["windows"]


def retype(contract: dict[str, Any]) -> None:
    event(contract)["properties"]["seconds"]["type"] = "string"


def require(contract: dict[str, Any]) -> None:
    event(contract)["properties"]["zone"] = {"type": "string"}
    event(contract)["required"].append("zone")


def release(contract: dict[str, Any]) -> None:
    event(contract)["required"].remove("model")


def grow(contract: dict[str, Any]) -> None:
    event(contract)["properties"]["state"]["enum"].append("paused")


def shrink(contract: dict[str, Any]) -> None:
    event(contract)["properties"]["state"]["enum"].remove("updated")


def widen(contract: dict[str, Any]) -> None:
    event(contract)["properties"]["peak_score"]["maximum"] = 100


def forget(contract: dict[str, Any]) -> None:
    del contract["event"]


def header(contract: dict[str, Any]) -> None:
    del contract["segment"]["headers"]["properties"]["crc32"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename, "event.payload.label: is gone (or has another name)"),
        (remove, "event.payload.windows: is gone"),
        (retype, "event.payload.seconds: may be string, which older readers do not expect"),
        (require, "event.payload.zone: is required, and older records lack it"),
        (release, "event.payload.model: may be absent, and older readers rely on it"),
        (grow, "event.payload.state: may be ['paused'], which older readers do not know"),
        (shrink, "event.payload.state: may no more be ['updated'], which older records hold"),
        (widen, "event.payload.peak_score: maximum 100 in place of 1, which older readers expect"),
        (forget, "event: the message is gone"),
        (header, "segment.headers.crc32: is gone"),
    ],
)
def test_a_change_that_breaks_readers_is_named(change: Callable[[dict[str, Any]], None], said: str):
    before = schemas.current()
    after = copy.deepcopy(before)
    change(after)
    assert any(each.startswith(said) for each in schemas.breaks(before, after)), schemas.breaks(before, after)


def test_what_need_not_be_there_may_come():
    before = schemas.current()
    after = copy.deepcopy(before)
    event(after)["properties"]["zone"] = {"type": "string"}
    after["weather"] = {"payload": {"type": "object"}}
    assert schemas.breaks(before, after) == []
